"""Packed bytes, known by how they begin, unpacked as they arrive. No I/O."""

import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, NamedTuple

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.rows.lines import CHUNK_BYTES, CutShort, Unreadable, unpacked

MAGIC_BYTES: Final = 10
"""So many first bytes show any packing."""
_ZSTD_MODULE: Final = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
_MEBIBYTE: Final = 2**20
_MOST_MEMORY_BYTES: Final = 512 * _MEBIBYTE


class _Packing(NamedTuple):
    name: str
    begins: re.Pattern[bytes]
    decompressor: Callable[[], Any] | None
    """Makes one with the interface of bz2.BZ2Decompressor; None for gzip, which has its own way."""


def unpacked_if_packed(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes] | None:
    """The chunks unpacked, at most CHUNK_BYTES a step; None where their first bytes, `head`, show
    no packing.

    Raises Unreadable for damaged data, CutShort at the end of incomplete data.
    """
    found = next((packing for packing in _PACKINGS if packing.begins.match(head)), None)
    if found is None:
        return None
    if found.decompressor is None:
        return unpacked(chunks)
    return _members(chunks, found.name, found.decompressor)


def _members(
    chunks: Iterator[bytes], name: str, decompressor: Callable[[], Any]
) -> Iterator[bytes]:
    """One member, or frame, after the other."""
    member: Any = None
    for chunk in chunks:
        rest = chunk
        while rest:
            if member is None:
                rest = rest.lstrip(b"\0")  # padding is allowed between members
                if not rest:
                    break
                member = decompressor()
            try:
                yield from _steps(member, rest)
            except Exception as error:  # each library has its own, and some have several
                raise Unreadable(f"the {name} data is damaged") from error
            rest = member.unused_data
            if member.eof:
                member = None
    if member is not None:
        raise CutShort(f"the {name} data ends too early: the file is incomplete")


def _steps(member: Any, packed: bytes) -> Iterator[bytes]:
    while True:
        if piece := member.decompress(packed, CHUNK_BYTES):
            yield piece
        packed = b""
        if member.eof or member.needs_input:
            return


def _bzip2() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> Any:
    import lzma

    return lzma.LZMADecompressor(memlimit=_MOST_MEMORY_BYTES)


def _zstd() -> Any:
    try:
        module = import_module(_ZSTD_MODULE)
    except ImportError as error:
        raise UsageError(
            "zstd needs a library that is not installed",
            hint=f"{install_hint('compression')}, or unpack it: zstd -d FILE",
        ) from error
    return module.ZstdDecompressor()


_PACKINGS: Final = tuple(
    _Packing(name, re.compile(begins), decompressor)
    for name, begins, decompressor in (
        ("gzip", rb"\x1f\x8b", None),
        ("bzip2", rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", _bzip2),
        ("xz", rb"\xfd7zXZ\0|\x5d\0\0[\x80\0]", _xz),
        ("zstd", rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", _zstd),
    )
)
