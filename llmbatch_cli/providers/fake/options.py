"""The options of the fake provider, as in `fake/MODEL?OPTIONS`."""

import math
from dataclasses import fields
from typing import Any, Final
from urllib.parse import parse_qsl

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen

FAILURES: Final = (
    *("rate_limited", "overloaded", "unreachable", "interrupted", "bad_reply", "out_of_quota"),
    *("unauthorized", "rejected", "refused", "truncated", "hang"),
)
"""The options that are rates, in the order in which they share the interval from 0 to 1."""
_INTEGERS: Final = {"seed": 0, "prompt_tokens": 0, "completion_tokens": 0, "rpm": 1}
"""The whole-numbered options and their least values."""


@frozen(kw_only=True)
class FakeOptions:
    """How the fake provider behaves.

    The failures are rates, shares of requests from 0 to 1, together at most 1. Replies have the
    status of the error (429, 503, 429 `insufficient_quota`, 401, 400), or 200: with JSON that
    ends in the middle (bad_reply), a refusal for an answer (refused), half of it and the finish
    reason `length` (truncated). The rest have no reply: the connection is refused (unreachable)
    or reset (interrupted), or nothing ever comes (hang).
    """

    latency: float = 0.0
    """Mean seconds from request to reply, for failures too."""
    jitter: float = 0.0
    """Sigma of the lognormal latency; 0 is constant, 0.5 a lively provider."""
    seed: int = 0
    """Another seed makes other requests fail."""
    prompt_tokens: int | None = None
    """Reported for every request; None counts words."""
    completion_tokens: int | None = None
    """Reported for every answer, and the length of lorem's; None counts words."""
    rpm: int | None = None
    """Requests a minute, a bucket of so many refilled evenly; those above get 429."""
    retry_after: float | None = None
    """The `retry-after` of a rate_limited reply, in seconds; None for none."""
    rate_limited: float = 0.0
    overloaded: float = 0.0
    unreachable: float = 0.0
    interrupted: float = 0.0
    bad_reply: float = 0.0
    out_of_quota: float = 0.0
    unauthorized: float = 0.0
    rejected: float = 0.0
    refused: float = 0.0
    truncated: float = 0.0
    hang: float = 0.0


NAMES: Final = tuple(field.name for field in fields(FakeOptions))


def parse_options(query: str) -> FakeOptions:
    """The options in `latency=0.2&rate_limited=0.05`; UsageError names an unknown or bad one."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise _invalid(f"cannot read the options {query!r} of the fake provider") from error
    options = FakeOptions(**{name: _value(name, text) for name, text in pairs})
    if sum(getattr(options, name) for name in FAILURES) > 1 + 1e-9:
        raise _invalid("the failure rates of the fake provider add up to more than 1")
    return options


def _value(name: str, text: str) -> Any:
    if name not in NAMES:
        raise _invalid(f"the fake provider has no option {name!r}")
    least, most = _INTEGERS.get(name, 0), 1.0 if name in FAILURES else math.inf
    try:
        value = int(text) if name in _INTEGERS else float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most or value == math.inf:
        kind = "a rate from 0 to 1" if name in FAILURES else f"a number from {least} up"
        raise _invalid(f"{name}={text} of the fake provider is not {kind}")
    return value


def _invalid(message: str) -> UsageError:
    example = "fake/echo?latency=0.2&rate_limited=0.05"
    return UsageError(message, hint=f"the options are {', '.join(NAMES)}; as in {example}")
