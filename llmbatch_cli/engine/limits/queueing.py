"""Finds how many in flight a server needs that queues, instead of refusing, what is too much.

More than it serves at once only wait there: throughput stays, latency grows until requests time
out. So the number in flight is raised while throughput follows. At the start it doubles. After
that two numbers take turns, `high` and `low`, and their throughputs are compared: below what the
server serves at once throughput rises nearly as the number does, above it not at all, so the
numbers settle around that. Latency alone decides nothing: answers may just be slower now.

Each number is held for a stage, until the requests that were sent in it are answered. Those sent
while fewer were in flight do not count: a slow input shows nothing about the server.
"""

from collections.abc import Callable
from math import ceil, exp, inf, log
from typing import Final

from llmbatch_cli.engine.limits.isolated_429 import Ticket
from llmbatch_cli.engine.limits.throughput import Sample, gain

FULL: Final = 0.9
"""The part of a limit that is in flight at least where it is the limit that holds."""
FEWEST: Final = 12
"""Requests of a stage of the start, at least."""
FOLLOWS: Final = 0.38
"""The rise of throughput, as a part of the number's rise, from which on it follows."""
WELL: Final = 0.65
"""The same from which on the number may double at once."""
FULLY: Final = 0.9
"""The same from which on it may treble, where it is at least MANY."""
MANY: Final = 12
"""From here on so many in flight may treble: three times too many are still answered in time."""
PACED: Final = 48
PACE: Final = 5
"""A number from PACED on is not raised at once but by so many with each answer, so that a provider
with a rate limit does not refuse hundreds before the first of them is known."""
FILLED: Final = 1.2
"""How many times as many are in flight on average while a raised number fills up, at least."""
PATIENCE: Final = 4
"""How many times as long a stage of the start may last whose result is unclear."""
ABOVE: Final = 1.7
"""How far above the number that was enough `high` begins: too many cost less than too few."""
ABOVE_FIRST: Final = 1.3
"""The same where the first number was enough already, which may be too many itself."""
ENOUGH: Final = 48
"""Requests of a later stage, at least."""
APART: Final = 1.5
"""`high` over `low`."""
WIDE_APART: Final = 1.8
"""The same where latency says that there may be far too many."""
SLOWER: Final = 1.5
"""How much latency grows to say so."""
FLAT: Final = 0.03
"""The rise of throughput, as a part of the number's rise, at which the two numbers stay."""
PULL: Final = 0.1
"""How much that grows as latency does against the lowest seen, so that in doubt it stays low."""
LONG: Final = log(3)
"""From which latency on, in logarithms of the lowest, that grows at once as latency does: of two
runs at one server each gets more throughput the more it sends, and where answers come in no
order, it seems so."""
STEEP: Final = 0.85
"""The rise of throughput, likewise, that shows that there is no queue: the number doubles again."""
BRIEF: Final = log(2)
"""The latency, likewise, up to which it may."""
FORGETS: Final = 1.5
"""How the lowest latency grows with each comparison that shows no queue."""
STEP: Final = 0.8
"""The step for a difference in throughput."""
UNSURE: Final = 0.12
"""The standard error at which a step is halved."""
LONGEST_RUN: Final = 4
"""Steps in one direction grow up to so many times."""
LEAST: Final = 3
"""The least `high`."""
REST: Final = 20
"""How many times as long `high` lasts where it is the most that is allowed."""
TICK_S: Final = 1e-6
"""The least latency: an answer may come before the clock has moved."""
SAFE: Final = 1 / 3
"""The part of the time limit that an answer is to take after one has timed out."""


class Stage:
    """A number in flight, and what became of the requests that were sent while it held."""

    def __init__(self, counted_from: float, first: int, many: int, part: float) -> None:
        """
        Args:
            counted_from: how many were in flight at least when a request that counts was sent.
            first: the number of the first request that is sent in it.
            many: so many requests belong to it.
            part: of these, so many are to have ended.
        """
        self.many = many
        self.sample = Sample()
        self.outrun = 0
        """Those that were cancelled, because another model was faster."""
        self._first = first
        self._counted_from = counted_from
        self._part = part
        self._ended = self._later = 0
        self._last_at = -inf
        self._most_in_flight = 0

    def ended(self, ticket: Ticket, now: float, tokens: int | None) -> None:
        """A request has ended, with an answer of so many tokens, or None for no answer."""
        at, others, _, number = ticket
        if number < self._first:
            return
        if number >= self._first + self.many:
            self._later += 1
            return
        self._ended += 1
        if tokens is not None and others + 1 >= self._counted_from:
            self.sample.add(others + 1, max(now - at, TICK_S), tokens)
            self._most_in_flight = max(self._most_in_flight, others + 1)
            self._last_at = max(self._last_at, at)

    def extend(self, many: int) -> None:
        """So many more requests belong to it."""
        self.many += many

    @property
    def over(self) -> bool:
        """Whether what there is to learn from it is known."""
        return self._ended >= self._part * self.many or self._later >= self.many

    def reached(self, limit: int) -> bool:
        """Whether so many were in flight, or nearly."""
        return self._most_in_flight >= FULL * limit

    def result(self, now: float) -> Sample | None:
        """What was learned; None for too little.

        Requests that later ones have overtaken count with the time that they have waited.
        """
        sample = self.sample
        if sample.answers < self.many / 3:
            return None
        if self._later >= self.many:
            waited_s = max(now - self._last_at, sample.mean_latency)
            mean_tokens, mean_in_flight = sample.tokens / sample.answers, sample.mean_in_flight
            for _ in range(self.many - self._ended):
                sample.add(mean_in_flight, waited_s, mean_tokens)
        return sample


class QueueLimit:
    """How many may be in flight so that the server's queue stays short: `limit`, for now."""

    def __init__(self, start: int, most: int, changed: Callable[[], None]) -> None:
        """
        Args:
            start: how many in the beginning; where that is `most`, it stays so until a request
                times out.
            most: the user's limit.
            changed: is called when `high` has changed.
        """
        self.limit = self.high = min(start, most)
        """`high` is the higher of the two numbers that take turns."""
        self._low = 1
        self._most = most
        self._changed = changed
        self.asleep = start >= most
        """Whether there is nothing to find: only a time-out counts."""
        self._level = float(self.high)
        """`high` before it is rounded."""
        self._last, self._in_flight = -1, 0
        """The number of the last request that was admitted, and how many are in flight."""
        self._shrunk_after = -1
        """The number of the last request that was sent before a time-out lowered the limit."""
        self._starting = True
        self._below: list[Sample] = []
        """Of the start's last two stages, the lowest first."""
        self._turns: list[Sample] = []
        """Of the last stages at `high`, `low` and again `high`, as far as they are over."""
        self._apart = APART
        self._run = 0
        """Steps in one direction; below 0 downwards."""
        self._usual_s: float | None = None
        self._lowest_s = inf
        """The lowest mean latency seen."""
        self._stage = self._raised()

    def ended(
        self,
        ticket: Ticket,
        now: float,
        tokens: int | None,
        *,
        last: int,
        in_flight: int,
        outrun: bool = False,
    ) -> None:
        """A request has ended.

        Args:
            ticket: the request's.
            now: by the loop's clock, seconds.
            tokens: of its answer, 0 where unknown; None for no answer.
            last: the number of the last request that was admitted.
            in_flight: how many are left.
            outrun: whether it was cancelled.
        """
        if self.asleep:
            return
        if tokens is not None and self.limit < self.high and self._starting:
            self.limit = min(self.limit + PACE, self.high)
        self._stage.ended(ticket, now, tokens)
        self._stage.outrun += outrun
        if self._stage.over:
            self._last, self._in_flight = last, in_flight
            self._next(now)

    def set_most(self, most: int) -> None:
        """Never more than `most`, above 0, from now on."""
        self._most = most
        if self.asleep:
            self.limit = self.high = most
        elif self._level > most:
            self._start_at(most, [])

    def timed_out(self, ticket: Ticket, now: float, *, last: int, in_flight: int) -> None:
        """There was no answer in time.

        With n in flight and x answers a second, one takes n / x seconds. What has ended since
        the request was sent shows x, and so the n at which answers come well in time. Where as
        many are in flight as that or fewer, the queue was not the cause.
        """
        _, others, _, number = ticket
        if number <= self._shrunk_after:
            return  # there were too many, as is known
        ended = others + 1 + last - number - in_flight
        if ended * SAFE >= self.high:
            self.ended(ticket, now, None, last=last, in_flight=in_flight)
            return
        self._last, self._in_flight = last, in_flight
        self.asleep, self._shrunk_after = False, last
        self._start_at(ended * SAFE, [])

    def _next(self, now: float) -> None:
        """A stage is over."""
        stage = self._stage
        sample = stage.result(now)
        if self._starting:
            if sample is not None:
                self._compare_raised(sample)
            else:
                outrun = stage.outrun > stage.many / 2
                self._start_at(self._level * (2 if outrun else 1), self._below)
            return
        if sample is not None:
            self._turns.append(sample)
        if len(self._turns) == (2 if self._usual_s is None else 3):
            self._compare_turns(*self._turns)
        else:
            self._stage = self._turn()

    def _start_at(self, level: float, below: list[Sample]) -> None:
        """Double from here on, compared with what is known of fewer in flight."""
        self._starting, self._below = True, below
        self._level = max(1.0, min(self._most, level))
        self._set(round(self._level))
        self._stage = self._raised()

    def _raised(self) -> Stage:
        """The stage of the start at this level; what is sent while it fills up counts."""
        self.limit = self.high if self.high < PACED else min(self.limit, self.high)
        lower = self._below[-1].mean_in_flight + 0.5 if self._below else FULL * self.high
        return Stage(lower, self._last + 1, max(FEWEST, self.high), 0.75)

    def _compare_raised(self, sample: Sample) -> None:
        """Raise the number again where throughput has followed."""
        if not self._below:
            self._start_at(2 * self._level, [sample])
            return
        lower = self._below[-1]
        ratio, error, _ = gain(sample, lower)
        more = log(sample.mean_in_flight / lower.mean_in_flight)
        follows, unsure = log(ratio) / more, error / more
        fewest = max(FEWEST, self.high)
        if self._level >= self._most:
            self._end_start(sample, ratio)
        elif not self._stage.reached(self.high) or more < log(FILLED):
            self._start_at(self._level, self._below)
        elif follows >= FOLLOWS:
            self._start_at(self._level * self._step_up(follows), [lower, sample])
        elif follows + unsure > FOLLOWS and self._stage.many < PATIENCE * fewest:
            self._stage.extend(fewest)
        else:
            self._end_start(sample, ratio)

    def _step_up(self, follows: float) -> float:
        """How many times as many to try next."""
        if follows < WELL:
            return 1.5
        return 3 if follows > FULLY and self.high >= MANY else 2

    def _end_start(self, sample: Sample, ratio: float) -> None:
        """Throughput has risen by this ratio only: go on from a little more than was enough."""
        lower = self._below[-1]
        level = ABOVE * lower.mean_in_flight * max(1.0, ratio)
        flat = ratio < 1.1
        if flat and len(self._below) == 1:
            level = ABOVE_FIRST * lower.mean_in_flight
        elif flat:  # the stage before may have been too much, too
            lowest = self._below[0]
            enough = ABOVE * lowest.mean_in_flight * gain(sample, lowest).ratio
            level = min(level, max(level / 2, enough))
        if self._usual_s is None:
            self._lowest_s = (self._below[0] + lower).mean_latency
        self._starting, self._below, self._usual_s, self._run = False, [], None, 0
        self._settle(min(level, self._level), WIDE_APART if flat else APART)
        self._stage = self._turn()

    def _settle(self, level: float, apart: float) -> None:
        """Set the two numbers."""
        self._level = max(float(LEAST), min(self._most, level))
        self._apart = apart
        self._turns = []
        self._low = max(1, min(ceil(self._level) - 1, ceil(self._level / apart)))
        self._set(ceil(self._level))

    def _set(self, high: int) -> None:
        if high != self.high:
            self.high = min(high, self._most)
            self._changed()

    def _turn(self) -> Stage:
        """The next stage, `low` after `high` and `high` after `low`."""
        self.limit = self._low if len(self._turns) == 1 else self.high
        many = max(ENOUGH, self.limit)
        if self.limit >= self._most:
            many *= REST
        many += max(0, self.limit - self._in_flight)  # sent at once, to fill it up
        return Stage(FULL * self.limit, self._last + 1, many, 0.99)

    def _compare_turns(self, before: Sample, low: Sample, after: Sample | None = None) -> None:
        """Move both numbers to where throughput stops rising."""
        high = before + after if after is not None else before
        ratio, error, latency_s = gain(high, low)
        span = log(high.mean_in_flight / low.mean_in_flight)
        if log(ratio) > STEEP * span:  # there is no queue: answers just are slower than before
            self._lowest_s *= FORGETS
        self._lowest_s = min(self._lowest_s, low.mean_latency)
        longer = log(max(1.0, latency_s / self._lowest_s))
        error *= exp(longer / 2)  # what waits for the same answers is late together
        missing = log(ratio) - (FLAT + PULL * longer + max(0.0, longer - LONG)) * span
        steep = missing > max(3 * error, STEEP * span) and longer < BRIEF
        if steep and self.high < self._most:
            self._start_at(2 * self.high, [low, high])
            return
        self._run = max(1, self._run + 1) if missing > 0 else min(-1, self._run - 1)
        if self._apart == WIDE_APART:
            step, self._run = log(ABOVE * self._low * max(1.0, ratio) / self.high), 0
        else:
            times = 1 if 0 < missing < error else min(LONGEST_RUN, abs(self._run))
            step = STEP / (1 + (error / UNSURE) ** 2) * times * missing
        step = max(-0.7, min(0.5, step))
        far = self._is_far(latency_s)
        self._usual_s = latency_s
        self._settle(self._level * exp(step), WIDE_APART if far else APART)
        if after is not None and abs(step) < 0.2 and not far:
            self._turns = [after]
        self._stage = self._turn()

    def _is_far(self, latency_s: float) -> bool:
        """Whether latency has grown so much that there may be far too many in flight."""
        usual_s = self._usual_s
        if usual_s is None or self._apart == WIDE_APART or self.high < 2 * LEAST:
            return False
        return latency_s > SLOWER * usual_s
