"""What providers have really said, in recorded/: through the wires, as a user gets to see it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from batch_api.replay import RECORDED, Replay
from batch_api.wires import body_file, intent_of

from llmbatch_cli.core.errors import Interrupted
from llmbatch_cli.core.ledger import Seller
from llmbatch_cli.core.types import Completion, Outcome, Prompt, Request
from llmbatch_cli.drivers.provider_batch.asking import Asked, Times
from llmbatch_cli.drivers.provider_batch.spool import Spooled
from llmbatch_cli.engine.calls import Model, Parts
from llmbatch_cli.pricing.attempts import price_each
from llmbatch_cli.pricing.prices import Prices
from llmbatch_cli.providers.access import Access
from llmbatch_cli.providers.batch_api import BatchWire, JobStatus
from llmbatch_cli.providers.batch_wires import batch_wire
from llmbatch_cli.providers.registry import resolve
from llmbatch_cli.rows.output.render import render

Seen = tuple[str, bool, int | None, int | None, int | None]
"""Word, ended, total, done, failed."""


@dataclass(frozen=True)
class Recorded:
    """One job from its creation to its results."""

    name: str
    model: str
    key: str
    polls: Collection[Seen]
    wait_s: Collection[float | None]
    """What each poll's reply asks for."""
    expires: datetime | None
    rows: Collection[Mapping[str, Any]]
    """What a user gets, of each row of the output."""
    api: str | None = None
    group: str = ""


USED = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


def said(text: str, model: str, cost: float, *tokens: int | None) -> Mapping[str, Any]:
    used = dict(zip(USED, tokens, strict=True))
    return {"text": text, "model": model, "cost": pytest.approx(cost), "usage": used}


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


NANO = "gpt-5-nano-2025-08-07"
HAIKU = "claude-haiku-4-5-20251001"
JOBS = [
    Recorded(
        "openai-responses", "openai/gpt-5-nano", "OPENAI_API_KEY",
        [
            ("validating", False, None, None, None),
            ("in_progress", False, 2, 0, 0),
            ("in_progress", False, 2, 1, 0),
            ("completed", True, 2, 2, 0),
        ],
        [None] * 4,
        at(1790086410),
        [  # 0.05 and 0.40 dollars a million tokens live, half of it here
            said("Nine", NANO, (24 * 0.05 + 140 * 0.4) / 2e6, 24, 140, 0, 128),
            said("Mercury", NANO, (26 * 0.05 + 160 * 0.4) / 2e6, 26, 160, 0, 64),
        ],
        api="responses", group="/v1/responses",
    ),
    Recorded(
        "openai-chat", "openai/gpt-3.5-turbo", "OPENAI_API_KEY",
        [
            ("in_progress", False, 1, 0, 0),
            ("finalizing", False, 1, 1, 0),
            ("completed", True, 1, 1, 0),
        ],
        [None] * 3,
        at(1737086400),
        [said("A soup.", "gpt-3.5-turbo-0125", (12 * 0.5 + 80 * 1.5) / 2e6, 12, 80, 0, 0)],
        api="chat", group="/v1/chat/completions",
    ),
    Recorded(
        "anthropic", "anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY",
        [("in_progress", False, 2, None, None), ("ended", True, 2, 2, 0)],
        [10.0, None],
        datetime(2026, 8, 21, 10, 0, 0, 1, UTC),
        [
            said("Nine", HAIKU, (21 * 1 + 6 * 5) / 2e6, 21, 6, 0, None),
            said("Mercury", HAIKU, (23 * 1 + 7 * 5) / 2e6, 23, 7, 0, None),
        ],
    ),
    Recorded(
        "gemini", "gemini/gemini-2.5-flash", "GEMINI_API_KEY",
        [
            ("BATCH_STATE_RUNNING", False, 2, None, None),
            ("BATCH_STATE_SUCCEEDED", True, 2, 2, None),
        ],
        [None] * 2,
        datetime(2026, 8, 22, 10, 0, 0, 100_000, UTC),
        [
            said("Nine", "gemini-2.5-flash", (15 * 0.3 + 52 * 2.5) / 2e6, 15, 52, None, 50),
            said("Mercury", "gemini-2.5-flash", (17 * 0.3 + 62 * 2.5) / 2e6, 17, 62, None, 60),
        ],
    ),
    Recorded(
        "xai", "xai/grok-4.3", "XAI_API_KEY",
        [("in progress", False, 2, 0, 0), ("completed", True, 2, 2, 0)],
        [None] * 2,
        None,
        [
            said("Nine", "grok-4.3", 0.0002, 210, 71, 192, 70),
            said("Mercury", "grok-4.3", 0.00023, 212, 62, 128, 60),
        ],
    ),
]  # fmt: skip


MISTRAL = Recorded(
    "mistral", "mistral/mistral-small-latest", "MISTRAL_API_KEY",
    [("RUNNING", False, 2, 0, 0), ("SUCCESS", True, 2, 2, 0)],
    [None] * 2,
    at(1790000000 + 24 * 3600),
    [
        said("Nine", "mistral-small-latest", (31 * 0.15 + 2 * 0.6) / 2e6, 31, 2, 0, None),
        said("Mercury", "mistral-small-latest", (33 * 0.15 + 4 * 0.6) / 2e6, 33, 4, 0, None),
    ],
)  # fmt: skip


def wire_at(model: str, key: str, api: str | None = None) -> tuple[BatchWire, Any]:
    """The wire of the provider's own address, and its model."""
    access = Access(environ={key: "key-of-the-test"}, api=api)
    target = resolve(model, access)
    return batch_wire(target.provider, target.provider.build, access.setup), target


def asked_by(job: Recorded) -> Asked:
    wire, target = wire_at(job.model, job.key, job.api)
    prices = Prices()

    async def never(request: Request) -> Completion:
        raise AssertionError

    async def price(outcome: Outcome, prompt: Prompt) -> None:
        await price_each((outcome,), prices, lambda: 1)

    parts = Parts(target.provider, target.provider.build, None)
    seller = Seller(target.provider.name, wire.base_url)
    model = Model(target.provider.name, target.model, never, seller=seller, parts=parts)
    return Asked(model, wire, job.model, price=price)


def seen(status: JobStatus) -> Seen:
    return (status.word, status.ended, status.total, status.done, status.failed)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
async def test_a_recorded_job_gives_its_rows(tmp_path: Path, job: Recorded) -> None:
    asked, http = asked_by(job), Replay(job.name)
    wire, intent = asked.wire, intent_of(2, 0.0)
    body = body_file(tmp_path, [b'{"request":{},"key":"a-0"}'])
    intent = replace(intent, model=job.model.partition("/")[2], group=job.group)
    id_ = await wire.create(http, intent, await wire.upload(http, intent, body), body)
    polls = [await wire.poll(http, id_) for _ in job.polls]
    assert [seen(status) for status in polls] == list(job.polls)
    assert [status.retry_after_s for status in polls] == list(job.wait_s)
    expires = polls[-1].expires_s
    assert (None if expires is None else datetime.fromtimestamp(expires, UTC)) == job.expires
    assert await rows_of(asked, http, id_, polls[-1]) == list(job.rows)


async def rows_of(asked: Asked, http: Replay, id_: str, status: JobStatus) -> list[Any]:
    """The rows of the output, of each result of the job."""
    rows: list[Any] = []
    async for result in asked.wire.collect(http, id_, status):
        place = len(rows)
        assert result.custom_id == f"a-{place}"
        prompt = Prompt(place, [{"role": "user", "content": "?"}], place, key="00" * 16)
        end = await asked.outcome(Spooled(prompt), result, Times(0.0, 5.0))
        assert isinstance(end, Outcome)
        row = json.loads(render(end, "jsonl"))
        assert (row["error"], row["finish_reason"], row["lane"]) == (None, "stop", "batch")
        used = {name: row["usage"].get(name) for name in USED}
        rows.append({name: row[name] for name in ("text", "model", "cost")} | {"usage": used})
    return rows


# Mistral


async def test_a_recorded_job_of_mistral_has_its_rows_within() -> None:
    """Where a job has no file that can be asked for."""
    asked, http = asked_by(MISTRAL), Replay("mistral")
    id_ = "11111111-1111-4111-8111-111111111111"
    polls = [await asked.wire.poll(http, id_) for _ in MISTRAL.polls]
    assert [seen(status) for status in polls] == list(MISTRAL.polls)
    assert polls[-1].sources == ["33333333-3333-4333-8333-333333333333"]
    assert await rows_of(asked, http, id_, replace(polls[-1], sources=())) == list(MISTRAL.rows)


# Anthropic


async def test_a_recorded_list_is_read_to_where_it_is_older_than_the_intent() -> None:
    """Of two that run, and have as many rows, the one that was made next to it; a job that ended
    without results, or whose results are not there yet, is nobody's."""
    wire, _ = wire_at("anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY")
    http = Replay("anthropic-list")
    made_s = datetime(2025, 2, 3, 9, 45, 20, tzinfo=UTC).timestamp()
    found = await wire.find(http, intent_of(2, made_s), None, ())
    assert found == f"msgbatch_{18:024}"
    assert http.asked.count("GET /v1/messages/batches") == 1
    assert await wire.find(http, intent_of(2, made_s), None, (found,)) == f"msgbatch_{19:024}"
    assert await wire.find(http, intent_of(4, made_s), None, ()) is None


async def test_recorded_results_that_are_not_there_yet_are_asked_for_again() -> None:
    wire, _ = wire_at("anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY")
    http, id_ = Replay("anthropic-early"), f"msgbatch_{1:024}"
    with pytest.raises(Interrupted, match="no available results"):
        _ = [one async for one in wire.collect(http, id_, JobStatus(word="ended", ended=True))]


async def test_a_recorded_job_is_cancelled_and_goes_on_for_a_while() -> None:
    wire, _ = wire_at("anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY")
    http, id_ = Replay("anthropic-cancelled"), f"msgbatch_{2:024}"
    await wire.cancel(http, id_)
    assert http.asked == [f"POST /v1/messages/batches/{id_}/cancel"]
    status = await wire.poll(http, id_)
    assert seen(status) == ("canceling", False, 1, None, None)


def test_every_recording_names_its_source_and_has_a_test() -> None:
    tested = Path(__file__).read_text()
    for path in RECORDED.iterdir():
        assert "recorded" in json.loads(path.read_text())["source"]
        assert f'"{path.stem}"' in tested
