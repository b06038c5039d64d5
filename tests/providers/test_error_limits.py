"""An error tells the account's limits as an answer does, and how long the server asks to wait."""

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
import pytest

from llmbatch_cli.core.errors import OutOfQuota, ProviderError, RateLimited
from llmbatch_cli.core.types import RateInfo, Request, WireReply
from llmbatch_cli.providers.registry import Access, resolve
from llmbatch_cli.providers.wire.limits import rate_info, retry_after_s, until_s
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


NOW_S = 1_795_000_000
NOW = datetime.fromtimestamp(NOW_S, UTC)


@pytest.mark.parametrize(
    ("moment", "wait_s"),
    [
        *((str(NOW_S * 1000 + 60_000), 60.0), (NOW_S * 1000 + 90_000, 90.0)),
        *((NOW_S + 3, 3.0), (str(NOW_S - 3), 0.0), (NOW_S * 10**6 + 5 * 10**6, 5.0)),
        *((1e300, None), (10**400, None), ("0", None), ("x", None), (None, None), ("nan", None)),
    ],
)
def test_moments_as_numbers(moment: object, wait_s: float | None) -> None:
    """A moment in seconds or parts of them is a wait until then; what is far from now is none."""
    assert until_s(moment, NOW) == wait_s


WAITS = [
    *(("0", 0.0), ("2", 2.0), ("1.5s", 1.5), ("7h12m3s", 25_923.0), ("25923", 25_923.0)),
    *((str(NOW_S + 3), 3.0), (str(NOW_S * 1000 + 3000), 3.0), (str(NOW_S - 60), 0.0)),
    *((value, None) for value in ("nan", "inf", "-inf", "-5", "1e400", "99999999", "1e20")),
    *((value, None) for value in ("", "soon", "5m nan", "0x10")),
]


@pytest.mark.parametrize(("value", "wait_s"), WAITS)
def test_a_wait_is_one_that_a_server_can_mean(value: str, wait_s: float | None) -> None:
    """A number near now is a moment (openclaw/clawhub 407, ArjanCodes/moneysnake PR 24);
    what is no time, or years of it, is ignored. In every header alike."""
    assert retry_after_s({"retry-after": value}, NOW) == wait_s
    found = rate_info({"x-ratelimit-reset-requests": value}, NOW)
    assert (found.reset_requests_s if found is not None else None) == wait_s


def test_retry_after_as_an_iso_moment() -> None:
    """Some gateways write it as the reset headers have it."""
    moment = datetime.fromtimestamp(NOW_S + 3, UTC).isoformat()
    assert retry_after_s({"retry-after": moment}, NOW) == 3.0


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [("3000", 3.0), (str(NOW_S * 1000 + 3000), 3.0), ("nan", 7.0), ("-1", 7.0), ("1e300", 7.0)],
)
def test_milliseconds_win_where_they_are_any(value: str, wait_s: float) -> None:
    """`retry-after-ms` is the more exact of the two, unless it is nonsense."""
    assert retry_after_s({"retry-after-ms": value, "retry-after": "7"}, NOW) == wait_s


@pytest.mark.parametrize(
    ("message", "wait_s"),
    [
        ("Limit 100000, Used 99990. Please try again in 7h12m3.5s. Need more?", 25_923.5),
        ("Please try again in 120ms. Visit us", 0.12),
        ("Please retry after 24 seconds.", 24.0),
        ("please retry in 38.8s", 38.8),
        ("Try again in 1 hour and 5 minutes", 3_900.0),
        ("Your quota will reset after 8h44m7s.", 31_447.0),  # google-gemini/gemini-cli 13004
        ("Please wait 20 seconds and send it again", 20.0),
        # Google's limit of a minute, at its address for OpenAI's clients
        ("You exceeded your current quota, check your billing details. Please retry in 2.5s", 2.5),
        ("Please wait 30 seconds before", 30.0),
        ("Try again in about 20 seconds", 20.0),
        ("Rate limit resets in 45s", 45.0),
        ("wait for about an hour", None),
        ("try again in 3", None),
        ("try again in 5 moons", None),
        ("try again in 99999999999 d", None),
        ("slow down", None),
    ],
)
def test_a_wait_that_only_the_message_tells(message: str, wait_s: float | None) -> None:
    """OpenAI, Groq and Azure name the wait in the message, too; a header wins."""
    target = resolve("openai/gpt-4o", Access(environ=KEYS))
    body = orjson.dumps({"error": {"message": message}})
    for headers, expected in (({}, wait_s), ({"retry-after": "2"}, 2.0)):
        with pytest.raises(ProviderError) as raised:
            target.provider.parse(Request(target.model, [], {}), WireReply(429, headers, body))
        assert raised.value.retry_after_s == expected
        assert type(raised.value) is RateLimited


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Trial keys are limited to 1000 API calls / month.", OutOfQuota),
        ("You have reached your daily request limit", OutOfQuota),
        ("Rate limit reached on tokens per day (TPD)", OutOfQuota),
        ("Rate limit reached on tokens per day (TPD), try again in 8s", RateLimited),
        ("Rate limit reached on tokens per minute (TPM)", RateLimited),
        ("Rate limit exceeded: free-models-per-day", OutOfQuota),
        ("Too many requests, come back tomorrow", OutOfQuota),
    ],
)
def test_a_quota_of_a_day_without_a_wait(message: str, kind: type[ProviderError]) -> None:
    """A 429 for a day's quota that asks for no wait is not tried again for ever:
    Doriandarko/claude-engineer 104."""
    target = resolve("cohere/command-a-03-2025", Access(environ=KEYS))
    body = orjson.dumps({"message": message})
    with pytest.raises(ProviderError) as raised:
        target.provider.parse(Request(target.model, [], {}), WireReply(429, {}, body))
    assert type(raised.value) is kind


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
