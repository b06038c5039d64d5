"""Bytes that arrive in pieces: unpacked, and cut into lines. No I/O."""

import zlib
from collections.abc import Iterator
from typing import Final

from llmbatch_cli.core.errors import InputError

CHUNK_BYTES: Final = 2**18
"""The most that is read, or unpacked, in one step."""
MAX_LINE_BYTES: Final = 64 * 2**20
BOM: Final = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8."""
BLANK: Final = b" \t\r\n\v\f" + BOM
"""What may stand before JSON; files put one behind the other leave several marks."""
_PACKED_BYTES: Final = 2**16  # zlib copies what it has not used at every step

Line = bytes | None
"""One line without its newline; None for one that is too long."""


class Unreadable(InputError):
    """A file of which the rest cannot be read: damaged gzip, a failing disk."""


class CutShort(Unreadable):
    """Gzip data without its end, as a killed run leaves it."""


def unpacked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """One gzip member after the other, at most CHUNK_BYTES a step.

    Raises Unreadable for damaged data, CutShort at the end of incomplete data.
    """
    member: zlib._Decompress | None = None
    for rest in _small_pieces(chunks):
        while rest:
            if member is not None and member.eof:
                rest = rest.lstrip(b"\0")  # padding is allowed between members
                if not rest:
                    break
                member = None
            member = member or zlib.decompressobj(wbits=31)  # 31 is gzip's header and trailer
            yield from _steps(member, rest)
            rest = member.unused_data
    if member is not None and not member.eof:
        raise CutShort("the gzip data ends too early: the file is incomplete")


def _steps(member: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    try:
        while True:
            piece = member.decompress(packed, CHUNK_BYTES)
            if piece:
                yield piece
            packed = member.unconsumed_tail
            if member.eof or (not packed and len(piece) < CHUNK_BYTES):
                return
    except zlib.error as error:
        raise Unreadable("the gzip data is damaged") from error


def _small_pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _PACKED_BYTES):
            yield chunk[start : start + _PACKED_BYTES]


class Lines:
    """Cuts bytes into lines, however they arrive; holds one unfinished line at most."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        """The unfinished line's size; its pieces are dropped when it is too long."""

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that these bytes complete."""
        first, *lines = chunk.split(b"\n")
        self._hold(first)
        if not lines:
            return []
        done: list[Line] = [self._take()]
        self._hold(lines.pop())
        if len(chunk) <= self._max_bytes:
            done += lines
        else:
            done += [
                line if len(line) <= self._max_bytes else self._too_long(line) for line in lines
            ]
        return done

    def finish(self) -> list[Line]:
        """The last line, where it has no newline."""
        return [self._take()] if self._held_bytes else []

    def _hold(self, piece: bytes) -> None:
        self._held_bytes += len(piece)
        if piece:
            self._pieces.append(piece)
        if self._held_bytes > self._max_bytes:
            self._pieces = self._left_of(self._pieces)

    def _take(self) -> Line:
        line: Line = b"".join(self._pieces)
        if self._held_bytes > self._max_bytes:
            line = self._too_long(line or b"")
        self._pieces.clear()
        self._held_bytes = 0
        return line

    def _left_of(self, pieces: list[bytes]) -> list[bytes]:
        """What is kept of the beginning of a line that is too long."""
        return []

    def _too_long(self, line: bytes) -> Line:
        """What stands for a line that is too long."""
        return None
