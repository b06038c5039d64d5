"""A provider that costs nothing and sends nothing, to rehearse a run with all its troubles.

`fake/echo` answers with the last user message, `fake/lorem` with made-up words. Options stand
behind the model: `fake/echo?latency=0.2&jitter=0.5&rate_limited=0.05`. The replies are bytes
in OpenAI's shape, so everything above the network is exercised as with the real one.
Error bodies: platform.openai.com/docs/guides/error-codes (read 2026-11-22).
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from statistics import NormalDist
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from llmbatch_cli.core.errors import Interrupted, Unreachable, UsageError
from llmbatch_cli.core.events import Observer
from llmbatch_cli.core.types import Completion, Message, Request, Send, WireReply, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.registry import Target
from llmbatch_cli.providers.wire.replies import content_text

MODELS: Final = ("echo", "lorem")
LOREM: Final = (
    *("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed"),
    *("do", "eiusmod", "tempor", "incididunt", "ut", "labore", "et", "dolore", "magna"),
)
LOREM_TOKENS: Final = 32
"""Words of `fake/lorem` where no `completion_tokens` is given."""
MOST_REMEMBERED: Final = 100_000
"""Failed contents whose tries are counted; the oldest are forgotten, to keep memory flat."""

FAILURES: Final = (
    "rate_limited",
    "overloaded",
    "unreachable",
    "interrupted",
    "bad_reply",
    "out_of_quota",
    "unauthorized",
    "rejected",
    "refused",
    "truncated",
    "hang",
)
"""The options that are rates, in the order in which they share the interval from 0 to 1."""
LASTING: Final = frozenset(("out_of_quota", "unauthorized", "rejected", "refused", "truncated"))
"""Failures that the same content meets again when it is asked again."""
ANSWERED: Final = frozenset(("truncated", "refused"))
"""Failures that arrive as a completion."""
ERRORS: Final[Mapping[str, tuple[int, Mapping[str, str | None]]]] = {
    "rate_limited": (
        429,
        {
            "message": "Rate limit reached for requests. Please try again later.",
            "type": "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        },
    ),
    "overloaded": (
        503,
        {
            "message": "The engine is currently overloaded, please try again later.",
            "type": "server_error",
            "param": None,
            "code": None,
        },
    ),
    "out_of_quota": (
        429,
        {
            "message": "You exceeded your current quota, please check your plan and billing.",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        },
    ),
    "unauthorized": (
        401,
        {
            "message": "Incorrect API key provided.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        },
    ),
    "rejected": (
        400,
        {
            "message": "The request is invalid, the fake provider says.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": None,
        },
    ),
}
"""The failures that arrive as an error reply: status, and `error` in the body."""
CUT_SHORT: Final = b'{"id": "chatcmpl-fake", "object": "chat.completion", "choices": [{"ind'
REFUSAL: Final = "I'm sorry, I can't help with that."


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeOptions:
    """How the fake provider behaves. Rates are shares of requests, 0 to 1, at most 1 in all."""

    latency: float = 0.0
    """Mean seconds from request to reply, for failures too."""
    jitter: float = 0.0
    """Sigma of the lognormal latency; 0 is constant, 0.5 a lively provider."""
    seed: int = 0
    """Another seed strikes other requests."""
    prompt_tokens: int | None = None
    """Reported for every request; None counts words."""
    completion_tokens: int | None = None
    """Reported for every answer, and the length of lorem's; None counts words."""
    rpm: int | None = None
    """Requests a minute, a bucket of so many refilled evenly; those above get 429."""
    retry_after: float | None = None
    """Seconds that a rate_limited reply asks to wait; None does not say."""
    rate_limited: float = 0.0
    """429."""
    overloaded: float = 0.0
    """503."""
    unreachable: float = 0.0
    """The connection is refused."""
    interrupted: float = 0.0
    """The connection is reset before a reply."""
    bad_reply: float = 0.0
    """200 with JSON that ends in the middle."""
    out_of_quota: float = 0.0
    """429 `insufficient_quota`."""
    unauthorized: float = 0.0
    """401."""
    rejected: float = 0.0
    """400."""
    refused: float = 0.0
    """200 with a refusal in place of an answer."""
    truncated: float = 0.0
    """200 with half of the answer and finish reason `length`."""
    hang: float = 0.0
    """No reply, ever."""


def parse_options(query: str) -> FakeOptions:
    """The options in `latency=0.2&rate_limited=0.05`; UsageError names an unknown or bad one."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise _bad(f"cannot read the options {query!r} of the fake provider") from error
    options = FakeOptions(**{name: _value(name, text) for name, text in pairs})
    if sum(getattr(options, name) for name in FAILURES) > 1 + 1e-9:
        raise _bad("the failure rates of the fake provider are more than 1 in all")
    return options


_INTEGERS: Final = {"seed": 0, "prompt_tokens": 0, "completion_tokens": 0, "rpm": 1}
"""The whole-numbered options and their least values."""


def _value(name: str, text: str) -> Any:
    if name not in {field.name for field in fields(FakeOptions)}:
        raise _bad(f"the fake provider has no option {name!r}")
    least = _INTEGERS.get(name, 0)
    try:
        value = int(text) if name in _INTEGERS else float(text)
    except ValueError:
        value = math.nan
    most = 1.0 if name in FAILURES else math.inf
    if not least <= value <= most or value == math.inf:
        kind = "a rate from 0 to 1" if name in FAILURES else f"a number from {least} up"
        raise _bad(f"{name}={text} of the fake provider is not {kind}")
    return value


def _bad(message: str) -> UsageError:
    names = ", ".join(field.name for field in fields(FakeOptions))
    return UsageError(
        message, hint=f"the options are {names}; as in fake/echo?latency=0.2&rate_limited=0.05"
    )


_NORMAL: Final = NormalDist()


class Fake(OpenAI):
    """The fake provider. Nothing is sent: `serving` yields a Send that makes the replies up.

    Whether a request fails, and how, hangs on the seed, the request's content and how often
    that content has failed before: two runs agree whatever order the answers come in, and a
    retry may succeed.

    Args:
        options: how it behaves.
        sleep: waits out the latency, in seconds; never called for 0.
        clock: seconds, for `rpm`.
    """

    def __init__(
        self,
        options: FakeOptions | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(Settings("fake", "http://fake.invalid/v1"))
        options = options or FakeOptions()
        self._options = options
        self._sleep = sleep
        self._bucket = _Bucket(options.rpm, clock) if options.rpm else None
        rates = ((name, getattr(options, name)) for name in FAILURES)
        self._rates = [(name, rate) for name, rate in rates if rate > 0]
        self._draws = bool(self._rates) or options.latency * options.jitter > 0
        self._seed = blake2b(str(options.seed).encode()).digest()
        self._tries: OrderedDict[bytes, int] = OrderedDict()

    @classmethod
    def target(cls, model: str, query: str) -> Target:
        """`echo` or `lorem` with the options in `query`. Raises UsageError for any other."""
        if model not in MODELS:
            names = " and ".join(f"fake/{name}" for name in MODELS)
            raise UsageError(f"the fake provider has no model {model!r}", hint=f"it has {names}")
        return Target(cls(parse_options(query)), model, {})

    def parse(self, request: Request, reply: WireReply) -> Completion:
        return replace(super().parse(request, reply), cost_usd=0.0)

    @asynccontextmanager
    async def serving(self, observe: Observer) -> AsyncIterator[Send | None]:
        yield self.send

    async def send(self, wire: WireRequest) -> WireReply:
        """A made-up reply. Raises Unreachable and Interrupted where the options ask for them."""
        headers: dict[str, str] = {"content-type": "application/json"}
        if self._bucket is not None and not self._bucket.take(headers):
            return _error("rate_limited", headers)
        failure, latency_s = self._fate(wire.body)
        if latency_s > 0:
            await self._sleep(latency_s)
        if failure is None or failure in ANSWERED:
            return WireReply(200, headers, _answer(orjson.loads(wire.body), self._options, failure))
        if failure == "rate_limited" and self._options.retry_after is not None:
            headers["retry-after"] = f"{self._options.retry_after:g}"
        return _error(failure, headers) if failure in ERRORS else await _no_reply(failure, headers)

    def _fate(self, body: bytes) -> tuple[str | None, float]:
        """What becomes of this try: its failure, or None, and its latency in seconds."""
        if not self._draws:
            return None, self._options.latency
        content = blake2b(body, digest_size=16, key=self._seed).digest()
        tries = self._tries.pop(content, 0)
        drawn = blake2b(tries.to_bytes(8, "big"), digest_size=16, key=content).digest()
        failure = self._failure(_fraction(drawn[:8]))
        if failure is not None and failure not in LASTING:
            self._remember(content, tries + 1)
        return failure, self._latency_s(drawn[8:])

    def _failure(self, fraction: float) -> str | None:
        for name, rate in self._rates:
            if fraction < rate:
                return name
            fraction -= rate
        return None

    def _remember(self, content: bytes, tries: int) -> None:
        self._tries[content] = tries
        if len(self._tries) > MOST_REMEMBERED:
            self._tries.popitem(last=False)

    def _latency_s(self, drawn: bytes) -> float:
        """Lognormal with the option's mean, since exp(sigma z - sigma^2 / 2) has the mean 1."""
        mean, sigma = self._options.latency, self._options.jitter
        if mean == 0 or sigma == 0:
            return mean
        return mean * math.exp(sigma * _NORMAL.inv_cdf(_fraction(drawn)) - sigma * sigma / 2)


class _Bucket:
    """`rpm` tokens, refilled evenly over a minute; full at the start."""

    def __init__(self, rpm: int, clock: Callable[[], float]) -> None:
        self._rpm = rpm
        self._clock = clock
        self._tokens = float(rpm)
        self._filled_at_s = clock()

    def take(self, headers: dict[str, str]) -> bool:
        """Whether a request may pass; adds OpenAI's rate headers, and the wait if it may not."""
        now_s = self._clock()
        gained = (now_s - self._filled_at_s) * self._rpm / 60
        self._tokens, self._filled_at_s = min(self._rpm, self._tokens + gained), now_s
        passes = self._tokens >= 1
        self._tokens -= passes
        headers["x-ratelimit-limit-requests"] = str(self._rpm)
        headers["x-ratelimit-remaining-requests"] = str(int(self._tokens))
        headers["x-ratelimit-reset-requests"] = f"{self._wait_s(self._rpm):.3f}s"
        if not passes:
            headers["retry-after"] = f"{self._wait_s(1):.3f}"
        return passes

    def _wait_s(self, tokens: float) -> float:
        return (tokens - self._tokens) * 60 / self._rpm


def _fraction(drawn: bytes) -> float:
    """Eight bytes as a number between 0 and 1, never either of them."""
    return ((int.from_bytes(drawn, "big") >> 12) + 0.5) / (1 << 52)


def _error(failure: str, headers: Mapping[str, str]) -> WireReply:
    status, error = ERRORS[failure]
    return WireReply(status, headers, orjson.dumps({"error": error}))


async def _no_reply(failure: str, headers: Mapping[str, str]) -> WireReply:
    """The failures that are not even an error reply."""
    if failure == "bad_reply":
        return WireReply(200, headers, CUT_SHORT)
    if failure == "unreachable":
        raise Unreachable("the fake provider refused the connection")
    if failure == "interrupted":
        raise Interrupted("the fake provider reset the connection before its reply")
    never: asyncio.Future[WireReply] = asyncio.get_running_loop().create_future()
    return await never


def _answer(body: Mapping[str, Any], options: FakeOptions, failure: str | None) -> bytes:
    """The bytes of a chat completion to the request in `body`."""
    text, finish_reason = _text(body, options), "stop"
    words = text.split()
    most = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
    if failure == "truncated":
        most = min(most, len(words) // 2)
    if failure == "truncated" or most < len(words):
        text, finish_reason = " ".join(words[:most]), "length"
    message = {"role": "assistant", "content": text, "refusal": None}
    if failure == "refused":
        message.update(content=None, refusal=REFUSAL)
    choices = [
        {"index": index, "message": message, "finish_reason": finish_reason, "logprobs": None}
        for index in range(body.get("n") or 1)
    ]
    return orjson.dumps(
        {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": choices,
            "usage": _usage(body, options, min(most, len(words)) * len(choices)),
        }
    )


def _text(body: Mapping[str, Any], options: FakeOptions) -> str:
    if body["model"] == "lorem":
        tokens = options.completion_tokens
        count = LOREM_TOKENS if tokens is None else tokens
        return " ".join(LOREM[index % len(LOREM)] for index in range(count))
    messages: Sequence[Message] = body["messages"]
    last = next((said for said in reversed(messages) if said.get("role") == "user"), messages[-1])
    return content_text(last.get("content")) or ""


def _usage(body: Mapping[str, Any], options: FakeOptions, answer_words: int) -> dict[str, int]:
    prompt, completion = options.prompt_tokens, options.completion_tokens
    if prompt is None:
        texts = (content_text(message.get("content")) or "" for message in body["messages"])
        prompt = sum(len(text.split()) for text in texts)
    if completion is None:
        completion = answer_words
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
