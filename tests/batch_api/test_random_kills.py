"""The program is killed at random moments, again and again, until it once gets to its end."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from batch_api.laws import assert_law, env_for, prompts, words_for
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import start
from support.scripted import Exchange

KILLS = int(os.environ.get("LLMBATCH_KILLS", "6"))
"""100 with 5,000 rows take some minutes: LLMBATCH_KILLS=100 LLMBATCH_ROWS=5000."""
ROWS = int(os.environ.get("LLMBATCH_ROWS", "500"))


class AtRandom(SimulatedOpenAI):
    """Kills the program at a request that is drawn, before or after it was acted upon, or a moment
    after its reply."""

    victim: asyncio.subprocess.Process | None = None
    left = 0
    draw = random.Random(0)

    async def handle(self, exchange: Exchange) -> None:
        self.left -= 1
        if self.left != 0:
            await super().handle(exchange)
            return
        when = self.draw.choice(("before", "acted", "replied"))
        if when == "acted":
            self.faults.insert(0, (exchange.method, ".", "lost"))
        if when != "before":
            await super().handle(exchange)
        if when == "replied":
            await asyncio.sleep(self.draw.random() * 0.3)
        assert self.victim is not None
        if self.victim.returncode is None:
            self.victim.send_signal(signal.SIGKILL)


@pytest.mark.timeout(1800 if KILLS > 20 else 60)
async def test_random_kills_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    words = ("validating", *["in_progress"] * max(3, KILLS), "completed")
    kills = 0
    async with simulated(kind=AtRandom, words=words) as provider:
        assert isinstance(provider, AtRandom)
        status: int | None = None
        while status != 0:
            more = ["--resume"] if out.exists() or provider.uploads else []
            asked = words_for(source, out, provider.url)
            provider.left = provider.draw.randint(1, 7) if kills < KILLS else 0
            provider.victim = await start(*asked, *more, env=env_for(out))
            _, err = await provider.victim.communicate()
            status = provider.victim.returncode
            assert status in (0, -signal.SIGKILL), err.decode()
            kills += status != 0
    assert kills > 0
    assert_law(provider, out, ROWS)
