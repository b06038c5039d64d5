"""Bodies as their content-encoding has packed them, asked for or not; read the same by every Send.

Source: RFC 9110, section 8.4; RFC 8878 (zstd), RFC 7932 (br). Read 2026-11-26.
"""

import re
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import Any, Final

from llmbatch_cli.core.errors import BadReply, Unreadable

PIECE_BYTES: Final = 2**18
"""A body is unpacked in pieces of about this size, so that a bomb is stopped by the size cap."""

MOST_LAYERS: Final = 16
"""Packings that are taken off. Some 100,000 of them, as one header can name, would overflow the
interpreter's stack."""

Unpack = Callable[[bytes], Iterator[bytes]]

_PLAIN: Final = re.compile(rb"\s*(?:\{\s*[\"}]|\[\s*[\[{\"]|data:|event:|: |<[!a-zA-Z])")
"""What no packed body begins with: some proxies unpack a body and leave the header."""
_GZIP: Final = b"\x1f\x8b"


def offered() -> str:
    """The forms that can be read here, for the header accept-encoding."""
    return ", ".join(
        name
        for name, (module, _) in UNPACKERS.items()
        if name != "x-gzip" and (not module or _is_installed(module))
    )


async def capped(
    chunks: AsyncIterator[bytes], headers: Mapping[str, str], status: int, max_bytes: int
) -> AsyncIterator[bytes]:
    """The body as it comes, unpacked. Raises what `unpacker` does, and BadReply once it is longer
    than allowed."""
    size = 0
    unpack = unpacker(headers, status) if "content-encoding" in headers else _as_it_is
    async for chunk in chunks:
        for piece in unpack(chunk):
            size += len(piece)
            if size > max_bytes:
                raise too_long(status, max_bytes)
            yield piece


def too_long(status: int, max_bytes: int) -> BadReply:
    """The error of a body that grows over the cap."""
    return BadReply(f"the reply is longer than {max_bytes:,} bytes", status=status)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # not even the package that it would be part of
        return False


def unpacker(headers: Mapping[str, str], status: int) -> Unpack:
    """Takes off what the headers say, the last put on first; as they come, piece by piece.

    It raises BadReply for a damaged body, and Unreadable for a form that takes a library which is
    not installed, but for an error reply, which says enough by its status.
    """
    names = [name.strip() for name in headers["content-encoding"].lower().split(",")]
    known = [name for name in reversed(names) if name in UNPACKERS]
    layers = [_layer(name, status) for name in known[:MOST_LAYERS]]

    def unpack(chunk: bytes) -> Iterator[bytes]:
        pieces: Iterator[bytes] = iter((chunk,))
        for layer in layers:
            pieces = chain.from_iterable(map(layer, pieces))
        return pieces

    return unpack


def _layer(name: str, status: int) -> Unpack:
    unpack: Unpack | None = None

    def layer(chunk: bytes) -> Iterator[bytes]:
        nonlocal unpack
        if unpack is None:
            unpack = _as_it_is if _PLAIN.match(chunk) else _opened(name, status)
        try:
            yield from unpack(chunk)
        except Exception as error:
            raise BadReply(
                f"the reply cannot be unpacked by {name}: {error}", status=status
            ) from error

    return layer


def _as_it_is(chunk: bytes) -> Iterator[bytes]:
    yield chunk


def _opened(name: str, status: int) -> Unpack:
    module, made = UNPACKERS[name]
    try:
        return made(*([import_module(module)] if module else []))
    except ImportError as error:
        if not 200 <= status < 300:
            return lambda chunk: iter(())
        raise Unreadable(
            f"the reply is packed with {name}, which was not asked for",
            status=status,
            hint=f"pip install {module}",
        ) from error


def _inflating() -> Unpack:
    """Of gzip, also in several members, and of deflate with its header or without."""
    inflating: Any = None

    def unpack(data: bytes) -> Iterator[bytes]:
        nonlocal inflating
        if inflating is None:
            headed = data[:1] == _GZIP[:1] or data[0] & 15 == 8
            inflating = zlib.decompressobj(47 if headed else -15)
        piece = b""
        while data or len(piece) >= PIECE_BYTES:
            piece = inflating.decompress(data, PIECE_BYTES)
            if piece:
                yield piece
            data = inflating.unconsumed_tail
            if inflating.eof and (data := inflating.unused_data).startswith(_GZIP):
                inflating = zlib.decompressobj(47)
            elif inflating.eof:
                return

    return unpack


def _brotli(module: Any) -> Unpack:
    decompressor = module.Decompressor()

    def unpack(data: bytes) -> Iterator[bytes]:
        while piece := decompressor.process(data, output_buffer_limit=PIECE_BYTES):
            yield piece
            data = b""

    return unpack


def _zstd(module: Any) -> Unpack:
    decompressor = module.ZstdDecompressor()

    def unpack(data: bytes) -> Iterator[bytes]:
        nonlocal decompressor
        while data or not decompressor.needs_input:
            if decompressor.eof:
                decompressor = module.ZstdDecompressor()
            if piece := decompressor.decompress(data, PIECE_BYTES):
                yield piece
            data = decompressor.unused_data if decompressor.eof else b""
            if decompressor.eof and not data:
                return

    return unpack


ZSTD_MODULE: Final = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
UNPACKERS: Final[dict[str, tuple[str, Callable[..., Unpack]]]] = {
    **dict.fromkeys(("gzip", "x-gzip", "deflate"), ("", _inflating)),
    "br": ("brotli", _brotli),
    "zstd": (ZSTD_MODULE, _zstd),
}
"""By the names that a header has: the library it takes, and what unpacks."""
