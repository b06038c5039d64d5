"""A figure that is not known exactly."""

from typing import Any

from llmbatch_cli.core.frozen import frozen


@frozen
class Range:
    """The likely value, and between what it most probably lies."""

    low: float
    likely: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> "Range":
        """A known value."""
        return cls(value, value, value)

    @property
    def is_exact(self) -> bool:
        """Whether it is one value."""
        return self.low == self.high

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def __mul__(self, other: "Range") -> "Range":
        return Range(self.low * other.low, self.likely * other.likely, self.high * other.high)

    def times(self, factor: float) -> "Range":
        """All of it so many times."""
        return self * Range.exactly(factor)

    def upto(self, most: float) -> "Range":
        """Cut off at this value, which is then the high end; the low one is well below it."""
        return Range(min(self.low, most / 4), min(self.likely, most), most)

    def capped(self, most: float) -> "Range":
        """Each end no more than this value."""
        return Range(min(self.low, most), min(self.likely, most), min(self.high, most))

    def rounded(self) -> "Range":
        """Whole numbers."""
        return Range(round(self.low), round(self.likely), round(self.high))

    def as_json(self) -> dict[str, Any]:
        """An object of three numbers."""
        return {"low": self.low, "likely": self.likely, "high": self.high}
