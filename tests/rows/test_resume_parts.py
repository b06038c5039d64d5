"""Going on with an output in which rows have several outcomes, as races with --all have."""

import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Prompt, Request
from llmbatch_cli.rows.keys import request_key
from llmbatch_cli.rows.output.outfile import OutputLines
from llmbatch_cli.rows.output.settle import settle
from llmbatch_cli.rows.resume import prepare

ROWS = [Prompt(index, [{"role": "user", "content": f"row {index}"}], index) for index in range(3)]
KEYS = [request_key("race", Request("a,b", row.messages, {}), row) for row in ROWS]
for row, key in zip(ROWS, KEYS, strict=True):
    row.key = key


def lines_of(index: int, fates: str) -> list[bytes]:
    """One outcome a letter: answered, retryable, or failed for good."""
    found = []
    for number, fate in enumerate(fates, 1):
        error = None if fate == "a" else {"type": "x", "retryable": fate == "r"}
        row = {"index": index, "key": KEYS[index], "error": error, "part": [number, len(fates)]}
        found.append(orjson.dumps(row) + b"\n")
    return found


def go_on(path: Path, retry: RetryFailed = "retryable") -> list[int]:
    """The rows that are sent again."""
    finished = prepare(path, retry)
    return [row.index for row in ROWS if not finished.claim(row)]


@pytest.mark.parametrize(
    ("fates", "retry", "again"),
    [
        (["aa", "ar", "aa"], "retryable", []),
        (["aa", "rr", "ff"], "retryable", [1]),
        (["aa", "rr", "ff"], "all", [1, 2]),
        (["aa", "rf", "af"], "none", []),
    ],
)
def test_a_row_is_done_by_one_answer(
    tmp_path: Path, fates: Sequence[str], retry: RetryFailed, again: list[int]
) -> None:
    """Its failed outcomes stay beside it; a row without any is tried again as a whole."""
    out = tmp_path / "out.jsonl"
    written = [lines_of(index, one) for index, one in enumerate(fates)]
    out.write_bytes(b"".join(map(b"".join, written)))
    assert go_on(out, retry) == again
    kept = b"".join(b"".join(written[index]) for index in range(3) if index not in again)
    assert out.read_bytes() == kept


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_row_that_lacks_outcomes_is_begun_again(tmp_path: Path, cut: int) -> None:
    """Killed between the outcomes of a row, nothing of it stays, and it is sent again."""
    out = tmp_path / "out.jsonl"
    whole = b"".join(lines_of(0, "aaa"))
    out.write_bytes(whole + b"".join(lines_of(1, "aaaaa")[:cut]))
    assert go_on(out) == [1, 2]
    assert out.read_bytes() == whole


def test_outcomes_are_ordered_together(tmp_path: Path) -> None:
    """They stay together, in their own order, also those of an earlier run."""
    out = tmp_path / "out.jsonl"
    early, late = lines_of(2, "af"), [*lines_of(1, "aa"), *lines_of(0, "aaa")]
    out.write_bytes(b"".join(early))
    finished = prepare(out)
    assert [row.index for row in ROWS if not finished.claim(row)] == [0, 1]
    out.write_bytes(b"".join(early + late))
    assert settle(out, finished, ordered=True)
    assert out.read_bytes() == b"".join([*late[2:], *late[:2], *early])


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_outcomes_are_renamed_together(tmp_path: Path, name: str) -> None:
    """Each outcome of a row that has another id now gets it."""
    out = tmp_path / name
    plain = b"".join([*lines_of(1, "aaf"), *lines_of(0, "ar")])
    out.write_bytes(gzip.compress(plain) if out.suffix == ".gz" else plain)
    renamed = replace(ROWS[1], id="new", metadata={"m": 1})
    renamed.key = request_key("race", Request("a,b", renamed.messages, {}), renamed)
    finished = prepare(out)
    assert all(map(finished.claim, (ROWS[0], renamed)))
    assert settle(out, finished, ordered=True)
    found = [orjson.loads(line) for line in OutputLines(out)]
    assert [(row["index"], row["part"]) for row in found] == [
        *((0, [number, 2]) for number in (1, 2)),
        *((1, [number, 3]) for number in (1, 2, 3)),
    ]
    for row in found[2:]:
        assert (row["id"], row["metadata"], row["key"]) == ("new", {"m": 1}, renamed.key)


def test_outcomes_that_stand_apart_are_no_output_of_ours(tmp_path: Path) -> None:
    """A file that was sorted or cut by somebody else is refused, not guessed at."""
    out = tmp_path / "out.jsonl"
    out.write_bytes(b"".join([*lines_of(0, "aa")[:1], *lines_of(1, "aa")[1:]]))
    with pytest.raises(UsageError, match="not an output that can be resumed"):
        prepare(out)
