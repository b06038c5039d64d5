"""What is xAI's own: a batch that is made first and filled after, counts for a state, pages of
results, its prices."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from batch_api.laws import assert_law, env_for, prompts, rows_of
from batch_api.shapes import batch
from batch_api.simulated_openai import Job, simulated
from batch_api.simulated_xai import SimulatedXAI
from batch_api.test_shapes import ALL, ROWS, answered, texts
from batch_api.wires import body_file, collected, intent_of, wire_of
from support.program import run
from support.scripted import Exchange

from llmbatch_cli.core.errors import BadReply, ProviderError
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.xai.batch import XAIBatch


def line_of(custom_id: str, text: str) -> bytes:
    body = {"model": "grok-4.3", "messages": [{"role": "user", "content": text}]}
    row = {"batch_request_id": custom_id, "batch_request": {"chat_get_completion": body}}
    return json.dumps(row).encode()


async def test_a_row_costs_what_the_reply_says_in_ticks(tmp_path: Path) -> None:
    """1e-10 US dollars each."""
    _, done = await answered(tmp_path, SimulatedXAI)
    assert done.status == 0, done.err
    rows = rows_of(tmp_path / "out.jsonl")
    assert {(one["lane"], one["cost"]) for one in rows} == {("batch", 0.00020872)}


async def test_all_pages_of_the_results_are_read(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedXAI, page=2)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.requests["GET /v1/batches/batch_000000/results"] == ROWS / 2


async def test_a_list_without_an_end_is_an_error() -> None:
    class Endless(SimulatedXAI):
        def _paged(self, *asked: Any) -> dict[str, Any]:
            return {"results": [], "pagination_token": "again"}

    async with simulated(kind=Endless) as provider:
        assert isinstance(provider, Endless)
        job = provider.add_batch("b").said["batch_id"]
        async with wire_of(provider) as (wire, http):
            status = await wire.poll(http, job)
            with pytest.raises(BadReply, match="no end"):
                await collected(wire, http, job, status)


async def test_the_empty_batch_is_made_once_and_found_by_its_name(tmp_path: Path) -> None:
    async with simulated(kind=SimulatedXAI, page=1) as provider:
        assert isinstance(provider, SimulatedXAI)
        intent = intent_of(1, time.time())
        async with wire_of(provider) as (wire, http):
            assert await wire.find_upload(http, intent) is None
            made = await wire.upload(http, intent, tmp_path)
            provider.add_jobs(2)
            assert await wire.find_upload(http, intent) == made == "batch_000000"
            assert await wire.find(http, intent, made, ()) is None
            status = await wire.poll(http, made)
    assert (status.ended, status.total) == (False, None)


async def test_rows_that_are_there_already_are_not_added_again(tmp_path: Path) -> None:
    """As where the count of rows came too late for the look after a lost reply."""
    async with simulated(kind=SimulatedXAI) as provider:
        assert isinstance(provider, SimulatedXAI)
        intent, body = intent_of(1, time.time()), body_file(tmp_path, [line_of("a-0", "p0")])
        async with wire_of(provider) as (wire, http):
            made = await wire.upload(http, intent, body)
            assert made is not None
            for _ in range(2):
                assert await wire.create(http, intent, made, body) == made
            assert await wire.find(http, intent, made, ()) == made
    assert provider.creates == 1


async def test_rows_that_are_refused_are_an_error_with_its_reason(tmp_path: Path) -> None:
    class Picky(SimulatedXAI):
        def _added(self, job: Job, asked: dict[str, Any]) -> tuple[int, Any]:
            return 400, {"code": "invalid-argument", "error": "A row is not valid"}

    provider, done = await answered(tmp_path, Picky)
    assert done.status != 0
    assert "A row is not valid" in done.err
    assert provider.worked == {}


async def test_a_batch_that_xai_gives_up_gives_its_reason_to_each_row(tmp_path: Path) -> None:
    def given_up(provider: SimulatedXAI, job: Job) -> None:
        job.said["cancel_time"] = "2026-11-26"
        job.said["state"] |= {"num_pending": 0, "num_cancelled": len(job.rows)}
        job.said["cancel_by_xai_message"] = "The batch violates the usage guidelines"

    provider, done = await answered(tmp_path, SimulatedXAI, on_create=given_up)
    assert done.status == 1, done.err
    errors = [one["error"] for one in rows_of(tmp_path / "out.jsonl")]
    assert all("usage guidelines" in one["message"] for one in errors)
    assert provider.creates == 1


async def test_a_cancelled_batch_gives_what_it_has(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedXAI, words=("pending",) * 99) as provider:
        assert isinstance(provider, SimulatedXAI)
        await batch(provider, source, out, "--detach")
        done = await run("jobs", "cancel", str(out), env=env_for(out, provider.env))
        assert done.status == 0, done.err
        provider.words = ("pending", "completed")
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, ROWS // 2]


async def test_a_running_batch_says_how_far_it_is() -> None:
    async with simulated(kind=SimulatedXAI) as provider:
        assert isinstance(provider, SimulatedXAI)
        job = provider.add_batch("b")
        job.rows, job.words = [], ("pending",) * 9
        job.said["state"] |= {"num_requests": 5, "num_pending": 2, "num_success": 2, "num_error": 1}
        async with wire_of(provider) as (wire, http):
            status = await wire.poll(http, job.said["batch_id"])
    assert (status.ended, status.total, status.done, status.failed) == (False, 5, 2, 1)
    assert status.word == "in progress"


async def test_an_answer_may_stand_under_another_key(tmp_path: Path) -> None:
    class Other(SimulatedXAI):
        def line(self, row: Any, custom_id: str, end: Any) -> dict[str, Any] | None:
            said = super().line(row, custom_id, end)
            assert said is not None
            [body] = said["batch_result"]["response"].values()
            return {**said, "batch_result": {"response": {"responses": body}, "error": None}}

    _, done = await answered(tmp_path, Other)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL


@pytest.mark.parametrize(
    ("code", "kind", "retry"),
    [
        (1, "not_answered", True),
        (3, "rejected", False),
        (8, "rate_limited", True),
        (14, "overloaded", True),
        (429, "rate_limited", True),
        ("strange", "overloaded", True),
    ],
)
async def test_an_error_is_that_of_its_code(code: Any, kind: str, retry: bool) -> None:
    async with simulated(kind=SimulatedXAI) as provider:
        assert isinstance(provider, SimulatedXAI)
        async with wire_of(provider) as (wire, _):
            assert isinstance(wire, XAIBatch)
            said = {"error": {"code": code, "message": "It did not work"}}
            result = wire._result({"batch_request_id": "a-0", "batch_result": said})
    assert result is not None
    assert isinstance(result.error, ProviderError)
    assert (result.error.kind, result.error.retry) == (kind, retry)
    assert "did not work" in str(result.error.message)
    assert not isinstance(result.reply, WireReply)


async def test_rows_that_only_seem_to_be_taken_are_added_again(tmp_path: Path) -> None:
    """A proxy's page in place of the reply: a batch without rows would never end."""

    class Proxied(SimulatedXAI):
        pages = 1

        async def handle(self, exchange: Exchange) -> None:
            if exchange.path.endswith("/requests") and self.pages:
                self.pages -= 1
                await exchange.reply(b"<html></html>", 200)
                return
            await super().handle(exchange)

    provider, done = await answered(tmp_path, Proxied)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
