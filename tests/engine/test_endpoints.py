"""Several endpoints of one model: who is asked, who is left out, and when it is tried again."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attempts import attempting, new
from support.chat import echo
from support.scripted import Exchange, serve

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    Interrupted,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    TimedOut,
    Unauthorized,
    UnknownModel,
    Unreachable,
)
from llmbatch_cli.core.ledger import CANCELLED
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.calls import calling
from llmbatch_cli.engine.endpoints import Endpoints, spread, spread_streams
from llmbatch_cli.engine.retry import RetryPolicy, retried
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.transport import Connection, open_network

REQUEST = Request("m", [{"role": "user", "content": "hi"}], {})
Fault = Callable[[], ProviderError]


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """An endpoint that answers, fails, or holds its requests, as it is set."""

    place: int
    fault: Fault | None = None
    gate: asyncio.Event | None = None
    asked: int = 0
    log: list[int] = field(default_factory=list)

    async def __call__(self, request: Request) -> Completion:
        self.asked += 1
        self.log.append(self.place)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault()
        return Completion(text=str(self.place))


def setting(count: int) -> tuple[list[Server], Call, Clock, Endpoints]:
    log: list[int] = []
    servers = [Server(place, log=log) for place in range(count)]
    clock = Clock()
    endpoints = Endpoints(count, clock=clock)
    calls = [attempting(server, clock) for server in servers]
    return servers, spread(calls, endpoints), clock, endpoints


async def ask(call: Call, times: int = 1) -> list[str | None]:
    return [(await call(new(REQUEST))).text for _ in range(times)]


def unreachable() -> ProviderError:
    return Unreachable("connection refused")


async def test_endpoints_of_equal_load_take_turns() -> None:
    """With nothing in flight, requests go round."""
    _, call, _, _ = setting(3)
    assert await ask(call, 7) == ["0", "1", "2", "0", "1", "2", "0"]


async def test_the_least_busy_endpoint_is_next() -> None:
    """An endpoint that is slow has more in flight, and so is asked less."""
    servers, call, _, _ = setting(2)
    servers[0].gate = asyncio.Event()
    slow = asyncio.ensure_future(call(new(REQUEST)))
    await asyncio.sleep(0)
    assert await ask(call, 5) == ["1"] * 5
    servers[0].gate.set()
    assert (await slow).text == "0"
    assert "0" in await ask(call, 2)


async def test_many_at_once_are_spread_evenly() -> None:
    """Thirty requests at once over three endpoints are ten each."""
    servers, call, _, _ = setting(3)
    gate = asyncio.Event()
    for server in servers:
        server.gate = gate
    flying = [asyncio.ensure_future(call(new(REQUEST))) for _ in range(30)]
    await asyncio.sleep(0)
    assert [server.asked for server in servers] == [10, 10, 10]
    gate.set()
    await asyncio.gather(*flying)


FAULTS: Sequence[Fault] = (
    unreachable,
    lambda: Interrupted("reset"),
    lambda: Overloaded("busy", status=503),
    lambda: RateLimited("slow", status=429),
    lambda: BadReply("html", status=200),
    lambda: Unauthorized("no", status=401),
    lambda: OutOfQuota("no", status=402),
    lambda: UnknownModel("no", status=404),
)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failed_request_goes_to_another_at_once(fault: Fault) -> None:
    """The row is answered without a wait, and has the attempt that failed, once."""
    servers, call, _, endpoints = setting(2)
    servers[0].fault = fault
    request, error = new(REQUEST), fault()
    assert (await call(request)).text == "1"
    failed, answered = request.ledger.attempts
    assert (failed.kind, failed.status) == (error.kind, error.status)
    assert failed.maybe_billed == error.maybe_billed
    assert answered.kind is None
    assert endpoints.answering == [1]
    await call(again := new(REQUEST))
    assert again.ledger.failed == []


async def test_a_failed_endpoint_is_asked_by_one_request_after_a_growing_pause() -> None:
    """After 1, 2, 4 and so on to 60 s again and again one request tries it; none does before."""
    servers, call, clock, _ = setting(2)
    servers[0].fault = unreachable
    await ask(call)
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
        asked = servers[0].asked
        clock.now += pause_s - 0.01
        await ask(call, 5)
        assert servers[0].asked == asked
        clock.now += 0.01
        assert await ask(call, 5) == ["1"] * 5
        assert servers[0].asked == asked + 1
    servers[0].fault = None
    clock.now += 60
    assert (await ask(call, 4)).count("0") == 2


async def test_only_one_request_at_a_time_tries_it() -> None:
    """While one request finds out, the others go where there are answers."""
    servers, call, clock, endpoints = setting(2)
    servers[0].fault = unreachable
    await ask(call)
    servers[0].fault, servers[0].gate = None, asyncio.Event()
    clock.now += 1
    finding_out = asyncio.ensure_future(call(new(REQUEST)))
    await asyncio.sleep(0)
    assert await ask(call, 5) == ["1"] * 5
    assert endpoints.answering == [1]
    servers[0].gate.set()
    assert (await finding_out).text == "0"
    assert endpoints.answering == [0, 1]


async def test_a_request_that_is_given_up_frees_the_place_of_the_next_probe() -> None:
    """A probe that is cancelled is no answer: the endpoint is tried again, later."""
    servers, call, clock, endpoints = setting(2)
    servers[0].fault = unreachable
    await ask(call)
    servers[0].fault, servers[0].gate = None, asyncio.Event()
    clock.now += 1
    hanging = asyncio.ensure_future(call(new(REQUEST)))
    await asyncio.sleep(0)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    servers[0].gate.set()
    assert await ask(call, 3) == ["1"] * 3
    clock.now += 2
    assert await ask(call) == ["0"]
    assert endpoints.answering == [0, 1]


async def test_those_in_flight_when_it_fails_do_not_lengthen_the_pause() -> None:
    """Ten requests that fail together are one failure."""
    servers, call, clock, _ = setting(2)
    servers[0].gate = asyncio.Event()
    servers[0].fault = unreachable
    flying = [asyncio.ensure_future(call(new(REQUEST))) for _ in range(20)]
    await asyncio.sleep(0)
    servers[0].gate.set()
    assert [(await one).text for one in flying] == ["1"] * 20
    servers[0].fault = None
    clock.now += 1
    assert await ask(call) == ["0"]


async def test_the_pause_is_what_the_endpoint_asks_for() -> None:
    """A 503 with Retry-After: 5 is left alone for 5 s."""
    servers, call, clock, _ = setting(2)
    servers[0].fault = lambda: Overloaded("busy", status=503, retry_after_s=5)
    await ask(call)
    clock.now += 4.9
    await ask(call, 3)
    assert servers[0].asked == 1
    clock.now += 0.1
    await ask(call)
    assert servers[0].asked == 2


@pytest.mark.parametrize(
    "error", [Rejected("no"), ContextLength("long"), Refused("no"), TimedOut("late")]
)
async def test_other_errors_stay_where_they_are(error: ProviderError) -> None:
    """What another endpoint would say as well, or no time is left for, is asked of none."""
    servers, call, _, _ = setting(2)
    servers[0].fault = lambda: error
    with pytest.raises(type(error)):
        await call(request := new(REQUEST))
    assert servers[1].asked == 0
    assert [one.kind for one in request.ledger.attempts] == [error.kind]


async def test_an_error_is_an_answer_too() -> None:
    """An endpoint that says 400 is there again."""
    servers, call, clock, endpoints = setting(2)
    servers[0].fault = unreachable
    await ask(call)
    clock.now += 1
    servers[0].fault = lambda: Rejected("no")
    with pytest.raises(Rejected):
        await call(new(REQUEST))
    assert endpoints.answering == [0, 1]


async def test_when_none_is_left_every_attempt_is_kept() -> None:
    """Each endpoint was called once, in no time; the ledger has all attempts."""
    servers, call, _, _ = setting(3)
    for server in servers:
        server.fault = unreachable
    with pytest.raises(Unreachable):
        await call(request := new(REQUEST))
    assert [server.asked for server in servers] == [1, 1, 1]
    assert [one.kind for one in request.ledger.attempts] == ["unreachable"] * 3


async def test_while_none_answers_each_try_costs_one_request() -> None:
    """With all left out a request asks one endpoint, not every one again, and may find it well."""
    servers, call, _, _ = setting(3)
    for server in servers:
        server.fault = unreachable
    with pytest.raises(Unreachable):
        await call(new(REQUEST))
    asked = sum(server.asked for server in servers)
    with pytest.raises(Unreachable):
        await call(new(REQUEST))
    assert sum(server.asked for server in servers) == asked + 1
    for server in servers:
        server.fault = None
    assert len(await ask(call, 3)) == 3


async def test_a_stream_that_has_shown_text_is_not_begun_again() -> None:
    """Without any text it moves on; with some the reader would see two answers."""
    shown: list[str] = []

    async def breaks(request: Request, on_text: Callable[[str], None]) -> Completion:
        if request.model == "late":
            on_text("half")
            request.ledger.partial = "half"
        raise Interrupted("reset")

    async def works(request: Request, on_text: Callable[[str], None]) -> Completion:
        on_text("whole")
        return Completion(text="whole")

    for model, expected in (("early", ["whole"]), ("late", ["half"])):
        shown.clear()
        stream = spread_streams([breaks, works], Endpoints(2, clock=Clock()))
        try:
            await stream(Request(model, [], {}), shown.append)
        except Interrupted:
            assert model == "late"
        assert shown == expected


async def test_a_request_that_moves_does_not_wait() -> None:
    """Inside of `retried`, the next endpoint is called before any wait."""
    servers, call, _, _ = setting(2)
    servers[0].fault = unreachable

    async def no_sleep(wait_s: float) -> None:
        raise AssertionError("nothing to wait for")

    outer, request = retried(call, RetryPolicy(3), sleep=no_sleep), new(REQUEST)
    await outer(request)
    assert [one.kind for one in request.ledger.failed] == ["unreachable"]


async def test_a_cancelled_request_keeps_the_attempts_before_it() -> None:
    """The failed attempt at one endpoint, and the one that was in flight at the next."""
    hangs = asyncio.Event()

    async def down(request: Request) -> Completion:
        raise unreachable()

    async def hanging(request: Request) -> Completion:
        hangs.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing ends it")

    calls, request = [attempting(down), attempting(hanging)], new(REQUEST)
    outer = retried(spread(calls), RetryPolicy(3), sleep=asyncio.sleep)
    row = asyncio.ensure_future(outer(request))
    await hangs.wait()
    row.cancel()
    await asyncio.wait([row])
    seen = [(one.kind, one.maybe_billed) for one in request.ledger.attempts]
    assert seen == [("unreachable", False), (CANCELLED, True)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.lists(st.booleans(), min_size=3, max_size=3), st.floats(0, 5)), max_size=25
    )
)
async def test_whatever_fails_a_request_is_answered_if_anybody_answering_is_well(
    script: list[tuple[list[bool], float]],
) -> None:
    """No request asks one endpoint twice, and none fails while a well endpoint is in use."""
    servers, call, clock, endpoints = setting(3)
    for well, wait_s in script:
        clock.now += wait_s
        for server, is_well in zip(servers, well, strict=True):
            server.fault = None if is_well else unreachable
        usable = any(well[place] for place in endpoints.answering)
        before = [server.asked for server in servers]
        try:
            got = await call(new(REQUEST))
        except Unreachable:
            assert not usable
        else:
            assert got.text is not None
            assert well[int(got.text)]
        asked = [server.asked - was for server, was in zip(servers, before, strict=True)]
        assert max(asked) == 1


async def test_a_server_that_dies_and_comes_back() -> None:
    """Over real sockets: no row is lost when one of two servers dies, and it serves again after."""
    clock = Clock()

    async def slowly(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        await echo(exchange)

    async with serve(slowly) as steady, open_network(Connection()) as network:
        providers = [OpenAI(Settings("openai", url, None)) for url in (steady.url, steady.url)]
        endpoints = Endpoints(2, clock=clock)
        call = spread([calling(one.build, one.parse, network.send) for one in providers], endpoints)
        async with serve(slowly) as mortal:
            providers[0].aim(mortal.url)
            got = await asyncio.gather(*(call(new(REQUEST)) for _ in range(20)))
            assert len(mortal.exchanges) == len(steady.exchanges) == 10
            moving = [new(REQUEST) for _ in range(20)]
            flying = [asyncio.ensure_future(call(request)) for request in moving]
            while len(mortal.exchanges) < 12:
                await asyncio.sleep(0.001)
        got += await asyncio.gather(*flying)
        got += await asyncio.gather(*(call(new(REQUEST)) for _ in range(20)))
        assert endpoints.answering == [1]
        assert any(one.ledger.failed for one in moving)
        async with serve(slowly) as back:
            providers[0].aim(back.url)
            clock.now += 1
            got += [await call(new(REQUEST))]
            got += await asyncio.gather(*(call(new(REQUEST)) for _ in range(20)))
            assert len(back.exchanges) == 11
    assert [one.text for one in got] == ["HI"] * 81


@pytest.mark.parametrize("second", [Overloaded("busy"), RateLimited("slow", retry_after_s=3)])
async def test_a_quota_of_one_endpoint_does_not_hold_up_the_others(second: ProviderError) -> None:
    """A request that no endpoint has answered waits for the first that may be asked again, not
    for the one whose quota is spent."""
    servers, call, clock, _ = setting(2)
    spent = RateLimited("per day", retry_after_s=25_923)
    servers[0].fault, servers[1].fault = lambda: spent, lambda: second
    for _ in range(5):
        with pytest.raises(ProviderError) as raised:
            await call(new(REQUEST))
        assert (raised.value.retry_after_s or 0) <= 60
        spent.retry_after_s = 25_923
        clock.now += 0.1
    servers[1].fault = None
    clock.now += 61
    assert (await call(new(REQUEST))).text == "1"


async def test_endpoints_whose_quotas_are_all_spent_wait_for_the_first() -> None:
    """Then the wait is a long one, and it is the shorter of them."""
    servers, call, _, _ = setting(2)
    servers[0].fault = lambda: RateLimited("per day", retry_after_s=25_000)
    servers[1].fault = lambda: RateLimited("per day", retry_after_s=7_200)
    with pytest.raises(RateLimited) as raised:
        await call(new(REQUEST))
    assert raised.value.retry_after_s == 7_200


async def test_what_may_have_been_billed_is_paid_for_anew() -> None:
    """Where each request is paid for before it is sent, it fails first; the next one goes to the
    other endpoint. One that was not billed goes there at once."""
    servers = [Server(0, lambda: Interrupted("reset")), Server(1)]
    endpoints = Endpoints(2, moves_billed=False)
    call = spread([attempting(one) for one in servers], endpoints)
    with pytest.raises(Interrupted):
        await call(new(REQUEST))
    assert (await call(new(REQUEST))).text == "1"
    assert [one.asked for one in servers] == [1, 1]
    servers = [Server(0, lambda: Overloaded("busy", status=503)), Server(1)]
    call = spread([attempting(one) for one in servers], Endpoints(2, moves_billed=False))
    assert (await call(new(REQUEST))).text == "1"
