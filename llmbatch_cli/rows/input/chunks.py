"""Bytes from files and standard input, as they arrive."""

import os
import select
from collections.abc import Iterator
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from llmbatch_cli.rows.lines import CHUNK_BYTES, Unreadable, unpacked

GZIP: Final = b"\x1f\x8b"
"""What every gzip file begins with."""
BOM: Final = b"\xef\xbb\xbf"
WIDE: Final = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""What text in UTF-16 or UTF-32 begins with, if it has a byte order mark."""
_UTF_32_LE: Final = b"\xff\xfe\0\0"
TO_UTF_8: Final = "convert it to UTF-8, as by iconv -f utf-16 -t utf-8"


def file_chunks(path: str) -> Iterator[bytes]:
    """The file's bytes. Opens it at the first step; raises Unreadable."""
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed just below
    except OSError as error:
        raise _unreadable(error) from error
    with file:
        yield from stream_chunks(file)


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


def plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks unpacked where they are gzip, and without a byte order mark.

    Raises Unreadable for UTF-16 and UTF-32, and after all that could be unpacked.
    """
    head = _head(chunks, GZIP)
    chunks = chain((head,), chunks)
    if head.startswith(GZIP):
        chunks = unpacked(chunks)
    head = _head(chunks, BOM, _UTF_32_LE, *WIDE)
    if head.startswith(WIDE):
        name = "UTF-32" if head.startswith((_UTF_32_LE, WIDE[2])) else "UTF-16"
        raise Unreadable(f"it is {name}; {TO_UTF_8.replace('utf-16', name.lower())}")
    yield head.removeprefix(BOM)
    yield from chunks


def _head(chunks: Iterator[bytes], *marks: bytes) -> bytes:
    """As many bytes as it takes to know which of the marks they begin with."""
    head = b""
    while any(len(head) < len(mark) and mark.startswith(head) for mark in marks):
        chunk = next(chunks, b"")
        if not chunk:
            break
        head += chunk
    return head
