"""Which of the rows are asked, and how often. No I/O."""

from typing import Final

from llmbatch_cli.core.frozen import frozen


@frozen(kw_only=True)
class Choice:
    """What the options choose of the rows that --where leaves, in this order."""

    offset: int = 0
    """Rows that are left out at the beginning."""
    sample: int | None = None
    """Of those up to the limit so many at random, always the same; they are held in memory."""
    repeat: int = 1
    """Each so many times."""

    def count_of(self, rows: int, limit: int | None) -> int:
        """How many rows these become, with a limit after the offset."""
        rows = max(0, rows - self.offset)
        for most in (limit, self.sample):
            rows = rows if most is None else min(rows, most)
        return rows * self.repeat


ALL: Final = Choice()
