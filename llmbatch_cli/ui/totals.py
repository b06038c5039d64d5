"""What has happened in a run so far, in numbers."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from llmbatch_cli.core.events import (
    Counted,
    Dropped,
    Event,
    Finished,
    Gauges,
    Holder,
    Jobs,
    JobShown,
    LeftUndone,
    Opened,
    Skipped,
    Started,
)
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Attempt, Usage
from llmbatch_cli.core.privacy import without_prompt
from llmbatch_cli.core.quantiles import Quantiles
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.ui.bill import Bill, Undone

HOUR_S: Final = 3_600
WINDOW_S: Final = 10.0
"""The current speed is measured over this time."""
LONG_WAIT_S: Final = 5.0
"""While the provider asks for a wait that is longer, the time left is unknown."""
_ENOUGH_ROWS: Final = 5
"""With fewer rows in the window, the time left is estimated from the whole run."""
_EXACT_LATENCIES: Final = 10_000
"""With more answers, their percentiles are right to 0.5 %."""


@frozen
class Speed:
    """How fast a run is; `left_s` is None where that cannot be known."""

    rows_per_s: float
    prompt_tokens_per_s: float
    completion_tokens_per_s: float
    usd_per_hour: float
    left_s: float | None


class Totals(Bill):
    """An observer that counts, at about 0.6 microseconds an event.

    Every row is counted once: `rows` is `answered` plus all of `failed`. A race counts with
    its first outcome, and with the tokens of all its racers. What it has cost is that of the
    rows with an outcome, equal to the sum over the output; `undone` has that of the others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.undone = Undone()
        self.clock = clock
        self.rows = 0
        """Rows with an outcome."""
        self.answered = 0
        self.cached = 0
        """Those of `answered` whose answer was there already; their tokens count as none."""
        self.failed: Counter[str] = Counter()
        """Failed rows, by the kind of their failure."""
        self.said: dict[str, str] = {}
        """Of each kind the first one's message, without the prompt."""
        self.truncated = 0
        """Answers cut off by a length limit."""
        self.empty = 0
        """Answers without a text, a tool call, or anything else to read, as of thoughts alone."""
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        """The part of `prompt_tokens` that came from the provider's cache."""
        self.reasoning_tokens = 0
        """The part of `completion_tokens` that went into hidden reasoning."""
        self.unknown_usage = 0
        """Answers whose tokens the provider did not report."""
        self.dropped = 0
        """Rows that were started and ended without an outcome."""
        self.total: int | None = None
        """Rows of the input to answer in this run; None while unknown."""
        self.cut_short = False
        """Whether the run ended before its input; set by whoever runs it."""
        self.skipped = 0
        self.failed_before = 0
        """Those of them that an earlier run has failed, where they are counted together."""
        """Rows that an earlier run has finished."""
        self.latencies_s = Quantiles(_EXACT_LATENCIES)
        """Of the rows answered by a request of this run."""
        self.attempts = 0
        """Requests of rows with an outcome."""
        self.retries = 0
        """Those of them beyond the first to each model."""
        self.billed_attempts = 0
        """Failed attempts that may have been billed unseen, of rows with an outcome."""
        self.billed_rows = 0
        """Failed rows with such attempts."""
        self.gauges = Gauges()
        """The run's."""
        self.dropped_in_flight = 0
        """Rows that were on the wire when the run was cancelled."""
        self.jobs: Sequence[JobShown] = ()
        """Those of a batch API that are open."""
        self._opened_s = clock()
        self._began_s: float | None = None
        self._samples = deque([(self._opened_s, 0, 0, 0, 0.0)])
        """Times, and the rows, the tokens in and out and the cost until then."""
        self._open: set[int] = set()
        """Rows started that have neither an outcome nor been dropped."""
        self._last: int | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._finish(event.outcome)
        elif isinstance(event, Started):
            self.begin()
            self._open.add(event.index)
        elif isinstance(event, Dropped) and event.index in self._open:
            self._open.remove(event.index)
            self.dropped += 1
        elif isinstance(event, Counted):
            self.total = max(0, event.rows - self.skipped)
        elif isinstance(event, Skipped):
            self.skipped += 1
            if self.total:
                self.total -= 1
        elif isinstance(event, Opened):
            self.gauges = event.gauges
        else:
            self._add_seldom(event)

    def _add_seldom(self, event: Event) -> None:
        if isinstance(event, LeftUndone):
            self.undone.add(event)
        elif isinstance(event, Jobs):
            self.begin()
            self.jobs = event.jobs

    def begin(self) -> None:
        """The first row is started, here or elsewhere."""
        if self._began_s is None:
            self._began_s = self.clock()

    @property
    def in_flight(self) -> int:
        """Rows whose requests are on the wire."""
        requests = self.gauges.in_flight()
        return len(self._open) if requests is None else min(requests, len(self._open))

    @property
    def waiting(self) -> int:
        """Rows started that only wait: for their turn, or to be tried again."""
        return len(self._open) - self.in_flight

    @property
    def held_by(self) -> Holder | None:
        """What the run is waiting for right now."""
        held_by = self.gauges.held_by()
        return held_by or ("cool-down" if self.waiting and self.gauges.cooling_s() else None)

    def cancelled(self) -> None:
        """The run is about to be cancelled: what is on the wire now may be billed."""
        self.dropped_in_flight = max(self.dropped_in_flight, self.in_flight)

    @property
    def failed_rows(self) -> int:
        """Failed rows of all kinds."""
        return self.failed.total()

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def has_begun(self) -> bool:
        """Whether a row was started."""
        return self._began_s is not None

    @property
    def elapsed_s(self) -> float:
        """Since the first row started; before that, since these totals were made."""
        return self.clock() - (self._opened_s if self._began_s is None else self._began_s)

    @property
    def rows_per_s(self) -> float:
        """Over the whole run."""
        return self.rows / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def usd_per_hour(self) -> float:
        """Over the whole run."""
        return float(self.cost_usd) / self.elapsed_s * HOUR_S if self.elapsed_s > 0 else 0.0

    def speed(self) -> Speed:
        """The speed since the last call that is WINDOW_S old, or the first row."""
        now, samples = self.clock(), self._samples
        usd = float(self.cost_usd)
        samples.append((now, self.rows, self.prompt_tokens, self.completion_tokens, usd))
        while samples[1][0] <= now - WINDOW_S:
            samples.popleft()
        then, rows, prompt, completion, spent = samples[0]
        seconds = min(now - then, self.elapsed_s)
        per_s = 1 / seconds if seconds > 0 else 0.0
        rows = self.rows - rows
        lately = rows >= _ENOUGH_ROWS
        return Speed(
            rows * per_s,
            (self.prompt_tokens - prompt) * per_s,
            (self.completion_tokens - completion) * per_s,
            (usd - spent) * per_s * HOUR_S if lately else self.usd_per_hour,
            self._left_s(rows * per_s if lately else self.rows_per_s),
        )

    def _left_s(self, rows_per_s: float) -> float | None:
        # What the rows after a long wait will take shows nothing before its end.
        if self.total is None or self.gauges.cooling_s() > LONG_WAIT_S:
            return None
        left = max(0, self.total - self.rows)
        if left and not rows_per_s:
            return None
        return left / rows_per_s if left else 0.0

    def _finish(self, outcome: Outcome) -> None:
        index, completion, attempts = outcome.index, outcome.completion, outcome.attempts
        self.add_cost(outcome)
        if completion is not None and not (outcome.race or outcome.cached):
            self._add_usage(completion.usage)
        if index in self._open:
            self._open.remove(index)
        elif index == self._last:  # a further outcome of the same row
            return
        self._last = index
        self.rows += 1
        if completion is not None:
            self.answered += 1
            self.cached += outcome.cached
            if completion.finish_reason == "length":
                self.truncated += 1
            if completion.is_empty:
                self.empty += 1
            if attempts and outcome.latency_s is not None:
                self.latencies_s.add(outcome.latency_s)
        else:
            self._add_failure(outcome.error)
        if outcome.race:
            self._add_race(outcome)
            return
        self.attempts += attempts
        if attempts > 1 or outcome.failed_attempts:
            self.retries += max(0, attempts - 1)
            self._add_failed_attempts(outcome.failed_attempts, completion)

    def _add_race(self, outcome: Outcome) -> None:
        for racer in outcome.race:
            self.attempts += racer.attempts
            self.retries += max(0, racer.attempts - 1)
            # losers too, as far as their usage is known
            if racer.cached:
                continue
            if racer.usage is not None or racer.status == "won":
                self._add_usage(racer.usage)
        failed = [attempt for racer in outcome.race for attempt in racer.failed_attempts]
        self._add_failed_attempts(failed, outcome.completion)

    def _add_failed_attempts(
        self, failed: Sequence[Attempt], completion: Completion | None
    ) -> None:
        billed = sum(attempt.is_unseen for attempt in failed)
        self.billed_attempts += billed
        self.billed_rows += completion is None and billed > 0
        for attempt in failed:
            if attempt.usage is not None:  # as of a refusal
                self._add_usage(attempt.usage)

    def _add_failure(self, error: Failure | None) -> None:
        kind = error.kind if error is not None else "unknown"
        self.failed[kind] += 1
        if error is not None and kind not in self.said:
            self.said[kind] = without_prompt(error.message, error.messages)

    def _add_usage(self, usage: Usage | None) -> None:
        if usage is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
            self.unknown_usage += 1
            return
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        if usage.cached_tokens:
            self.cached_tokens += usage.cached_tokens
        if usage.reasoning_tokens:
            self.reasoning_tokens += usage.reasoning_tokens
