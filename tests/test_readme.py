"""Every block of the README and of the recipes does what it shows."""

import asyncio
import json
import re
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.pages import (
    BLOCKS,
    PAGES,
    TOP,
    Block,
    clone,
    openai_at,
    outputs,
    reply,
    shell,
)
from support.program import environment
from support.scripted import serve

from llmbatch_cli.cli.commands import COMMANDS as COMMANDS_OF
from llmbatch_cli.cli.options import declared_by
from llmbatch_cli.core.ledger import Seller, Usage
from llmbatch_cli.core.types import BadRow, Completion, Outcome
from llmbatch_cli.pricing.table import price_in_table
from llmbatch_cli.rows.input.parse import parse_row
from llmbatch_cli.rows.output.render import render

SHELL = [block for block in BLOCKS if block.language == "bash"]
MADE_BY_MAKE = [block for block in SHELL if block.text.startswith("make ")]
INSTALLS = [block for block in SHELL if block.text.startswith("pip ")]
LOCAL = [
    block for block in SHELL
    if block.text.startswith("llmbatch batch") and "-m " not in block.text
]  # fmt: skip
COMMANDS = [block for block in SHELL if block not in (*MADE_BY_MAKE, *LOCAL, *INSTALLS)]


def each(blocks: list[Block]) -> pytest.MarkDecorator:
    """The test, once for each of the blocks."""
    return pytest.mark.parametrize("block", blocks, ids=[block.name for block in blocks])


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """No block escapes: a new kind of block needs a test here."""
    assert {block.language for block in BLOCKS} <= {"bash", "jsonl", "json", "python", "text"}
    assert len(MADE_BY_MAKE) == 2
    assert INSTALLS
    assert LOCAL
    assert len([block for block in COMMANDS if block.page == "README.md"]) >= 10


@each([block for block in BLOCKS if block.language == "text"])
def test_what_needs_other_machines_is_a_command_of_ours(block: Block) -> None:
    """It cannot be run here, but its words can be read: each option is one of the command's."""
    text = block.text.replace("\\\n", " ")
    commands = re.findall(r"^.*\bllmbatch ([a-z]+) (.*)$", text, re.MULTILINE)
    assert commands
    for name, words in commands:
        module = import_module(f"llmbatch_cli.cli.{COMMANDS_OF[name]}")
        options = set(re.findall(r"--([a-z-]+)", words))
        assert options <= declared_by(getattr(module, name)).keys()
    assert "--engine ray" in text


def test_the_readme_is_short_and_names_every_recipe() -> None:
    """Under 300 lines; what is longer is a page in samples/recipes, with a link to it."""
    readme = PAGES[0].read_text()
    assert len(readme.splitlines()) < 300
    links = re.findall(r"\]\((samples/recipes/[\w-]+\.md)\)", readme)
    assert {TOP / link for link in links} == set(PAGES[1:])


def test_the_picture_is_there() -> None:
    """The README shows a picture of a run, with alt text; it loads nothing from elsewhere."""
    ((alt, target),) = re.findall(r"!\[(.+?)\]\((\S+)\)", PAGES[0].read_text())
    picture = (TOP / target).read_text()
    assert len(alt) > 20
    assert ET.fromstring(picture).tag.endswith("svg")
    assert re.findall(r"https?://[^\s\"']+", picture) == ["http://www.w3.org/2000/svg"]


@each(MADE_BY_MAKE)
async def test_make_blocks_name_real_targets(block: Block) -> None:
    """The two first commands are targets of the Makefile; what they run is run by CI itself."""
    status, _, err = await shell(f"{block.text.strip()} --dry-run", TOP)
    assert status == 0, err


@each(INSTALLS)
def test_what_is_installed_is_this_clone(block: Block) -> None:
    """The package is not published, so it is installed from the clone; its extras exist."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    ((name, extras),) = re.findall(
        r"^pip install '([^'\[]+)(?:\[([\w,]+)\])?'$", block.text.strip()
    )
    assert name == "."
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_readme_names_every_extra() -> None:
    """Whoever reads the README knows what can be installed besides; `dev` is for these tests."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    (line,) = re.findall(r"^Extras: .*?\.(?=\s)", PAGES[0].read_text(), re.MULTILINE | re.DOTALL)
    extras = set(project["optional-dependencies"]) - {"dev"}
    assert set(re.findall(r"`(\w+)`", line)) == extras


async def test_make_alone_lists_its_targets() -> None:
    """`make` shows what can be made, and none of the Makefile's other comments."""
    status, out, err = await shell("make --no-print-directory", TOP)
    assert (status, err) == (0, "")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (TOP / "Makefile").read_text(), re.MULTILINE)
    assert all(line.startswith("make ") for line in out.splitlines())
    assert set(re.findall(r"make ([\w-]+)", out)) == set(phony.split()) - {"help"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that a fresh clone has for the commands."""
    return clone(tmp_path)


@pytest.fixture
def store(request: pytest.FixtureRequest, block: Block) -> Mapping[str, str]:
    """The environment for a block with addresses of a store: its bucket has prompts."""
    if "s3://" not in block.text:
        return {}
    from support.moto import Bucket

    bucket = Bucket(request.getfixturevalue("s3_url"), "my-bucket")
    bucket.put("in/prompts.jsonl", (TOP / "samples" / "prompts.jsonl").read_bytes())
    return bucket.variables


@each(COMMANDS)
async def test_commands_with_a_model_answer_their_rows(
    block: Block, folder: Path, store: Mapping[str, str]
) -> None:
    """Each recipe runs on a fresh clone, with a server in the provider's place; no row fails."""
    async with serve(reply) as server:
        command = re.sub(r"http://localhost:\d+/v1", f"{server.url}/v1", block.text)
        status, out, err = await shell(command, folder, {**openai_at(server), **store})
        requests = len(server.exchanges)
    assert status == 0, err
    if "llmbatch estimate" in command and "--sample" not in command:
        assert not requests
    else:
        assert requests or "fake/" in command or " -m " not in command
    assert out or [path for path in folder.iterdir() if path.is_file() and path.stat().st_size]


@pytest.mark.local
@pytest.mark.timeout(120)
@each(LOCAL)
async def test_commands_without_a_model_run_the_embedded_one(block: Block, folder: Path) -> None:
    """Without a key or a model, the model in the process answers every row, in the form asked; of
    each input the first rows."""
    for path in (folder / "samples").glob("*.[cj]s*"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    status, _, err = await shell(block.text, folder, time_limit_s=110)
    assert status == 0, err
    assert "by local/smollm2" in err
    assert outputs(block)
    assert all((folder / name).stat().st_size for name in outputs(block))


@each([block for block in BLOCKS if block.language == "jsonl"])
def test_the_input_rows_are_all_read(block: Block) -> None:
    """Each line of an input example is a prompt."""
    rows = [
        parse_row(json.loads(line), index=place, file=block.page, line=place + 1)
        for place, line in enumerate(block.text.splitlines())
    ]
    assert len(rows) >= 3
    assert [row for row in rows if isinstance(row, BadRow)] == []


def test_the_output_row_is_as_shown() -> None:
    """The README's row is what the program writes for such an answer, field by field."""
    (shown,) = [json.loads(block.text) for block in BLOCKS if block.language == "json"]
    completion = Completion(
        text="Paris.", finish_reason="stop", usage=Usage(24, 3, 27), model="gpt-4o-mini"
    )
    outcome = Outcome(0, "q1", "gpt-4o-mini", "openai", completion, latency_s=0.531, attempts=1)
    price = price_in_table(
        Seller("openai"), "gpt-4o-mini", None, datetime(2026, 11, 26, tzinfo=UTC)
    )
    assert price is not None
    outcome.cost_usd = price.cost(completion.usage)
    assert list(json.loads(render(outcome, "jsonl")).items()) == list(shown.items())


def test_the_output_table_names_every_field() -> None:
    """Each field of the row that is shown stands in the table below it."""
    (shown,) = [json.loads(block.text) for block in BLOCKS if block.language == "json"]
    table = PAGES[0].read_text().partition("| field | meaning |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert set(shown) <= named


@each([block for block in BLOCKS if block.language == "python"])
async def test_python_blocks_run(block: Block, folder: Path) -> None:
    """Each Python example runs to its end, prints something, and warns of nothing."""
    async with serve(reply) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", block.text, cwd=folder,
            env=environment(openai_at(server)),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
    assert (process.returncode, bool(out), err) == (0, True, b"")
