"""What happened, as frozen facts for listeners: progress, log and report only listen."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Attempt, MaybeBilled
from llmbatch_cli.core.types import Outcome

if TYPE_CHECKING:
    from decimal import Decimal


@frozen
class Counted:
    """The number of rows in the input is known."""

    rows: int


@frozen
class Skipped:
    """A row is not sent, since an earlier run has finished it."""

    index: int


@frozen
class Started:
    """A row's work began."""

    index: int


@frozen
class Finished:
    """A row has its outcome."""

    outcome: Outcome


@frozen
class Dropped:
    """A row's work ended without an outcome: it was cancelled, or the run stopped."""

    index: int


@frozen
class LeftUndone:
    """A row was sent, and ends without an outcome: what that has cost. Its Dropped follows."""

    index: int
    attempts: Sequence[Attempt]
    """All of them, of every model that was asked."""
    cost_usd: "Decimal | int | None"
    """What they have cost, exactly; None is unknown."""
    maybe_billed: MaybeBilled | None = None
    """What may have been billed beside that; None for nothing."""


@frozen
class Notice:
    """Something the user should read once."""

    message: str


@frozen
class Pulled:
    """So much of a download is done; `total_bytes` is None where it is not known."""

    name: str
    done_bytes: int
    total_bytes: int | None


@frozen
class LimitChanged:
    """The limits of one model have changed; None is no known limit."""

    model: str
    in_flight: int
    rpm: float | None
    """Requests a minute."""
    tpm: float | None
    """Tokens a minute."""


@frozen
class Retried:
    """A request failed and is tried again after a wait."""

    model: str
    kind: str
    wait_s: float
    message: str


Holder = Literal["slots", "rpm", "tpm", "cool-down", "input", "output", "budget"]


@frozen
class Gauges:
    """What can be asked of a run at any time."""

    held_by: Callable[[], Holder | None] = lambda: None
    """What its next row waits for, if it waits."""
    in_flight: Callable[[], int | None] = lambda: None
    """Requests on the wire; None is unknown."""
    cooling_s: Callable[[], float] = lambda: 0.0
    """Seconds until a model may be asked again, where the provider asks to wait; else 0."""
    cap_usd: float | None = None
    """The most that the run may cost; None without a cap."""


@frozen
class Opened:
    """A run has begun."""

    gauges: Gauges


@frozen
class Racing:
    """The models that race, in the order of preference, as `provider/model`."""

    names: Sequence[str]


@frozen
class JobShown:
    """One open job of a provider's batch API."""

    state: str
    """meant, submitted, or the provider's own word."""
    rows: int
    since_s: float
    """When it was made, in seconds since the epoch."""
    done: int | None = None
    """Rows that are answered or have failed there; None where the provider does not say."""
    expires_s: float | None = None
    """When the provider gives it up."""


@frozen
class Jobs:
    """The open jobs of the run, in the order of their making."""

    jobs: Sequence[JobShown]


Event = (
    Opened
    | Jobs
    | Racing
    | Counted
    | Skipped
    | Started
    | Finished
    | Dropped
    | LeftUndone
    | Notice
    | Pulled
    | LimitChanged
    | Retried
)
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer that does nothing."""


def both(first: Observer, second: Observer) -> Observer:
    """Pass each event to one, then to the other."""

    def pass_on(event: Event) -> None:
        first(event)
        second(event)

    return pass_on
