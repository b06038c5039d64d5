"""Most tests fork the program (support/forked.py): what they see is what a fresh process does."""

import re
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.forked import can_fork
from support.program import environment, jsonl, run, start

ROWS = jsonl([{"prompt": "a"}, {"prompt": "ä" * 9}, {"prompt": 5}, {"metadata": {}}])


@pytest.mark.skipif(sys.platform != "linux", reason="every start is a fresh one elsewhere")
def test_tests_fork_unless_a_variable_matters_at_the_start() -> None:
    assert can_fork((), environment({"OPENAI_API_KEY": "k"}), {"cwd": "/"})
    assert not can_fork((), environment({"PYTHONUTF8": "0"}), {})
    assert not can_fork((), environment(), {"preexec_fn": None})


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("batch", "--help"),
        ("no-such-command",),
        ("batch", "-m", "fake/echo", "--rpm", "many"),
        ("batch", "-m", "fake/echo", "--ordered"),
        ("batch", "-m", "openai/x", "--base-url", "http://127.0.0.1:9/v1", "--max-attempts", "1"),
        ("batch", "-m", "fake/echo", "-o", "no-such-folder/out.jsonl"),
        ("batch", "-m", "fake/echo", "-o", "out.csv"),
        ("batch", "-m", "fake/echo", "-o", "out.jsonl", "--batch-api"),
        ("race", "-m", "fake/echo", "-m", "fake/echo?delay=0.01", "--ordered", "-f", "text"),
        ("providers", "--json"),
    ],
    ids=" ".join,
)
async def test_a_forked_program_does_what_a_fresh_one_does(
    words: Sequence[str], tmp_path: Path
) -> None:
    """The same status, the same words on both streams, the same files; nothing is said at the
    interpreter's end, such as of a file that is open."""
    seen = []
    for name, fresh in (("forked", False), ("fresh", True)):
        folder = tmp_path / name
        folder.mkdir()
        env = {"OPENAI_API_KEY": "sk-1", "LLMBATCH_STATE_DIR": str(folder / "state")}
        done = await run(*words, stdin=ROWS, env=env, cwd=folder, fresh=fresh)
        files = sorted(path.name for path in folder.iterdir())
        texts = [_timeless(text, folder) for text in (done.out.decode(), done.err)]
        seen.append((done.status, texts, files))
    assert seen[0] == seen[1]


def _timeless(text: str, folder: Path) -> str:
    """Without numbers, as times differ from run to run."""
    text = text.replace(str(folder), "FOLDER")
    return re.sub(r"\d[\d.,]*( rows?/s)?", "N", text)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
async def test_signals_end_both(fresh: bool, number: signal.Signals, status: int) -> None:
    process = await start("batch", "-m", "fake/echo", stderr=DEVNULL, fresh=fresh)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"prompt": "a"}\n')
    assert b'"text":"a"' in (await process.stdout.readline()).replace(b": ", b":")
    process.send_signal(number)
    assert await process.wait() == status
