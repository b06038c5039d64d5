"""What a job by a provider's batch API needs, and what it cannot be."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import BatchApi

if TYPE_CHECKING:
    from llmbatch_cli.drivers.provider_batch.batch_run import BatchRun

ENDING = ".llmbatch-jobs"
"""As in drivers/provider_batch/journal.py, which is not imported for other runs."""


def batch_run(
    options: BatchApi,
    output: Path | None,
    durable: Callable[[], Awaitable[None]],
    has: Callable[[str], bool],
    is_whole: Callable[[], bool],
) -> "BatchRun | None":
    """How the run goes by a batch API; None for one that does not.

    Raises UsageError where jobs of an earlier run would be done again.
    """
    if output is None or not options.batch_api:
        refuse_open_jobs(output)
        return None
    from llmbatch_cli.drivers.provider_batch.batch_run import BatchRun
    from llmbatch_cli.providers.batch_storage import Storage

    return BatchRun(
        output=output,
        durable=durable,
        has=has,
        is_whole=is_whole,
        live_after_s=options.live_after_s,
        detach=options.detach,
        storage=Storage(bucket=options.batch_bucket, role=options.batch_role),
    )


def open_jobs(output: Path) -> bool:
    """Whether jobs for this output are open at a provider."""
    folder = _folder_of(output)
    if not folder.exists():
        return False
    from llmbatch_cli.drivers.provider_batch.journal import Journal

    return bool(Journal(folder).jobs)  # without one it is of a run that was killed


def _folder_of(output: Path) -> Path:
    real = Path(os.path.realpath(output))
    return real.with_name(real.name + ENDING)


def refuse_open_jobs(output: Path | None) -> None:
    """Raise UsageError where jobs for this output are open at a provider. Called with its lock."""
    if output is None:
        return
    if open_jobs(output):
        raise UsageError(
            f"{output} has open jobs at a provider, whose rows would be sent twice",
            hint=f"add --batch-api --resume to collect them, or see llmbatch jobs show {output}",
        )
    if (folder := _folder_of(output)).exists():  # of a run that was killed: nothing is in it
        from llmbatch_cli.drivers.provider_batch.journal import Journal

        Journal(folder).close()
