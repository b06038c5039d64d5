"""Which rows of the input the open jobs of an earlier run hold already."""

from dataclasses import replace

from llmbatch_cli.core.types import Row
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

    def unasked(self) -> int:
        """Rows of the jobs that no row has claimed anything of."""
        ends = [*self._begins.values(), self._rows.rows][1:]
        jobs = [range(*pair) for pair in zip(self._begins.values(), ends, strict=True)]
        return sum(len(job) for job in jobs if not any(map(self._rows.is_claimed, job)))

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

    def close(self) -> None:
        self._rows.close()
