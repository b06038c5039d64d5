"""What is Anthropic's own: batches without a mark, results that are not there yet, its limits."""

import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from batch_api.laws import assert_law, env_for, prompts, rows_of
from batch_api.shapes import batch, begun
from batch_api.simulated_anthropic import SimulatedAnthropic, error
from batch_api.simulated_openai import Job, simulated
from batch_api.test_shapes import ALL, ROWS, Killing, answered, texts
from batch_api.wires import collected, intent_of, wire_of
from support.later import Later
from support.program import jsonl, run

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import WireReply

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Later("anthropic")


def row(custom_id: str) -> Any:
    messages = [{"role": "user", "content": "Hi"}]
    params = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": messages}
    return {"custom_id": custom_id, "params": params}


async def test_the_sdk_judges_the_simulator() -> None:
    async with simulated(kind=SimulatedAnthropic, page=1) as provider:
        assert isinstance(provider, SimulatedAnthropic)
        sdk = anthropic.AsyncAnthropic(api_key="k", base_url=provider.url.removesuffix("/v1"))
        batches = sdk.messages.batches
        made = await batches.create(requests=[row("a"), row("b")])
        await batches.create(requests=[row("c")])
        assert [one.id async for one in await batches.list(limit=1)] == [
            "msgbatch_000001",
            "msgbatch_000000",
        ]
        with pytest.raises(anthropic.AnthropicError):
            await batches.results(made.id)
        while made.processing_status != "ended":
            assert made.request_counts.processing == 2
            made = await batches.retrieve(made.id)
        results = [one async for one in await batches.results(made.id)]
        assert {one.custom_id: one.result.type for one in results} == {
            "a": "succeeded",
            "b": "succeeded",
        }
        cancelled = await batches.cancel("msgbatch_000001")
        assert cancelled.processing_status == "canceling"
        assert (await batches.retrieve(cancelled.id)).request_counts.canceled == 1
        await sdk.close()


async def test_results_that_are_not_there_yet_are_waited_for(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedAnthropic, early=2)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


async def test_an_archived_batch_has_no_results_any_more() -> None:
    async with simulated(kind=SimulatedAnthropic) as provider:
        assert isinstance(provider, SimulatedAnthropic)
        job = provider.add_job([row("a-0")])
        provider._ended(job, "ended")
        job.said.update(archived_at="2026-11-26T00:00:00Z", results_url=None)
        del provider.results[job.said["id"]]
        async with wire_of(provider) as (wire, http):
            status = await wire.poll(http, job.said["id"])
            with pytest.raises(ProviderError) as raised:
                await collected(wire, http, job.said["id"], status)
    assert raised.value.status == 404
    assert not raised.value.retry


async def test_a_poll_gives_the_wait_that_is_asked_for_and_counts_at_the_end() -> None:
    async with simulated(kind=SimulatedAnthropic, retry_after="10") as provider:
        assert isinstance(provider, SimulatedAnthropic)
        job = provider.add_job([row("a-0"), row("a-1")])
        async with wire_of(provider) as (wire, http):
            running = await wire.poll(http, job.said["id"])
            ended = await wire.poll(http, job.said["id"])
    assert (running.retry_after_s, running.total, running.done) == (10, 2, None)
    assert (ended.retry_after_s, ended.done, ended.failed, ended.ended) == (None, 2, 0, True)
    assert running.expires_s == pytest.approx(time.time() + 86_400, abs=600)


async def test_the_month_s_limit_stops_the_run_and_keeps_the_job(tmp_path: Path) -> None:
    """It is the same 429 as for too many requests, for which one waits."""
    details = {"error_code": "enforced_spend_limit_reached"}
    words = "Your organization has crossed its monthly threshold."
    spent = (429, error("rate_limit_error", words, details=details))
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedAnthropic, refusals=[spent]) as provider:
        assert isinstance(provider, SimulatedAnthropic)
        done = await batch(provider, source, out)
        assert done.status == 3, done.err
        assert "monthly threshold" in done.err
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)


async def test_another_batch_of_the_same_size_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Ours is made, its reply lost; another one runs then, made just after it."""

    def another(provider: SimulatedAnthropic, job: Job) -> None:
        if provider.creates == 1:
            theirs = [{**one, "custom_id": f"t-{n}"} for n, one in enumerate(job.rows)]
            for one in theirs:
                one["params"] = {**one["params"], "messages": [{"role": "user", "content": "x"}]}
            provider.add_job(theirs).said["created_at"] = job.said["created_at"]
            job.words = (*["in_progress"] * 9, "ended")  # so that theirs ends first

    faults = [("POST", "/messages/batches$", "lost")]
    provider, done = await answered(tmp_path, SimulatedAnthropic, faults=faults, on_create=another)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


async def test_a_batch_that_is_known_to_be_another_job_s_is_not_looked_at(tmp_path: Path) -> None:
    """Two jobs of one size; the reply to the second create is lost while the first one runs."""

    def turn(provider: SimulatedAnthropic, job: Job) -> None:
        if provider.creates == 1:
            provider.faults.append(("POST", provider.create_path, "lost"))
        else:  # farther from its intent than the first one
            made = datetime.fromisoformat(job.said["created_at"]) + timedelta(seconds=60)
            job.said["created_at"] = made.isoformat()

    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    models = ["claude-haiku-4-5", "claude-sonnet-4-5"]
    rows = [{"prompt": f"p{n}", "model": f"anthropic/{models[n % 2]}"} for n in range(ROWS)]
    source.write_bytes(jsonl(rows))
    async with simulated(kind=SimulatedAnthropic, on_create=turn) as provider:
        assert isinstance(provider, SimulatedAnthropic)
        done = await batch(provider, source, out)
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.creates == 2
    read = [path for path in provider.requests if path.endswith("/results")]
    assert {provider.requests[path] for path in read} == {1}


async def test_a_batch_that_may_be_another_s_is_not_cancelled(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=type("Killing", (Killing, SimulatedAnthropic), {})) as provider:
        assert isinstance(provider, Killing)
        provider.kill = ("POST", provider.create_path, True)
        provider.victim = await begun(provider, source, out)
        await provider.victim.communicate()
        done = await run("jobs", "cancel", str(out), env=env_for(out, provider.env))
        assert done.status == 1, done.err
        assert "msgbatch_000000" in done.err
        assert not [path for path in provider.requests if path.endswith("/cancel")]
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)


async def test_a_batch_of_another_size_or_time_is_not_ours() -> None:
    async with simulated(kind=SimulatedAnthropic) as provider:
        assert isinstance(provider, SimulatedAnthropic)
        provider.add_job([row("x-0")])
        provider.add_job([row("x-0"), row("x-1")]).said["created_at"] = "2026-01-01T00:00:00Z"
        async with wire_of(provider) as (wire, http):
            assert await wire.find(http, intent_of(2, time.time()), None, ()) is None
            assert await wire.find(http, intent_of(1, time.time()), None, ()) == "msgbatch_000000"
            others = ("msgbatch_000000",)
            assert await wire.find(http, intent_of(1, time.time()), None, others) is None


async def test_results_named_at_another_server_are_read_at_our_own() -> None:
    """A gateway passes on what the provider says; its key stays with it."""
    async with simulated(kind=SimulatedAnthropic) as provider:
        assert isinstance(provider, SimulatedAnthropic)
        job = provider.add_job([row("a-0")])
        provider._ended(job, "ended")
        job.said["results_url"] = "https://api.anthropic.com/v1/messages/batches/x/results"
        async with wire_of(provider) as (wire, http):
            status = await wire.poll(http, job.said["id"])
            results = await collected(wire, http, job.said["id"], status)
    assert [one.custom_id for one in results] == ["a-0"]


async def test_an_address_without_a_version_has_one_added(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=Bare) as provider:
        assert isinstance(provider, Bare)
        done = await batch(provider, source, out)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert rows_of(out)[0]["usage"]["cached_tokens"] == 1000


class Bare(SimulatedAnthropic):
    """Is named without the version, as in the SDK's variable."""

    @property
    def base_url(self) -> str:
        return self.url.removesuffix("/v1")


@pytest.mark.parametrize(
    ("kind", "status", "retry"),
    [("overloaded_error", 529, True), ("invalid_request_error", 400, False)],
)
async def test_an_errored_row_is_the_error_of_the_live_call(
    kind: str, status: int, retry: bool
) -> None:
    async with (
        simulated(kind=SimulatedAnthropic) as provider,
        wire_of(provider) as (wire, _),  # type: ignore[arg-type]
    ):
        line = {"custom_id": "a-0", "result": {"type": "errored", "error": error(kind, "no")}}
        result = wire.result(json.dumps(line).encode())  # type: ignore[attr-defined]
        assert isinstance(result.reply, WireReply)
        assert result.reply.status == status
        assert wire.failed(result.reply).retry is retry
