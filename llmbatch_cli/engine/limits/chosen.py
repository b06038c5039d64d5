"""The limits that the user sets: for a run, and over them for one provider."""

import math
from dataclasses import replace
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import Limits
from llmbatch_cli.engine.limits.limiter import START_IN_FLIGHT, RateLimits

MOST_IN_FLIGHT: Final = 512
"""The ceiling where the user sets none."""
RACE_IN_FLIGHT: Final = 64


def rate_limits(limits: Limits, *, together: bool) -> RateLimits:
    """The limits that the user sets; `together` is for a race. Raises UsageError."""
    concurrency, rpm, tpm = limits.concurrency, limits.rpm, limits.tpm
    if concurrency is not None and concurrency < 1:
        raise UsageError("concurrency must be at least 1")
    if (rpm is not None and not 0 < rpm < math.inf) or (tpm is not None and tpm <= 0):
        raise UsageError("rpm and tpm must be numbers above 0")
    most = concurrency or (RACE_IN_FLIGHT if together else MOST_IN_FLIGHT)
    return RateLimits(most, concurrency or START_IN_FLIGHT, rpm, tpm, together)


def with_own(limits: RateLimits, own: Limits) -> RateLimits:
    """The limits of a run with a provider's own over them."""
    return replace(
        limits,
        most_in_flight=own.concurrency or limits.most_in_flight,
        start_in_flight=own.concurrency or limits.start_in_flight,
        rpm=own.rpm or limits.rpm,
        tpm=own.tpm or limits.tpm,
    )
