"""Bytes from files and standard input, as they arrive."""

import codecs
import os
import select
from collections.abc import Iterator
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.input.foreign import MAGIC_BYTES, Foreign, by_magic
from llmbatch_cli.rows.input.unpacking import MAGIC_BYTES as PACKING_BYTES
from llmbatch_cli.rows.input.unpacking import unpacked_if_packed
from llmbatch_cli.rows.lines import BOM, CHUNK_BYTES, Unreadable

WIDE: Final = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""What text in UTF-16 or UTF-32 begins with, if it has a byte order mark."""
_UTF_32_LE: Final = b"\xff\xfe\0\0"


def file_chunks(path: str, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The file's bytes between two places. Opens it at the first step; raises Unreadable."""
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed just below
    except OSError as error:
        raise _unreadable(error) from error
    with file:
        file.seek(begin) if begin else None
        chunks = stream_chunks(file)
        yield from chunks if end is None else _first_bytes(chunks, end - begin)


def _first_bytes(chunks: Iterator[bytes], size_bytes: int) -> Iterator[bytes]:
    while size_bytes > 0 and (chunk := next(chunks, b"")):
        yield chunk[:size_bytes]
        size_bytes -= len(chunk)


def stream_chunks(stream: BinaryIO | FileIO) -> Iterator[bytes]:
    """The bytes of an open stream, of which nothing may have been read yet. Raises Unreadable.

    Reads the descriptor past the stream's buffer: a thread that is blocked in the buffer
    holds a lock that ends the interpreter with an error.
    """
    try:
        descriptor = stream.fileno()
    except OSError:  # a stream in memory
        yield from iter(lambda: stream.read(CHUNK_BYTES), b"")
        return
    try:
        while chunk := _read(descriptor):
            yield chunk
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> Unreadable:
    return Unreadable(f"cannot be read: {error.strerror or error}")


def _read(descriptor: int) -> bytes:
    """What is there now; waits only while there is nothing. Empty at the end."""
    while True:
        try:
            return os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:  # whoever shares the pipe has made it non-blocking
            select.select([descriptor], [], [])


class Opened(NamedTuple):
    """What was packed or not, unpacked."""

    head: bytes
    """Its first bytes, which show what it is."""
    chunks: Iterator[bytes]
    """All of it."""
    is_packed: bool


def opened(chunks: Iterator[bytes]) -> Opened:
    """The chunks without the packing that their first bytes show. Waits for no more than a line.

    What follows raises Unreadable after all that could be unpacked.
    """
    head = _head(chunks, PACKING_BYTES)
    within = unpacked_if_packed(head, chain((head,), chunks))
    if within is not None:
        head, chunks = b"", within
    head += _head(chunks, MAGIC_BYTES - len(head), head)
    return Opened(head, chain((head,), chunks), within is not None)


def _head(chunks: Iterator[bytes], size_bytes: int, before: bytes = b"") -> bytes:
    """So many bytes, or fewer where a line, or all, ends before."""
    head = b""
    # Half a line is no row, so waiting for its end, or for this much, holds nothing up.
    while len(head) < size_bytes and b"\n" not in before + head and (more := next(chunks, b"")):
        head += more
    return head


def plain(chunks: Iterator[bytes], encoding: str | None = None) -> Iterator[bytes]:
    """The chunks as UTF-8 without a byte order mark: unpacked, and converted."""
    return as_text(opened(chunks), encoding)


def as_text(data: Opened, encoding: str | None = None) -> Iterator[bytes]:
    """Text as UTF-8 without a byte order mark; UTF-16 and UTF-32 are converted, or the named
    `encoding`.

    UTF-16 is known by its mark, or by a NUL in each of its first two characters. Raises Foreign
    for what is no text, and Unreadable after all that could be converted.
    """
    if (kind := by_magic(data.head)) is not None:
        raise Foreign(kind)
    codec = encoding or codec_of(data.head)
    if codec is not None:
        yield from converted(data.chunks, codec)
        return
    yield next(data.chunks).removeprefix(BOM)
    yield from data.chunks


def checked_encoding(name: str | None) -> str | None:
    """The encoding that an option names. Raises UsageError for none that Python knows."""
    if name is None:
        return None
    try:
        found = codecs.lookup(name)
        "".encode(name)  # fails for a codec that is no encoding of text, as base64
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"--encoding {name}: no such encoding", hint="as in utf-8, cp1252, latin-1, shift_jis"
        ) from error
    return None if found.name == "utf-8" else found.name


def codec_of(head: bytes) -> str | None:
    """The encoding that these first bytes show; None for one byte a character, or UTF-8."""
    if head.startswith((_UTF_32_LE, WIDE[2])):
        return "utf-32"
    if head.startswith(WIDE):
        return "utf-16"
    if len(head) >= 4 and head[0] and not head[1] and head[2] and not head[3]:
        return "utf-16-le"
    if len(head) >= 4 and not head[0] and head[1] and not head[2] and head[3]:
        return "utf-16-be"
    return None


def converted(chunks: Iterator[bytes], codec: str) -> Iterator[bytes]:
    """Text in this encoding as UTF-8, without a byte order mark. Raises Unreadable."""
    decoder = codecs.getincrementaldecoder(codec)()
    is_first = True
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            if is_first and text:
                text, is_first = text.removeprefix("\ufeff"), False
            yield text.encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else error
        raise Unreadable(f"cannot be read as {codec.upper()}: {reason}") from error
