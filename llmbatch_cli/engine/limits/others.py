"""What other processes at the same account have done, between two reports of them."""

import math
from typing import Final

LATELY_S: Final = 3.0
"""The time constant of how fast they are."""
LONGEST_S: Final = 1.5
"""For so long after a report they are taken to go on like that."""


class Others:
    """How many of their requests were accepted. Times are in seconds."""

    def __init__(self) -> None:
        self.are_there = False
        """Whether anything was heard of others."""
        self.accepted = 0
        """Until the last report."""
        self._per_s = 0.0
        self._at = 0.0

    def hear(self, accepted: int, now: float) -> None:
        """So many more, since the last time."""
        took_s = now - self._at
        if self.are_there and took_s > 0:
            weight = 1 - math.exp(-took_s / LATELY_S)
            self._per_s += (accepted / took_s - self._per_s) * weight
        self.are_there = True
        self.accepted += accepted
        self._at = now

    def accepted_until(self, at: float) -> float:
        """All until then, as far as is known."""
        return self.accepted + self._per_s * min(at - self._at, LONGEST_S)
