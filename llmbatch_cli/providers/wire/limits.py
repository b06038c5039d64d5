"""Rate limits and requested waits in a reply's headers. All input is hostile.

Sources: platform.openai.com/docs/guides/rate-limits, platform.claude.com/docs/en/api/rate-limits,
docs.cohere.com/docs/rate-limits (read 2026-11-22), inference-docs.cerebras.ai/support/rate-limits
(read 2026-11-23; its daily limits are ignored).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from llmbatch_cli.core.types import RateInfo
from llmbatch_cli.providers.wire.replies import count

LONGEST_WAIT_S: Final = 31 * 86_400.0
"""A quota of a month; no server means more."""
_MOMENTS: Final = (1e9, 1e11)
"""Numbers between are seconds since 1970 rather than from now; above, parts of seconds."""

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = r"\d{1,12}(?:\.\d{1,12})? ?[a-z]{1,12}"
_ASKED = re.compile(
    r"\b(?:(?:try|retry)(?: again| your request)? (?:in|after)|(?:resets?|available) (?:in|after)"
    r"|wait(?: for)?) (?:(?:about|another|approximately|at least) )?"
    rf"({_PART}(?:(?:,? and |, ?| )?{_PART}){{0,3}})"
)
_PARTS = re.compile(r"([\d.]+) ?([a-z]+)")
_WORDS_S: Final = {
    word: _UNIT_S[unit]
    for unit, words in {
        "ms": "ms millisecond milliseconds",
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
    }.items()
    for word in words.split()
}


def _named(*patterns: str) -> Sequence[Sequence[str]]:
    fields = ("limit", "remaining", "reset")
    return [[pattern.format(field) for field in fields] for pattern in patterns]


_REQUESTS: Final = _named(
    "x-ratelimit-{}-requests",
    "x-ratelimit-{}-requests-minute",
    "x-ratelimit-{}-req-minute",
    "anthropic-ratelimit-requests-{}",
    "x-trial-endpoint-call-{}",
)
"""The headers of OpenAI and its like, Cerebras, Mistral, Anthropic, and Cohere's trial keys."""
_TOKENS: Final = _named(
    "x-ratelimit-{}-tokens",
    "x-ratelimit-{}-tokens-minute",
    "anthropic-ratelimit-tokens-{}",
    "anthropic-ratelimit-input-tokens-{}",
)
"""Anthropic's `tokens` is the tightest limit in force, as it picks it itself."""
_HEADERS: Final = frozenset(name for names in (*_REQUESTS, *_TOKENS) for name in names) | {
    *("retry-after", "retry-after-ms")
}

_Budget = tuple[int | None, int | None, float | None]
_UNKNOWN: Final[_Budget] = (None, None, None)


def rate_info(headers: Mapping[str, str], now: datetime | None = None) -> RateInfo | None:
    """The limits in any wire's headers; None without any."""
    # Most replies have none of the headers: one look instead of thirty.
    if _HEADERS.isdisjoint(headers):
        return None
    requests, tokens = _budget(headers, _REQUESTS, now), _budget(headers, _TOKENS, now)
    wait_s = retry_after_s(headers, now)
    if requests == tokens == _UNKNOWN and wait_s is None:
        return None
    return RateInfo(*requests, *tokens, wait_s)


def _budget(
    headers: Mapping[str, str], names: Iterable[Sequence[str]], now: datetime | None
) -> _Budget:
    """A minute's limit, what is left of it, and the seconds until it is whole again."""
    for limit, remaining, reset in names:
        if limit in headers or remaining in headers or reset in headers:
            wait_s = _reset_s(headers.get(reset, ""), now)
            return _whole(headers.get(limit)), _whole(headers.get(remaining)), wait_s
    return _UNKNOWN


def _reset_s(value: str, now: datetime | None) -> float | None:
    """A span of time, or the seconds until a moment, as a number or as RFC 3339 writes it."""
    wait_s = _wait_s(value, now)
    if wait_s is not None:
        return wait_s
    try:
        return _until(datetime.fromisoformat(value), now)
    except ValueError:
        return None


def _whole(value: str | None) -> int | None:
    try:
        return count(int(float(value))) if value is not None else None
    except (ValueError, OverflowError):
        return None


def _wait_s(value: str, now: datetime | None, unit_s: float = 1.0) -> float | None:
    """A span of time, or the seconds until the moment that a number is too large to be a span."""
    if value[-1:].isalpha():  # as nearly always, and no number
        return _span_s(value.strip())
    try:
        number = float(value) * unit_s
    except ValueError:
        return _span_s(value.strip())
    return _bounded(number) if number < _MOMENTS[0] else until_s(number, now)


def seconds(value: str) -> float | None:
    """A span of time in seconds: `2`, `1.5s`, `6m0s`, `120ms`, `1h2m`; None if it is none."""
    value = value.strip()
    try:
        return _bounded(float(value))
    except ValueError:
        return _span_s(value)


def _span_s(value: str) -> float | None:
    read, wait_s = "", 0.0
    for number, unit in _SPAN.findall(value):
        read += number + unit
        wait_s += float(number) * _UNIT_S[unit]
    return _bounded(wait_s) if value and read == value else None


def asked_in_words_s(message: str) -> float | None:
    """The wait in `try again in 7m12.5s`, `retry after 24 seconds` and the like; None without.

    OpenAI, Groq and Azure write so, and some gateways pass on nothing else of it. "Your quota will
    reset after 7h12m" is Google's: google-gemini/gemini-cli 13004.
    """
    asked = _ASKED.search(message.lower())
    wait_s = None
    for number, word in _PARTS.findall(asked[1]) if asked is not None else ():
        unit_s = _WORDS_S.get(word)
        if unit_s is None:
            break
        wait_s = (wait_s or 0.0) + float(number) * unit_s
    return _bounded(wait_s) if wait_s is not None else None


def _bounded(wait_s: float) -> float | None:
    """None for what no server can mean: below 0, nan, years."""
    return wait_s if 0 <= wait_s <= LONGEST_WAIT_S else None


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The requested wait: `retry-after-ms`, or `retry-after` in seconds or as a date.

    RFC 9110, section 10.2.3; the -ms form is OpenAI's and Azure's. A number that is too large for
    a wait is a moment: openclaw/clawhub 407, ArjanCodes/moneysnake PR 24.
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        wait_s = _wait_s(milliseconds, now, 0.001)
        if wait_s is not None:
            return wait_s
    value = headers.get("retry-after")
    if value is None:
        return None
    wait_s = _reset_s(value, now)
    if wait_s is not None:
        return wait_s
    from email.utils import parsedate_to_datetime  # with all of email, for what is seldom

    try:
        return _until(parsedate_to_datetime(value), now)
    except (ValueError, OverflowError):
        return None


def _until(moment: datetime, now: datetime | None) -> float | None:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _bounded(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()))


def until_s(moment: object, now: datetime | None = None) -> float | None:
    """Seconds until a moment in (milli)seconds since 1970, as a text or a number.

    0 for one that has passed; None for one that is years away, or no moment.
    """
    try:
        moment_s = float(moment) if isinstance(moment, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return None
    if moment_s == math.inf:
        return None
    while moment_s >= _MOMENTS[1]:
        moment_s /= 1000
    if not moment_s >= _MOMENTS[0]:
        return None
    return _bounded(max(0.0, moment_s - (now or datetime.now(UTC)).timestamp()))
