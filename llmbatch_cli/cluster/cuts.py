"""What is known of an input that was cut, and what has to be known before it is."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from llmbatch_cli.cluster.shards import Piece, piece_as_json, piece_from_json
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.rows.input.first_rows import FirstRows
from llmbatch_cli.rows.input.source import Inputs


@frozen
class Cut:
    """One input in pieces, whose rows are numbered from 0 in each."""

    file: str
    pieces: Sequence[Piece]
    read: int
    """Its rows, with those that --where leaves out."""
    is_guess: bool = False
    """Whether some row before it was taken for granted."""
    has_rows: bool = True
    """Whether some row could be read, so that options are known to fit."""
    is_valid: bool = True
    """Whether its rows are not all invalid alike, which may end the run."""
    unclear: Sequence[Sequence[str]] = ()
    """The fields of rows that have not shown which one is the prompt before one has."""
    last: Any = None
    """The fields of the row that has shown it, and the field."""
    notices: Sequence[str] = ()
    bad: Sequence[int] = ()
    """With --repeat, the places of rows that cannot be read."""

    def as_json(self) -> dict[str, Any]:
        """The cut as JSON."""
        names = ("read", "is_guess", "has_rows", "is_valid", "unclear", "last", "notices", "bad")
        own = {name: getattr(self, name) for name in names}
        file = piece_as_json(Piece(self.file, "whole", 0, None, 0, 1, 0))
        return {"file": file, "pieces": [piece_as_json(one) for one in self.pieces], **own}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Cut":
        """The same from JSON."""
        own = {**value, "file": piece_from_json(value["file"]).file}
        return cls(**{**own, "pieces": [piece_from_json(one) for one in value["pieces"]]})


class Before:
    """What was read before an input."""

    def __init__(self) -> None:
        self.index = 0
        self.is_guess = False
        """Whether nothing is known but that some row could be read."""
        self.has_rows = False
        """Whether some row could be read."""
        self.last: tuple[Set[str], str] | None = None
        """The fields of the row that has decided, and the field."""
        self.first = FirstRows()

    @classmethod
    def guess(cls) -> "Before":
        """What is before nearly every input but the first."""
        made = cls()
        made.index, made.is_guess, made.has_rows, made.first.are_invalid = 1, True, True, False
        return made

    def is_enough(self, kept: int, inputs: Inputs) -> bool:
        """Whether a read of all inputs that has kept so many rows goes no further."""
        if inputs.limit is None or self.first.are_invalid:  # none of those is given yet
            return False
        return kept >= max(1, inputs.choice.offset + inputs.limit)
