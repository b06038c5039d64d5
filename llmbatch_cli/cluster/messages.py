"""What workers and their coordinator say to each other. Plain values, which pickle."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Literal

from llmbatch_cli.cluster.shares import Told
from llmbatch_cli.core.errors import BudgetReached, OutputError, UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.limits.share import Seen

NOTHING: Final = Told(0, 0.0, {})
StopKind = Literal["drain", "cancel"]


@frozen
class Lease:
    """The right to answer the rows of one shard, as long as the coordinator hears of it."""

    shard: int
    epoch: int
    """Above every other on the storage."""
    base: int
    """Epochs below are of earlier runs: their failed rows are sent again."""


@frozen
class Why:
    """Why a run ends early: an error's kind, message and hint."""

    kind: Literal["stopped", "budget", "output", "usage"]
    message: str
    hint: str | None = None


def why_of(error: Exception) -> Why:
    """The same of an error."""
    message = getattr(error, "message", str(error))
    hint = getattr(error, "hint", None)
    if isinstance(error, BudgetReached):
        return Why("budget", message, hint)
    if isinstance(error, UsageError):
        return Why("usage", message, hint)
    return Why("output" if isinstance(error, OutputError) else "stopped", message, hint)


@frozen
class Money:
    """A worker's part of --max-cost, in billionths of a US dollar."""

    held: int
    """What it may spend in all, as far as it has heard."""
    committed: int
    """What it has spent, and what is reserved for requests in flight."""
    spent: int
    needed: int = 0
    """What a request waits for beyond what is held."""


@frozen
class Report:
    """What a worker says at each heartbeat."""

    worker: str
    number: int
    """From 1, in the order of sending: one that comes late is not listened to."""
    held: Sequence[tuple[int, int]] = ()
    """Shards and epochs that it works at."""
    wants: int = 0
    """How many more shards it could begin."""
    committing: Sequence[tuple[int, int]] = ()
    """Those whose rows are all on the disk, and that it asks to publish."""
    published: Sequence[tuple[int, int]] = ()
    """Those that stand under their final name."""
    taken: Sequence[tuple[int, int]] = ()
    """Leases whose epoch was on the storage already, so that they are of no use."""
    left: Sequence[tuple[int, int]] = ()
    """Those of `held` that have ended without being whole, as rows of them were postponed."""
    tallies: Mapping[tuple[int, int], Mapping[str, Any]] = field(default_factory=dict)
    """The figures so far of shards that have changed, see tallies.py."""
    in_flight: int = 0
    held_by: str | None = None
    """What its next request waits for."""
    using: int = 0
    """Units of the account that it may use, see shares.py."""
    said: Mapping[str, Seen] = field(default_factory=dict)
    """How it uses them, of each limiter."""
    money: "Money | None" = None
    """None without --max-cost."""
    notices: Sequence[str] = ()
    stopped: Why | None = None
    """Why it has ended its run early."""
    is_idle: bool = False
    """Whether it holds no row."""


@frozen
class Orders:
    """What the coordinator answers."""

    leases: Sequence[Lease] = ()
    granted: Sequence[tuple[int, int]] = ()
    """Shards that may be published."""
    lost: Sequence[tuple[int, int]] = ()
    """Shards that it holds no longer."""
    told: Told = NOTHING
    """What of the account is its own until the lease ends."""
    money: int | None = None
    """What it may spend in all, in billionths of a US dollar; None is no limit."""
    money_left: int | None = None
    """What is left for all workers, with what they hold: a request that needs more waits in
    vain."""
    stop: StopKind | None = None
    is_over: bool = False
    """Whether there is nothing left to do."""
