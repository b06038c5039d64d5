"""Learns from rejections how much a provider accepts: how many at once, and how many a minute.

A rejection is a 429. Those of requests that were in flight when one came add nothing: together
they are one episode. The number in flight shows which kind of limit was reached:

- too many at once: rejections begin at one count, and below it all is accepted;
- too fast: they come at counts at which others were accepted.

Between two episodes of the second kind the provider has accepted exactly what its limit
allowed, whatever burst it had saved up before, so that count over that time is its rate.

A rejection may also have another cause, in the provider itself. A limit that is exceeded rejects
what follows, too; so one that stands alone among many is no episode. One that comes again and
again, however slowly we go, is not caused by a rate either. And no limit is lower than what was
accepted in the last minute.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from llmbatch_cli.engine.limits.isolated_429 import DENSE, FEW, Doubt, Recent, Ticket
from llmbatch_cli.engine.limits.others import Others
from llmbatch_cli.engine.limits.probe import SURPRISING_STEP, Probe
from llmbatch_cli.engine.limits.slots import Slots

MARGIN: Final = 0.985
"""The part of a learned rate that is used until it is probed."""
NARROW_MARGIN: Final = 0.995
RISE: Final = 1.01
"""How far a rate without rejections may come nearer to the limit, up to NARROW_MARGIN of it."""
PAUSE_S: Final = 0.5
"""The cool-down after a rejection without a Retry-After."""
MANY: Final = 50
"""So many accepted requests give a rate in however short a time."""
TOO_FEW: Final = 5
"""Fewer accepted requests give no rate."""
EVEN: Final = 0.9
"""The least part of all requests that is accepted where no limit is the cause."""
PLAIN: Final = 3
"""The fewest rejected requests that can mean a limit by their number alone."""
MOST_REFUSED: Final = 1000
"""How many of the last rejected requests are remembered."""
IN_VAIN: Final = 3
"""So many episodes after slowing down mean that the rate is not the cause."""
BRIEF: Final = 2.0
"""A time of fewer cool-downs is brief; what was accepted in it came after the cool-down."""
SLOWEST: Final = 0.5
"""The lowest learned rate, in requests a minute."""
FIRST_GUESS: Final = 60.0
"""Requests a minute to continue with where nearly the first request was rejected."""
REVIEW_S: Final = 1.0
LAG_S: Final = 3.0
"""So long after an episode rejections of others' requests are still of that one."""
USED: Final = 0.9
"""The least part of a rate that is sent by all processes together before more is tried."""
FORGOTTEN_AFTER_S: Final = 30.0
"""How long slots may be the tighter limit until a learned rate is forgotten."""


class Rate:
    """How many a minute; None while no rate is known to matter."""

    def __init__(self) -> None:
        self.per_minute: float | None = None
        self.met = False
        """Whether the rate was rejected, and is not only a guess for a soft start."""
        self.probe = Probe()
        self._after_rejection = self._before_step = 0.0
        self._saves: bool | None = None
        """Whether the provider lets unused requests accumulate; None until tried."""
        self._trying = False
        self._unused = 0

    @property
    def stepped(self) -> bool:
        """Whether more was tried since the last rejection."""
        return self.probe.stepped

    def restart(self, seen: float) -> None:
        """Continue at about the rate that was seen, and double while nothing is rejected."""
        self.met = False
        self.per_minute = max(seen, FIRST_GUESS)
        self.probe.forget()

    def shrink(
        self, seen: float, now: float, answers: int, pause_s: float, *, unsure: bool
    ) -> None:
        """Too fast: `seen` a minute were accepted; `unsure` where those were few."""
        used, self.per_minute = self.per_minute, seen * MARGIN
        if used is not None and self.probe.stepped:
            self._learn_from_step(seen)
        elif used is not None:
            self._learn_too_soon(used, unsure=unsure)
        self.per_minute = self._after_rejection = max(self.per_minute, SLOWEST)
        self.probe.rejected(now, answers, pause_s)
        self.met = True

    def _learn_from_step(self, seen: float) -> None:
        """A step up was too much: go back to what was seen, or to before the step.

        What was seen is too low where the provider lets little accumulate of what we leave
        unused, and before the step was too high where it lets much. Trying shows which.
        """
        if self._trying:
            self._trying, self._saves = False, False
        before = self._before_step * MARGIN
        known = self.per_minute or 0.0
        if not self._saves and before > known:
            self.per_minute = before
            self._trying = self._saves is None
        else:
            # Nothing was rejected from then until the first step, so it does not go below.
            up = min(seen * NARROW_MARGIN, self._after_rejection * RISE)
            self.per_minute = max(known, up)

    def _learn_too_soon(self, used: float, *, unsure: bool) -> None:
        """Rejected before any step up: it was too fast from the beginning."""
        self._saves = True if self._trying else None
        self._trying = False
        known = used if self.per_minute is None else self.per_minute
        slower = min(known, used * 0.97)
        self.per_minute = max(slower, 0.7 * used) if unsure else slower

    def follow(self, per_minute: float | None) -> None:
        """Another process has learned this; None is nothing."""
        self.per_minute, self.met = per_minute, per_minute is not None

    def forget(self) -> None:
        """What was learned is no longer true."""
        self.follow(None)

    def grow(
        self, now: float, answers: int, *, bound: bool, slots_bound: bool, used: bool = True
    ) -> None:
        """Try more where it is time to; forget a rate where something else is the tighter limit.

        `bound` is whether this process was held by it, and `used` whether all processes together
        have sent as many.
        """
        if self.per_minute is None:
            return
        if bound and not used:
            return
        if not self.met:
            self.per_minute = self.per_minute * 2 if bound else None
        elif bound:
            self._unused = 0
            step = self.probe.step(now, answers)
            if step > SURPRISING_STEP:  # so much more, and no rejection: it was no limit
                self.restart(self.per_minute)
            elif step:
                self._before_step = self.per_minute
                self.per_minute *= 1 + step
        elif slots_bound:
            self._unused += 1
            if self._unused > FORGOTTEN_AFTER_S / REVIEW_S:
                self.per_minute = None


class Seen(NamedTuple):
    """What became of the requests between two episodes."""

    accepted: int
    per_minute: float
    plain: bool
    """Whether so much was rejected that it means a limit."""


class Learner:
    """What one provider, key and model accepts, as far as is known now."""

    def __init__(
        self,
        most: int,
        *,
        adaptive: bool,
        growing: bool,
        changed: Callable[[], None],
        resumed: Callable[[], None],
    ) -> None:
        """
        Args:
            most: how many at once, whatever is learned.
            adaptive: whether anything is learned.
            growing: whether the run begins with few at once, so that the first rejection does
                not show how many are too many.
            changed: is called when a limit has changed.
            resumed: is called when a cool-down turns out to be unnecessary.
        """
        self.slots = Slots(most, growing=growing)
        self.rate = Rate()
        self.slots_bound = False
        """Whether a request had to wait for a slot since the last review; set from outside."""
        self.queue_bound = False
        """The same for what the server's queue allows."""
        self.rate_bound = False
        """The same for the learned rate."""
        self._adaptive = self._learns = adaptive
        """The second: whether it is not another process that learns for this one."""
        self._changed = changed
        self._resumed = resumed
        self.answers = self.refusals = 0
        """How many requests were accepted, and rejected."""
        self._refused: deque[int] = deque(maxlen=MOST_REFUSED)
        """The numbers of the last that were rejected."""
        self._review_at = float("-inf")
        self._episode_at = float("-inf")
        self._crowded = False
        self._idle = False
        """Whether there was a time in which no limit was reached, since the last episode."""
        self._since: Ticket | None = None
        """Where the last episode began; what was admitted since then is counted."""
        self.lag_s = 0.0
        """How long other processes take to follow what is learned here."""
        self._others = Others()
        self._others_since = 0.0
        """How many of their requests were accepted until then."""
        self._has_learned = False
        self._pause_s = 0.0
        self._recent = Recent()
        self._doubt: Doubt | None = None
        self._slowed = 0
        """Episodes in a row that a slower rate should have prevented."""

    def accepted(self, ticket: Ticket, now: float) -> None:
        """The provider accepted the request."""
        self.answers += 1
        self._recent.add(now, 0)
        if self._doubt is not None:
            self._weigh(self._doubt, ticket, now, 0)
        slots = self.slots
        if ticket[0] > self._episode_at:  # else it was admitted among some that were rejected
            slots.accepted[ticket[1]] += 1
        if slots.growing and self.slots_bound and self._learns:
            slots.add()
        if now >= self._review_at:
            self._review(ticket, now)

    def rejected(
        self, ticket: Ticket, last: int, now: float, pause_s: float, *, requested: bool
    ) -> bool:
        """The provider answered 429; returns whether that begins a cool-down.

        Args:
            ticket: the request's.
            last: the number of the last request that was admitted.
            now: by the loop's clock, seconds.
            pause_s: how long the cool-down is.
            requested: whether the provider sent a Retry-After, so that there is a limit for sure.
        """
        self._refused.append(ticket[3])
        self.refusals += 1
        self._recent.add(now, 1)
        if self._doubt is not None and self._doubt.covers(ticket[3]) and not requested:
            return self._weigh(self._doubt, ticket, now, 1)
        if ticket[0] <= self._episode_at + self.lag_s:
            if self._crowded and ticket[0] <= self._episode_at:
                self.slots.trim(ticket[1])
            return False
        if self._adaptive and not requested and self._recent.sporadic():
            return False
        self._episode_at = now
        if not self._learns:
            return True
        unclear = last - ticket[3] >= DENSE or not (self.rate.met or self.slots.met)
        if not requested and unclear and self._recent.sporadic(FEW):
            self._doubt = Doubt(ticket, max(last, ticket[3] + DENSE), pause_s)
        else:
            self._doubt = None
            self._learn(ticket, now, pause_s)
            self._changed()
        return True

    def hear(self, accepted: int, refused: int, now: float) -> None:
        """What has become of so many more requests of other processes, at the same account."""
        self.lag_s = LAG_S
        self._others.hear(accepted, now)
        self._recent.add_others(now, accepted, refused)

    @property
    def _all_answers(self) -> int:
        return self.answers + self._others.accepted

    def _is_used(self, now: float) -> bool:
        """Whether the rate is, by all processes at the account, as far as is known."""
        rate = self.rate.per_minute
        return rate is None or not self.lag_s or self._recent.per_minute(now) >= USED * rate

    def follow(self, per_minute: float | None, at_once: int | None, sure: int) -> None:
        """Another process learns for this one, and has learned these."""
        self._learns, self._doubt = False, None
        self.rate.follow(per_minute)
        self.rate.probe.sure = sure
        self.slots.follow(at_once)

    def lead(self, now: float, last: int) -> None:
        """Learn from here on, from what is known now; `last` is as in `rejected`."""
        if not self._learns:
            self._learns, self._has_learned = self._adaptive, self.rate.met
            self._since = (now, 0, 0, last)
            self._others_since = self._others.accepted_until(now)
            self._crowded, self._slowed = False, 0
            self.rate.probe.wait(now, self._all_answers, PAUSE_S)

    def _weigh(self, doubt: Doubt, ticket: Ticket, now: float, refused: int) -> bool:
        """Count how another request has ended; returns whether that makes it a limit."""
        doubt.add(ticket[3], refused)
        if doubt.many_refused:
            self._doubt = None
            self._episode_at = now
            self._learn(doubt.ticket, now, doubt.pause_s)
            self._changed()
            return True
        if doubt.over:
            self._doubt = None
            self._resumed()
        return False

    def _learn(self, ticket: Ticket, now: float, pause_s: float) -> None:
        slots, rate, in_flight = self.slots, self.rate, ticket[1]
        counted, seen, plain = self._seen_since(ticket)
        if not plain or self._others.are_there:
            sure = 0.5 if plain else 1.0
            seen = max(seen, sure * self._recent.proven_per_minute(now))
        if self._idle and rate.met and rate.per_minute is not None:
            seen = max(seen, 0.9 * rate.per_minute)
        crowded_again, self._crowded = self._crowded, slots.crowded(in_flight)
        slots.rejected(now, plain=plain)
        unsure = counted < TOO_FEW or not self._has_learned
        if self._crowded and unsure and slots.growing:
            slots.trim(in_flight)  # and grow again: at the beginning the cause is unknown
        elif self._crowded:
            slots.shrink(in_flight, now, self._all_answers, pause_s)
        if self._in_vain(plain=plain):
            rate.forget()
        elif self._crowded and (crowded_again or not rate.met):
            rate.restart(seen)
        elif rate.per_minute is None and unsure:
            rate.restart(FIRST_GUESS if counted < TOO_FEW else seen)
        else:
            unsure = counted < (TOO_FEW if plain else MANY)
            rate.shrink(seen, now, self._all_answers, pause_s, unsure=unsure)
        self._since, self._has_learned, self._pause_s = ticket, True, pause_s
        self._others_since = self._others.accepted_until(ticket[0])
        self._idle = self.slots_bound = self.queue_bound = self.rate_bound = False
        self._review_at = now + pause_s + REVIEW_S

    def _in_vain(self, *, plain: bool) -> bool:
        """Whether going slower has not helped: rejections keep coming without a step up, although
        nearly all of what was sent was accepted."""
        if plain:
            self._recent.reset_tolerance()
        if self._crowded or not self.rate.met or plain:
            self._slowed = 0
        elif not self.rate.stepped:
            self._slowed += 1
        if self._slowed < IN_VAIN:
            return False
        self._slowed = 0
        self._recent.raise_tolerance()
        return True

    def _seen_since(self, ticket: Ticket) -> Seen:
        """What became of those that were admitted since the last episode, up to this one."""
        at, _, _, number = ticket
        since_at, _, _, since_number = self._since or ticket
        sent = number - since_number
        refused = sum(since_number < one <= number for one in self._refused)
        accepted = max(0, sent - refused)
        plain = refused >= PLAIN and accepted < EVEN * sent
        took_s = at - since_at
        if accepted >= EVEN * sent and took_s < BRIEF * self._pause_s:
            took_s -= self._pause_s
        took_s = max(took_s, 0.5 if accepted < MANY else 0.02)
        accepted += max(0, round(self._others.accepted_until(at) - self._others_since))
        return Seen(accepted, 60 * accepted / took_s, plain)

    def _review(self, ticket: Ticket, now: float) -> None:
        """From time to time: try more where the limits were reached."""
        self._review_at = now + max(REVIEW_S, self.lag_s)
        if self._since is None:
            self._since = ticket
        before = self.slots.limit, self.rate.per_minute
        many = self.slots_bound or self.queue_bound
        if self._learns:
            stepped = self.rate.stepped
            if self.slots_bound and not self.slots.growing:
                self.slots.grow(now, self._all_answers)
            bound, used = self.rate_bound, self._is_used(now)
            self.rate.grow(now, self._all_answers, bound=bound, slots_bound=many, used=used)
            if self.rate.stepped and not stepped:
                self._slowed = max(0, self._slowed - 1)
        self._idle |= not (many or self.rate_bound)
        self.slots_bound = self.queue_bound = self.rate_bound = False
        if before != (self.slots.limit, self.rate.per_minute):
            self._changed()
