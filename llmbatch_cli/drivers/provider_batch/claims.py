"""Which rows of the input the open jobs of an earlier run hold already."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Row
from llmbatch_cli.drivers.provider_batch.asking import Asking, OtherProvider
from llmbatch_cli.drivers.provider_batch.journal import Journal
from llmbatch_cli.drivers.provider_batch.spool import Spooled, rows_in
from llmbatch_cli.rows.finished import FinishedRows


class Claims:
    """Each row of a job is claimed by one row of input at most.

    What nobody claims stands in the output already, or is not of this input any more.
    """

    def __init__(self, journal: Journal) -> None:
        """Reads the rows of all open jobs, some seconds a million. Raises OSError."""
        self._rows = FinishedRows()
        self._begins: dict[str, int] = {}
        self._journal = journal
        self._wanted = [id_ for id_, job in journal.jobs.items() if job.state != "cancelling"]
        for id_ in journal.jobs:
            self._begins[id_] = self._rows.rows
            for row in rows_in(journal.rows_of(id_)):
                self._rows.add(row.prompt.key or "", row.prompt.index)

    def claim(self, row: Row) -> bool:
        """Whether a job holds the row."""
        return self._rows.claim(row)

    @property
    def claimed(self) -> int:
        """Rows that were."""
        return self._rows.taken

    def row_of(self, job: str, number: int, row: Spooled) -> Spooled | None:
        """The row of a job as the input has it now; None where nobody claims it."""
        if job not in self._begins:  # a job of this run
            return row
        place = self._begins[job] + number
        if not self._rows.is_claimed(place):
            return None
        changed = self._rows.new_fields(place)
        if changed:
            row.prompt = replace(row.prompt, **changed)
        return row

    def lost(self, has: Callable[[str], bool]) -> int:
        """Rows of jobs that no row of input has claimed, and whose answers the output has not."""
        return sum(
            not self._rows.is_claimed(self._begins[id_] + number) and not has(row.prompt.key or "")
            for id_ in self._wanted
            for number, row in enumerate(rows_in(self._journal.rows_of(id_)))
        )

    def close(self) -> None:
        self._rows.close()


async def check_open(journal: Journal, asking: Asking, output: Path) -> None:
    """Raise UsageError, before anything is read or sent, where this run cannot reach a job."""
    for job in journal.jobs.values():
        reached = job.reached
        try:
            asked = await asking.for_spec(reached.spec)
        except OtherProvider as error:
            raise UsageError(
                f"the open jobs of {output} are at {reached.provider}, and this run is not",
                hint=f"-m {reached.spec} collects them; llmbatch jobs cancel {output} ends them",
            ) from error
        if reached.account != asked.reached.account:
            raise UsageError(
                f"the jobs of {output} were made with another key or address, at "
                f"{reached.base_url}",
                hint=f"go on with that key, or let them be: llmbatch jobs show {output}",
            )


def refuse_lost(lost: int, claims: Claims, output: Path, *, is_whole: bool) -> None:
    """Raise UsageError where answers that are paid for would be left out by mistake."""
    if not lost or (is_whole and claims.claimed):
        return
    raise UsageError(
        f"{format_count(lost, 'row')} of the open jobs of {output} are not in this input as it is "
        "asked now, so their answers would be lost",
        hint="give the input and options of the run that made them, such as model, parameters and "
        f"template, without --limit; llmbatch jobs cancel {output} gives them up",
    )


def left_out(lost: int) -> str:
    """That rows of jobs are not in the input."""
    return (
        f"{format_count(lost, 'row')} of the open jobs are not in this input any more, so that "
        "their answers are left out"
    )
