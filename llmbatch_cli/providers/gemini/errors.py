"""Google's errors (google.rpc.Status), classified; the same on every address of Gemini.

Sources (read 2026-11-22): ai.google.dev/gemini-api/docs/troubleshooting, /docs/rate-limits;
cloud.google.com/apis/design/errors (ErrorInfo, RetryInfo, QuotaFailure); bodies as users have
recorded them in google-gemini/gemini-cli issues 8437 and 1609, googleapis/python-genai issue 1218
(read 2026-11-23: a file that is not there).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from llmbatch_cli.core import errors
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.errors import (
    ErrorBody,
    ErrorClass,
    ErrorRules,
    by_code,
    error_class,
)
from llmbatch_cli.providers.wire.limits import seconds
from llmbatch_cli.providers.wire.replies import mappings, text_or_none

_STATUSES: Final = dict(
    zip((3, 5, 6, 7, 8, 9, 11, 14, 16), (400, 404, 409, 403, 429, 400, 400, 503, 401), strict=True)
)

RULES: Final = ErrorRules(
    # `reason` of google.rpc.ErrorInfo, where it is more specific: a bad key is a 400.
    # Below these `error.status`, which counts in a stream, or under a 200.
    codes=by_code(
        {
            errors.Unauthorized: "API_KEY_INVALID API_KEY_EXPIRED API_KEY_SERVICE_BLOCKED "
            "ACCESS_TOKEN_EXPIRED SERVICE_DISABLED "
            "UNAUTHENTICATED PERMISSION_DENIED",
            errors.OutOfQuota: "BILLING_DISABLED",
            errors.RateLimited: "RATE_LIMIT_EXCEEDED RESOURCE_EXHAUSTED",
            errors.Overloaded: "UNAVAILABLE INTERNAL UNKNOWN ABORTED CANCELLED DEADLINE_EXCEEDED",
            errors.Rejected: "NOT_FOUND INVALID_ARGUMENT OUT_OF_RANGE FAILED_PRECONDITION "
            "UNIMPLEMENTED",
        }
    ),
    words=(
        (r"api key (not valid|expired|not found)|reported as leaked", errors.Unauthorized),
        (r"permission to access the file\b", errors.Rejected),
        (r"user location is not supported|free tier is not available", errors.Unauthorized),
        (CONTEXT_LENGTH, errors.ContextLength),
        (r"unexpected model name format", errors.UnknownModel),
        (
            r"\bmodels?\b.{0,200}(not found|no longer available|not supported for)",
            errors.UnknownModel,
        ),
        (r"credits are depleted|spend(ing)? cap|billing (is|has been) disabled", errors.OutOfQuota),
    ),
    # Google's 429s mention quota and billing even where waiting a minute is enough.
    common_words=False,
    hints={
        errors.UnknownModel: "llmbatch models gemini lists what this key may use",
        errors.OutOfQuota: "daily quotas are renewed at midnight Pacific time; "
        "ai.google.dev/gemini-api/docs/rate-limits lists the tiers",
    },
)


def http_status(code: int) -> int:
    """The HTTP status of a google.rpc.Code, which may be an HTTP status, too; else 500."""
    return code if 400 <= code < 600 else _STATUSES.get(code, 500)


def google_error_class(error: ErrorBody) -> ErrorClass:
    """The class of an error; OutOfQuota in place of RateLimited for a quota of a day, or of none.

    Google's retryDelay is under a minute even then, which would only use up the attempts.
    """
    info = next(_details(error, "ErrorInfo"), {})
    reason, status = text_or_none(info.get("reason")), text_or_none(error.fields.get("status"))
    # Outside a 200 the HTTP status is at least as specific.
    named = status if error.wrapped else None
    kind = error_class(replace(error, code=reason or "", type=named or ""), RULES)
    if kind is not errors.RateLimited:
        return kind
    violations = [
        violation
        for detail in _details(error, "QuotaFailure")
        for violation in mappings(detail.get("violations"))
    ]
    hopeless = any(_is_hopeless(quota) for quota in violations)
    return errors.OutOfQuota if hopeless or re.search(r"\blimit: 0\b", error.message) else kind


def _is_hopeless(quota: Mapping[str, Any]) -> bool:
    quota_id = text_or_none(quota.get("quotaId")) or ""
    return "perday" in quota_id.lower() or quota.get("quotaValue") == "0"


def retry_delay_s(error: ErrorBody) -> float | None:
    """`retryDelay` of google.rpc.RetryInfo, such as `38.8s`; None where there is none, or 0."""
    info = next(_details(error, "RetryInfo"), {})
    return seconds(text_or_none(info.get("retryDelay")) or "") or None


def _details(error: ErrorBody, kind: str) -> Iterator[Mapping[str, Any]]:
    for detail in mappings(error.fields.get("details")):
        if (text_or_none(detail.get("@type")) or "").endswith(f"google.rpc.{kind}"):
            yield detail
