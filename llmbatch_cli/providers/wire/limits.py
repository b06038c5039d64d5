"""Rate limits and requested waits in a reply's headers. All input is hostile.

Sources: platform.openai.com/docs/guides/rate-limits, platform.claude.com/docs/en/api/rate-limits,
docs.cohere.com/docs/rate-limits (read 2026-11-22), inference-docs.cerebras.ai/support/rate-limits
(read 2026-11-23; its daily limits are ignored).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from llmbatch_cli.core.types import RateInfo
from llmbatch_cli.providers.wire.replies import count

LONGEST_WAIT_S: Final = 86_400.0

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


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
_NO_LIMITS: Final = RateInfo()

_Budget = tuple[int | None, int | None, float | None]


def rate_info(headers: Mapping[str, str], now: datetime | None = None) -> RateInfo | None:
    """The limits in any wire's headers; None without any."""
    # Most replies have none of the headers: one look instead of thirty.
    if _HEADERS.isdisjoint(headers):
        return None
    requests, tokens = _budget(headers, _REQUESTS, now), _budget(headers, _TOKENS, now)
    found = RateInfo(*requests, *tokens, retry_after_s(headers, now))
    return None if found == _NO_LIMITS else found


def _budget(
    headers: Mapping[str, str], names: Iterable[Sequence[str]], now: datetime | None
) -> _Budget:
    """A minute's limit, what is left of it, and the seconds until it is whole again."""
    for limit, remaining, reset in names:
        if limit in headers or remaining in headers or reset in headers:
            wait_s = _reset_s(headers.get(reset, ""), now)
            return _whole(headers.get(limit)), _whole(headers.get(remaining)), wait_s
    return None, None, None


def _reset_s(value: str, now: datetime | None) -> float | None:
    """A span of time, or the seconds until a moment as RFC 3339 writes it."""
    wait_s = seconds(value)
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


def seconds(value: str) -> float | None:
    """A span of time in seconds: `2`, `1.5s`, `6m0s`, `120ms`, `1h2m`; None if it is none."""
    value = value.strip()
    try:
        return _bounded(float(value))
    except ValueError:
        pass
    parts = _SPAN.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return _bounded(sum(float(number) * _UNIT_S[unit] for number, unit in parts))


def _bounded(wait_s: float) -> float | None:
    return min(wait_s, LONGEST_WAIT_S) if wait_s >= 0 else None


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The requested wait: `retry-after-ms`, or `retry-after` in seconds or as a date.

    RFC 9110, section 10.2.3; the -ms form is OpenAI's and Azure's. At most a day.
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        wait_s = seconds(milliseconds + "ms")
        if wait_s is not None:
            return wait_s
    value = headers.get("retry-after")
    if value is None:
        return None
    wait_s = seconds(value)
    if wait_s is not None:
        return wait_s
    try:
        return _until(parsedate_to_datetime(value), now)
    except ValueError:
        return None


def _until(moment: datetime, now: datetime | None) -> float | None:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _bounded(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()))


def until_s(moment_ms: object, now: datetime | None = None) -> float | None:
    """Seconds until a moment in milliseconds since 1970, as a text or a number. At most a day."""
    try:
        moment_s = float(moment_ms) / 1000 if isinstance(moment_ms, str | int | float) else None
    except (ValueError, OverflowError):
        return None
    if moment_s is None or not moment_s > 0:
        return None
    return _bounded(max(0.0, moment_s - (now or datetime.now(UTC)).timestamp()))
