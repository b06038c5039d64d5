"""A terminal that is only computed: what its user sees after the bytes written to it."""

import re

from rich.cells import cell_len

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+|\x1b")


class Screen:
    """Understands what the display uses, and fails on anything else.

    Only `say` may be wider than the terminal; such a text folds.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[str] = [""]
        self.row = 0
        self.column = 0
        self.cursor_shown = True
        self.codes: list[str] = []
        """The last letter of every escape sequence; `m` is colour."""
        self.folds = 0
        """How often a text went over the last column."""

    @property
    def lines(self) -> list[str]:
        """What stands there, without empty lines at the end and blanks at the line's end."""
        return (
            "\n".join(row.rstrip() for row in self.rows)
            .rstrip("\n")
            .split("\n")[: None if any(row.strip() for row in self.rows) else 0]
        )

    def feed(self, text: str) -> "Screen":
        """Write to the terminal."""
        for token in _TOKEN.finditer(text):
            if token[2]:
                self._control(token[1], token[2])
            elif token[0] == "\r":
                self.column = 0
            elif token[0] == "\n":
                self._down()
            else:
                self._put(token[0])
        return self

    def resize(self, width: int) -> None:
        """Make it narrower, as most terminals do: lines are folded, the cursor keeps its place."""
        rows: list[str] = []
        for place, row in enumerate(self.rows):
            if place == self.row:
                line, self.column = divmod(max(0, self.column - 1), width)
                self.column += 1
                cursor = len(rows) + line
            rows += [row[at : at + width] for at in range(0, max(1, len(row)), width)]
        self.width, self.rows, self.row = width, rows, cursor

    def _down(self) -> None:
        self.row += 1
        self.column = 0
        if self.row == len(self.rows):
            self.rows.append("")

    def _put(self, text: str) -> None:
        assert "\x1b" not in text
        for char in text:
            wide = cell_len(char)
            if self.column + wide > self.width:
                self.folds += 1
                self._down()
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
            self.column += 1 if wide else 0

    def _control(self, number: str, letter: str) -> None:
        self.codes.append(letter)
        match letter, number:
            case "A", _:
                assert self.row >= int(number), "above the first line"
                self.row -= int(number)
            case "K", "2":
                self.rows[self.row] = ""
            case (("h" | "l"), "?25"):
                self.cursor_shown = letter == "h"
            case "m", _:
                pass
            case _:
                raise AssertionError(f"unknown sequence {number}{letter}")
