"""kill -9 at random moments of one job, resumed each time."""

import asyncio
import os
import random
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Final

import pytest
from faults.harness import FaultServer, arguments, ended, fault_server, ids, rows_of, write_rows
from support.program import start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

KILLS: Final = int(os.environ.get("LLMBATCH_KILLS", "12"))
"""A cycle takes about 0.8 s, most of it the program's start; 100 are the full proof."""
ROWS_A_KILL: Final = 40
LONGEST_S: Final = 0.3
"""The most that the job runs on after its first answers, until it is killed."""


class Job:
    """One job, and what of it was finished before each kill."""

    def __init__(self, tmp_path: Path, server: FaultServer, dice: random.Random) -> None:
        self.out = tmp_path / "out.jsonl"
        self.before: dict[str, int] = {}
        """The rows that stood in the output at some kill, with how often they had been asked."""
        self.moved = 0
        """Kills before which rows were answered."""
        self._tmp_path = tmp_path
        self._server = server
        self._dice = dice

    async def start(self) -> Process:
        """The program, going on from what is there."""
        more = ("-c", "8", "--resume")
        told = arguments(self._tmp_path, self._server.url, *more)
        return await start(*told, env={"OPENAI_API_KEY": "k"}, stdin=DEVNULL)

    async def killed(self, start_s: float) -> None:
        """Start it and kill it: while it starts, or some time into its work."""
        process = await self.start()
        await asyncio.sleep(self._dice.uniform(start_s * 0.4, start_s + LONGEST_S))
        assert process.returncode is None, (await process.communicate())[1]
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        await self._take_stock()

    async def _take_stock(self) -> None:
        asked = (await self._server.counts()).requests
        finished = whole_rows(self.out)
        self.moved += len(finished) > len(self.before)
        for name in finished:
            self.before.setdefault(name, asked[name])


def whole_rows(out: Path) -> list[str]:
    """The ids of the rows that stand whole in the output; the last line may be torn."""
    data = out.read_bytes() if out.exists() else b""
    whole = out.with_name("whole.jsonl")
    whole.write_bytes(data[: data.rfind(b"\n") + 1])
    return [row["id"] for row in rows_of(whole)]


async def first_answer_s(job: Job) -> float:
    """How long the program takes here until it has written a row; it is killed then."""
    began = time.monotonic()
    process = await job.start()
    while not (job.out.exists() and job.out.stat().st_size):
        assert process.returncode is None, (await process.communicate())[1]
        await asyncio.sleep(0.005)
    took_s = time.monotonic() - began
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    return took_s


@pytest.mark.timeout(60 + 5 * KILLS)
async def test_kills_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    """Killed again and again and resumed each time, a job ends with each row once, and no row
    that stood in the output at a kill is ever sent again."""
    names = ids(ROWS_A_KILL * (KILLS + 3))
    write_rows(tmp_path / "in.jsonl", names)
    script = {"mixture": ["503", "cut", "bad-json"], "share": 0.05, "tries": 1, "wait_s": 0.1}
    async with fault_server(script) as server:
        job = Job(tmp_path, server, random.Random(11))
        start_s = await first_answer_s(job)
        for _ in range(KILLS):
            await job.killed(start_s)
        ran = await ended(await job.start(), job.out)
        asked = (await server.counts()).requests
    assert ran.status == 0
    assert sorted(ran.by_id) == sorted(names)
    assert all(row["text"] == row["id"] for row in ran.rows)
    assert {name: asked[name] for name in job.before} == job.before
    assert job.moved > 0
    assert len(job.before) < len(names)
