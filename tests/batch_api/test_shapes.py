"""The laws of a job, for the shapes beside OpenAI's: each row ends once, and nothing is lost."""

import asyncio
import os
import random
import re
import signal
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from batch_api.laws import assert_law, prompts, rows_of
from batch_api.shapes import Shape, batch, begun
from batch_api.simulated_anthropic import SimulatedAnthropic
from batch_api.simulated_bedrock import SimulatedBedrock
from batch_api.simulated_fireworks import SimulatedFireworks
from batch_api.simulated_gemini import SimulatedGemini
from batch_api.simulated_mistral import SimulatedMistral
from batch_api.simulated_openai import Job, simulated
from batch_api.simulated_openrouter import SimulatedOpenRouter
from batch_api.simulated_vertex import SimulatedVertex
from batch_api.simulated_xai import SimulatedXAI
from batch_api.test_random_kills import AtRandom
from support.program import Done
from support.scripted import Exchange

from llmbatch_cli.core.ledger import Seller, Usage
from llmbatch_cli.pricing.table import price_in_table

ROWS = 6
MANY = int(os.environ.get("LLMBATCH_ROWS", "200"))
KILLS = int(os.environ.get("LLMBATCH_KILLS", "4"))
"""100 with 5,000 rows take some minutes: LLMBATCH_KILLS=100 LLMBATCH_ROWS=5000."""
ALL = [f"re: p{place}" for place in range(ROWS)]
PRICED = (
    *(SimulatedAnthropic, SimulatedBedrock, SimulatedGemini),
    *(SimulatedMistral, SimulatedVertex),
)
"""By the table; the others are priced by the reply, or have no price of batches there."""
SHAPES = (*PRICED, SimulatedFireworks, SimulatedOpenRouter, SimulatedXAI)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
each_shape = pytest.mark.parametrize("shape", SHAPES)
one_of_each_kind = pytest.mark.parametrize(
    "shape", [SimulatedAnthropic, SimulatedGemini, SimulatedXAI]
)
"""Without a mark, by a file, and with rows that are added to an empty job."""
each_with_files = pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape.results_path != shape.poll_path]
)


async def answered(
    tmp_path: Path, shape: type[Shape], *more: str, **behaviour: Any
) -> tuple[Any, Done]:
    """A run over six rows at a provider that behaves so."""
    source = prompts(tmp_path / "in.jsonl", ROWS)
    async with simulated(kind=shape, **behaviour) as provider:
        assert isinstance(provider, Shape)
        return provider, await batch(provider, source, tmp_path / "out.jsonl", *more)


def texts(tmp_path: Path) -> list[str | None]:
    return [row["text"] for row in rows_of(tmp_path / "out.jsonl")]


@each_shape
async def test_rows_go_through_one_job(tmp_path: Path, shape: type[Shape]) -> None:
    provider, done = await answered(tmp_path, shape)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1
    assert {row["lane"] for row in rows_of(tmp_path / "out.jsonl")} == {"batch"}


class Killing(Shape):
    """Kills the program at the first request of a kind, before or after it is acted upon."""

    kill: tuple[str, str, bool] | None = None
    victim: asyncio.subprocess.Process | None = None
    kill_after: int = 0
    """So many requests of the kind are let through."""

    async def handle(self, exchange: Exchange) -> None:
        before = len(self.faults)
        if self.kill is not None and self.kill_after:
            path = exchange.path.partition("?")[0]
            self.kill_after -= bool(re.search(self.kill[1], path))
            await super().handle(exchange)
            return
        if self.kill is not None:
            method, path, acts = self.kill
            self.faults.insert(0, (method, path, "lost" if acts else "refused"))
        await super().handle(exchange)
        if self.kill is None:
            return
        if len(self.faults) > before:
            del self.faults[0]
            return
        self.kill = None
        assert self.victim is not None
        self.victim.send_signal(signal.SIGKILL)
        await self.victim.wait()


MOMENTS = {
    "before the upload": ("POST", "upload_path", False),
    "between upload and create": ("POST", "upload_path", True),
    "before the create": ("POST", "create_path", False),
    "between create and journal": ("POST", "create_path", True),
    "while it is worked on": ("GET", "poll_path", True),
    "before the results": ("GET", "results_path", False),
}


@pytest.mark.parametrize(
    ("shape", "moment"),
    [
        (shape, moment)
        for shape in SHAPES
        for moment, (_, path, _) in MOMENTS.items()
        if getattr(shape, path) is not None  # an inline job has no upload
    ],
)
async def test_after_a_kill_each_row_has_one_answer_and_was_worked_on_once(
    tmp_path: Path, shape: type[Shape], moment: str
) -> None:
    method, name, acts = MOMENTS[moment]
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=type("Killing", (Killing, shape), {})) as provider:
        assert isinstance(provider, Killing)
        provider.kill = (method, getattr(shape, name), acts)
        provider.victim = await begun(provider, source, out)
        await provider.victim.communicate()
        assert provider.victim.returncode == -signal.SIGKILL
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


@pytest.mark.timeout(1800 if KILLS > 20 else 60)
@each_shape
async def test_random_kills_lose_nothing_and_do_nothing_twice(
    tmp_path: Path, shape: type[Shape]
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", MANY), tmp_path / "out.jsonl"
    kills, status = 0, None
    words = (shape.words[0],)  # without an end, for half of the kills
    async with simulated(kind=type("Killing", (AtRandom, shape), {}), words=words) as provider:
        assert isinstance(provider, AtRandom)
        assert isinstance(provider, Shape)
        provider.draw = random.Random(7)
        while status != 0:
            more = ["--resume"] if kills else []
            provider.left = provider.draw.randint(1, 4) if kills < KILLS else 0
            provider.victim = await begun(provider, source, out, *more)
            _, err = await provider.victim.communicate()
            status = provider.victim.returncode
            assert status in (0, -signal.SIGKILL), err.decode()
            kills += status != 0
            if kills == KILLS // 2:
                provider.words = shape.words[-1:]
                for job in provider.jobs.values():
                    job.words = provider.words
    assert kills >= KILLS // 2
    assert_law(provider, out, MANY)
    assert provider.creates == 1


@one_of_each_kind
@pytest.mark.parametrize("fault", ["lost", "refused", 500, 429])
async def test_a_create_is_made_again_only_where_the_list_lacks_the_job(
    tmp_path: Path, shape: type[Shape], fault: int | str
) -> None:
    faults = [("POST", shape.create_path, fault)]
    provider, done = await answered(tmp_path, shape, faults=faults)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


@each_shape
async def test_no_create_while_the_list_cannot_be_read_to_its_end(
    tmp_path: Path, shape: type[Shape]
) -> None:
    """The job of the lost reply is on the third page, behind others; pages fail at first."""

    def later(provider: Any, job: Job) -> None:
        if provider.creates == 1:
            provider.add_jobs(2)

    lost = [("POST", shape.create_path, "lost")]
    troubles = [("GET", shape.list_path, what) for what in ("refused", 503)]
    provider, done = await answered(
        tmp_path, shape, page=1, on_create=later, faults=[*lost, *troubles]
    )
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


@one_of_each_kind
@pytest.mark.parametrize("word", ["expired", "cancelled"])
async def test_what_a_job_has_is_taken_and_the_rest_sent_again(
    tmp_path: Path, shape: type[Shape], word: str
) -> None:
    def turn(provider: Any, job: Job) -> None:
        if provider.creates == 1:
            job.words = (*job.words[:-1], word)

    provider, done = await answered(tmp_path, shape, on_create=turn)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, ROWS // 2]
    again = [row for row in rows_of(tmp_path / "out.jsonl") if row["attempts"] == 2]
    assert [row["failed_attempts"][0]["type"] for row in again] == ["not_answered"] * (ROWS // 2)


@one_of_each_kind
@pytest.mark.parametrize("first", ["missing", "unknown", "unworked"])
async def test_a_row_without_an_answer_is_sent_again(
    tmp_path: Path, shape: type[Shape], first: str
) -> None:
    seen: set[str] = set()

    def once(row: dict[str, Any]) -> Any:
        is_first = row["prompt"] == "p3" and row["prompt"] not in seen
        seen.add(row["prompt"])
        return first if is_first else None

    provider, done = await answered(tmp_path, shape, answer=once)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, 1]
    assert ("unknown ids" in done.err) == (first == "unknown")


@each_shape
async def test_a_row_that_comes_twice_is_written_once(tmp_path: Path, shape: type[Shape]) -> None:
    provider, done = await answered(tmp_path, shape, answer=lambda row: "double")
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 1


@each_shape
async def test_a_row_that_the_provider_rejects_fails_and_one_in_trouble_goes_again(
    tmp_path: Path, shape: type[Shape]
) -> None:
    troubled = ["p2"]

    def ends(row: dict[str, Any]) -> Any:
        if row["prompt"] == "p1":
            return shape.rejected
        return shape.trouble if row["prompt"] in troubled and troubled.pop() else None

    provider, done = await answered(tmp_path, shape, answer=ends)
    assert done.status == 1, done.err
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["error"] and row["error"]["type"] for row in rows] == [
        *(None, "rejected"),
        *[None] * 4,
    ]
    assert rows[2]["failed_attempts"][0]["type"] == "overloaded"
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, 1]


@each_shape
async def test_unknown_words_are_a_job_that_goes_on(tmp_path: Path, shape: type[Shape]) -> None:
    end = shape.words[-1]
    _, done = await answered(tmp_path, shape, words=("?", "SOMETHING_NEW", "paused-again", end))
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL


@each_with_files
async def test_a_download_that_breaks_goes_on(tmp_path: Path, shape: type[Shape]) -> None:
    provider, done = await answered(tmp_path, shape, break_after=[700, 10, 0])
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.downloads == 4


@each_shape
async def test_trouble_of_a_moment_is_borne(tmp_path: Path, shape: type[Shape]) -> None:
    faults = [("GET", shape.poll_path, "refused"), ("GET", shape.results_path, 502)]
    provider, done = await answered(tmp_path, shape, faults=faults)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


@each_with_files
async def test_rows_whose_results_are_gone_are_sent_again_and_that_is_said(
    tmp_path: Path, shape: type[Shape]
) -> None:
    provider, done = await answered(tmp_path, shape, faults=[("GET", shape.results_path, 410)] * 3)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 2
    assert f"are gone: {shape.model.partition('/')[0]} keeps them for {shape.keeps}" in done.err


@pytest.mark.parametrize("shape", PRICED)
async def test_the_price_is_that_of_the_lane_with_what_was_cached(
    tmp_path: Path, shape: type[Shape]
) -> None:
    """About half of what the same tokens cost live, whatever tier the reply names."""
    _, done = await answered(tmp_path, shape)
    assert done.status == 0, done.err
    row = rows_of(tmp_path / "out.jsonl")[0]
    assert row["lane"] == "batch"
    counted = row["usage"]
    names = ("prompt_tokens", "completion_tokens", "cached_tokens")
    usage = Usage(**{name: counted[name] for name in names})
    live, batch_ = (cost_of(shape, lane, usage) for lane in (None, "batch"))
    assert live / 2 <= batch_ < live
    assert batch_ < cost_of(shape, "batch", replace(usage, cached_tokens=None))


def cost_of(shape: type[Shape], lane: str | None, usage: Usage) -> Decimal:
    provider, _, model = shape.model.partition("/")
    price = price_in_table(Seller(provider), model, lane, NOW)
    assert price is not None
    return price.cost(usage) or Decimal(0)
