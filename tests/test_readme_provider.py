"""The README's "Add a provider" section and its recipe, followed in a copy of the package."""

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.chat import answer, echo
from support.program import TIMEOUT_S, Done, environment, jsonl
from support.scripted import Exchange, serve

TOP = Path(__file__).parent.parent
TABLES = {
    "hosts.py": "ROWS: Final = (\n",
    "registry.py": "OWN_WIRES: Final[Mapping[str, Entry]] = {\n",
}
"""Where a table begins, in the files that hold one."""


@pytest.fixture(scope="module")
def section() -> str:
    """The section, from its heading to the next, and the page that goes on with it."""
    text = (TOP / "README.md").read_text()
    found = re.search(r"^## Add a provider\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, "the README has no section 'Add a provider'"
    page = (TOP / "samples" / "recipes" / "add-provider.md").read_text()
    return found[0] + page.partition("\n\n")[2]


def blocks(section: str) -> Mapping[str, str]:
    """The section's blocks, each by the file that it names."""
    return dict(re.findall(r"^```python (\S+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def followed(section: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in which the section was followed: rows added, files written."""
    top = tmp_path_factory.mktemp("copy")
    shutil.copytree(
        TOP / "llmbatch_cli", top / "llmbatch_cli", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, block in blocks(section).items():
        path = top / name
        if path.name not in TABLES:
            assert not path.exists()
            path.write_text(block)
            continue
        before, begin, after = path.read_text().partition(TABLES[path.name])
        assert begin, f"{name} has no table that begins with {TABLES[path.name]!r}"
        path.write_text(before + begin + block + after)
    return top


async def run(
    top: Path, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> Done:
    """Run the copy's program, from its own folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmbatch_cli", *arguments, cwd=top, env=environment(env),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Done(process.returncode, out, err.decode())


def test_the_section_is_short(section: str) -> None:
    """Under 40 lines for both: a row for a host, a file and a line for a wire."""
    assert len(section.rstrip().splitlines()) < 40
    assert {Path(name).name for name in blocks(section)} >= {"hosts.py", "registry.py"}
    assert len(blocks(section)) == 3
    assert len(blocks(section)["llmbatch_cli/providers/registry.py"].splitlines()) == 1


async def test_a_new_row_is_a_new_host(followed: Path) -> None:
    """The row alone makes the host answer, with its own key, and the programs list it."""
    async with serve(echo) as server:
        where = {"ACME_API_KEY": "sk-acme", "ACME_BASE_URL": f"{server.url}/v1"}
        done = await run(followed, "batch", "-m", "acme/m", stdin=jsonl(["hi"]), env=where)
        assert server.exchanges[0].header("authorization") == "Bearer sk-acme"
    assert (done.status, done.rows[0]["text"], done.rows[0]["provider"]) == (0, "HI", "acme")
    missing = await run(followed, "batch", "-m", "acme/m", stdin=jsonl(["hi"]))
    assert (missing.status, "ACME_API_KEY" in missing.err) == (2, True)


async def test_the_lists_know_the_new_host(followed: Path) -> None:
    """`llmbatch providers` and `llmbatch models` need nothing but the row."""

    async def handler(exchange: Exchange) -> None:
        await answer(exchange, {"data": [{"id": "acme-1"}]})

    listed = await run(followed, "providers", "--json")
    assert {"acme", "oracle"} <= {row["provider"] for row in listed.rows}
    async with serve(handler) as server:
        where = {"ACME_API_KEY": "sk-acme", "ACME_BASE_URL": f"{server.url}/v1"}
        done = await run(followed, "models", "acme", env=where)
    assert (done.status, done.out) == (0, b"acme-1\n")


async def test_a_new_file_and_a_line_are_a_new_wire(followed: Path) -> None:
    """The wire's answers are rows as all others, its errors are classified and retried."""
    seen: list[object] = []

    async def handler(exchange: Exchange) -> None:
        seen.append((exchange.path, exchange.header("x-key"), json.loads(exchange.body)))
        if len(seen) == 1:
            await answer(exchange, {"error": "busy"}, 503)
        else:
            await answer(exchange, {"answer": "42"})

    async with serve(handler) as server:
        done = await run(
            followed, "batch", "-m", "oracle/deep", "--base-url", server.url, "--seed", "7",
            stdin=jsonl(["why?"]), env={"ORACLE_KEY": "k"},
        )  # fmt: skip
    assert done.status == 0, done.err
    assert (done.rows[0]["text"], done.rows[0]["attempts"]) == ("42", 2)
    assert seen == [("/ask", "k", {"model": "deep", "question": "why?", "seed": 7})] * 2


async def test_the_wire_passes_the_type_checker(followed: Path) -> None:
    """What the section shows holds to the rules of the code: types everywhere."""
    (name,) = new_files(followed)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
        f"llmbatch_cli/providers/{name}", cwd=followed,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


def new_files(followed: Path) -> set[str]:
    """The copy's files of providers that the package itself does not have."""
    here, there = (
        {path.name for path in (top / "llmbatch_cli" / "providers").glob("*.py")}
        for top in (TOP, followed)
    )
    return there - here
