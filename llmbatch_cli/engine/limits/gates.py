"""The paces that hold for one model: the user's, the provider's own, and the learned one."""

import math

from llmbatch_cli.core.types import RateInfo
from llmbatch_cli.engine.limits.buckets import Counted, Gate, LastMinute, Pace
from llmbatch_cli.engine.limits.rate_headers import RateHeaders


class Gates:
    """All of them, and the part of the account that is this process's.

    All limits are the whole account's, also the learned rate.
    """

    def __init__(self, rpm: float | None, tpm: int | None) -> None:
        self.learned = Pace(1.0, "rpm")
        self._rpm = None if rpm is None else (rpm, Pace(rpm, "rpm"))
        self._tpm = None if tpm is None else (tpm, Pace(tpm, "tpm"), LastMinute(tpm))
        self._flags: list[Gate] = []
        if self._rpm is not None:
            self._flags.append(self._rpm[1])
        if self._tpm is not None:
            self._flags += self._tpm[1:]
        self._reported = RateHeaders()
        self._has_learned = False
        self._part = 1.0

    @property
    def counts_tokens(self) -> bool:
        """Whether the provider limits them by its own word."""
        return self._reported.tokens.pace is not None

    def now(self) -> list[Gate]:
        """Those that hold."""
        learned = [self.learned] if self._has_learned else []
        return [*self._flags, *self._reported.paces, *learned]

    def lowest(self, counts: Counted) -> float | None:
        """How many a minute they allow; None is no known limit."""
        paces = [gate for gate in self.now() if isinstance(gate, Pace) and gate.counts == counts]
        return min((pace.per_minute for pace in paces), default=None)

    def read(self, limits: RateInfo) -> bool:
        """Read a reply's limits; returns whether one is new or has changed."""
        return self._reported.read(limits)

    def learn(self, per_minute: float | None) -> None:
        """The learned rate; None is none."""
        self._has_learned = per_minute is not None
        if per_minute is not None:
            self.learned.change(per_minute * self._part)

    def set_share(self, part: float, now: float) -> None:
        """So much of the account is this process's, from above 0 to 1."""
        self.learned.rescale(self.learned.per_minute * part / self._part, now)
        self._part = part
        if self._rpm is not None:
            rpm, pace = self._rpm
            pace.rescale(whole_part(rpm, part), now)
        if self._tpm is not None:
            tpm, token_pace, last_minute = self._tpm
            token_pace.rescale(tpm * part, now)
            last_minute.change(int(whole_part(tpm, part)))
        self._reported.set_share(part, now)


def whole_part(limit: float, part: float) -> float:
    """A part of a limit, rounded down where that leaves one: any minute has whole requests, and
    those of all parts are never more than the limit."""
    held = limit * part
    return max(math.floor(held + 1e-6), min(held, 1.0)) if part < 1 else limit
