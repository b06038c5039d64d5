"""Tables as text: CSV, TSV and their kin, cut into records as their bytes arrive. No I/O."""

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from llmbatch_cli.rows.lines import BOM, Lines

DELIMITERS: Final = (",", ";", "\t", "|")
_SAMPLE_LINES: Final = 20
_QUOTE: Final = '"'


class Record(NamedTuple):
    """One line of a table, which may go on over several lines of its file."""

    line: int
    """Where it begins, from 1."""
    cells: Sequence[str]
    wrong: str | None = None
    """Why it cannot be read."""


def records_of(
    chunks: Iterator[bytes], delimiter: str | None, max_cell_chars: int
) -> Iterator[list[Record]]:
    """The table's records, header first, in lists of what has arrived together.

    `chunks` is UTF-8; without a `delimiter` the first lines show it. A record is given as soon as
    its last line is complete.
    """
    lines = _TextLines(chunks, max_cell_chars)
    delimiter = delimiter or delimiter_of(lines.sample())
    csv.field_size_limit(max(csv.field_size_limit(), max_cell_chars))
    reader = csv.reader(lines, delimiter=delimiter)
    found: list[Record] = []
    while True:
        begin = lines.taken + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            found.append(Record(begin, (), f"bad CSV: {error}"))
            reader = csv.reader(lines, delimiter=delimiter)
        else:
            if cells:
                wrong = lines.take_wrong()
                found.append(Record(begin, cells, wrong))
        if found and not lines.ready:
            yield found
            found = []
    if found:
        yield found


def delimiter_of(lines: Sequence[str]) -> str:
    """What stands between the cells: of the usual ones that which the first lines have the same
    number of, and most, outside of quotes. A comma where none stands anywhere."""
    counts = [_counts(record) for record in _whole_records(lines) if record.strip()]
    if not counts:
        return DELIMITERS[0]

    def agreement(delimiter: str) -> tuple[int, int]:
        of_header = counts[0][delimiter]
        alike = sum(count[delimiter] == of_header for count in counts)
        return (alike if of_header else 0), of_header

    return max(DELIMITERS, key=agreement)


def names_of(header: Sequence[str]) -> list[str]:
    """The columns' names: an empty one becomes `column_3`, one that was there before `name_2`."""
    names: list[str] = []
    for place, cell in enumerate(header, 1):
        name = wanted = cell.strip() or f"column_{place}"
        number = 2
        while name in names:
            name, number = f"{wanted}_{number}", number + 1
        names.append(name)
    return names


def _counts(record: str) -> dict[str, int]:
    unquoted = "".join(record.split(_QUOTE)[::2])
    return {one: unquoted.count(one) for one in DELIMITERS}


def _whole_records(lines: Sequence[str]) -> Iterator[str]:
    """Lines joined while a quote is open; the last, if it is open, is left out."""
    held = ""
    for line in lines:
        held += line
        if held.count(_QUOTE) % 2 == 0:
            yield held
            held = ""


class _TextLines:
    """The lines of a file as text, each with its newline; what csv reads from."""

    def __init__(self, chunks: Iterator[bytes], max_line_chars: int) -> None:
        self._chunks = chunks
        self._lines = Lines(max_line_chars)
        self.ready: deque[bytes | None] = deque()
        """Lines that have arrived."""
        self.taken = 0
        self._is_over = False
        self._wrong: str | None = None
        self._limit = max_line_chars

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.ready:
            self._read()
        if not self.ready:
            raise StopIteration
        self.taken += 1
        return self._text(self.ready.popleft())

    def sample(self) -> list[str]:
        """The first lines, which stay to be read."""
        while len(self.ready) < _SAMPLE_LINES and not self._is_over:
            before = len(self.ready)
            self._read()
            if before and self.ready[-1] is not None:  # a pipe may bring no more for long
                break
        return [line.decode("utf-8", "replace") + "\n" for line in self.ready if line is not None]

    def take_wrong(self) -> str | None:
        """What was wrong with a line since the last time."""
        wrong, self._wrong = self._wrong, None
        return wrong

    def _read(self) -> None:
        """Wait for the next whole line, or the end."""
        while not self.ready and not self._is_over or (self._is_over is False and not self.ready):
            chunk = next(self._chunks, None)
            if chunk is None:
                self._is_over = True
                self.ready.extend(self._lines.finish())
            else:
                self.ready.extend(self._lines.feed(chunk))

    def _text(self, line: bytes | None) -> str:
        if line is None:
            self._wrong = f"a line is longer than {self._limit:,} bytes (--max-line-bytes)"
            return "\n"
        try:
            return line.removeprefix(BOM).decode() + "\n"
        except UnicodeDecodeError as error:
            self._wrong = f"not UTF-8: byte 0x{line[error.start]:02x}"
            return line.decode("utf-8", "replace") + "\n"
