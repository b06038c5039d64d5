"""Inputs before their rows are read: names, formats, sizes, copies of pipes."""

import os
import re
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PurePath
from typing import BinaryIO, Final, Literal

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import did_you_mean, near_file
from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.rows.big_ints import read_json
from llmbatch_cli.rows.input.chunks import WIDE, file_chunks, plain, stream_chunks
from llmbatch_cli.rows.input.parse import is_conversation
from llmbatch_cli.rows.input.pump import pumped
from llmbatch_cli.rows.input.remote import check_object, object_chunks
from llmbatch_cli.rows.input.unpacking import is_packed
from llmbatch_cli.rows.lines import BLANK, BOM, MAX_LINE_BYTES, Line, Lines, Unreadable
from llmbatch_cli.storage import Entry, is_remote

TextFormat = Literal["lines", "whole"]
TextTable = Literal["csv", "tsv"]
BinaryTable = Literal["parquet", "arrow", "xlsx"]
Format = Literal["jsonl", "text", "whole", "values", "list", TextTable, BinaryTable]
"""`values` is JSON that is not cut into lines: an array of rows. `list` is the same, and what is
behind it is left out."""
TABLES: Final[frozenset[Format]] = frozenset(("csv", "tsv", "parquet", "arrow", "xlsx"))

STDIN: Final = "<stdin>"
"""Standard input in messages."""
_SUFFIXES: Final[Mapping[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".md": "whole",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "xlsx"),
}
MOST_COUNTED_BYTES: Final = 16 * 2**20
"""Of an object in a store, which comes over the network."""
_PACKED: Final = re.compile(r"\.(?:gz|bz2|xz|zst|zstd|lzma)$")


class InputPath(str):
    """The path or address of an input, with what that does not say."""

    named: str
    """What the input is called, and read as; a copy is called as its original, `-` standard
    input."""
    row_id: str | None
    """Of a file of a folder or a pattern, which is one prompt if it is text: that prompt's id."""
    entry: Entry | None
    """Of an object in a store: as it was found. Another version of it is refused."""

    def __new__(
        cls,
        path: str | Path,
        *,
        named: str | None = None,
        row_id: str | None = None,
        entry: Entry | None = None,
    ) -> "InputPath":
        """`named`: None is the path itself."""
        made = super().__new__(cls, path)
        made.named, made.row_id, made.entry = named or str(path), row_id, entry
        return made

    @property
    def version(self) -> str | None:
        """The one that is read; None where any will do."""
        return None if self.entry is None else self.entry.version

    @classmethod
    def of(cls, name: str) -> "InputPath":
        """The name itself, if it is one."""
        return name if isinstance(name, cls) else cls(name)


def check_inputs(inputs: Sequence[str]) -> None:
    """Raise UsageError for an input that cannot be opened, before anything starts."""
    if list(inputs).count("-") > 1:
        raise UsageError("standard input is named twice, but can be read only once")
    for name in inputs:
        if name == "-":
            if sys.stdin is None:
                raise UsageError("standard input is closed")
        elif not is_remote(name):
            _check_file(name)
        elif InputPath.of(name).entry is None:
            check_object(name)


def _check_file(name: str) -> None:
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 - Path would change the name
        if stat.S_ISDIR(mode):
            raise UsageError(f"{shown_name(name)} is a directory", hint="name the files in it")
        if stat.S_ISREG(mode):
            with Path(name).open("rb"):
                return
        if not os.access(name, os.R_OK):  # opening a pipe would wait for its writer
            raise PermissionError(13, "Permission denied")
    except FileNotFoundError as error:
        raise UsageError(f"no such file: {shown_name(name)}", hint=hint_for(name)) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read {shown_name(name)}: {reason}") from error


def hint_for(missing: str) -> str:
    """What may have been meant by a name that no file has."""
    if near := near_file(missing):
        return did_you_mean([shown_name(near)])
    if suffix_of(missing) or os.sep in missing:
        return f"relative names begin at {Path.cwd()}; - is standard input"
    return "prompts come from files or standard input: echo 'A PROMPT' | llmbatch batch"


def shown_name(name: str) -> str:
    """An input's name for messages, which always is valid Unicode."""
    named = InputPath.of(name).named
    if named == "-":
        return STDIN
    return os.fsencode(named).decode(errors="replace")


def chunks_of(
    name: str, stdin: BinaryIO | None = None, *, begin: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The bytes of an input, those of a file between two places; `stdin` takes the place of
    standard input, which may be closed."""
    if is_remote(name):
        return object_chunks(name, InputPath.of(name).version, begin, end)
    if name != "-":
        return file_chunks(name, begin, end)
    stream = stdin or (sys.stdin.buffer if sys.stdin else None)
    return stream_chunks(stream) if stream else iter(())


def suffix_of(name: str) -> str:
    """The last suffix in lower case, without `.gz` and its like; empty for standard input."""
    return PurePath(_PACKED.sub("", InputPath.of(name).named.lower())).suffix


def format_of_name(name: str, input_format: InputFormat = "auto") -> Format | None:
    """The format by option, else by name; None where both leave it open."""
    if input_format != "auto":
        return input_format
    form = _SUFFIXES.get(suffix_of(name))
    return "whole" if form == "text" and InputPath.of(name).row_id is not None else form


# Counting ahead


def can_be_read_twice(path: str) -> bool:
    """Whether it is a regular file or an object, and neither standard input nor a pipe."""
    if is_remote(path):
        return True
    try:
        return path != "-" and stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - as below
    except OSError:
        return False


def count_rows(
    path: str,
    enough: threading.Event | None = None,
    *,
    input_format: InputFormat = "auto",
    for_text: TextFormat = "lines",
) -> int | None:
    """The number of rows of a regular file; None where counting them is not cheap.

    That is for standard input, pipes, long objects of stores, gzip, UTF-16, JSON over many lines,
    and once the event is set. Blocks for about 0.1 s per million rows, so it belongs in a thread.
    """
    form = format_of_name(path, input_format)
    if not can_be_read_twice(path) or _is_far(path) or (form is None and for_text == "whole"):
        return None
    try:
        if form == "whole":
            return int(any(map(bytes.strip, plain(chunks_of(path)))))
        if form in TABLES:
            return _count_records(path, enough) if form in ("csv", "tsv") else None
        return _count_lines(chunks_of(path), enough, is_text=form == "text")
    except (OSError, Unreadable):
        return None


def _is_far(path: str) -> bool:
    """Whether it would be fetched once more only to be counted."""
    entry = InputPath.of(path).entry
    return is_remote(path) and (entry is None or entry.size > MOST_COUNTED_BYTES)


def _count_lines(
    chunks: Iterator[bytes], enough: threading.Event | None, *, is_text: bool
) -> int | None:
    """The lines with more than white space on them; None where a line is not a row."""
    lines, rows = Lines(MAX_LINE_BYTES), 0
    for place, chunk in enumerate(chunks):
        if enough and enough.is_set():
            return None
        if place == 0:
            if _is_not_plain(chunk):
                return None
            chunk = chunk.removeprefix(BOM)
            if not is_text and not _is_row_a_line(chunk):
                return None
        rows += sum(map(is_row, lines.feed(chunk)))
    return rows + sum(map(is_row, lines.finish()))


def _count_records(path: str, enough: threading.Event | None) -> int | None:
    """The rows of a text table, by its newlines outside of quotes."""
    newlines, is_open, last = 0, False, b"\n"
    for chunk in chunks_of(path):
        if enough and enough.is_set():
            return None
        if _is_not_plain(chunk):
            return None
        pieces = chunk.split(b'"')
        newlines += sum(piece.count(b"\n") for piece in pieces[is_open::2])
        is_open ^= len(pieces) % 2 == 0
        last = chunk[-1:]
    return max(0, newlines - (last == b"\n"))


def _is_not_plain(chunk: bytes) -> bool:
    """Whether the lines of a file that begins so are not those of its text."""
    return b"\0" in chunk or chunk.startswith(WIDE) or is_packed(chunk)


def _is_row_a_line(head: bytes) -> bool:
    """Whether the first line of what may be JSON is one row."""
    line, newline, _ = head.lstrip().partition(b"\n")
    if line[:1] not in (b"{", b"[") or not newline:
        return line[:1] != b"["
    try:
        value = read_json(line)
    except orjson.JSONDecodeError:
        return False
    return not isinstance(value, list) or is_conversation(value)


def is_row(line: Line) -> bool:
    """Whether a line of text is a row; nothing stands for one that is too long."""
    return line is None or bool(line.strip(BLANK))


# Pipes, twice


@asynccontextmanager
async def spooled(inputs: Sequence[str], stdin: BinaryIO | None = None) -> AsyncIterator[list[str]]:
    """Copy standard input and every pipe to temporary files, so that they can be read twice.

    Yields the inputs with the copies in their places. Nothing blocks the event loop, and waiting
    for the end of an input can be cancelled. Raises UsageError when one cannot be read or copied.
    """
    if all(map(can_be_read_twice, inputs)):
        yield list(inputs)
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="llmbatch-") as folder:
        names = list(inputs)
        for place, name in enumerate(names):
            if not can_be_read_twice(name):
                known = InputPath.of(name)
                copy = InputPath(Path(folder) / str(place), named=known.named, row_id=known.row_id)
                names[place] = copy
                await _spool(chunks_of(name, stdin), copy)
        yield names


async def _spool(chunks: Iterator[bytes], copy: InputPath) -> None:
    try:
        async with aclosing(pumped(_copied(chunks, Path(copy)))) as steps:
            async for _ in steps:
                pass
    except Unreadable as error:
        raise UsageError(f"{shown_name(copy)} {error.message}") from error


def _copied(chunks: Iterator[bytes], copy: Path) -> Iterator[bytes]:
    try:
        with copy.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                yield chunk
    except OSError as error:
        raise Unreadable(f"cannot be copied to {copy}: {error.strerror}") from error
