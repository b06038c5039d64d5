"""Calls that are answered without a request: for equal requests only, and from good answers."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.attempts import attempting, new

from llmbatch_cli.core.errors import Overloaded, TimedOut
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Prompt, RateInfo, Request
from llmbatch_cli.engine.cache.calls import cached, deduped, key_of
from llmbatch_cli.engine.cache.stored import from_bytes, to_bytes
from llmbatch_cli.engine.calls import Model, request_for
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.streaming import around

SOURCE = ("openai", "OpenAI", "https://api.openai.com/v1", "")
REQUEST = Request("m", [{"role": "user", "content": "hi"}], {"temperature": 0, "seed": 7})
ANSWER = Completion("yes", "stop", usage=Usage(3, 2, 5), cost_usd=0.5, request_id="r1")


class Memory:
    """Answers in a dict."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    async def get(self, key: bytes) -> bytes | None:
        await asyncio.sleep(0)
        return self.kept.get(key)

    def put(self, key: bytes, answer: bytes) -> None:
        self.kept[key] = answer


class Provider:
    """Counts what it is asked; answers when it may."""

    def __init__(self, *answers: Completion | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()
        self.call = attempting(self._answer)

    async def _answer(self, request: Request) -> Completion:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await self.go.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_same_request_has_the_same_answer_at_no_cost() -> None:
    """Nothing is sent the second time; the row's ledger says so."""
    provider, memory = Provider(ANSWER), Memory()
    call = cached(provider.call, memory, SOURCE)
    first, again = new(REQUEST), new(REQUEST)
    assert await call(first) == ANSWER
    assert await call(again) == replace(ANSWER, cost_usd=0.0, request_id=None)
    assert provider.asked == 1
    assert (first.ledger.cached, len(first.ledger.attempts)) == (False, 1)
    assert (again.ledger.cached, len(again.ledger.attempts)) == (True, 0)


OTHERS = {
    "model": (SOURCE, replace(REQUEST, model="n")),
    "messages": (SOURCE, replace(REQUEST, messages=[{"role": "user", "content": "hi "}])),
    "parameter": (SOURCE, replace(REQUEST, params={"temperature": 0, "seed": 8})),
    "repeat": (SOURCE, replace(REQUEST, repeat=2)),
    "no parameters": (SOURCE, replace(REQUEST, params={})),
    "provider": (("groq", *SOURCE[1:]), REQUEST),
    "address": ((*SOURCE[:2], "http://localhost:8000/v1", ""), REQUEST),
    "api": ((SOURCE[0], "Responses", *SOURCE[2:]), REQUEST),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_another_request_is_sent(name: str) -> None:
    """Whatever of it differs: the model, who serves it, what is asked, or how."""
    provider, memory = Provider(ANSWER), Memory()
    await cached(provider.call, memory, SOURCE)(REQUEST)
    source, request = OTHERS[name]
    await cached(provider.call, memory, source)(request)
    assert provider.asked == 2


def test_each_repeat_of_a_row_has_an_answer_of_its_own() -> None:
    """Once they are answered, each finds its own again."""
    model = Model("openai", "m", Provider(ANSWER).call)
    rows = [Prompt(0, REQUEST.messages, 0, repeat=number) for number in (1, 2, 1)]
    keys = [key_of(request_for(row, model, None), SOURCE) for row in rows]
    assert keys[0] == keys[2] != keys[1]


async def test_the_order_of_parameters_does_not_matter() -> None:
    """They are the same request in another spelling."""
    provider, memory = Provider(ANSWER), Memory()
    call = cached(provider.call, memory, SOURCE)
    await call(new(REQUEST))
    await call(replace(REQUEST, params={"seed": 7, "temperature": 0}))
    assert provider.asked == 1


CUT = {"finish_reason": "length"}
DONE = {"finish_reason": "stop"}
NOT_KEPT = {
    "cut off": Completion("half", "length"),
    "filtered": Completion("half", "content_filter"),
    "unknown end": Completion("perhaps"),
    "empty": Completion("  \n", "stop"),
    "thoughts alone": Completion(None, "stop", reasoning="hm"),
    "one of two cut off": Completion("a", "stop", choices=[DONE, CUT]),
    "not JSON": Completion("\ud800", "stop"),
}


@pytest.mark.parametrize("name", NOT_KEPT)
async def test_only_a_whole_answer_is_kept(name: str) -> None:
    """Another is asked for again: it may be better the next time."""
    provider, memory = Provider(NOT_KEPT[name]), Memory()
    call = cached(provider.call, memory, SOURCE)
    for _ in range(2):
        assert await call(new(REQUEST)) is NOT_KEPT[name]
    assert (provider.asked, memory.kept) == (2, {})


async def test_an_answer_of_another_form_than_asked_for_is_not_kept() -> None:
    """It is no use, and may be right the next time."""
    provider, memory = Provider(Completion("yes", "stop"), Completion("{}", "stop")), Memory()
    call = cached(provider.call, memory, SOURCE)
    asked = replace(REQUEST, params={"response_format": {"type": "json_object"}})
    for text in ("yes", "{}", "{}"):
        assert (await call(new(asked))).text == text
    assert provider.asked == 2


KEPT = {
    "text": ANSWER,
    "tool calls": Completion(None, "tool_calls", tool_calls=[{"id": "1", "type": "function"}]),
    "two choices": Completion("a", "stop", choices=[DONE, DONE]),
    "extras": Completion(None, "stop", extras={"images": ["data:"]}),
    "reasoning": Completion("a", "stop", "end_turn", None, "m-2", "since", response_id="c"),
}


@pytest.mark.parametrize("name", KEPT)
async def test_a_whole_answer_comes_back_as_it_was(name: str) -> None:
    """With its reasoning, its tool calls and its usage."""
    provider, memory = Provider(KEPT[name]), Memory()
    call = cached(provider.call, memory, SOURCE)
    await call(new(REQUEST))
    again = replace(KEPT[name], cost_usd=0.0, request_id=None)
    assert await call(new(REQUEST)) == again
    assert provider.asked == 1


async def test_a_failure_is_not_kept() -> None:
    """The next one tries again."""
    provider, memory = Provider(Overloaded("busy"), ANSWER), Memory()
    call = cached(provider.call, memory, SOURCE)
    with pytest.raises(Overloaded):
        await call(new(REQUEST))
    assert await call(new(REQUEST)) == ANSWER


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", b'{"words": 1}', b'{"usage": {"x": 1}}'])
async def test_what_another_version_has_written_is_asked_for_again(data: bytes) -> None:
    """It is a miss, not an error."""
    provider, memory = Provider(ANSWER), Memory()
    key = key_of(REQUEST, SOURCE)
    assert key is not None
    memory.put(key, data)
    assert await cached(provider.call, memory, SOURCE)(new(REQUEST)) == ANSWER
    assert from_bytes(memory.kept[key]) is not None


async def test_a_request_without_a_digest_is_sent() -> None:
    """One that JSON cannot hold is equal to no other."""
    circle: dict[str, Any] = {}
    circle["self"] = circle
    provider, memory = Provider(ANSWER), Memory()
    for wrap in (cached, deduped):
        await wrap(provider.call, memory, SOURCE)(replace(REQUEST, params=circle))
    assert (provider.asked, memory.kept) == (2, {})


async def test_a_streamed_answer_that_is_there_comes_in_one_piece() -> None:
    """What was answered whole serves a stream, and the other way round."""
    provider, memory, texts = Provider(ANSWER), Memory(), list[str]()

    async def stream(request: Request, on_text: Any) -> Completion:
        on_text("y")
        on_text("es")
        return await provider.call(request)

    call = around(stream, lambda call: cached(call, memory, SOURCE))
    await call(new(REQUEST), texts.append)
    assert texts == ["y", "es"]
    again = new(REQUEST)
    await call(again, texts.append)
    assert texts == ["y", "es", "yes"]
    assert (again.ledger.cached, provider.asked) == (True, 1)
    await cached(provider.call, memory, SOURCE)(new(REQUEST))
    assert provider.asked == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(st.text(), st.text() | st.none(), st.dictionaries(st.text(max_size=5), JSON), st.integers(0))
def test_any_answer_comes_back_as_it_was_or_is_not_kept(
    text: str, reasoning: str | None, extras: Mapping[str, Any], tokens: int
) -> None:
    """Never changed, except that it costs nothing."""
    answer = Completion(text, "stop", usage=Usage(tokens), reasoning=reasoning, extras=extras)
    answer.limits = RateInfo(limit_requests=5)
    data = to_bytes(answer)
    if data is not None:
        assert from_bytes(data) == replace(answer, cost_usd=0.0, limits=None)


# --dedupe


async def test_equal_requests_are_sent_once() -> None:
    """Those that come together, and those that come later; others are sent."""
    provider = Provider(ANSWER)
    call = deduped(provider.call, Memory(), SOURCE)
    requests = [new(REQUEST) for _ in range(5)]
    provider.go.clear()
    answers = asyncio.gather(*map(call, requests), call(replace(REQUEST, model="n")))
    await asyncio.sleep(0.01)
    provider.go.set()
    assert {one.text for one in await answers} == {"yes"}
    assert provider.asked == 2
    assert [one.ledger.cached for one in requests] == [False, True, True, True, True]
    assert (await call(new(REQUEST))).cost_usd == 0.0
    assert provider.asked == 2


async def test_equal_requests_share_any_answer() -> None:
    """One that is cut off, too: sending each of them would have them cut off alike."""
    provider = Provider(Completion("half", "length"))
    call = deduped(provider.call, Memory(), SOURCE)
    for _ in range(3):
        assert (await call(new(REQUEST))).text == "half"
    assert provider.asked == 1


async def test_a_failure_is_not_shared() -> None:
    """Those that waited for it make calls of their own, side by side."""
    provider = Provider(Overloaded("busy"), ANSWER)
    call = deduped(provider.call, Memory(), SOURCE)
    provider.go.clear()
    answers = asyncio.gather(*(call(new(REQUEST)) for _ in range(4)), return_exceptions=True)
    await asyncio.sleep(0.01)
    provider.go.set()
    first, *others = await answers
    assert isinstance(first, Overloaded)
    assert others == [ANSWER] * 3
    assert provider.asked == 4
    assert (await call(new(REQUEST))).text == "yes"
    assert provider.asked == 4


async def test_the_first_of_equal_requests_may_be_cancelled() -> None:
    """Another takes its place."""
    provider = Provider(ANSWER)
    call = deduped(provider.call, Memory(), SOURCE)
    provider.go.clear()
    first, second = (asyncio.ensure_future(call(new(REQUEST))) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    provider.go.set()
    assert await second == ANSWER
    assert provider.asked == 2
    assert first.cancelled()


async def test_one_that_waits_may_be_cancelled() -> None:
    """The first one, and the others, know nothing of it."""
    provider = Provider(ANSWER)
    call = deduped(provider.call, Memory(), SOURCE)
    provider.go.clear()
    first, second, third = (asyncio.ensure_future(call(new(REQUEST))) for _ in range(3))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0.01)
    provider.go.set()
    assert [(await one).text for one in (first, third)] == ["yes", "yes"]
    assert provider.asked == 1


async def test_looking_and_waiting_use_up_none_of_a_rows_time() -> None:
    """Its time begins with its first request; one that waits for another's answer has none."""
    provider, memory, deadlines = Provider(ANSWER), Memory(), Deadlines(0.2)
    held = asyncio.Event()

    async def get(key: bytes) -> bytes | None:
        await held.wait()
        return None

    memory.get = get  # type: ignore[method-assign]
    call = deadlines.within(deduped(provider.call, memory, SOURCE, deadlines))
    answers = [asyncio.ensure_future(call(new(REQUEST))) for _ in range(2)]
    await asyncio.sleep(0.6)
    held.set()
    assert [(await one).text for one in answers] == ["yes", "yes"]
    provider.go.clear()
    with pytest.raises(TimedOut):
        await call(replace(new(REQUEST), model="n"))


async def test_equal_requests_of_one_run_may_be_known_from_another() -> None:
    """With both options the first of them looks into the cache."""
    provider, kept = Provider(ANSWER), Memory()
    await cached(provider.call, kept, SOURCE)(new(REQUEST))
    call = deduped(cached(provider.call, kept, SOURCE), Memory(), SOURCE)
    requests = [new(REQUEST) for _ in range(3)]
    await asyncio.gather(*map(call, requests))
    assert [one.ledger.cached for one in requests] == [True] * 3
    assert provider.asked == 1
