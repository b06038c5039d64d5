"""What holds for every wire, whatever is killed or fails: used by the tests of each.

A wire's author writes a simulated provider with `url`, `worked` (how often each row was worked on,
by its prompt) and `creates`, runs the program against it by `run_batch`, and asks `assert_law`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from support.program import Done, jsonl, run

FOLDER = ".llmbatch-jobs"


class Simulated(Protocol):
    """What the laws ask of a simulated provider."""

    url: str
    worked: Counter[str]
    creates: int


def prompts(path: Path, count: int) -> Path:
    """A file with the rows p0, p1, ..."""
    path.write_bytes(jsonl([{"prompt": f"p{place}"} for place in range(count)]))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of an output, in the order of the input."""
    return sorted(map(json.loads, path.read_bytes().splitlines()), key=lambda row: row["index"])


def words_for(source: Path, out: Path, url: str, model: str = "gpt-4o-mini") -> Sequence[str]:
    """The program's arguments."""
    return ("batch", str(source), "-o", str(out), "-m", model, "--base-url", url, "--batch-api")


def env_for(out: Path, key: Mapping[str, str] | None = None) -> dict[str, str]:
    """The program's environment."""
    return {
        "LLMBATCH_STATE_DIR": str(out.parent / "state"),
        **(key or {"OPENAI_API_KEY": "sk-test"}),
    }


async def run_batch(
    url: str,
    source: Path,
    out: Path,
    *more: str,
    model: str = "gpt-4o-mini",
    key: Mapping[str, str] | None = None,
) -> Done:
    """The program to its end."""
    return await run(*words_for(source, out, url, model), *more, env=env_for(out, key))


def assert_law(provider: Simulated, out: Path, count: int) -> None:
    """Every row has one answer, the provider has worked on each row once, and nothing is open."""
    rows = rows_of(out)
    assert [row["index"] for row in rows] == list(range(count))
    assert [row["text"] for row in rows] == [f"re: p{place}" for place in range(count)]
    assert provider.worked == {f"p{place}": 1 for place in range(count)}
    assert not out.with_name(out.name + FOLDER).exists()
