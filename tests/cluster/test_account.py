"""One account and several workers, each with a limiter and a share of its own: simulated time."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.attempts import attempting, new
from support.simulated import MEAN_S, Law, SimulatedProvider
from support.virtual_time import run_virtually

from llmbatch_cli.cluster.shares import LEASE_S, UNITS, Shares, Tenure
from llmbatch_cli.core.types import Request
from llmbatch_cli.engine.fence import fenced
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.limits.share import Share
from llmbatch_cli.engine.retry import RetryPolicy, retried
from llmbatch_cli.engine.waits import Postponed

REQUEST = Request("m", [{"role": "user", "content": "x" * 184}], {})
BEAT_S = 0.7
SEED = 1
WORKERS = 4


class Cluster:
    """Workers at one account, and their coordinator."""

    def __init__(self, law: dict[str, Any], limits: RateLimits, seed: int, units: int) -> None:
        loop = asyncio.get_running_loop()
        self.dice = random.Random(seed)
        self.provider = SimulatedProvider(Law(loop.time, **law), seed)
        self.limits = limits
        self.shares = Shares(loop.time, units=units)
        self.units = units
        self.workers: dict[str, Worker] = {}

    def start(self, name: str, busy: int = 600) -> None:
        self.workers[name] = Worker(self, name, busy)

    async def stop(self, name: str) -> None:
        """As by a kill: it says nothing of it."""
        await self.workers.pop(name).end()

    async def end(self) -> None:
        await asyncio.gather(*(worker.end() for worker in self.workers.values()))


class Worker:
    """Always has rows to send, up to `busy` at once; reports to the coordinator."""

    def __init__(self, cluster: Cluster, name: str, busy: int) -> None:
        loop = asyncio.get_running_loop()
        self.cluster, self.name = cluster, name
        self.share, self.tenure = Share(0.0), Tenure(loop.time)
        self.limiter = Limiter(cluster.limits, chance=cluster.dice.random)
        self.share.join("p/m", self.limiter)
        call = fenced(attempting(cluster.provider.call), self.tenure.check)
        self.call = retried(
            admitted(call, self.limiter), RetryPolicy(),
            sleep=asyncio.sleep, chance=cluster.dice.random,
        )  # fmt: skip
        self.tasks = [asyncio.ensure_future(self.send()) for _ in range(busy)]
        self.tasks.append(asyncio.ensure_future(self.beat()))

    async def send(self) -> None:
        with suppress(Postponed):
            while True:
                await self.call(new(REQUEST))

    async def beat(self) -> None:
        while True:
            number, using = self.tenure.begin(), self.tenure.using
            said = self.share.says()
            await asyncio.sleep(0.01)
            told = self.cluster.shares.beat(self.name, using, said)
            await asyncio.sleep(0.01)
            if self.tenure.answered(number, told.units):
                self.share.set(told.part)
                self.share.hears(told.limiters)
            await asyncio.sleep(BEAT_S)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass
class Account:
    """An account's limits, and how the workers are told of them."""

    name: str
    law: dict[str, Any]
    allowed: float
    """Requests a minute; tokens, where tokens are limited."""
    limits: RateLimits = field(default_factory=lambda: RateLimits(512, 16))
    steady_s: float = 60
    units: int = UNITS

    def used(self, cluster: Cluster, since: float, until: float) -> float:
        accepted = [tokens for at, tokens in cluster.provider.accepted if since <= at < until]
        counted = sum(accepted) if "tpm" in self.law else len(accepted)
        return counted * 60 / (until - since) / self.allowed


def refused(cluster: Cluster, since: float, until: float) -> float:
    no = sum(since <= at < until for at in cluster.provider.refused_at)
    yes = sum(since <= at < until for at, _ in cluster.provider.accepted)
    return no / max(1, no + yes)


ACCOUNTS = [
    Account("3000 rpm", {"rpm": 3000}, 3000, steady_s=120),
    Account("3000 rpm by the second", {"rpm": 3000, "capacity_s": 1}, 3000, steady_s=120),
    Account("3000 rpm told", {"rpm": 3000, "headers": True}, 3000),
    Account("tokens told", {"tpm": 300_000, "headers": True}, 300_000),
    Account("--rpm", {"rpm": 3000, "capacity_s": 1}, 3000, RateLimits(512, 16, rpm=3000)),
    Account("--tpm", {"tpm": 300_000}, 300_000, RateLimits(512, 16, tpm=300_000)),
    Account("-c", {"at_once": 50}, 50 / MEAN_S * 60, RateLimits(50, 50), units=50),
]


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)
def test_workers_use_an_account_as_one_would(account: Account) -> None:
    """In the steady state 0.95 of what is allowed is used and at most 1 % refused; when one of
    four is killed, 0.90 from one lease later on."""

    async def trial() -> Sequence[float]:
        cluster = Cluster(account.law, account.limits, SEED, account.units)
        for number in range(WORKERS):
            cluster.start(f"w{number}")
        steady, killed = account.steady_s, 2 * account.steady_s
        await asyncio.sleep(killed)
        await cluster.stop("w1")
        await asyncio.sleep(LEASE_S + 30)
        end = asyncio.get_running_loop().time()
        await cluster.end()
        after = end - 30
        return (
            account.used(cluster, steady, killed), refused(cluster, steady, killed),
            account.used(cluster, after, end),
        )  # fmt: skip

    used, no, used_after = run_virtually(trial())
    assert used >= 0.95
    assert no <= 0.01
    assert used_after >= 0.90
