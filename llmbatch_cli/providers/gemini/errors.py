"""Google's errors (google.rpc.Status), told apart; the same on every address Gemini has.

Sources (read 2026-11-22): ai.google.dev/gemini-api/docs/troubleshooting, /docs/rate-limits;
cloud.google.com/apis/design/errors (ErrorInfo, RetryInfo, QuotaFailure); bodies as users have
recorded them in google-gemini/gemini-cli issues 8437 and 1609, googleapis/python-genai issue 1218
(read 2026-11-23: a file that is not there).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    UnknownModel,
)
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.wire.replies import (
    count,
    error_for_status,
    error_of,
    excerpt,
    json_object,
    mapping,
    seconds,
    text_or_none,
)

STATUSES: Final[Mapping[str, type[ProviderError]]] = {
    "RESOURCE_EXHAUSTED": RateLimited,
    "UNAVAILABLE": Overloaded,
    "INTERNAL": Overloaded,
    "UNKNOWN": Overloaded,
    "ABORTED": Overloaded,
    "CANCELLED": Overloaded,
    "DEADLINE_EXCEEDED": Overloaded,
    "UNAUTHENTICATED": Unauthorized,
    "PERMISSION_DENIED": Unauthorized,
    "NOT_FOUND": Rejected,
    "INVALID_ARGUMENT": Rejected,
    "OUT_OF_RANGE": Rejected,
    "FAILED_PRECONDITION": Rejected,
    "UNIMPLEMENTED": Rejected,
}
"""`error.status`, where no HTTP status tells: in a stream, or under a 200."""

REASONS: Final[Mapping[str, type[ProviderError]]] = {
    "API_KEY_INVALID": Unauthorized,
    "API_KEY_EXPIRED": Unauthorized,
    "API_KEY_SERVICE_BLOCKED": Unauthorized,
    "ACCESS_TOKEN_EXPIRED": Unauthorized,
    "SERVICE_DISABLED": Unauthorized,
    "BILLING_DISABLED": OutOfQuota,
    "RATE_LIMIT_EXCEEDED": RateLimited,
}
"""`reason` of google.rpc.ErrorInfo, where it says more than the status: a bad key is a 400."""

SAID: Final = (
    (re.compile(r"API key (not valid|expired|not found)|(?i:reported as leaked)"), Unauthorized),
    (re.compile(r"(?i)permission to access the file\b"), Rejected),
    (re.compile(r"(?i)user location is not supported|free tier is not available"), Unauthorized),
    (re.compile(r"(?i)token count.{0,60}exceeds the maximum|exceeds the maximum number of tokens"),
     ContextLength),
    (re.compile(r"(?i)unexpected model name format"), UnknownModel),
    (re.compile(r"(?i)\bmodels?\b.{0,200}(not found|no longer available|not supported for)"),
     UnknownModel),
    (re.compile(r"(?i)credits are depleted|spend(ing)? cap|billing (is|has been) disabled"),
     OutOfQuota),
)  # fmt: skip
"""What only the message tells, by what Google writes."""
NO_FREE_QUOTA: Final = re.compile(r"\blimit: 0\b")
"""In a 429: this model has no free quota at all, so no waiting helps."""
A_DAY: Final = re.compile(r"(?i)PerDay")

_HINTS: Final[Mapping[type[ProviderError], str]] = {
    UnknownModel: "`llmbatch models gemini` lists what this key may use",
    OutOfQuota: "quotas of a day begin anew at midnight Pacific time; "
    "ai.google.dev/gemini-api/docs/rate-limits tells the tiers",
}


def error(reply: WireReply, api_key: str | None) -> ProviderError:
    """The error that a reply other than an answer means, by Google's google.rpc.Status."""
    said: Mapping[str, Any] = {}
    try:
        # streamGenerateContent answers an error as a list of one when `alt=sse` is lost.
        listed = reply.body.lstrip().startswith(b"[")
        body = reply.body.strip()[1:-1] if listed else reply.body
        found = json_object(WireReply(reply.status, reply.headers, body)).get("error")
        said = found if isinstance(found, dict) else {"message": found}
        words = said.get("message")
        message = words if isinstance(words, str) else f"HTTP {reply.status}: {excerpt(body)}"
    except BadReply as bad:
        message = f"HTTP {reply.status}: {bad.message}"
    kind = _kind(said, message, reply.status)
    wait_s = _retry_delay_s(said) or None
    return error_of(kind, message, reply, api_key, wait_s=wait_s, hint=_HINTS.get(kind))


def _kind(said: Mapping[str, Any], message: str, status: int) -> type[ProviderError]:
    for detail in _details(said, "ErrorInfo"):
        reason = text_or_none(detail.get("reason")) or ""
        if reason in REASONS:
            return _of_quota(REASONS[reason], said, message)
    for pattern, kind in SAID:
        if status < 500 and pattern.search(message):
            return kind
    if status == 200:
        named = STATUSES.get(text_or_none(said.get("status")) or "")
        return _of_quota(named or error_for_status(count(said.get("code")) or 500), said, message)
    return _of_quota(error_for_status(status), said, message)


def _of_quota(
    kind: type[ProviderError], said: Mapping[str, Any], message: str
) -> type[ProviderError]:
    """OutOfQuota in place of RateLimited, where the quota is a day's, or is nothing.

    Google asks to wait under a minute even then, which would only burn the attempts.
    """
    if kind is not RateLimited:
        return kind
    if NO_FREE_QUOTA.search(message):
        return OutOfQuota
    for detail in _details(said, "QuotaFailure"):
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            quota = mapping(violation)
            if (
                A_DAY.search(text_or_none(quota.get("quotaId")) or "")
                or quota.get("quotaValue") == "0"
            ):
                return OutOfQuota
    return kind


def _details(said: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    found = said.get("details")
    for detail in found if isinstance(found, list) else ():
        named = text_or_none(mapping(detail).get("@type")) or ""
        if named.endswith(f"google.rpc.{kind}"):
            yield detail


def _retry_delay_s(said: Mapping[str, Any]) -> float | None:
    """`retryDelay` of google.rpc.RetryInfo, such as `38.8s`."""
    for detail in _details(said, "RetryInfo"):
        if isinstance(detail.get("retryDelay"), str):
            return seconds(detail["retryDelay"])
    return None
