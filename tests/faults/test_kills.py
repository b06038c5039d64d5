"""kill -9 at random moments of one job, resumed each time."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any, Final

import pytest
from faults.harness import FaultServer, arguments, ended, fault_server, ids, rows_of, write_rows
from support.program import start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

KILLS: Final = int(os.environ.get("LLMBATCH_KILLS", "50"))
ROWS: Final = 2_500
LONGEST_S: Final = 0.3
"""The most that the job runs on until it is killed."""
AMID: Final = 5
"""Each such kill comes amid answers: a busy machine may spend most of the time on starting."""
ENV: Final = {"OPENAI_API_KEY": "k"}


class Job:
    """One job, and what of it was finished before each kill."""

    def __init__(self, tmp_path: Path, server: FaultServer) -> None:
        self.out = tmp_path / "out.jsonl"
        self.before: dict[str, int] = {}
        """The rows that stood in the output at some kill, with how often they had been asked."""
        self.moved = 0
        """Kills before which rows were answered."""
        self.command = arguments(tmp_path, server.url, "-c", "8", "--resume")
        self._server = server

    async def killed(self, after_s: float, *, amid: bool) -> None:
        """Go on from what is there, and be killed after that time, or that after an answer."""
        nothing: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), DEVNULL)
        process = await start(*self.command, env=ENV, **nothing)
        async with asyncio.timeout(30):
            while amid and len(whole_rows(self.out)) <= len(self.before):
                await asyncio.sleep(0.01)
        await asyncio.sleep(after_s / 2 if amid else after_s)
        process.kill()
        assert await process.wait() == -signal.SIGKILL
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


@pytest.mark.timeout(240)
async def test_kills_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    """Killed at many random moments and resumed each time, a job ends with each row once, and no
    row that stood in the output at a kill is ever sent again."""
    names, dice = ids(ROWS), random.Random(11)
    write_rows(tmp_path / "in.jsonl", names)
    script = {"mixture": ["503", "cut", "bad-json"], "share": 0.05, "tries": 1, "wait_s": 0.1}
    async with fault_server(script) as server:
        job = Job(tmp_path, server)
        for number in range(KILLS):
            await job.killed(dice.uniform(0, LONGEST_S), amid=number % AMID == 0)
        ran = await ended(await start(*job.command, env=ENV, stdin=DEVNULL), job.out, 90)
        asked = (await server.counts()).requests
    assert ran.status == 0
    assert sorted(ran.by_id) == sorted(names)
    assert all(row["text"] == row["id"] for row in ran.rows)
    assert {name: asked[name] for name in job.before} == job.before
    assert job.moved >= KILLS // AMID
    assert len(job.before) < len(names)
