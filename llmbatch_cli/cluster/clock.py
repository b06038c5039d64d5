"""The time of a lease."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

BOOT: Final = getattr(time, "CLOCK_BOOTTIME", None)
"""Of Linux; another system's own clock is taken there."""

now: Callable[[], float] = time.monotonic if BOOT is None else partial(time.clock_gettime, BOOT)
"""Seconds, which go on while the machine sleeps: by the other clock a worker that wakes up would
take its lease for valid."""
