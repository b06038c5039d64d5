"""What the wires share in reading replies: JSON, counts, messages, limits. All input is hostile."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import (
    BadReply,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
)
from llmbatch_cli.core.privacy import SHORTEST_KEY
from llmbatch_cli.core.types import RateInfo, WireReply

MAX_MESSAGE_CHARS = 2000
LONGEST_WAIT_S = 86_400.0

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|r8|pplx|nvapi|csk|fw|tgp)[-_][\w*.-]{8,}|\bAIza[\w-]{20,}"
    r"|(?i:bearer) [\w*.~+/=-]{8,}"
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def json_object(reply: WireReply) -> dict[str, Any]:
    """The reply's body as a JSON object. Raises BadReply that shows how the body begins."""
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        raise BadReply(_not_json(reply), status=reply.status) from error
    if not isinstance(value, dict):
        raise BadReply(
            f"the reply is JSON but no object: {excerpt(reply.body)}", status=reply.status
        )
    return value


def _not_json(reply: WireReply) -> str:
    if 300 <= reply.status < 400:
        return (
            f"the server redirects to {clean(reply.headers.get('location', '?'), 200)}, which is "
            "not followed: the key would go there, too (is the base URL right?)"
        )
    if not reply.body:
        return "the reply is empty"
    beginning = excerpt(reply.body)
    if "html" in reply.headers.get("content-type", "") or reply.body.lstrip()[:1] == b"<":
        page = "the reply is a web page, not JSON (is a proxy or a wrong base URL in between?)"
        return f"{page}: {beginning}"
    return f"the reply is no whole JSON: {beginning}"


def excerpt(body: bytes, max_chars: int = 200) -> str:
    """The beginning of a body, safe to show."""
    return clean(body[: 4 * max_chars].decode("utf-8", "replace"), max_chars)


def clean(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """A provider's own words, cut, without control characters and without anything like a key."""
    text = _CONTROL.sub("", text[: 2 * max_chars])
    text = " ".join(_SECRET.sub("[key]", text).split())
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def without_key(text: str, api_key: str | None) -> str:
    """The text without this key: some servers repeat what they were sent.

    So short a key as stands in for none, such as `x`, is no secret, and part of many a word.
    """
    return text.replace(api_key, "[key]") if api_key and len(api_key) >= SHORTEST_KEY else text


QUOTA_HINT: Final = "add credit or raise the limit at the provider, then go on with --resume"


def error_of(
    kind: type[ProviderError],
    message: str,
    reply: WireReply,
    api_key: str | None,
    *,
    limits: RateInfo | None = None,
    wait_s: float | None = None,
    hint: str | None = None,
) -> ProviderError:
    """The error of this kind in the server's own words, made fit to be shown.

    `limits` are those of the reply, where the wire tells them in headers of its own; `wait_s`
    is what its body asks to wait.
    """
    error = kind(
        clean(without_key(message, api_key)),
        status=reply.status,
        retry_after_s=retry_after_s(reply.headers) if wait_s is None else wait_s,
        hint=hint or (QUOTA_HINT if kind is OutOfQuota else None),
    )
    error.limits = limits or rate_info(reply.headers)
    return error


def count(value: object) -> int | None:
    """A token count, or None for anything that is no count."""
    if type(value) is int and 0 <= value < 2**53:
        return value
    return None


def text_or_none(value: object) -> str | None:
    """The value if it is a string."""
    return value if isinstance(value, str) else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def arguments_json(given: object) -> str:
    """A tool call's arguments as JSON; a string is JSON already, and stays as it came.

    Raises BadReply for what is nested deeper than JSON can be written.
    """
    if isinstance(given, str):
        return given
    try:
        return orjson.dumps({} if given is None else given).decode()
    except TypeError as error:
        raise BadReply(f"a tool call cannot be written as JSON: {error}", status=200) from error


def tool_input(text: str) -> Any:
    """The input of a tool from its streamed pieces; the text itself where it broke off."""
    try:
        return orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return text


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
    """How long the server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date.

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
    return wait_s if wait_s is not None else _until(value, now)


def _until(date: str, now: datetime | None) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
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


def rate_info(headers: Mapping[str, str]) -> RateInfo | None:
    """The limits in OpenAI's headers, which most compatible hosts send too; None without any.

    Cerebras ends the names of a minute's limits in `-minute`; its limits of a day are no pace.
    Sources: platform.openai.com/docs/guides/rate-limits (read 2026-11-22),
    inference-docs.cerebras.ai/support/rate-limits (read 2026-11-23).
    """
    found = RateInfo(
        *_budget(headers, _REQUESTS), *_budget(headers, _TOKENS), retry_after_s(headers)
    )
    return None if found == _NO_LIMITS else found


_NO_LIMITS: Final = RateInfo()
_BUDGETS: Final = [
    [f"x-ratelimit-{what}-{counted}" for what in ("limit", "remaining", "reset")]
    for counted in ("requests", "tokens", "requests-minute", "tokens-minute")
]
_REQUESTS: Final = (_BUDGETS[0], _BUDGETS[2])
_TOKENS: Final = (_BUDGETS[1], _BUDGETS[3])

_Budget = tuple[int | None, int | None, float | None]


def _budget(headers: Mapping[str, str], names: Iterable[Sequence[str]]) -> _Budget:
    """A minute's limit, what is left of it, and the seconds until it is whole again."""
    for limit, remaining, reset in names:
        told = headers.get(limit), headers.get(remaining), headers.get(reset)
        if any(told):
            return _whole(told[0]), _whole(told[1]), seconds(told[2] or "")
    return None, None, None


def _whole(value: str | None) -> int | None:
    try:
        return count(int(float(value))) if value is not None else None
    except (ValueError, OverflowError):
        return None


def error_for_status(status: int) -> type[ProviderError]:
    """The class that a status alone tells, before a provider looks at the body."""
    if status in (401, 403):
        return Unauthorized
    if status == 402:
        return OutOfQuota
    if status == 429:
        return RateLimited
    if status in (408, 409, 425) or status >= 500:
        return Overloaded
    if 400 <= status < 500:
        return Rejected
    return BadReply
