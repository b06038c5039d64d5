"""An error tells the account's limits as an answer does, and how long the server asks to wait."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import RateInfo, Request, WireReply
from llmbatch_cli.providers.registry import Access, resolve
from llmbatch_cli.providers.wire.limits import rate_info, until_s
from llmbatch_cli.providers.wire.replies import without_key
from llmbatch_cli.providers.wire.tools import tool_calls

OPENAI = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-tokens": "199000",
    "x-ratelimit-reset-tokens": "6m0s",
}
CEREBRAS = {
    "x-ratelimit-limit-requests-day": "14400",
    "x-ratelimit-remaining-requests-day": "14399",
    "x-ratelimit-reset-requests-day": "33011.4",
    "x-ratelimit-limit-tokens-minute": "60000",
    "x-ratelimit-remaining-tokens-minute": "0",
    "x-ratelimit-reset-tokens-minute": "11.38",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "0",
}
MISTRAL = {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "0"}
COHERE = {"x-trial-endpoint-call-limit": "20", "x-trial-endpoint-call-remaining": "0"}
KEYS = dict.fromkeys(
    (
        *("OPENAI_API_KEY", "CEREBRAS_API_KEY", "MISTRAL_API_KEY"),
        *("ANTHROPIC_API_KEY", "COHERE_API_KEY"),
    ),
    "key-of-test",
)


@pytest.mark.parametrize(
    ("model", "headers", "limits"),
    [
        ("openai/gpt-4o", OPENAI, RateInfo(500, 0, 0.12, 200_000, 199_000, 360.0)),
        ("openai/gpt-5-pro", OPENAI, RateInfo(500, 0, 0.12, 200_000, 199_000, 360.0)),
        (
            "cerebras/gpt-oss-120b",
            CEREBRAS,
            RateInfo(limit_tokens=60_000, remaining_tokens=0, reset_tokens_s=11.38),
        ),
        ("mistral/mistral-large-latest", MISTRAL, RateInfo(60, 0)),
        ("anthropic/claude-opus-5-5", ANTHROPIC, RateInfo(50, 0)),
        ("cohere/command-a-03-2025", COHERE, RateInfo(20, 0)),
    ],
)
def test_limits(model: str, headers: Mapping[str, str], limits: RateInfo) -> None:
    """A 429 carries the limits that its headers tell.

    Sources: platform.openai.com/docs/guides/rate-limits; docs.cohere.com/docs/rate-limits (read
    2026-11-22); inference-docs.cerebras.ai/support/rate-limits (read 2026-11-23).
    """
    target = resolve(model, Access(environ=KEYS))
    request = Request(target.model, [{"role": "user", "content": "hi"}], {})
    with pytest.raises(ProviderError) as raised:
        target.provider.parse(request, WireReply(429, headers, b'{"message": "slow down"}'))
    assert raised.value.limits == limits


def test_what_is_left_without_a_limit() -> None:
    """What is left is told, even where the limit itself is not."""
    left = rate_info({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "2s"})
    assert left == RateInfo(remaining_requests=3, reset_requests_s=2.0)
    assert rate_info({}) is None


@pytest.mark.parametrize(
    ("moment", "wait_s"),
    [("60000", 60.0), (90_000, 90.0), (1e300, 86_400.0), ("0", None), ("x", None), (None, None)],
)
def test_moments_in_milliseconds(moment: object, wait_s: float | None) -> None:
    """A moment in milliseconds is a wait until then, of a day at most; nonsense is none."""
    assert until_s(moment, datetime.fromtimestamp(0, UTC)) == wait_s


def test_so_short_a_key_is_no_secret() -> None:
    """A key that only stands in for one leaves the words of a message alone."""
    assert without_key("no such model", "o") == "no such model"
    assert without_key("no key-of-test", "key-of-test") == "no [key]"


@pytest.mark.parametrize(
    ("call", "read"),
    [
        (
            {"id": 5, "function": {"name": "f"}},
            {
                "id": "call_0",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            },
        ),
        (
            {"type": "custom", "custom": {"name": "f", "input": "x"}},
            {"id": "call_0", "type": "custom", "custom": {"name": "f", "input": "x"}},
        ),
    ],
)
def test_every_call_has_its_id(call: object, read: object) -> None:
    """Every tool call has an id, and every function arguments, whatever the server left out."""
    assert list(tool_calls({"tool_calls": [call]})) == [read]
