"""The time after a 429 in which nothing is sent."""

from collections.abc import Callable
from typing import Final

from llmbatch_cli.core.errors import RateLimited

LONGEST_SPREAD_S: Final = 30.0
"""Runs that share a key wake spread over so much at most."""


class CoolDown:
    """Until when nothing is sent, and why nobody is to wait for that. Times are in seconds."""

    def __init__(self, patience_s: float, chance: Callable[[], float]) -> None:
        """
        Args:
            patience_s: nobody is made to wait for longer than this because the provider asks so.
            chance: uniform in [0, 1).
        """
        self.until = self._asked_until = self._heard_until = float("-inf")
        self._patience_s = patience_s
        self._chance = chance
        self._long_wait: RateLimited | None = None
        """The last error that asked for a wait over `patience_s`."""

    def begin(self, error: RateLimited, pause_s: float, now: float) -> bool:
        """Wait for so long; returns whether that is too long for those that wait here."""
        # So that not all runs with this key wake at once; the pace spreads this one's, too.
        until = now + pause_s + min(0.1 * pause_s, LONGEST_SPREAD_S) * self._chance()
        self.until = max(self.until, until)
        if error.retry_after_s is None:
            return False
        self._asked_until = max(self._asked_until, until)
        if pause_s <= self._patience_s:
            return False
        self._long_wait = error
        return True

    def hear(self, wait_s: float, now: float) -> None:
        """The provider has asked another process of the same account to wait for so long."""
        self._heard_until = max(self._heard_until, now + wait_s)
        self.until = max(self.until, self._heard_until)

    def asked_s(self, now: float) -> float:
        """For how long the provider has asked this process to wait."""
        return max(0.0, self._asked_until - now)

    def end_early(self) -> None:
        """It was for no limit; what the provider asks for is obeyed all the same."""
        self.until = max(self._asked_until, self._heard_until)

    def refusal(self, now: float) -> RateLimited | None:
        """Why nobody is to wait here now."""
        said, wait_s = self._long_wait, max(0.0, self.until - now)
        if said is None or wait_s <= self._patience_s:
            return None
        return RateLimited(said.message, status=said.status, retry_after_s=wait_s, hint=said.hint)
