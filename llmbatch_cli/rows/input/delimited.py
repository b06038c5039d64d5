"""Tables as text: CSV, TSV and their kin, cut into records as their bytes arrive. No I/O."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from llmbatch_cli.rows.input.table import Layout, Record, Say, names_of, say_renamed
from llmbatch_cli.rows.lines import Line, Lines

DELIMITERS: Final = (",", ";", "\t", "|")
_NONE: Final = "\x1f"
"""The delimiter of a table of one column, whose cells may hold all the others."""
_SAMPLE_LINES: Final = 20
_QUOTE: Final = '"'
_CONTENT: Final = re.compile(rb'[^",;\t|\x1f]+')
"""What is no quote and no delimiter."""
_TOO_LONG: Final = "\0too long\0"
"""At the end of what stands for a line that is too long."""
_OVER_LIMIT: Final = "field larger than field limit"
"""In csv's own message."""
_SEP: Final = "sep="
"""Excel's first line, which names the delimiter."""


def records_of(
    chunks: Iterator[bytes],
    delimiter: str | None,
    max_cell_chars: int,
    say: Say,
    *,
    has_header: bool = True,
) -> Iterator[list[Record]]:
    """The records below the header, or all where there is none, in lists of what has arrived
    together; the first list may be empty, and comes with the header.

    `chunks` is UTF-8; without a `delimiter` the first lines show it. A record is given as soon as
    its last line is complete. `say` is called with what a person should know. Raises csv.Error for
    a header that cannot be read.
    """
    layout = Layout(delimiter, ())
    return TextTableReader(chunks, layout, max_cell_chars, say, has_header=has_header).records()


def delimiter_of(lines: Sequence[str]) -> str:
    """What stands between the cells: of the usual ones that which the first lines have the same
    number of, and most, outside of quotes."""
    counts = [_counts(record) for record in _whole_records(lines) if record.strip()]
    if not counts or not any(counts[0].values()):
        return _NONE

    def agreement(delimiter: str) -> tuple[int, int]:
        of_header = counts[0][delimiter]
        alike = sum(count[delimiter] == of_header for count in counts)
        return (alike if of_header else 0), of_header

    return max(DELIMITERS, key=agreement)


def _counts(record: str) -> dict[str, int]:
    unquoted = "".join(record.split(_QUOTE)[::2])
    return {one: unquoted.count(one) for one in DELIMITERS}


def _whole_records(lines: Sequence[str]) -> Iterator[str]:
    """Lines joined while a quote is open; the last, if it is open, is left out."""
    held: list[str] = []
    is_open = False
    for line in lines:
        held.append(line)
        is_open ^= bool(line.count(_QUOTE) % 2)
        if not is_open:
            yield "".join(held)
            held.clear()


def _said(error: csv.Error) -> str:
    if str(error).startswith("new-line"):
        return "bad CSV: a line ends with CR alone (tr '\\r' '\\n' <FILE mends a file of them)"
    return f"bad CSV: {error}"


class TextTableReader:
    """One table, read block by block: a block is the whole lines that have arrived together."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        layout: Layout,
        max_chars: int,
        say: Say,
        *,
        has_header: bool,
        line: int = 1,
    ) -> None:
        """`line`: the number of the first."""
        self._has_header = has_header
        self._say = say
        self._max_chars = max_chars
        self._is_odd = False
        """Whether some line so far is no UTF-8, or too long."""
        self._blocks = self._blocks_of(chunks)
        self._delimiter = layout.delimiter
        self._names: Sequence[str] = layout.names
        self._line = line - 1
        """Lines before the present block."""
        self._rest: list[str] = []
        """Of the last block, what is not read yet."""

    @property
    def layout(self) -> Layout:
        """As far as it is known."""
        return Layout(self._delimiter, self._names)

    def records(self) -> Iterator[list[Record]]:
        """See `records_of`."""
        csv.field_size_limit(self._max_chars)
        while block := self._rest or next(self._blocks, []):
            self._rest = []
            if self._delimiter is None:
                block = self._find_delimiter(block)
            had_names = bool(self._names)
            found, used = self._read(block)
            if found or (self._names and not had_names):
                yield found
            if used < len(block):
                yield self._read_on(block[used:])

    def _find_delimiter(self, block: list[str]) -> list[str]:
        first = block[0].strip().strip(_QUOTE).lower()
        if first.startswith(_SEP) and len(first) <= len(_SEP) + 1:
            self._delimiter = first[len(_SEP) :] or "\t"
            self._line = 1
            return block[1:]
        if any(line.strip() for line in block):
            beginning = next(place for place, line in enumerate(block) if line.strip())
            self._delimiter = delimiter_of(block[beginning : beginning + _SAMPLE_LINES])
        return block

    def _read(self, block: list[str]) -> tuple[list[Record], int]:
        """The records that are whole in this block, and how many of its lines they take."""
        found: list[Record] = []
        is_over = False

        def lines() -> Iterator[str]:
            nonlocal is_over
            yield from block
            is_over = True

        reader = csv.reader(lines(), delimiter=self._delimiter or ",")
        begin = 0
        while True:
            begin = reader.line_num
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                if _is_open(block[begin : reader.line_num]):  # the rest of the cell is no row
                    break
                self._take_wrong(begin, _said(error), found)
                continue
            if is_over:  # it goes on in the next block
                break
            if len(cells) == len(self._names) and not self._is_odd and any(cells):
                line = self._line + begin + 1  # the usual way, and nothing else
                found.append(Record(line, dict(zip(self._names, cells, strict=True))))
            else:
                self._take(begin, cells, found)
        self._line += begin
        return found, begin

    def _read_on(self, begun: list[str]) -> list[Record]:
        """The record that begins with these lines and ends in a later block."""
        found: list[Record] = []
        lines = _Counted(chain(iter((begun,)), self._blocks))
        reader = csv.reader(lines, delimiter=self._delimiter or ",")
        try:
            cells = next(reader)
        except csv.Error as error:
            lines.skip_cell()
            self._take_wrong(0, _said(error), found)
        else:
            if lines.is_over:
                reason = "a quote is opened here and never closed; the rest of the input is in it"
                self._take_wrong(0, reason, found)
            else:
                self._take(0, cells, found)
        self._rest = lines.left()
        self._line += lines.taken
        return found

    def _take(self, begin: int, cells: list[str], found: list[Record]) -> None:
        line, names = self._line + begin + 1, self._names
        if not any(cells):
            return
        if self._is_odd and any(_TOO_LONG in cell for cell in cells):
            self._take_wrong(begin, _OVER_LIMIT, found)
        elif not names:
            header = [_replaced(cell) if self._has_header else "" for cell in cells]
            self._names = names_of(header)
            say_renamed(header, self._names, self._say)
            if not self._has_header:
                self._take(begin, cells, found)
        elif len(cells) == len(names):
            wrong = _not_utf8(cells)
            if wrong is not None:
                cells = [_replaced(cell) for cell in cells]
            found.append(Record(line, dict(zip(names, cells, strict=True)), wrong))
        elif len(cells) > len(names) and not any(cells[len(names) :]):
            self._take(begin, cells[: len(names)], found)
        else:
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            columns = "1 column" if len(names) == 1 else f"{len(names)} columns"
            fields = dict(zip(names, map(_replaced, cells), strict=False))
            found.append(Record(line, fields, f"bad CSV: {count}, but there are {columns}"))

    def _take_wrong(self, begin: int, reason: str, found: list[Record]) -> None:
        if _OVER_LIMIT in reason:
            reason = f"a cell is longer than {self._max_chars:,} characters (--max-line-bytes)"
        if not self._names:
            raise csv.Error(f"the header cannot be read: {reason}")
        found.append(Record(self._line + begin + 1, {}, reason))

    def _blocks_of(self, chunks: Iterator[bytes]) -> Iterator[list[str]]:
        """The lines, each with its newline, in lists of what has arrived together."""
        cutter = _TableLines(self._max_chars)
        is_mac = False
        for place, chunk in enumerate(chunks):
            if place == 0 and not self._names:
                # Excel's "CSV (Macintosh)" has nothing but carriage returns
                is_mac = b"\r" in chunk and b"\n" not in chunk and not chunk.endswith(b"\r")
            if lines := cutter.feed(chunk.replace(b"\r", b"\n") if is_mac else chunk):
                yield self._text_lines(lines)
        if lines := cutter.finish():
            yield self._text_lines(lines)

    def _text_lines(self, lines: list[Line]) -> list[str]:
        data = b"\n".join((*(line or b"" for line in lines), b""))
        self._is_odd = self._is_odd or _TOO_LONG.encode() in data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._is_odd = True
            text = data.decode("utf-8", "surrogateescape")
        return list(io.StringIO(text, newline="\n"))


class _TableLines(Lines):
    """Of a line that is too long, what shows where its cells and its record end."""

    def _left_of(self, pieces: list[bytes]) -> list[bytes]:
        return [_CONTENT.sub(b"x", b"".join(pieces))]

    def _too_long(self, line: bytes) -> Line:
        return _CONTENT.sub(b"x", line) + _TOO_LONG.encode()


class _Counted:
    """The lines of blocks, one after the other, and how many were taken."""

    def __init__(self, blocks: Iterator[list[str]]) -> None:
        self._blocks = blocks
        self._block: list[str] = []
        self._at = 0
        self.taken = 0
        self.is_over = False
        self._quotes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while self._at == len(self._block):
            block = next(self._blocks, None)
            if block is None:
                self.is_over = True
                raise StopIteration
            self._block, self._at = block, 0
        line = self._block[self._at]
        self._at += 1
        self.taken += 1
        self._quotes += line.count(_QUOTE)
        return line

    def skip_cell(self) -> None:
        """Go on to the end of the quoted cell that the lines taken have opened."""
        while self._quotes % 2 and next(self, None) is not None:
            pass

    def left(self) -> list[str]:
        """Of the present block, what was not taken."""
        return self._block[self._at :]


def _is_open(lines: Sequence[str]) -> bool:
    return sum(line.count(_QUOTE) for line in lines) % 2 == 1


def _replaced(cell: str) -> str:
    """The cell with U+FFFD in place of what is no UTF-8."""
    return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _not_utf8(cells: Sequence[str]) -> str | None:
    for cell in cells:
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            return f"not UTF-8: byte 0x{ord(cell[error.start]) - 0xDC00:02x} (--encoding names it)"
    return None
