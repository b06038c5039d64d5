"""Packed inputs are known by their first bytes, whatever their names say."""

import bz2
import gzip
import importlib
import io
import lzma
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.rows.input import unpacking
from llmbatch_cli.rows.input.chunks import plain
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.lines import CHUNK_BYTES, CutShort, Unreadable

zstd = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}
EACH = pytest.mark.parametrize("kind", PACK)


async def rows(name: str, data: bytes = b"") -> list[Row]:
    async with aclosing(Inputs([name]).rows(stdin=io.BytesIO(data))) as found:
        return [row async for row in found]


@EACH
@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=40), max_size=3), st.integers(1, 30))
def test_what_was_packed_comes_out(kind: str, members: list[bytes], size: int) -> None:
    """Of several members, however the bytes arrive."""
    members = [b"x" + member.replace(b"\0", b"") for member in members]
    data = b"".join(map(PACK[kind], members))
    chunks = (data[place : place + size] for place in range(0, len(data), size))
    whole = b"".join(plain(chunks, "latin-1"))
    assert whole == b"".join(members).decode("latin-1").encode()


@EACH
async def test_packed_rows_are_read_by_name_and_from_a_pipe(kind: str, tmp_path: Path) -> None:
    """JSONL, a table, and a file whose name says nothing."""
    for suffix, text in (
        (".jsonl", b'"hi"\n"ho"\n'),
        (".csv", b"prompt\nhi\nho\n"),
        ("", b"hi\nho\n"),
    ):
        data = PACK[kind](text)
        path = tmp_path / f"a{suffix}.{kind}"
        path.write_bytes(data)
        for found in (await rows(str(path)), await rows("-", PACK[kind](b'"hi"\n"ho"\n'))):
            assert [getattr(row, "messages")[0]["content"] for row in found] == ["hi", "ho"]  # noqa: B009


@EACH
def test_damaged_or_cut_data_say_so(kind: str) -> None:
    """After all that could be unpacked."""
    data = PACK[kind](b"hello\n" * 1_000)
    with pytest.raises(CutShort, match="ends too early"):
        list(plain(iter([data[:-5]])))
    with pytest.raises(Unreadable):
        list(plain(iter([data[:12] + bytes(byte ^ 255 for byte in data[12:])])))


@EACH
def test_a_bomb_is_unpacked_step_by_step(kind: str) -> None:
    """No step is larger than a chunk, whatever it unpacks to."""
    data = PACK[kind](b"\n" * 20_000_000)
    sizes = [len(chunk) for chunk in plain(iter([data]))]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 2 * CHUNK_BYTES


async def test_a_packing_without_its_library_says_the_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """zstd is an extra before Python 3.14."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(unpacking, "import_module", missing)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstd.compress(b'"hi"\n'))
    with pytest.raises(UsageError, match="zstd") as caught:
        Inputs([str(path)]).check()
    assert "compression" in (caught.value.hint or "")


async def test_a_name_alone_packs_nothing(tmp_path: Path) -> None:
    """A file that is called .zst and is none is read as it is."""
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b'"hi"\n')
    (row,) = await rows(str(path))
    assert not isinstance(row, BadRow)
