"""How a run by a batch API goes."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.drivers.provider_batch.http import open_batch_http
from llmbatch_cli.drivers.provider_batch.timing import Timing
from llmbatch_cli.providers.batch_api import Http
from llmbatch_cli.providers.batch_storage import Storage


@frozen(kw_only=True)
class BatchRun:
    """How a run by a batch API goes, whatever is asked in it."""

    output: Path
    """Beside which the journal stands."""
    durable: Callable[[], Awaitable[None]]
    """Returns once every outcome that was yielded is on the disk."""
    network: Callable[[float], AbstractAsyncContextManager[Http]] = open_batch_http
    """Given the first wait before a request is sent again."""
    live_after_s: float | None = None
    """So long after the oldest job was made, what is left is sent live."""
    detach: bool = False
    """Whether to return once everything is submitted."""
    timing: Timing = Timing()
    storage: Storage = Storage()
    has: Callable[[str], bool] = lambda key: False
    """Whether the output has a row of this key already."""
    is_whole: Callable[[], bool] = lambda: True
    """Whether the whole input is asked."""
