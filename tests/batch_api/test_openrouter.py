"""What is OpenRouter's own: jobs without a mark and without an end on demand, results inline, its
prices, its routing."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from batch_api.laws import assert_law, env_for, prompts, rows_of
from batch_api.shapes import batch
from batch_api.simulated_openai import Job, simulated
from batch_api.simulated_openrouter import SimulatedOpenRouter
from batch_api.test_shapes import ROWS, answered
from batch_api.wires import intent_of, wire_of
from support.program import jsonl, run

from llmbatch_cli.providers.openrouter.batch import OpenRouterBatch


def row(custom_id: str) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    return {"custom_id": custom_id, "body": body}


async def test_a_row_costs_what_the_reply_says(tmp_path: Path) -> None:
    _, done = await answered(tmp_path, SimulatedOpenRouter)
    assert done.status == 0, done.err
    rows = rows_of(tmp_path / "out.jsonl")
    assert {(one["lane"], one["cost"]) for one in rows} == {("batch", 0.00025)}


async def test_results_that_are_not_there_yet_are_waited_for(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedOpenRouter, late=3)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


async def test_another_job_of_the_same_size_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Ours is made, its reply lost; another one runs then, made at the same time."""

    def another(provider: SimulatedOpenRouter, job: Job) -> None:
        if provider.creates == 1:
            theirs = [row(f"t-{n}") for n in range(len(job.rows))]
            provider.add_job(theirs, job.said["model"])
            job.words = (*["in_progress"] * 9, "completed")  # so that theirs ends first

    faults = [("POST", "/batches$", "lost")]
    provider, done = await answered(tmp_path, SimulatedOpenRouter, faults=faults, on_create=another)
    assert done.status == 0, done.err
    del provider.worked["Hi"]
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


async def test_a_job_of_another_size_or_time_is_not_ours() -> None:
    async with simulated(kind=SimulatedOpenRouter) as provider:
        assert isinstance(provider, SimulatedOpenRouter)
        provider.add_job([row("x-0"), row("x-1")], "m")
        provider.add_job([row("x-0")], "m").said["created_at"] = 1_700_000_000
        async with wire_of(provider) as (wire, http):
            intent = intent_of(1, time.time())
            assert await wire.find(http, intent, None, ()) is None
            ours = provider.add_job([row(f"{intent.id}-0")], "m-2026-06")
            provider.add_jobs(1)
            assert await wire.find(http, intent, None, ()) == ours.said["id"]
            provider._end(ours, "completed")
            assert await wire.find(http, intent, None, ()) == ours.said["id"]
            assert await wire.find(http, intent, None, (ours.said["id"],)) is None


async def test_a_job_cannot_be_cancelled_and_is_collected_as_it_ends(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedOpenRouter) as provider:
        assert isinstance(provider, SimulatedOpenRouter)
        await batch(provider, source, out, "--detach")
        done = await run("jobs", "cancel", str(out), env=env_for(out, provider.env))
        assert done.status == 1
        assert "openrouter has no way to end a job" in done.err
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.creates == 1


async def test_what_is_late_is_not_sent_live_beside_the_job(tmp_path: Path) -> None:
    """As it goes on at the provider, and would be paid twice."""
    words = (*["in_progress"] * 9, "completed")
    provider, done = await answered(
        tmp_path, SimulatedOpenRouter, "--live-after", "1s", words=words
    )
    assert done.status == 0, done.err
    assert "cannot be cancelled" in done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert not provider.requests["POST /v1/chat/completions"]


async def test_a_job_that_fails_gives_its_reason_to_each_row(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedOpenRouter, words=("validating", "failed"))
    assert done.status == 1, done.err
    errors = [one["error"] for one in rows_of(tmp_path / "out.jsonl")]
    assert {one["type"] for one in errors} == {"rejected"}
    assert all("The rows are not valid." in one["message"] for one in errors)
    assert provider.creates == 1


async def test_rows_of_one_routing_are_one_job_which_says_it(tmp_path: Path) -> None:
    only = {"only": ["google-vertex"]}
    given = [{"prompt": "p0", "provider": only}, {"prompt": "p1"}, {"prompt": "p2"}]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([*given, {"prompt": "p3", "provider": only}]))
    async with simulated(kind=SimulatedOpenRouter) as provider:
        assert isinstance(provider, SimulatedOpenRouter)
        done = await batch(provider, source, out)
    assert done.status == 0, done.err
    assert_law(provider, out, 4)
    asked = [(job.said["asked_provider"], len(job.rows)) for job in provider.jobs.values()]
    assert sorted(asked, key=str) == [(None, 2), (only, 2)]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"provider": {"order": ["azure"]}}, "only and allow_fallbacks"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {
            "url": "data:image/png;base64,aGk="}}]}]}, "public addresses"),
    ],
)  # fmt: skip
async def test_what_a_job_does_not_take_is_refused_here(
    tmp_path: Path, more: dict[str, Any], why: str
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    first = {} if "messages" in more else {"prompt": "p0"}
    source.write_bytes(jsonl([{**first, **more}, {"prompt": '"url":"data:'}]))
    async with simulated(kind=SimulatedOpenRouter) as provider:
        assert isinstance(provider, SimulatedOpenRouter)
        done = await batch(provider, source, out)
    assert done.status == 1, done.err
    refused, other = rows_of(out)
    assert why in refused["error"]["message"]
    assert other["error"] is None
    assert [len(job.rows) for job in provider.jobs.values()] == [1]


@pytest.mark.parametrize(
    ("kind", "type_", "retry"),
    [
        ("rate_limit_exceeded", "rate_limited", True),
        ("provider_unavailable", "overloaded", True),
        ("timeout", "overloaded", True),
        ("content_policy_violation", "refused", False),
        ("payment_required", "out_of_quota", False),
        ("invalid_request", "rejected", False),
        ("batch_expired", "not_answered", True),
    ],
)
async def test_an_error_is_that_of_its_type(kind: str, type_: str, retry: bool) -> None:
    async with simulated(kind=SimulatedOpenRouter) as provider:
        assert isinstance(provider, SimulatedOpenRouter)
        async with wire_of(provider) as (wire, _):
            assert isinstance(wire, OpenRouterBatch)
            line = provider.line(row("a-0"), "a-0", (kind, "It did not work"))
            result = wire.result(json.dumps(line).encode())
    assert result is not None
    assert result.error is not None
    assert (result.error.kind, result.error.retry) == (type_, retry)
