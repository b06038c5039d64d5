"""The live driver: a request for each row, as many at once as the limits allow."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import field, replace
from typing import TYPE_CHECKING

from llmbatch_cli.core.events import Gauges, Observer, Opened, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Outcome, Row, Work
from llmbatch_cli.drivers import Driver
from llmbatch_cli.engine.failure_limit import Breaker, FailureLimit
from llmbatch_cli.engine.run import Gauge, Stop, run

if TYPE_CHECKING:
    from llmbatch_cli.drivers.provider_batch.batch_run import BatchRun


@frozen
class RunOptions:
    """How a run goes, whatever is asked in it."""

    ordered: bool = False
    """Whether outcomes come in input order."""
    failure_limit: FailureLimit = field(default_factory=FailureLimit)
    observe: Observer = ignore
    batch: "BatchRun | None" = None
    """How it goes by a provider's batch API; None sends each row live."""


@frozen
class Window:
    """How many rows may be open."""

    at_work: Callable[[], int]
    """Rows that may be at work now."""
    most_open: int
    """Rows begun and not yet taken, those that wait for a slower one before them included."""
    gauges: Gauges
    end_waits: Callable[[], None]
    """Ends what only waits to be sent, or to be sent again."""


def live(work: Work, window: Window, options: RunOptions) -> Driver:
    """The driver that does this work for each row.

    It raises RunStopped at the end where too many rows have failed.
    """

    def drive(rows: AsyncGenerator[Row, None], stop: Stop) -> AsyncGenerator[Outcome, None]:
        breaker, gauge = Breaker(options.failure_limit, stop, options.observe), Gauge()
        held_by = window.gauges.held_by
        gauges = replace(window.gauges, held_by=lambda: held_by() or gauge.waiting())
        options.observe(Opened(gauges))
        stop.listen(window.end_waits)
        return run(
            rows,
            work,
            window=window.at_work,
            most_open=window.most_open,
            ordered=options.ordered,
            stop=stop,
            observe=breaker.__call__,  # a method is called faster than an object
            gauge=gauge,
        )

    return drive
