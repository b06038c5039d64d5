"""What has happened in a run so far, in numbers."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.events import (
    Counted,
    Dropped,
    Event,
    Finished,
    Holder,
    Opened,
    Retried,
    Skipped,
    Started,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Outcome

WINDOW_S: Final = 10.0
"""How far back the present speed looks."""
_ENOUGH_ROWS: Final = 5
"""With fewer rows in the window, the time left goes by the whole run's speed."""


class Totals:
    """An observer that counts. Costs about 0.5 microseconds an event, so it may stand anywhere.

    Every row is counted once: `rows` is `answered` and all of `failed` together. A race
    counts with its first outcome, and with the tokens of all its racers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.rows = 0
        """Rows with an outcome."""
        self.answered = 0
        self.failed: dict[str, int] = {}
        """Rows without an answer, by the kind of their failure."""
        self.truncated = 0
        """Answers cut off by a length limit."""
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        """The part of `completion_tokens` that went into hidden reasoning."""
        self.unknown_usage = 0
        """Answers whose tokens the provider has not told."""
        self.dropped = 0
        """Rows whose work ended without an outcome."""
        self.total: int | None = None
        """Rows of the input to answer in this run; None where that is not known."""
        self.cut_short = False
        """Whether the run was ended before its input; whoever runs it says so."""
        self.skipped = 0
        """Rows that an earlier run has finished."""
        self.retries = 0
        """Requests that failed and were tried again."""
        self.billed_tries = 0
        """Tries without an answer that may have been billed, of rows with an outcome."""
        self.billed_rows = 0
        """Rows with such tries that have no answer after all."""
        self.held_by: Callable[[], Holder | None] = lambda: None
        """What the next row waits for just now."""
        self._opened_s = clock()
        self._began_s: float | None = None
        self._in_flight: set[int] = set()
        self._last: int | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._finish(event.outcome)
        elif isinstance(event, Started):
            if self._began_s is None:
                self._began_s = self.clock()
            self._in_flight.add(event.index)
        elif isinstance(event, Dropped):
            if event.index in self._in_flight:
                self._in_flight.remove(event.index)
                self.dropped += 1
        else:
            self._seldom(event)

    def _seldom(self, event: Event) -> None:
        if isinstance(event, Counted):
            self.total = max(0, event.rows - self.skipped)
        elif isinstance(event, Skipped):
            self.skipped += 1
            if self.total:
                self.total -= 1
        elif isinstance(event, Opened):
            self.held_by = event.held_by
        elif isinstance(event, Retried):
            self.retries += 1

    @property
    def in_flight(self) -> int:
        """Rows begun that have neither an outcome nor been dropped."""
        return len(self._in_flight)

    @property
    def failed_rows(self) -> int:
        """Rows without an answer, of all kinds."""
        return sum(self.failed.values())

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def has_begun(self) -> bool:
        """Whether a row has been begun."""
        return self._began_s is not None

    @property
    def elapsed_s(self) -> float:
        """Since the first row began; before that, since these totals were made."""
        return self.clock() - (self._opened_s if self._began_s is None else self._began_s)

    def _finish(self, outcome: Outcome) -> None:
        index = outcome.index
        further = index == self._last and index not in self._in_flight
        self._in_flight.discard(index)
        self._last = index
        completion = outcome.completion
        if completion is not None and not outcome.race:
            self._spend(completion.usage)
        if further:
            return
        for racer in outcome.race:  # losers too, as far as their usage is known
            if racer.usage is not None or racer.status == "won":
                self._spend(racer.usage)
        self.rows += 1
        if billed := _billed_tries(outcome):
            self.billed_tries += billed
            self.billed_rows += completion is None
        if completion is not None:
            self.answered += 1
            if completion.finish_reason == "length":
                self.truncated += 1
        else:
            kind = outcome.error.kind if outcome.error is not None else "unknown"
            self.failed[kind] = self.failed.get(kind, 0) + 1

    def _spend(self, usage: Usage | None) -> None:
        if usage is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
            self.unknown_usage += 1
            return
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        if usage.reasoning_tokens:
            self.reasoning_tokens += usage.reasoning_tokens


def _billed_tries(outcome: Outcome) -> int:
    billed = sum(one.maybe_billed for one in outcome.failed_attempts) if not outcome.race else 0
    return billed + sum(one.maybe_billed for racer in outcome.race for one in racer.failed_attempts)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a run is; `left_s` is None where that cannot be known."""

    rows_per_s: float
    prompt_tokens_per_s: float
    completion_tokens_per_s: float
    left_s: float | None


class Pace:
    """The speed of the last WINDOW_S seconds, from looks at the totals now and then."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._looks: deque[tuple[float, int, int, int]] = deque()
        self.look()

    def look(self) -> Speed:
        """Take a look. The window begins at the last look that is WINDOW_S old, or the first.

        It never begins before the first row.
        """
        totals, looks = self._totals, self._looks
        now = totals.clock()
        looks.append((now, totals.rows, totals.prompt_tokens, totals.completion_tokens))
        while len(looks) > 1 and looks[1][0] <= now - WINDOW_S:
            looks.popleft()
        then, rows, prompt, completion = looks[0]
        then = max(then, now - totals.elapsed_s)
        rows = totals.rows - rows
        per_s = 1 / (now - then) if now > then else 0.0
        return Speed(
            rows * per_s,
            (totals.prompt_tokens - prompt) * per_s,
            (totals.completion_tokens - completion) * per_s,
            self._left_s(rows * per_s if rows >= _ENOUGH_ROWS else mean_rows_per_s(totals)),
        )

    def _left_s(self, rows_per_s: float) -> float | None:
        if self._totals.total is None:
            return None
        left = max(0, self._totals.total - self._totals.rows)
        if left and not rows_per_s:
            return None
        return left / rows_per_s if left else 0.0


def mean_rows_per_s(totals: Totals) -> float:
    """Rows a second over the whole run."""
    elapsed_s = totals.elapsed_s
    return totals.rows / elapsed_s if elapsed_s > 0 else 0.0
