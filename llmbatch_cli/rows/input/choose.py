"""Which of the rows are asked, and how often. No I/O."""

from typing import Final

from llmbatch_cli.core.frozen import frozen


@frozen(kw_only=True)
class Choice:
    """What the options choose of the rows that --where leaves, in this order."""

    offset: int = 0
    """Rows that are left out at the beginning."""
    sample: int | None = None
    """Of those up to the limit so many at random, always the same."""
    repeat: int = 1
    """Each so many times."""

    def count_of(self, rows: int, limit: int | None) -> int:
        """How many rows these become, with a limit after the offset."""
        rows = self.left_of(rows, limit)
        return (rows if self.sample is None else min(rows, self.sample)) * self.repeat

    def left_of(self, rows: int, limit: int | None) -> int:
        """How many of these are left between the offset and the limit."""
        rows = max(0, rows - self.offset)
        return rows if limit is None else min(rows, limit)


ALL: Final = Choice()
