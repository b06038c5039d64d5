"""A share of an account: every limit is held to that part of it, whatever replies say."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from support import chat
from support.scripted import serve
from support.virtual_time import run_virtually

from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.options import Limits, Network, Sending
from llmbatch_cli.core.types import Completion, RateInfo
from llmbatch_cli.engine.limits.limiter import Learned, Limiter, RateLimits
from llmbatch_cli.engine.limits.share import Heard, Share
from llmbatch_cli.engine.limits.shared_capacity import SharedCapacity
from llmbatch_cli.models import open_models
from llmbatch_cli.models.options import CallOptions


def virtually(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """The test, in simulated time."""

    def wrapped() -> None:
        async def main() -> None:
            await test()

        run_virtually(main())

    wrapped.__doc__, wrapped.__name__ = test.__doc__, test.__name__
    return wrapped


def limiter_of(limits: RateLimits, part: float) -> tuple[Limiter, Share]:
    limiter, share = Limiter(limits, chance=lambda: 0.5), Share(part)
    share.join("p/m", limiter)
    return limiter, share


async def sent_in(limiter: Limiter, seconds: float, tokens: int = 1) -> int:
    """How many go out in so many seconds, where more always wait; each takes a second."""
    sent = 0

    async def rows() -> None:
        nonlocal sent
        while True:
            ticket = await limiter.admit(tokens)
            sent += 1
            try:
                await asyncio.sleep(1)
            finally:
                limiter.settle(ticket, Completion("done"))

    tasks = [asyncio.ensure_future(rows()) for _ in range(150)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sent


@virtually
async def test_flags_are_the_whole_accounts() -> None:
    """--rpm, --tpm and -c are divided; of requests whole ones, so that no sum is too many."""
    limiter, share = limiter_of(RateLimits(50, 50, rpm=1000, tpm=90_000), 0.25)
    allowed = limiter.allowed
    assert (allowed.in_flight, allowed.rpm, allowed.tpm) == (12, 250, 22_500)
    share.set(1 / 3)
    assert (limiter.allowed.in_flight, limiter.allowed.rpm) == (16, 333)
    share.set(0.001)
    assert (limiter.allowed.in_flight, limiter.slots) == (1, 1)
    share.set(1.0)
    allowed = limiter.allowed
    assert (allowed.in_flight, limiter.slots, allowed.rpm, allowed.tpm) == (50, 50, 1000, 90_000)


@virtually
async def test_a_ceiling_that_nobody_set_is_each_ones_own() -> None:
    """Without -c more processes may have more in flight."""
    limiter, _ = limiter_of(RateLimits(512, 16), 0.25)
    assert limiter.allowed.in_flight == 16
    await sent_in(limiter, 60)
    assert limiter.allowed.in_flight > 128


@virtually
async def test_what_a_reply_says_does_not_undo_the_share() -> None:
    """A told limit is the account's, before and after the share has changed."""
    limiter, share = limiter_of(RateLimits(8), 0.5)

    async def hear(requests: int, tokens: int) -> None:
        told = RateInfo(requests, requests - 1, 2.0, tokens, tokens - 1, 2.0)
        limiter.settle(await limiter.admit(1), Completion("done", limits=told))

    await hear(600, 6_000)
    allowed = limiter.allowed
    assert [allowed.rpm, allowed.tpm] == pytest.approx([294, 2_940])
    share.set(0.25)
    await hear(600, 6_000)
    assert limiter.allowed.rpm == pytest.approx(147)
    await hear(1_200, 6_000)
    assert limiter.allowed.rpm == pytest.approx(294)


@virtually
async def test_without_a_share_nothing_is_sent() -> None:
    """Who waits goes when there is one, and nobody before."""
    limiter, share = limiter_of(RateLimits(8, 8), 0.0)
    assert limiter.try_admit(1) is None
    waiting = asyncio.ensure_future(limiter.admit(1))
    await asyncio.sleep(100)
    assert not waiting.done()
    assert share.says()["p/m"].held
    share.set(0.5)
    limiter.settle(await waiting, Completion("done"))
    share.set(0.0)
    assert (limiter.slots, limiter.try_admit(1)) == (0, None)
    share.set(1.0)
    assert limiter.slots == 8


@virtually
async def test_a_larger_share_is_not_used_at_once() -> None:
    """What was to be waited for is waited for at the new speed, and nothing was saved up."""
    limiter, share = limiter_of(RateLimits(200, 200, rpm=600), 0.05)
    assert await sent_in(limiter, 61) in (30, 31)
    await asyncio.sleep(120)
    share.set(1.0)
    assert 10 <= await sent_in(limiter, 1) <= 11
    share.set(0.01)
    assert await sent_in(limiter, 11) in (1, 2)
    share.set(0.5)
    assert 298 <= await sent_in(limiter, 60) <= 300


@virtually
async def test_parts_are_never_more_than_the_whole() -> None:
    """Whatever the parts, no minute has more requests or tokens of all than the limits."""
    parts = [0.41, 0.27, 0.19, 0.13]
    limiters = [limiter_of(RateLimits(200, 200, rpm=100), part)[0] for part in parts]
    assert 95 <= sum(await asyncio.gather(*(sent_in(one, 60) for one in limiters))) <= 100
    limiters = [limiter_of(RateLimits(200, 200, tpm=9_000), part)[0] for part in parts]
    sent = await asyncio.gather(*(sent_in(one, 60, tokens=50) for one in limiters))
    assert 170 <= sum(sent) <= 184  # a first one goes at once


@virtually
async def test_a_request_larger_than_the_share_of_a_minute_goes_alone() -> None:
    """It waits for a minute without others, and is paid for afterwards."""
    limiter, _ = limiter_of(RateLimits(40, 40, tpm=1_000), 0.25)
    loop = asyncio.get_running_loop()
    await limiter.admit(200)
    await limiter.admit(500)
    assert 60 <= loop.time() <= 61
    await limiter.admit(100)
    assert 179 <= loop.time() <= 182


@virtually
async def test_a_wait_that_another_process_was_asked_for_holds_here() -> None:
    """And one that this process was asked for is said."""
    limiter, share = limiter_of(RateLimits(8), 1.0)
    share.hears({"p/m": Heard(wait_s=30.0), "p/unknown": Heard(wait_s=99.0)})
    assert share.says()["p/m"].wait_s == 0.0
    await limiter.admit(1)
    assert asyncio.get_running_loop().time() == 30.0


@virtually
async def test_what_another_process_has_learned_is_followed() -> None:
    """Its rate and number at once are the account's, so each process takes its part of them."""
    limiter, share = limiter_of(RateLimits(512, 16), 0.25)
    share.hears({"p/m": Heard(learned=Learned(1200.0, 80.0))})
    assert limiter.allowed.rpm == pytest.approx(300)
    assert share.says()["p/m"].learned == Learned(1200.0, 80.0)
    share.set(0.5)
    assert limiter.allowed.rpm == pytest.approx(600)
    assert share.says()["p/m"].learned == Learned(1200.0, 80.0)
    share.hears({"p/m": Heard()})
    assert limiter.allowed.rpm == pytest.approx(600)


@virtually
async def test_how_the_share_is_used_is_said() -> None:
    """Held back and wholly used, or not."""
    limiter, share = limiter_of(RateLimits(200, rpm=600), 0.5)
    rows = asyncio.ensure_future(sent_in(limiter, 40))
    for _ in range(38):
        await asyncio.sleep(1)
        busy = share.says()["p/m"]
    assert busy.held
    assert busy.used == pytest.approx(1.0, abs=0.05)
    await rows
    for _ in range(40):
        await asyncio.sleep(1)
        idle = share.says()["p/m"]
    assert not idle.held
    assert idle.used < 0.05


def test_the_capacity_of_several_models_is_shared() -> None:
    """As -c is."""
    capacity, share = SharedCapacity(10), Share(0.35)
    share.join_capacity(capacity)
    for _ in range(3):
        assert not capacity.full
        capacity.take()
    assert capacity.full
    share.set(1.0)
    assert not capacity.full


async def test_one_share_reaches_every_model() -> None:
    """Also those that are opened after it was set."""
    share = Share(0.5)
    async with serve(chat.echo) as server:
        network = Network(base_url=server.url, environ={"OPENAI_API_KEY": "k"})
        limits = Limits(concurrency=8)
        options = CallOptions.of(Sending(network=network, limits=limits))
        async with open_models(replace(options, share=share), ignore) as pool:
            await pool.model_for("openai/a")
            assert pool.window() == 4
            share.set(0.25)
            await pool.model_for("openai/b")
            assert pool.window() == 2 + 2
            names = list(share.says())
    assert [name.partition(" at ")[0] for name in names] == ["openai/a", "openai/b"]
    assert server.url not in str(names)
