"""Every block of the README does what it shows."""

import asyncio
import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from support.chat import echo
from support.program import environment, jsonl
from support.scripted import serve

from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import BadRow, Completion, Outcome
from llmbatch_cli.rows.input.parse import parse_row
from llmbatch_cli.rows.output.render import render

TOP = Path(__file__).parent.parent
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", (TOP / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
SHELL = [text for language, text in BLOCKS if language == "bash"]
MADE_BY_MAKE = [text for text in SHELL if text.startswith("make ")]
LOCAL = [text for text in SHELL if text.startswith("llmbatch batch") and "-m " not in text]
INSTALLS = [text for text in SHELL if text.startswith("pip ")]
HOSTED = [text for text in SHELL if text not in (*MADE_BY_MAKE, *LOCAL, *INSTALLS)]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """No block escapes: a new kind of block needs a test here."""
    assert {language for language, _ in BLOCKS} <= {"bash", "jsonl", "json", "python"}
    assert len(MADE_BY_MAKE) == 2
    assert INSTALLS
    assert LOCAL
    assert len(HOSTED) >= 5


@pytest.mark.parametrize("block", MADE_BY_MAKE)
async def test_make_blocks_name_real_targets(block: str) -> None:
    """The two first commands are targets of the Makefile; what they run is run by CI itself."""
    status, _, err = await shell(f"{block.strip()} --dry-run", TOP)
    assert status == 0, err


@pytest.mark.parametrize("block", INSTALLS)
def test_what_is_installed_is_this_package(block: str) -> None:
    """The distribution and its extras are named as in pyproject.toml."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    name, extras = re.findall(r"pip install '([\w-]+)(?:\[([\w,]+)\])?'", block)[0]
    assert name == project["name"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the README's commands read."""
    shutil.copytree(TOP / "samples", tmp_path / "samples")
    (tmp_path / "prompts.jsonl").write_bytes(jsonl([{"id": "a", "prompt": "hi"}, "there"]))
    (tmp_path / "questions.txt").write_text("one\ntwo\n")
    return tmp_path


@pytest.mark.parametrize("block", HOSTED)
async def test_commands_with_a_model_answer_their_rows(block: str, folder: Path) -> None:
    """Each recipe runs against a server in the provider's place, and fails no row."""
    async with serve(echo) as server:
        block = re.sub(r"http://localhost:\d+/v1", f"{server.url}/v1", block)
        keys = {"OPENAI_API_KEY": "sk-readme", "OPENAI_BASE_URL": f"{server.url}/v1"}
        status, out, err = await shell(block, folder, **keys)
        asked = len(server.exchanges)
    assert status == 0, err
    assert asked or "fake/" in block or " -m " not in block
    written = [path for path in folder.glob("*out*") if path.stat().st_size]
    assert out or written or list(folder.glob("*.jsonl"))


@pytest.mark.local
@pytest.mark.parametrize("block", LOCAL)
async def test_commands_without_a_model_run_the_embedded_one(block: str, folder: Path) -> None:
    """Without a key or a model, real answers come from the model in the process."""
    status, _, err = await shell(block, folder)
    assert status == 0, err
    rows = [json.loads(line) for line in (folder / "first-answers.jsonl").read_text().splitlines()]
    assert len(rows) == len((folder / "samples" / "prompts.jsonl").read_text().splitlines())
    assert all(row["text"] and row["provider"] == "local" for row in rows)


def test_the_input_rows_are_all_read() -> None:
    """Each line of the README's input example is a prompt."""
    lines = [line for language, text in BLOCKS if language == "jsonl" for line in text.split("\n")]
    rows = [
        parse_row(json.loads(line), index=place, file="README.md", line=place + 1)
        for place, line in enumerate(lines)
        if line
    ]
    assert len(rows) >= 5
    assert [row for row in rows if isinstance(row, BadRow)] == []


def test_the_output_row_is_as_shown() -> None:
    """The README's row is what the program writes for such an answer, field by field."""
    (shown,) = [json.loads(text) for language, text in BLOCKS if language == "json"]
    completion = Completion(
        text="Paris.", finish_reason="stop", usage=Usage(24, 3, 27), model="gpt-4o-mini"
    )
    outcome = Outcome(0, "q1", "gpt-4o-mini", "openai", completion, latency_s=0.531, attempts=1)
    assert list(json.loads(render(outcome, "jsonl")).items()) == list(shown.items())


@pytest.mark.parametrize("block", [text for language, text in BLOCKS if language == "python"])
async def test_python_blocks_run(block: str, folder: Path) -> None:
    """Each Python example runs to its end and prints something."""
    async with serve(echo) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", block, cwd=folder,
            env=environment({"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": f"{server.url}/v1"}),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
    assert (process.returncode, bool(out)) == (0, True), err.decode()


async def shell(command: str, folder: Path, **env: str) -> tuple[int, str, str]:
    """Run the command in bash, with this environment's `llmbatch` first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", command, cwd=folder,
        env=environment({"PATH": path, **env}), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(50):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
