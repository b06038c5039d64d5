"""What jobs cost: the cap on it, and what stands in which row."""

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, cast

import pytest
from batch_api.laws import prompts, rows_of, run_batch
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import Done, run

from llmbatch_cli.core.events import LeftUndone
from llmbatch_cli.core.ledger import Attempt, Ledger
from llmbatch_cli.core.types import Prompt, Request
from llmbatch_cli.drivers.provider_batch.asking import Asking
from llmbatch_cli.drivers.provider_batch.rest import Rest
from llmbatch_cli.drivers.provider_batch.spool import Spooled

FOREVER: Final = ("validating", "in_progress")
EACH: Final = 89
"""What an answer costs, in millionths of a dollar: 9 tokens in and 4 out."""
PRICE: Final = ("--price", "gpt-4o-mini=1,20")
LIMIT: Final = ("--max-tokens", "10")


def capped(usd: float) -> tuple[str, ...]:
    return (*PRICE, *LIMIT, "--max-cost", str(usd))


ROOM_FOR_3: Final = capped(0.0013)
"""A row holds the bytes of its body, what is around them, and 10 tokens of answer: some $0.0004."""


def millionths(rows: list[dict[str, Any]]) -> int:
    usd: float = sum(row["cost"] for row in rows)
    return round(usd * 1e6)


def billed(provider: SimulatedOpenAI) -> int:
    return EACH * provider.worked.total()


def figures(path: Path) -> Any:
    return json.loads(path.read_text())


async def test_rows_that_do_not_fit_are_left_for_another_run(tmp_path: Path) -> None:
    """With the live run's words and exit status; each run has a cap of its own."""
    source, out = prompts(tmp_path / "in.jsonl", 7), tmp_path / "out.jsonl"
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out, *ROOM_FOR_3)
        assert done.status == 3, done.err
        assert "--max-cost $0.0013: $0.000267 spent; a request may cost up to $0.0" in done.err
        assert "hint: --resume goes on, with a --max-cost of its own" in done.err
        assert "to go on: llmbatch" in done.err
        assert len(rows_of(out)) == 3
        assert provider.creates == 1
        done = await run_batch(provider.url, source, out, *ROOM_FOR_3, "--resume")
        assert done.status == 3, done.err
        done = await run_batch(provider.url, source, out, *ROOM_FOR_3, "--resume")
    assert done.status == 0, done.err
    assert provider.worked == {f"p{n}": 1 for n in range(7)}
    assert millionths(rows_of(out)) == billed(provider)
    assert [row["lane"] for row in rows_of(out)] == ["batch"] * 7


@pytest.mark.parametrize("first", [ROOM_FOR_3, (*PRICE, *LIMIT)], ids=["capped", "without a cap"])
async def test_open_jobs_count(tmp_path: Path, first: tuple[str, ...]) -> None:
    """What an earlier run has submitted, with or without a cap, is held back by this one."""
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out, *first, "--detach")
        assert done.status == 0, done.err
        prompts(source, 7)
        done = await run_batch(provider.url, source, out, *ROOM_FOR_3, "--resume")
        assert done.status == 3, done.err
        assert [len(job.rows) for job in provider.jobs.values()] == [2, 1]
    assert millionths(rows_of(out)) == billed(provider) == 3 * EACH


async def test_a_detached_run_submits_what_fits(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 7), tmp_path / "out.jsonl"
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out, *ROOM_FOR_3, "--detach")
        assert done.status == 3, done.err
        assert "1 job with 3 rows" in done.err
        assert "for which there is no room" in done.err


async def test_an_answer_that_is_asked_again_is_paid_for_where_no_room_is_left(
    tmp_path: Path,
) -> None:
    """It stands in no row, but in the summary."""
    source, out, path = prompts(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl", tmp_path / "s"
    async with simulated() as provider:
        done = await run_batch(
            provider.url, source, out, *capped(0.005),
            "--schema", "name", "--schema-retries", "9", "--summary", str(path),
        )  # fmt: skip
    assert done.status == 3, done.err
    undone = figures(path)["not_finished"]
    rows = rows_of(out) if out.exists() else []
    assert undone["rows"] + len(rows) == 3
    assert undone["rows"] > 0
    assert round(undone["cost"] * 1e6) + millionths(rows) == billed(provider)
    assert billed(provider) <= 5_000
    assert "not finished)" in done.err


async def test_what_jobs_have_done_counts_where_the_rest_is_sent_live(tmp_path: Path) -> None:
    """The attempts in jobs stand in the row that a live request ends."""
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        done = await run_batch(
            provider.url, source, out, *PRICE, *LIMIT,
            "--schema", "name", "--schema-retries", "1", "--live-after", "1s", "--detail",
        )  # fmt: skip
    assert done.status == 1, done.err
    rows = rows_of(out)
    assert {row["error"]["type"] for row in rows} == {"invalid_output"}
    paid = [[cost["tier"] for cost in row["costs"] if cost["cost"]] for row in rows]
    assert [one.count("batch") for one in paid] == [1, 1, 0, 0]
    live = sum(one.count(None) for one in paid)
    assert live == provider.requests["POST /v1/chat/completions"]
    assert millionths(rows) == EACH * (2 + live)


class AskedNobody:
    """Prices nothing."""

    def request(self, row: Spooled) -> Request:
        ledger = Ledger(attempts=row.attempts)
        return Request("m", row.prompt.messages, {}, ledger=ledger)

    async def left(self, row: Spooled) -> LeftUndone:
        return LeftUndone(row.prompt.index, row.attempts, 0)

    async def for_row(self, prompt: Prompt) -> "AskedNobody":
        return self


async def test_rows_that_wait_to_be_sent_live_are_not_forgotten(tmp_path: Path) -> None:
    """An interrupt leaves them undone; what jobs have done for them is told."""
    rest, asking = Rest(tmp_path), cast("Asking", AskedNobody())
    assert [left async for left in rest.left(asking)] == []
    tried = Attempt(None, 200, 0.1, maybe_billed=True)
    for index in range(4):
        prompt = Prompt(index, [{"role": "user", "content": "?"}], index)
        rest.add(Spooled(prompt, [tried] if index != 2 else []))
    async with aclosing(rest.prompts(asking)) as rows:
        row = await anext(rows)
        assert isinstance(row, Prompt)
        assert [ledger.attempts for ledger in row.ledgers] == [[tried]]
    assert [left.index async for left in rest.left(asking)] == [1, 3]
    rest.close()


async def refused(tmp_path: Path, *more: str) -> Done:
    source = prompts(tmp_path / "in.jsonl", 2)
    words = ("batch", str(source), "-o", str(tmp_path / "out.jsonl"), "--batch-api")
    return await run(*words, *more, "--max-cost", "1", env={"OPENAI_API_KEY": "sk-test"})


async def test_a_cap_needs_a_price_and_an_end(tmp_path: Path) -> None:
    """As live, before anything is sent."""
    done = await refused(tmp_path, "-m", "openai/unheard-of", "--max-tokens", "9")
    assert done.status == 2, done.err
    assert "the price of openai/unheard-of " in done.err
    assert "as --max-cost needs it" in done.err
    async with simulated() as provider:
        done = await refused(tmp_path, "-m", "gpt-4o-mini", "--base-url", provider.url, *PRICE)
        assert not provider.requests
    assert done.status == 2, done.err
    assert "the longest answer is not known, as --max-cost needs it" in done.err
    assert "hint: set --max-tokens" in done.err
