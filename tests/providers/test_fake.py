import asyncio
import math
import random
from collections import Counter
from statistics import fmean, pstdev
from typing import Any

import pytest

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Unauthorized,
    Unreachable,
    UsageError,
)
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Completion, Message, Request
from llmbatch_cli.providers.fake.options import FAILURES, FakeOptions, parse_options
from llmbatch_cli.providers.fake.provider import Fake

RAISED: dict[str, type[ProviderError]] = {
    "rate_limited": RateLimited,
    "overloaded": Overloaded,
    "unreachable": Unreachable,
    "interrupted": Interrupted,
    "bad_reply": BadReply,
    "out_of_quota": OutOfQuota,
    "unauthorized": Unauthorized,
    "rejected": Rejected,
    "refused": Refused,
}


class Clock:
    """A clock that only sleeping moves; remembers the sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)
        self.now_s += wait_s


def asked(text: str = "How are you?", model: str = "echo", **params: Any) -> Request:
    return Request(model, [{"role": "user", "content": text}], params)


async def ask(fake: Fake, request: Request) -> Completion:
    return fake.parse(request, await fake.send(fake.build(request)))


async def fate(fake: Fake, request: Request) -> str:
    """How one try ended: its error's kind, or its finish reason."""
    try:
        return str((await ask(fake, request)).finish_reason)
    except ProviderError as error:
        return error.kind


async def test_echo_answers_with_the_last_user_message() -> None:
    """The answer is what the user said last, whatever stands before or behind it."""
    messages: list[Message] = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"},
        {"role": "user", "content": [{"type": "text", "text": "zwölf\n\u2028 Boxkämpfer"}]},
        {"role": "assistant", "content": "Sure:"},
    ]
    got = await ask(Fake(), Request("echo", messages, {}))
    assert got.text == "zwölf\n\u2028 Boxkämpfer"
    assert (got.finish_reason, got.model, got.cost_usd) == ("stop", "echo", 0.0)
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (7, 2)
    assert got.usage.total_tokens == 9


async def test_echo_without_a_user_answers_with_the_last_message() -> None:
    """A conversation without a user message is still answered."""
    got = await ask(Fake(), Request("echo", [{"role": "system", "content": "alone"}], {}))
    assert got.text == "alone"


async def test_lorem_has_the_asked_length() -> None:
    """`fake/lorem` gives the same text of `completion_tokens` words every time."""
    fake = Fake(FakeOptions(completion_tokens=50, prompt_tokens=9))
    texts = {(await ask(fake, asked(str(index), "lorem"))).text for index in range(5)}
    [text] = texts
    assert text is not None
    assert len(text.split()) == 50
    usage = (await ask(fake, asked(model="lorem"))).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 50, 59)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_max_tokens_cuts_the_answer(name: str) -> None:
    """An answer longer than the bound ends there, with the finish reason that says so."""
    messages: list[Message] = [{"role": "user", "content": "one two three"}]
    got = await ask(Fake(), Request("echo", messages, {name: 2}))
    assert (got.text, got.finish_reason) == ("one two", "length")
    assert got.usage is not None
    assert got.usage.completion_tokens == 2
    whole = await ask(Fake(), Request("echo", messages, {name: 3}))
    assert (whole.text, whole.finish_reason) == ("one two three", "stop")


async def test_n_gives_so_many_choices() -> None:
    """`n` asks for that many answers."""
    got = await ask(Fake(), asked(n=3))
    assert [choice["index"] for choice in got.choices] == [0, 1, 2]


@pytest.mark.parametrize(("kind", "error"), RAISED.items())
async def test_a_rate_of_one_fails_every_time(kind: str, error: type[ProviderError]) -> None:
    """Each kind of failure arrives as that kind's error, from every request."""
    fake = Fake(parse_options(f"{kind}=1"))
    for index in range(20):
        with pytest.raises(error) as caught:
            await ask(fake, asked(str(index)))
        assert type(caught.value) is error
        assert caught.value.kind == kind


async def test_truncated_gives_half_the_answer() -> None:
    """A truncated answer is a completion whose finish reason is length."""
    got = await ask(Fake(parse_options("truncated=1")), asked("a b c d"))
    assert (got.text, got.finish_reason) == ("a b", "length")


async def test_hang_never_answers() -> None:
    """A hanging request ends only by being cancelled."""
    fake = Fake(parse_options("hang=1"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(fake, asked()), 0.05)


async def test_every_rate_is_tested() -> None:
    """No failure exists that the tests above do not know."""
    assert {*RAISED, "truncated", "hang"} == set(FAILURES)


async def test_rates_hold() -> None:
    """Over 10,000 requests every kind strikes as often as its rate says, within 3 sigma."""
    rates = {"rate_limited": 0.05, "overloaded": 0.02, "rejected": 0.3, "truncated": 0.1}
    fake = Fake(parse_options("&".join(f"{name}={rate}" for name, rate in rates.items())))
    fates = [await fate(fake, asked(f"prompt {index}")) for index in range(10_000)]
    counts = Counter(fates)
    expected = {**rates, "length": rates["truncated"]}
    del expected["truncated"]
    expected["stop"] = 1 - sum(rates.values())
    assert counts.keys() == expected.keys()
    for kind, rate in expected.items():
        sigma = math.sqrt(10_000 * rate * (1 - rate))
        assert abs(counts[kind] - 10_000 * rate) < 3 * sigma, kind


async def fates_of(options: FakeOptions, order: list[int]) -> dict[int, list[str]]:
    """For each prompt how its tries ended, until one succeeded, asked round by round."""
    fake = Fake(options)
    fates: dict[int, list[str]] = {index: [] for index in order}
    while order:
        for index in order:
            fates[index].append(await fate(fake, asked(f"prompt {index}")))
        order = [index for index in order if fates[index][-1] != "stop"]
    return fates


async def test_the_order_does_not_matter() -> None:
    """Two runs with one seed meet the same failures, retries included, in whatever order."""
    options = FakeOptions(rate_limited=0.3, interrupted=0.2, seed=7)
    straight = list(range(300))
    shuffled = random.Random(1).sample(straight, len(straight))
    one = await fates_of(options, straight)
    assert one == await fates_of(options, shuffled)
    assert max(len(tries) for tries in one.values()) > 3


async def test_a_success_forgets() -> None:
    """After a success the same content starts afresh, so nothing is kept for it."""
    fake = Fake(FakeOptions(overloaded=0.7))
    fates = [await fate(fake, asked()) for _ in range(60)]
    cycle = fates.index("stop") + 1
    assert cycle > 1
    assert fates == [fates[index % cycle] for index in range(60)]


@pytest.mark.parametrize("kind", ["rejected", "refused", "unauthorized", "truncated"])
async def test_a_lasting_failure_lasts(kind: str) -> None:
    """What no retry mends in life, no retry mends here."""
    fake = Fake(parse_options(f"{kind}=0.5"))
    for index in range(20):
        assert len({await fate(fake, asked(str(index))) for _ in range(5)}) == 1


async def test_another_seed_strikes_others() -> None:
    """The seed chooses which requests fail."""
    runs = []
    for seed in (0, 1):
        fake = Fake(FakeOptions(rejected=0.5, seed=seed))
        runs.append([await fate(fake, asked(str(index))) for index in range(64)])
    assert runs[0] != runs[1]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of failures that nobody tries again only the newest are remembered."""
    monkeypatch.setattr("llmbatch_cli.providers.fake.provider.MOST_REMEMBERED", 10)
    fake = Fake(FakeOptions(overloaded=1))
    for index in range(50):
        assert await fate(fake, asked(str(index))) == "overloaded"
    assert len(fake._attempts) == 10


async def test_no_latency_never_sleeps() -> None:
    """Without latency there is no sleep, not even one of 0."""
    clock = Clock()
    await ask(Fake(sleep=clock.sleep), asked())
    assert clock.slept_s == []


async def test_constant_latency() -> None:
    """Without jitter every reply, failures too, takes exactly the latency."""
    clock = Clock()
    fake = Fake(FakeOptions(latency=0.2, overloaded=0.5), sleep=clock.sleep)
    for index in range(20):
        await fate(fake, asked(str(index)))
    assert clock.slept_s == [0.2] * 20


async def test_jitter_keeps_the_mean() -> None:
    """With jitter the latency is lognormal of the given sigma, and its mean is `latency`."""
    clock = Clock()
    fake = Fake(FakeOptions(latency=0.2, jitter=0.5), sleep=clock.sleep)
    for index in range(10_000):
        await ask(fake, asked(str(index)))
    spread = 0.2 * math.sqrt(math.exp(0.25) - 1)
    assert abs(fmean(clock.slept_s) - 0.2) < 3 * spread / math.sqrt(10_000)
    assert pstdev(math.log(slept_s) for slept_s in clock.slept_s) == pytest.approx(0.5, rel=0.03)


async def test_retry_after_reaches_the_error() -> None:
    """`retry_after` stands in rate_limited replies, and only where it is given."""
    for query, wait_s in (("", None), ("&retry_after=1.5", 1.5)):
        with pytest.raises(RateLimited) as caught:
            await ask(Fake(parse_options(f"rate_limited=1{query}")), asked())
        assert (caught.value.retry_after_s, caught.value.status) == (wait_s, 429)


async def test_rpm_lets_so_many_through() -> None:
    """Above the bucket comes 429 that says when to return, and then there is room again."""
    clock = Clock()
    fake = Fake(FakeOptions(rpm=60), clock=clock)
    for left in range(59, -1, -1):
        limits = (await ask(fake, asked())).limits
        assert limits is not None
        assert (limits.limit_requests, limits.remaining_requests) == (60, left)
        assert limits.reset_requests_s == pytest.approx(60 - left)
    with pytest.raises(RateLimited) as caught:
        await ask(fake, asked())
    assert caught.value.retry_after_s == pytest.approx(1.0)
    clock.now_s += 1.0
    await ask(fake, asked())
    with pytest.raises(RateLimited):
        await ask(fake, asked())


async def test_rpm_bounds_a_long_run() -> None:
    """In ten minutes of asking all the time no more get through than the bucket and its refill."""
    clock = Clock()
    fake = Fake(FakeOptions(rpm=120), clock=clock)
    passed = 0
    for _ in range(6000):
        passed += await fate(fake, asked()) == "stop"
        clock.now_s += 0.1
    assert abs(passed - (120 + 1200)) <= 1


async def test_serving_yields_the_send() -> None:
    """While served, requests go to the fake's own send and no network is needed."""
    fake = Fake()
    async with fake.serving(ignore) as send:
        assert send is not None
        request = asked("hello")
        assert fake.parse(request, await send(fake.build(request))).text == "hello"


def test_options_are_read() -> None:
    """Every option can be given, each as a number of its kind."""
    got = parse_options("latency=0.2&jitter=.5&seed=3&rpm=100&retry_after=2&hang=1e-3")
    assert got == FakeOptions(latency=0.2, jitter=0.5, seed=3, rpm=100, retry_after=2, hang=0.001)
    assert parse_options("") == FakeOptions()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("latencyy=1", "no option 'latencyy'"),
        ("latency", "cannot read the options"),
        ("latency=", "not a number"),
        ("latency=-1", "not a number"),
        ("latency=nan", "not a number"),
        ("latency=inf", "not a number"),
        ("rpm=0", "number from 1 up"),
        ("seed=1.5", "not a number"),
        ("rate_limited=1.1", "rate from 0 to 1"),
        ("rate_limited=-0.1", "rate from 0 to 1"),
        ("rate_limited=0.6&overloaded=0.6", "add up to more than 1"),
    ],
)
def test_bad_options_are_refused(query: str, message: str) -> None:
    """An unknown option or a bad value is refused, and the options are listed."""
    with pytest.raises(UsageError, match=message) as caught:
        parse_options(query)
    assert "latency, jitter, seed" in str(caught.value.hint)
    assert all(name in str(caught.value.hint) for name in FAILURES)


async def test_the_target_of_a_spec() -> None:
    """`fake/MODEL?options` makes a provider that behaves so; other models are refused."""
    target = Fake.target("echo", "rejected=1")
    assert (target.model, target.provider.name, dict(target.params)) == ("echo", "fake", {})
    assert isinstance(target.provider, Fake)
    assert await fate(target.provider, asked()) == "rejected"
    with pytest.raises(UsageError, match="no model 'ecko'") as caught:
        Fake.target("ecko", "")
    assert "fake/echo" in str(caught.value.hint)
