"""Parts of the driver on their own: deadlines, cuts, the journal, prices."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from batch_api.simulated_openai import simulated

from llmbatch_cli.core.errors import ProviderError, Rejected, Unreachable, Unsent, UsageError
from llmbatch_cli.core.events import Event, Jobs, Notice
from llmbatch_cli.core.ledger import Seller
from llmbatch_cli.core.types import (
    Completion,
    Outcome,
    Prompt,
    Request,
    Row,
    WireReply,
    WireRequest,
)
from llmbatch_cli.drivers.live import RunOptions
from llmbatch_cli.drivers.provider_batch.asking import Asked, Times
from llmbatch_cli.drivers.provider_batch.batch_run import BatchRun
from llmbatch_cli.drivers.provider_batch.driver import provider_batch
from llmbatch_cli.drivers.provider_batch.filling import Fillings
from llmbatch_cli.drivers.provider_batch.http import BatchHttp
from llmbatch_cli.drivers.provider_batch.journal import Job, Journal, Reached
from llmbatch_cli.drivers.provider_batch.polling import Poller, Watched
from llmbatch_cli.drivers.provider_batch.spool import Spooled, as_line, from_line
from llmbatch_cli.drivers.provider_batch.submitting import Submitter
from llmbatch_cli.drivers.provider_batch.timing import Timing
from llmbatch_cli.engine.calls import Model, Parts
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.pricing.attempts import price_each
from llmbatch_cli.pricing.prices import Prices
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.batch_api import (
    BatchLimits,
    BatchWire,
    Http,
    Intent,
    JobStatus,
    Result,
    count,
    folded,
)
from llmbatch_cli.providers.openai.batch import OpenAIBatch
from llmbatch_cli.providers.openai.provider import OpenAI

URL = "https://api.openai.com/v1"
REACHED = Reached(provider="openai", spec="gpt-4o-mini", base_url=URL, account="a" * 16)


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now_s += wait_s


class Scripted(BatchWire):
    """A wire that answers as it is told; the last of each list again and again."""

    limits = BatchLimits(rows=3, bytes=400)

    def __init__(self, **says: Any) -> None:
        self.says = says
        self.asked: list[str] = []
        self.provider = OpenAI(Settings("openai", URL, "sk-1"))

    def _next(self, what: str) -> Any:
        self.asked.append(what)
        said = self.says[what]
        one = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(one, Exception):
            raise one
        return one

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        return custom_id.encode() + b" " + wire.body

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        return str(self._next("create"))

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        found: str | None = self._next("find")
        return found

    async def poll(self, http: Http, job: str) -> JobStatus:
        status: JobStatus = self._next("poll")
        return status

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        for result in self._next("collect"):
            yield result

    async def cancel(self, http: Http, job: str) -> None:
        self._next("cancel")


HTTP: Any = None
RUNS, ENDED = JobStatus(word="runs", ended=False), JobStatus(word="cancelled", ended=True)


def timing(clock: Clock) -> Timing:
    return Timing(clock=clock, sleep=clock.sleep, chance=lambda: 0.5)


def a_job(journal: Journal, clock: Clock, **more: Any) -> Job:
    said = {"id": "0" * 16, "model": "m", "group": "/v1/chat/completions", "sha256": ""}
    intent = Intent(**said, rows=2, bytes=2, made_s=clock(), **more)
    for path in (journal.folder, journal.rows_of(intent.id), journal.body_of(intent.id)):
        if path is journal.folder:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(b"x\n")
    return journal.intend(intent, REACHED)


# Deadlines


async def test_a_job_that_never_ends_is_cancelled_and_then_taken_as_it_is(tmp_path: Path) -> None:
    clock, seen = Clock(), list[Event]()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.creating(job)
    journal.created(job, "b1")
    wire = Scripted(poll=[RUNS], cancel=[None])
    poller = Poller(journal, HTTP, timing(clock), seen.append)
    status = await poller.until_ended(Watched(job), wire, lambda: None)
    assert status.word == "runs"
    assert wire.asked.count("cancel") == 1
    passed_s = clock() - 1_000_000
    assert 0 <= passed_s - wire.limits.deadline_s - wire.limits.settles_s < 200
    assert any(isinstance(one, Notice) and "within 48 h" in one.message for one in seen)
    assert max(clock.slept) <= wire.limits.longest_poll_s
    journal.close()


async def test_a_wait_that_the_provider_asks_for_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.created(job, "b1")
    asks = JobStatus(word="runs", ended=False, retry_after_s=17.0)
    wire = Scripted(poll=[asks, asks, ENDED])
    await Poller(journal, HTTP, timing(clock), lambda _: None).until_ended(
        Watched(job), wire, lambda: None
    )
    assert clock.slept == [17.0, 17.0]
    journal.close()


@pytest.mark.parametrize(("age_s", "gone"), [(10.0, False), (100.0, True)])
async def test_a_job_that_is_not_there_is_gone_once_it_is_old_enough(
    tmp_path: Path, age_s: float, gone: bool
) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.creating(job)
    journal.created(job, "b1")
    clock.now_s += age_s
    wire = Scripted(poll=[Rejected("no such job", status=404)])
    status = await Poller(journal, HTTP, timing(clock), lambda _: None).look(Watched(job), wire)
    assert (status is not None and status.word == "gone") == gone
    journal.close()


# Submitting


async def test_a_lost_create_is_looked_for_until_it_could_not_appear_any_more(
    tmp_path: Path,
) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    lost = ProviderError("lost", status=500)
    wire = Scripted(create=[lost, "b2"], find=[Unreachable("down"), None])
    await Submitter(journal, HTTP, timing(clock), lambda _: None).submit(job, wire)
    assert job.id == "b2"
    assert wire.asked[0] == "create"
    assert wire.asked[-1] == "create"
    assert wire.asked.count("create") == 2
    assert clock() - 1_000_000 >= wire.limits.appears_s
    journal.close()


async def test_a_job_refused_as_too_much_is_not_found_again_by_its_mark(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.uploaded(job, "f1")
    journal.created(job, "b1")
    journal.refused(job, clock() + 5)
    assert (job.state, job.id, job.others) == ("uploaded", None, ["b1"])
    again = Journal(tmp_path / "j", clock).jobs["0" * 16]
    assert (again.state, again.id, again.others, again.until_s) == (
        "uploaded",
        None,
        ["b1"],
        clock() + 5,
    )
    journal.close()


# The journal


def test_a_record_that_was_cut_off_was_never_acted_upon(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.creating(job)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"do":"created","id":"000')
    again = Journal(tmp_path / "j", clock)
    assert again.jobs[job.intent.id].state == "creating"
    again.created(again.jobs[job.intent.id], "b1")
    assert journal.path.read_bytes().startswith(whole + b'{"do":"created"')
    assert Journal(tmp_path / "j", clock).jobs[job.intent.id].id == "b1"


def test_a_journal_that_was_changed_by_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    folder.mkdir()
    (folder / "journal.jsonl").write_bytes(b'{"do":"created","id":"nobody","job":"b"}\n')
    with pytest.raises(UsageError, match="journal"):
        Journal(folder)


def test_a_spooled_row_is_what_it_was() -> None:
    prompt = Prompt(
        7,
        [{"role": "user", "content": "\u00e4"}],
        "id",
        "f.jsonl",
        8,
        params={"seed": 2**70},
        metadata={"a": [1, None]},
        key="00" * 16,
        repeat=2,
    )
    row = Spooled(prompt, unfit=("text", "why"), refits=1)
    assert from_line(as_line(row)) == row


# Filling


def asked_by(wire: BatchWire, **more: Any) -> Asked:
    provider = wire.provider
    parts = Parts(provider, provider.build, None)

    async def never(request: Request) -> Completion:
        raise AssertionError

    seller = Seller("openai", URL)
    model = Model("openai", "gpt-4o-mini", never, seller=seller, parts=parts)
    return Asked(model, wire, "gpt-4o-mini", **more)


def row(text: str, index: int = 0) -> Spooled:
    return Spooled(Prompt(index, [{"role": "user", "content": text}], index, key="00" * 16))


def wire_of(**more: Any) -> Scripted:
    wire = Scripted(**more)
    wire.build = wire.provider.build
    return wire


def test_jobs_are_cut_at_rows_and_bytes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    asked, fillings = asked_by(wire_of()), Fillings(journal)
    full = [fillings.add(row("x", n), asked) for n in range(7)]
    filled = [one for one in full if one is not None]
    assert [one.close(0.0)[0].rows for one in filled] == [3, 3]
    assert fillings.add(row("y" * 200, 8), asked) is None
    last = fillings.add(row("y" * 200, 9), asked)
    assert last is not None
    assert last.rows == 2
    with pytest.raises(Unsent, match="a job takes 400"):
        fillings.add(row("y" * 400), asked)
    intent, _ = last.close(5.0)
    body = journal.body_of(intent.id).read_bytes()
    assert len(body) == intent.bytes
    assert [line.split()[0].decode() for line in body.splitlines()] == [
        f"{intent.id}-0",
        f"{intent.id}-1",
    ]
    fillings.abandon()


# Prices


async def test_a_row_costs_by_its_lane_whatever_the_reply_says_of_its_tier() -> None:
    prices = Prices()
    outcomes: list[Outcome] = []

    async def price(outcome: Outcome, prompt: Prompt) -> None:
        await price_each((outcome,), prices, lambda: 1)
        outcomes.append(outcome)

    body = (
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],'
        b'"service_tier":"default","usage":{"prompt_tokens":1000000,"completion_tokens":0}}'
    )
    asked = asked_by(wire_of(), price=price)
    result = Result("x", WireReply(200, {}, body))
    end = await asked.outcome(row("x"), result, Times(0.0, 5.0))
    assert isinstance(end, Outcome)
    live = await prices.of(Seller("openai", URL), "gpt-4o-mini")
    assert live is not None
    assert end.cost_usd == live.input.base / 2 == Decimal("0.075")
    assert end.latency_s == 5.0


# Words


@pytest.mark.parametrize(
    ("word", "same"),
    [("JOB_STATE_IN_PROGRESS", "inprogress"), ("In-Progress", "inprogress"), (None, "")],
)
def test_words_are_compared_in_one_form(word: object, same: str) -> None:
    assert folded(word) == same


def test_a_number_may_be_text() -> None:
    assert [count(one) for one in ("2", 2, -1, True, None, "x", 2.5)] == [2, 2, *[None] * 5]


# The OpenAI shape


def openai_wire(base_url: str = URL) -> OpenAIBatch:
    provider = OpenAI(Settings("openai", base_url, "sk-1"))
    return OpenAIBatch(provider, provider.build)


def test_a_key_goes_to_its_own_provider_only() -> None:
    wire = openai_wire()
    assert wire.request("GET", f"{URL}/x").headers["authorization"] == "Bearer sk-1"
    with pytest.raises(ProviderError, match="another server"):
        wire.request("GET", "https://api.openai.com.evil.example/v1/x")


def test_another_key_or_address_is_another_account() -> None:
    same, key = openai_wire(), OpenAI(Settings("openai", URL, "sk-2"))
    assert same.account == openai_wire().account
    assert same.account != OpenAIBatch(key, key.build).account
    assert same.account != openai_wire("https://eu.api.openai.com/v1").account
    assert "sk-1" not in same.account


def test_a_line_is_the_live_request_in_an_envelope() -> None:
    wire = openai_wire()
    request = Request("gpt-4o-mini", [{"role": "user", "content": "hi"}], {"max_tokens": 5})
    sent = wire.provider.build(request)
    assert wire.group(sent, request) == "/v1/chat/completions"
    head = b'{"custom_id":"a-0","method":"POST","url":"/v1/chat/completions","body":'
    assert wire.line("a-0", sent, request) == head + sent.body + b"}"


async def test_a_get_is_sent_again_and_a_create_never() -> None:
    clock, sent = Clock(), list[str]()

    class Down:
        async def send(self, request: WireRequest) -> WireReply:
            sent.append(request.method)
            return WireReply(503, {"retry-after": "7"}, b"")

        stream = None

    http = BatchHttp(Down(), clock.sleep, lambda: 0.0)  # type: ignore[arg-type]
    assert (await http.get(WireRequest("GET", URL, {}))).status == 503
    assert clock.slept == [7.0] * 5
    assert (await http.once(WireRequest("POST", URL, {}))).status == 503
    assert sent == ["GET"] * 6 + ["POST"]


# The driver


class Small(OpenAIBatch):
    """Two jobs at once, of three rows each."""

    def __init__(self, base_url: str) -> None:
        provider = OpenAI(Settings("openai", base_url, "sk-1"))
        super().__init__(provider, provider.build)
        self.limits = replace(self.limits, rows=3, jobs_at_once=2)


class OneModel:
    """An Asking of one model."""

    def __init__(self, asked: Asked) -> None:
        self.home = asked

    async def for_row(self, prompt: Prompt) -> Asked:
        return self.home

    async def for_spec(self, spec: str) -> Asked:
        return self.home


async def test_no_more_rows_are_read_than_there_is_room_for_jobs(tmp_path: Path) -> None:
    """Twenty rows through jobs of three, of which two may be open."""
    read = 0
    most: list[int] = []

    async def rows() -> AsyncGenerator[Row, None]:
        nonlocal read
        for place in range(20):
            read += 1
            yield row(f"p{place}", place).prompt

    async def durable() -> None:
        pass

    def never(rows: AsyncGenerator[Row, None], stop: Stop) -> AsyncGenerator[Outcome, None]:
        raise AssertionError

    def watch(event: Event) -> None:
        if isinstance(event, Jobs):
            most.append(len(event.jobs))

    async with simulated() as provider:
        asked = asked_by(Small(provider.url), max_attempts=3)
        run = BatchRun(output=tmp_path / "out.jsonl", durable=durable)
        driver = provider_batch(OneModel(asked), run, RunOptions(observe=watch), never)
        seen: list[int] = []
        async with aclosing(driver(rows(), Stop())) as outcomes:
            async for outcome in outcomes:
                seen.append(outcome.index)
                assert read <= len(seen) + 3 * 4
    assert sorted(seen) == list(range(20))
    assert provider.creates == 7
    assert max(most) == 2
    assert provider.worked == {f"p{place}": 1 for place in range(20)}


@pytest.mark.parametrize("live_after_s", [None, 3600.0])
async def test_what_is_too_little_for_a_job_is_not_sent_as_one(
    tmp_path: Path, live_after_s: float | None
) -> None:
    """Five rows, of which a job takes three, and none less than three."""
    sent_live: list[str] = []

    async def rows() -> AsyncGenerator[Row, None]:
        for place in range(5):
            yield row(f"p{place}", place).prompt

    async def durable() -> None:
        pass

    async def live(left: AsyncGenerator[Row, None], stop: Stop) -> AsyncGenerator[Outcome, None]:
        async for one in left:
            assert isinstance(one, Prompt)
            sent_live.append(str(one.messages[-1]["content"]))
        for outcome in list[Outcome]():
            yield outcome

    async with simulated() as provider:
        wire = Small(provider.url)
        wire.limits = replace(wire.limits, least_rows=3)
        run = BatchRun(output=tmp_path / "out.jsonl", durable=durable, live_after_s=live_after_s)
        driver = provider_batch(OneModel(asked_by(wire)), run, RunOptions(), live)
        async with aclosing(driver(rows(), Stop())) as outcomes:
            seen = {outcome.index: outcome async for outcome in outcomes}
    assert (provider.uploads, provider.creates) == (1, 1)
    if live_after_s is not None:
        assert (sorted(seen), sent_live) == ([0, 1, 2], ["p3", "p4"])
        return
    assert sent_live == []
    errors = [seen[place].error for place in range(5)]
    assert errors[:3] == [None] * 3
    for error in errors[3:]:
        assert error is not None
        assert "at least 3 rows, not 2" in error.message
        assert error.retryable
