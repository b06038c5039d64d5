"""What --engine ray refuses before it reads, sends or starts anything."""

from pathlib import Path

import pytest
from support.program import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.jsonl").write_text('"one"\n"two"\n')
    (tmp_path / "mine.txt").write_text("of the user\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("of the user\n")
    return tmp_path


REFUSED = {
    "no output": ([], "writes a folder of parts"),
    "batch api": (["-o", "out", "--batch-api"], "--batch-api does not go with --engine ray"),
    "strict": (["-o", "out", "--strict"], "--strict does not go with --engine ray"),
    "text": (["-o", "out", "-f", "text"], "writes jsonl or tables, not --format text"),
    "detach": (["-o", "out", "--detach"], "--detach needs a Ray cluster that stays"),
    "merge within": (["-o", "out", "--merge", "out/all.jsonl"], "in the folder of the parts"),
    "merge elsewhere": (["-o", "out", "--merge", "mine.txt"], "there is something else in it"),
    "merge over the input": (["-o", "out", "--merge", "in.jsonl"], "is also an input"),
    "a file": (["-o", "mine.txt"], "mine.txt"),
    "a full folder": (["-o", "full"], "is not empty, and no run of llmbatch has begun it"),
    "address": (["-o", "out", "--address", "127.0.0.1:9"], "nothing answers there"),
    "client": (["-o", "out", "--address", "ray://head:10001"], "that is for Ray's client"),
    "model": (["-o", "out", "-m", "nonsense-1"], "unknown model 'nonsense-1'"),
    "key": (["-o", "out", "-m", "openai/m"], "no key for openai"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_it_is_refused_in_plain_words(case: str, folder: Path) -> None:
    words, said = REFUSED[case]
    model = [] if "-m" in words else ["-m", "fake/echo"]
    command = ["batch", str(folder / "in.jsonl"), *model, "--engine", "ray"]
    at = [
        str(folder / word) if (folder / word).exists() or word[:3] == "out" else word
        for word in words
    ]
    done = await run(*command, *at)
    assert (done.status, done.out) == (2, b""), done.err
    assert said in done.err
    assert "hint:" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["--address", "--workers", "--merge", "--key-file"])
async def test_its_options_alone_are_refused(name: str, folder: Path) -> None:
    done = await run("batch", str(folder / "in.jsonl"), "-m", "fake/echo", name, "2")
    assert done.status == 2
    assert f"{name} is for --engine ray" in done.err


async def test_standard_input_is_refused(folder: Path) -> None:
    words = ("-m", "fake/echo", "-o", str(folder / "out"), "--engine", "ray")
    done = await run("batch", "-", *words, stdin=b'"one"\n')
    assert done.status == 2
    assert "cannot read standard input" in done.err


async def test_nothing_is_overwritten_for_a_cluster_that_is_not_there(folder: Path) -> None:
    """The parts of the last run are paid for, and the folder is as it was."""
    out = folder / "out"
    (out / "_work").mkdir(parents=True)
    (out / "_work" / "plan.json").write_text("{}")
    (out / "part-00000.jsonl").write_text("{}\n")
    words = ("-m", "fake/echo", "-o", str(out), "--engine", "ray", "--overwrite")
    done = await run("batch", str(folder / "in.jsonl"), *words, "--address", "127.0.0.1:9")
    assert (done.status, "nothing answers there" in done.err) == (2, True)
    assert (out / "part-00000.jsonl").exists()


async def test_a_run_is_asked_for_by_its_folder(folder: Path) -> None:
    done = await run("cluster", "status", str(folder / "mine.txt"))
    assert (done.status, "mine.txt is a file\nhint: name the folder" in done.err) == (2, True)
