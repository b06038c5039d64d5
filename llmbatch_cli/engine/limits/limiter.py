"""Admission: who may send now, by what is allowed at once, a minute, and since the last 429."""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from llmbatch_cli.core.errors import (
    ProviderError,
    RateLimited,
    Unreachable,
    Unsent,
)
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Completion, RateInfo
from llmbatch_cli.engine.limits.adaptive import PAUSE_S, Learner
from llmbatch_cli.engine.limits.buckets import Gate
from llmbatch_cli.engine.limits.busy_server import MOST_REFUSED, NEWEST, is_full, is_late
from llmbatch_cli.engine.limits.cool_down import CoolDown
from llmbatch_cli.engine.limits.estimate import Estimate, used_tokens
from llmbatch_cli.engine.limits.gates import Gates
from llmbatch_cli.engine.limits.isolated_429 import Ticket
from llmbatch_cli.engine.limits.queueing import FULL, QueueLimit
from llmbatch_cli.engine.limits.shared_capacity import SharedCapacity

START_IN_FLIGHT: Final = 3
"""Requests at once at the start of a run without --concurrency: a server of one's own may answer
one at a time, and what waits there for more than its time limit is lost."""
Holding = Literal["slots", "rpm", "tpm", "cool-down"]


@frozen
class RateLimits:
    """How much may be sent, to each model."""

    most_in_flight: int
    """Requests at once, from 1, whatever is learned."""
    start_in_flight: int = START_IN_FLIGHT
    """At once in the beginning; doubles while throughput follows and no request is rejected."""
    rpm: float | None = None
    """Requests in any minute, its end not counted; None leaves it to what the run learns."""
    tpm: int | None = None
    """Tokens in the last minute, likewise: real where known, else estimated."""
    together: bool = False
    """Whether all models share `most_in_flight`."""


@frozen
class Allowed:
    """What is allowed now; None is no known limit."""

    in_flight: int
    rpm: float | None
    tpm: float | None


@frozen
class Learned:
    """What one process has learned of the whole account; None is no known limit."""

    rpm: float | None = None
    at_once: float | None = None
    sure: int = -1
    """How often the rate was confirmed, see Probe."""


class Limiter:
    """Admission to one model of one provider with one key; all who call it share one.

    Create it inside the running loop, and use it in its thread only.
    """

    def __init__(
        self,
        limits: RateLimits,
        *,
        adaptive: bool = True,
        capacity: SharedCapacity | None = None,
        patience_s: float = math.inf,
        chance: Callable[[], float] = random.random,
        changed: Callable[[Allowed], None] = lambda allowed: None,
    ) -> None:
        """
        Args:
            limits: the user's own.
            adaptive: follow rate limit headers, learn from rejections and keep the server's queue
                short; without it a 429 only makes all wait.
            capacity: how many at once with all others that share it; None is no such limit.
            patience_s: nobody is made to wait for longer than this because the provider asks so.
            chance: uniform in [0, 1).
            changed: is called when what is allowed changes.
        """
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._changed = changed
        self._tpm, self._adaptive = limits.tpm, adaptive
        self.is_fixed = not adaptive or limits.start_in_flight >= limits.most_in_flight
        """Whether the number at once is the user's own, and no ceiling."""
        self._capacity = capacity
        self.cool_down = CoolDown(patience_s, chance)
        if capacity is not None:
            capacity.join(self._pump)
        self.learner = Learner(
            limits.most_in_flight,
            adaptive=adaptive,
            growing=limits.start_in_flight < limits.most_in_flight,
            changed=self._follow,
            resumed=self._resume,
        )
        self._slots = self.learner.slots
        self._most = most = limits.most_in_flight
        start = limits.start_in_flight if adaptive else most
        self._queue = QueueLimit(start, most, changed=lambda: self._changed(self.allowed))
        self._paces = Gates(limits.rpm, limits.tpm)
        self.gates: list[Gate] = self._paces.now()
        self._part = 1.0
        """Of the account: the last one above 0."""
        self.counts_tokens = limits.tpm is not None
        """Whether an estimate is needed at all."""
        self.estimate = Estimate()
        self.in_flight = 0
        self.slots = min(self._slots.limit, self._queue.limit)
        """Requests that are allowed at once now; replies change it, and nothing else."""
        self._refused_share = 0.0
        self._number = -1
        self._waiters: deque[tuple[asyncio.Future[Ticket], int]] = deque()
        self._held_by: Holding = "slots"
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def allowed(self) -> Allowed:
        """What is allowed now, by the user, the provider and what was learned."""
        paces = self._paces
        at_once = min(self._slots.limit, self._queue.high)
        return Allowed(at_once, paces.lowest("rpm"), paces.lowest("tpm"))

    @property
    def cooling_s(self) -> float:
        """Seconds until requests may be sent again; 0 where they may be."""
        return max(0.0, self.cool_down.until - self.now())

    @property
    def holding(self) -> Holding | None:
        """What the next request waits for; None while none waits."""
        return self._held_by if self._waiters else None

    @property
    def is_held_by_share(self) -> bool:
        """Whether requests wait for what a larger share would let go."""
        by_slots = (self.is_fixed or not self.slots) and self.in_flight >= FULL * self.slots
        return by_slots or (bool(self._waiters) and self._held_by in ("rpm", "tpm"))

    @property
    def learned(self) -> Learned:
        """What this process knows of the account, beyond what is set and reported."""
        at_once = self._slots.learned
        rate = self.learner.rate
        return Learned(rate.per_minute, at_once and at_once / self._part, rate.probe.sure)

    def follow(self, learned: Learned | None) -> None:
        """Another process learns for this one; None: learn here."""
        if learned is None:
            self.learner.lead(self.now(), self._number)
            return
        if learned == self.learned:
            return
        at_once = learned.at_once
        slots = None if at_once is None else round(at_once * self._part)
        self.learner.follow(learned.rpm, slots, learned.sure)
        self._renew()

    def set_share(self, part: float) -> None:
        """So much of the account is this process's from now on, from 0 to 1.

        All limits are held to that part, but for `most_in_flight` where it is only a ceiling and
        not the user's own number.
        """
        now, most, factor = self.now(), self._most, (part or self._part) / self._part
        if self.is_fixed:
            most = max(1, int(most * part + 1e-6))
        if factor != 1:
            self._part = part
            self._paces.set_share(part, now)
            self._queue.set_most(most)
        self._slots.set_most(most if part else 0, factor)
        self._renew()

    def _renew(self) -> None:
        """What is allowed was changed from outside."""
        self.slots = min(self._slots.limit, self._queue.limit)
        self._follow()
        self._pump()

    def try_admit(self, tokens: int) -> Ticket | None:
        """Admit one at once, or None: the fast path for what need not wait."""
        if self._waiters:
            return None
        now = self.now()
        held = self.gates or now < self.cool_down.until or self._capacity is not None
        if (held or self.in_flight >= self.slots) and self._ready_at(tokens, now) > now:
            return None
        return self._admit_now(tokens, now)

    async def admit(self, tokens: int) -> Ticket:
        """Wait for admission, in turn. Pass the ticket to `settle`, once, whatever happens.

        Raises Unsent for more tokens than --tpm allows in a whole minute, and RateLimited while
        the provider asks for a wait that is too long.
        """
        if self._tpm is not None and tokens > self._tpm:
            raise Unsent(
                f"the request counts about {tokens:,} tokens, and the limit is {self._tpm:,} "
                "a minute",
                hint="raise --tpm, shorten the prompt, or lower --max-tokens",
            )
        ticket = self.try_admit(tokens)
        if ticket is not None:
            return ticket
        if (too_long := self.cool_down.refusal(self.now())) is not None:
            raise too_long
        waiter: asyncio.Future[Ticket] = self._loop.create_future()
        self._waiters.append((waiter, tokens))
        if len(self._waiters) == 1 or self._waiters[0][0].done():  # else nothing is new
            self._pump()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            else:
                with suppress(ValueError):  # a pump in between has removed it already
                    self._waiters.remove((waiter, tokens))
            self._pump()
            raise

    def settle(self, ticket: Ticket, result: Completion | ProviderError | None) -> None:
        """A request has ended: with an answer, an error, or None where it was cancelled."""
        self.in_flight -= 1
        now, queue = self.now(), self._queue
        if isinstance(result, Completion):
            if self._refused_share:
                self._refused_share *= 1 - NEWEST
            self.learner.accepted(ticket, now)
            if not queue.asleep:
                usage = result.usage
                tokens = 0 if usage is None else usage.completion_tokens or 0
                queue.ended(ticket, now, tokens, last=self._number, in_flight=self.in_flight)
            if self.counts_tokens or result.limits is not None:
                self._count(ticket, result)
        else:
            self._unanswered(ticket, now, result)
        self.slots = min(self._slots.limit, queue.limit)
        if self._capacity is not None:
            self._capacity.leave()
        elif self._waiters:
            self._pump()

    def _unanswered(self, ticket: Ticket, now: float, error: ProviderError | None) -> None:
        full = is_full(error)
        self._refused_share += (full - self._refused_share) * NEWEST
        if isinstance(error, RateLimited):
            self._rejected(ticket, error)
        elif full and self._refused_share > MOST_REFUSED:
            self.learner.rejected(ticket, self._number, now, PAUSE_S, requested=False)
        elif isinstance(error, Unreachable):
            self._correct(ticket, 0)
        last, in_flight = self._number, self.in_flight
        if is_late(error, now - ticket[0]):
            self._queue.timed_out(ticket, now, last=last, in_flight=in_flight)
        else:
            outrun = error is None
            self._queue.ended(ticket, now, None, last=last, in_flight=in_flight, outrun=outrun)

    def _count(self, ticket: Ticket, completion: Completion) -> None:
        if completion.limits is not None and self._adaptive:
            self._read(completion.limits)
        if self.counts_tokens:
            self.estimate.learn(completion)
            self._correct(ticket, used_tokens(completion))

    def _rejected(self, ticket: Ticket, error: RateLimited) -> None:
        now = self.now()
        requested = error.retry_after_s is not None
        pause_s = PAUSE_S if error.retry_after_s is None else error.retry_after_s
        is_new = self.learner.rejected(ticket, self._number, now, pause_s, requested=requested)
        if (is_new or requested) and self.cool_down.begin(error, pause_s, now):
            self._refuse_all()
        limits: RateInfo | None = error.limits
        if limits is not None and self._adaptive:
            self._read(limits)
        self._correct(ticket, 0)

    def _refuse_all(self) -> None:
        """End the wait of those that wait here."""
        now = self.now()
        for waiter, _ in self._waiters:
            if not waiter.done() and (too_long := self.cool_down.refusal(now)) is not None:
                waiter.set_exception(too_long)

    def _resume(self) -> None:
        """End a cool-down that was for no limit."""
        self.cool_down.end_early()
        self._pump()

    def _read(self, limits: RateInfo) -> None:
        if self._paces.read(limits):
            self.learner.rate.forget()
            self.counts_tokens = self.counts_tokens or self._paces.counts_tokens
            self._follow()

    def _follow(self) -> None:
        """What is allowed has changed."""
        self._paces.learn(self.learner.rate.per_minute)
        self.gates = self._paces.now()
        self._changed(self.allowed)

    def _correct(self, ticket: Ticket, tokens: int | None) -> None:
        """Replace the request's estimated tokens by the real ones; None leaves the estimate."""
        at, _, estimated, _ = ticket
        if tokens is not None and tokens != estimated:
            for gate in self.gates:
                gate.correct(at, tokens - estimated)

    def _ready_at(self, tokens: int, now: float) -> float:
        """When the next may be sent, as far as is known; notes what it waits for."""
        if self.in_flight >= self._slots.limit:
            self.learner.slots_bound = True
            self._held_by = "slots"
            return float("inf")
        if self.in_flight >= self._queue.limit:
            self.learner.queue_bound = True
            self._held_by = "slots"
            return float("inf")
        if self._capacity is not None and self._capacity.full:
            self._held_by = "slots"
            return float("inf")
        ready = self.cool_down.until
        self._held_by = "cool-down"
        holder: Gate | None = None
        for gate in self.gates:
            gate_ready = gate.ready_at(now, tokens)
            if gate_ready > ready:
                ready, holder, self._held_by = gate_ready, gate, gate.counts
        if holder is self._paces.learned and ready > now:
            self.learner.rate_bound = True
        return ready

    def _admit_now(self, tokens: int, now: float) -> Ticket:
        for gate in self.gates:
            gate.take(now, tokens)
        if self._capacity is not None:
            self._capacity.take()
        others = self.in_flight
        self.in_flight = at_once = others + 1
        learner = self.learner
        if at_once >= self.slots:  # though none waits: a run starts no more rows than slots
            learner.slots_bound |= at_once >= self._slots.limit
            learner.queue_bound |= at_once >= self._queue.limit
        self._number = number = self._number + 1
        return now, others, tokens, number

    def _give_back(self, ticket: Ticket) -> None:
        """It was admitted, and is not sent after all."""
        at, _, tokens, _ = ticket
        self.in_flight -= 1
        for gate in self.gates:
            gate.give_back(at, tokens)
        if self._capacity is not None:
            self._capacity.leave()

    def _pump(self) -> None:
        """Admit, in turn, all that may be sent now; wake again when the next may."""
        now = self.now()
        while self._waiters:
            waiter, tokens = self._waiters[0]
            if not waiter.done():
                ready = self._ready_at(tokens, now)
                if ready > now:
                    self._wake_at(ready)
                    return
                waiter.set_result(self._admit_now(tokens, now))
            self._waiters.popleft()

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when < float("inf"):
            self._timer, self._timer_at = self._loop.call_at(when, self._woken), when

    def _woken(self) -> None:
        self._timer = None
        self._pump()
