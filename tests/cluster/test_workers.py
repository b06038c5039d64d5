"""One worker, and what it is told: in virtual time, with disks that fail."""

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cluster.stage import LEASE_S, row_of, shards_of
from support.virtual_time import run_virtually

from llmbatch_cli.cluster import worker as worker_module
from llmbatch_cli.cluster.active import Means
from llmbatch_cli.cluster.chosen import Earlier
from llmbatch_cli.cluster.layout import WORK
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.messages import Lease, Orders, Report
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.cluster.shards import Shard
from llmbatch_cli.cluster.shares import Told
from llmbatch_cli.cluster.worker import ClusterWorker
from llmbatch_cli.core.events import Event
from llmbatch_cli.core.types import Completion, Outcome, Row
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.rows.output.render import render

ROWS = 3
OVER = Orders(told=Told(1, 1.0, {}), is_over=True)


def told(**orders: Any) -> Orders:
    return Orders(told=Told(1, 1.0, {}), **orders)


class Scene:
    """A worker whose coordinator says what the test has for each report."""

    def __init__(self, path: Path, answer: Callable[[Report], Orders | None]) -> None:
        self.folder = LocalFolder(path)
        self.folder.make(WORK)
        self.reports: list[Report] = []
        self.answer = answer
        self.takes_s = 0.2
        self.texts = "answer"
        self.sent: list[int] = []
        self.begin: Callable[[Part], Earlier | None] = lambda part: part.begin("none")

    async def beat(self, report: Report) -> Orders:
        self.reports.append(report)
        await asyncio.sleep(0.01)
        orders = self.answer(report)
        if orders is None:
            raise ConnectionError
        return orders

    async def run(self) -> ClusterWorker:
        stop = Stop()
        shards = shards_of(4, ROWS)

        async def rows(shard: Shard, observe: Callable[[Event], None]) -> AsyncGenerator[Row, None]:
            for index in range(shard.first_index, shard.end_index):
                yield row_of(index)

        means = Means(
            lambda lease: Part(self.folder, lease), lambda part: self.begin(part),
            lambda number: shards[number], rows, lambda outcome: render(outcome, "jsonl"),
        )  # fmt: skip
        clock = asyncio.get_running_loop().time
        worker = ClusterWorker("w", self.beat, means, stop, lease_s=LEASE_S, clock=clock)

        async def work(row: Row) -> tuple[Outcome, ...]:
            worker.check()
            self.sent.append(row.index)
            await asyncio.sleep(self.takes_s)
            done = Completion(self.texts, "stop")
            return (Outcome(row.index, row.id, "m", "p", done, None, 0.1, 1, key=row.key),)

        def driver(given: AsyncGenerator[Row, None], stop: Stop) -> AsyncGenerator[Outcome, None]:
            return run(
                given, work, window=lambda: 2, most_open=4, stop=stop, observe=worker.observe
            )

        await worker.run(driver)
        return worker


async def inline(function: Callable[..., Any], *args: Any) -> Any:
    """In place of a thread."""
    await asyncio.sleep(0.001)
    return function(*args)


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "to_thread", inline)


def virtually(scene: Scene) -> ClusterWorker:
    async def trial() -> ClusterWorker:
        async with asyncio.timeout(200):
            return await scene.run()

    return run_virtually(trial())


def first_then(*leases: Lease, over: Callable[[Report], bool]) -> Callable[[Report], Orders]:
    """All leases at first; what is asked for is granted."""
    left = list(leases)

    def answer(report: Report) -> Orders:
        given, left[:] = [*left], []
        return told(leases=given, granted=report.committing, is_over=over(report))

    return answer


def test_a_full_disk_ends_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where so much is unwritten that the run waits for the disk."""
    monkeypatch.setattr(worker_module, "ROOM_BYTES", 100)

    def full(self: Part, data: bytes, sync: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Part, "_put_all", full)
    scene = Scene(tmp_path, first_then(Lease(0, 1, 1), over=lambda report: bool(report.stopped)))
    scene.texts = "x" * 200
    virtually(scene)
    assert "No space left" in str(scene.reports[-1].stopped)


def test_a_shard_that_was_lost_is_not_written_to(tmp_path: Path) -> None:
    """The worker goes on with what is its own, and is given the same shard anew: outcomes of
    rows that were sent for the lost lease are not taken for those of the new one."""
    state = {"lost": False}

    def answer(report: Report) -> Orders:
        if report.number == 1:
            return told(leases=[Lease(0, 1, 1), Lease(1, 1, 1)])
        if report.number == 3:
            state["lost"] = True
            return told(lost=[(0, 1)], leases=[Lease(0, 2, 1)])
        done = {number for each in scene.reports for number, _ in each.published}
        return told(granted=report.committing, is_over=done == {0, 1})

    scene = Scene(tmp_path, answer)
    scene.takes_s = 2.0
    virtually(scene)
    assert scene.reports[-1].stopped is None
    rows = [line for part in tmp_path.glob("part-*") for line in part.read_bytes().splitlines()]
    assert len(rows) == 2 * ROWS


def test_a_shard_that_is_lost_while_it_begins_is_not_begun(tmp_path: Path) -> None:
    def answer(report: Report) -> Orders:
        if report.number == 1:
            return told(leases=[Lease(0, 1, 1)])
        if (0, 1) in report.held:
            return told(lost=[(0, 1)])
        return told(is_over=report.number > 8)

    scene = Scene(tmp_path, answer)
    slow = asyncio.to_thread

    async def slower(function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(1.2)
        return await slow(function, *args)

    asyncio.to_thread = slower  # type: ignore[assignment]
    try:
        virtually(scene)
    finally:
        asyncio.to_thread = slow
    assert scene.sent == []
    assert [file.name for file in tmp_path.glob("part-*")] == []


def test_an_answer_that_comes_after_the_lease_gives_none(tmp_path: Path) -> None:
    scene = Scene(tmp_path, lambda report: told(is_over=report.number > 2))
    beat = scene.beat

    async def late(report: Report) -> Orders:
        if report.number > 1:
            return await beat(report)
        await asyncio.sleep(LEASE_S)
        return told(leases=[Lease(0, 1, 1)])

    scene.beat = late  # type: ignore[method-assign]
    virtually(scene)
    assert scene.sent == []
    assert [report.held for report in scene.reports if report.held] == []


def test_a_worker_that_nobody_answers_gives_up(tmp_path: Path) -> None:
    scene = Scene(tmp_path, lambda report: None)
    assert virtually(scene).is_over
    assert len(scene.reports) < 200


@pytest.mark.parametrize("takes_s", [0.3 + 0.1 * place for place in range(10)])
def test_a_cancellation_that_is_lost_does_not_keep_the_worker(
    tmp_path: Path, takes_s: float
) -> None:
    """asyncio.wait_for of Python 3.11 loses one that comes as its answer does."""
    scene = Scene(tmp_path, lambda report: OVER)
    scene.takes_s = takes_s

    async def deaf(report: Report) -> Orders:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.3)
        return told(leases=[Lease(0, 1, 1)]) if report.number == 1 else OVER

    scene.beat = deaf  # type: ignore[method-assign]
    virtually(scene)


def test_a_notice_and_a_publication_are_said_again(tmp_path: Path) -> None:
    """Those of a report that was not heard."""
    heard: list[tuple[int, int]] = []

    def answer(report: Report) -> Orders | None:
        if report.published and not heard:
            heard.extend(report.published)
            return None
        first = [Lease(0, 1, 1)] if report.number == 1 else []
        return told(leases=first, granted=report.committing, is_over=bool(report.published))

    scene = Scene(tmp_path, answer)
    virtually(scene)
    assert [report.published for report in scene.reports if report.published] == [((0, 1),)] * 2
    figures: Mapping[str, Any] = scene.reports[-1].tallies[0, 1]
    assert figures["rows"] == ROWS


@pytest.mark.parametrize("is_heard", [True, False])
def test_the_last_answers_of_a_run_that_drains_are_reported(tmp_path: Path, is_heard: bool) -> None:
    """Those since the last heartbeat, of shards that are given back; also if one is not heard."""
    scene = Scene(tmp_path, lambda report: None)
    scene.takes_s = 2.0
    given = [Lease(0, 1, 1)]
    parting: list[Report] = []

    def answer(report: Report) -> Orders | None:
        if report.is_idle and not report.held and scene.sent:
            parting.append(report)
            return told(stop="drain", is_over=True) if is_heard or len(parting) > 1 else None
        leases, given[:] = [*given], []
        return told(leases=leases, stop="drain" if scene.sent else None)

    scene.answer = answer
    virtually(scene)
    assert scene.sent == [0, 1]
    assert all(report.tallies[0, 1]["answered"] == 2 for report in parting)
