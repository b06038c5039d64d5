"""The rate limits that a provider reports in its replies, as paces to keep."""

from typing import Final

from llmbatch_cli.core.types import RateInfo
from llmbatch_cli.engine.limits.buckets import Counted, Pace

MARGIN: Final = 0.98
"""The part of a reported limit that is used: others may share it, and clocks differ."""


class RateHeaders:
    """What the last reply reported, as one pace of requests and one of tokens."""

    def __init__(self) -> None:
        self.requests = _ReportedPace("rpm")
        self.tokens = _ReportedPace("tpm")

    def read(self, info: RateInfo) -> bool:
        """Read a reply's limits; returns whether one is new or has changed."""
        requests = self.requests.read(
            info.limit_requests, info.remaining_requests, info.reset_requests_s
        )
        tokens = self.tokens.read(info.limit_tokens, info.remaining_tokens, info.reset_tokens_s)
        return requests or tokens

    def set_share(self, part: float, now: float) -> None:
        """So much of what is reported is this process's, from above 0 to 1."""
        for one in (self.requests, self.tokens):
            one.set_share(part, now)

    @property
    def paces(self) -> list[Pace]:
        """Those that are known."""
        return [one.pace for one in (self.requests, self.tokens) if one.pace is not None]


class _ReportedPace:
    """One limit. No reply gives its period, so that is guessed.

    A minute is the rule. For an hour or a day that is too fast, which rejections correct; only a
    limit by the second has to be recognized.
    """

    def __init__(self, counts: Counted) -> None:
        self.pace: Pace | None = None
        self._counts: Counted = counts
        self._whole = 0.0
        """A minute, of the whole account."""
        self._part = 1.0
        self._longest_reset_s = 0.0
        self._least = self._most = 0.5
        """The parts of the limit that remained, so far."""

    def read(self, limit: int | None, remaining: int | None, reset_s: float | None) -> bool:
        if not limit:
            return False
        if reset_s is not None and remaining is not None:
            self._longest_reset_s = max(self._longest_reset_s, reset_s)
            left = remaining / limit
            self._least, self._most = min(self._least, left), max(self._most, left)
        much_used = self._least < 0.5 < self._most
        by_the_second = much_used and 0 < self._longest_reset_s <= 1
        per_minute = MARGIN * limit * (60 if by_the_second else 1)
        if per_minute == self._whole:
            return False
        self._whole = per_minute
        if self.pace is None:
            self.pace = Pace(per_minute * self._part, self._counts)
        else:
            self.pace.change(per_minute * self._part)
        return True

    def set_share(self, part: float, now: float) -> None:
        self._part = part
        if self.pace is not None:
            self.pace.rescale(self._whole * part, now)
