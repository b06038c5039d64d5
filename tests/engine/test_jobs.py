"""A response that the provider works out in the background is waited for, and never begun twice."""

import asyncio
import json
from typing import Any

import pytest
from support.wires import WIRES, request

from llmbatch_cli.core.errors import (
    Interrupted,
    Overloaded,
    ProviderError,
    Rejected,
    Unreadable,
)
from llmbatch_cli.core.types import Completion, WireReply, WireRequest
from llmbatch_cli.engine import jobs
from llmbatch_cli.engine.calls import calling
from llmbatch_cli.engine.retry import RetryPolicy, retried

WIRE = WIRES["responses"]
QUEUED = {"id": "resp_1", "object": "response", "status": "queued", "output": []}
DONE = WIRE.whole("hello", "completed")


def run(
    replies: list[Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[Completion | ProviderError, list[str]]:
    """How the call ends, and the methods and paths that were asked."""
    monkeypatch.setattr(jobs, "FIRST_WAIT_S", 0.0)
    seen: list[str] = []

    async def send(wire: WireRequest) -> WireReply:
        seen.append(f"{wire.method} {wire.url.partition('.com')[2]}")
        assert wire.headers["authorization"] == "Bearer sk-the-key"
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        status, body = reply if isinstance(reply, tuple) else (200, reply)
        return WireReply(status, {}, json.dumps(body).encode())

    async def no_wait(wait_s: float) -> None:
        await asyncio.sleep(0)

    provider = WIRE.provider
    call = retried(calling(provider.build, provider.parse, send), RetryPolicy(), sleep=no_wait)

    async def main() -> Completion:
        return await call(request())

    try:
        return asyncio.run(main()), seen
    except ProviderError as error:
        return error, seen


def test_a_queued_response_is_asked_for_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One POST, then GETs of its id, whatever happens to them.

    OpenAI's guide to background mode; prism-php/prism 590 has a queued reply.
    """
    trouble = [Interrupted("reset"), Overloaded("busy", status=503)]
    found, seen = run([QUEUED, {**QUEUED, "status": "in_progress"}, *trouble, DONE], monkeypatch)
    assert isinstance(found, Completion)
    assert (found.text, found.usage and found.usage.total_tokens) == ("hello", 5)
    assert seen == ["POST /v1/responses", *["GET /v1/responses/resp_1"] * 4]


def test_a_job_that_cannot_be_asked_for_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the response is not stored."""
    found, seen = run([QUEUED, (404, {"error": {"message": "not found"}})], monkeypatch)
    assert isinstance(found, Unreadable)
    assert found.maybe_billed
    assert "resp_1 is queued" in found.message
    assert "not found" in found.message
    assert len(seen) == 2


def test_a_job_that_fails_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the provider says of the job is what the row says."""
    failed = {**QUEUED, "status": "failed", "error": {"code": "invalid_image", "message": "no"}}
    found, seen = run([QUEUED, failed], monkeypatch)
    assert isinstance(found, Rejected)
    assert len(seen) == 2


@pytest.mark.parametrize("status", ["queued", "cancelled"])
def test_without_an_id_it_ends_there(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """There is nothing to ask for."""
    found, seen = run([{"status": status, "output": []}], monkeypatch)
    assert isinstance(found, Unreadable)
    assert status in found.message
    assert len(seen) == 1
