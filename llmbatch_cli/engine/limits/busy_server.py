"""What other errors than 429 say about how much a server can take."""

from typing import Final

from llmbatch_cli.core.errors import Interrupted, Overloaded, TimedOut

FULL_UP: Final = (503, 529)
"""Statuses by which a server without a queue refuses what is too many for it at once."""
MOST_REFUSED: Final = 0.2
"""The share of these among the last twenty or so from which it is no accident."""
NEWEST: Final = 1 / 20
"""The weight of the newest reply in that share."""
TIME_OUTS: Final = frozenset((408, 504, 524))
"""Statuses by which a server or its gateway says that an answer took too long."""
LATE_S: Final = 1.0
"""An error with such a status that comes sooner has not waited in a queue."""


def is_full(result: object) -> bool:
    """Whether a server may have refused the request as one too many: by a status or a reset."""
    reset = isinstance(result, Interrupted) and not isinstance(result, TimedOut)
    return reset or (isinstance(result, Overloaded) and result.status in FULL_UP)


def is_late(result: object, took_s: float) -> bool:
    """Whether there was no answer in time, after a wait in the server's queue."""
    by_status = isinstance(result, Overloaded) and result.status in TIME_OUTS
    return (by_status and took_s >= LATE_S) or isinstance(result, TimedOut)
