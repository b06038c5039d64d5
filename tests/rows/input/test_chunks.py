"""From bytes to lines: chunks may be cut anywhere, and nothing waits that need not."""

import asyncio
import gzip
import io
import os
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.rows.input.chunks import file_chunks, plain, stream_chunks
from llmbatch_cli.rows.input.pump import pumped
from llmbatch_cli.rows.lines import CHUNK_BYTES, Lines, Unreadable

UNHURRIED = settings(deadline=None)
BYTES = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", b"{", b" "])).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data, cut at these places."""
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    return [piece for piece in pieces if piece]


@UNHURRIED
@given(BYTES, CUTS, st.integers(1, 8))
def test_lines_do_not_depend_on_how_bytes_arrive(data: bytes, cuts: list[int], cap: int) -> None:
    """Lines are those of the whole; one over the cap is None, wherever the bytes were cut."""
    lines = Lines(cap)
    found = [line for piece in cut(data, cuts) for line in lines.feed(piece)] + lines.finish()
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert found == [line if len(line) <= cap else None for line in expected]


def test_a_line_over_the_cap_is_not_held() -> None:
    """Of a line that is too long, no more than the cap is ever kept."""
    lines = Lines(1000)
    for _ in range(50):
        lines.feed(b"x" * 100)
        assert sum(map(len, lines._pieces)) <= 1000
    assert lines.feed(b"\nnext\n") == [None, b"next"]


@UNHURRIED
@given(BYTES, CUTS, st.booleans(), st.integers(1, 3), st.integers(0, 3))
def test_packed_or_not_the_bytes_are_the_same(
    data: bytes, cuts: list[int], bom: bool, members: int, padding: int
) -> None:
    """gzip members, zero padding between them, and a BOM leave no trace, wherever cut."""
    marked = b"\xef\xbb\xbf" + data if bom else data
    size = len(marked) // members + 1
    parts = [marked[start : start + size] for start in range(0, len(marked), size)]
    packed = b"".join(gzip.compress(part, mtime=0) + b"\0" * padding for part in parts)
    for form in (marked, packed):
        assert b"".join(plain(iter(cut(form, cuts)))) == data


@UNHURRIED
@given(st.binary(min_size=1, max_size=300).map(b"x".__add__), st.data())
def test_gzip_cut_short_gives_what_was_there_and_says_so(text: bytes, data: st.DataObject) -> None:
    """A truncated file gives a beginning of its text, then Unreadable."""
    packed = gzip.compress(text, mtime=0)
    end = data.draw(st.integers(2, len(packed) - 1))
    got = bytearray()
    with pytest.raises(Unreadable, match="gzip"):
        for chunk in plain(iter([packed[:end]])):
            got += chunk
    assert text.startswith(bytes(got))


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("size", [1, 3, 99])
def test_wide_text_is_read(codec: str, size: int, mark: str) -> None:
    """UTF-16, as PowerShell writes it, and UTF-32 are read as UTF-8, however they arrive; UTF-16
    of Latin letters also without a mark (fox-it/flow.record 138)."""
    if not mark and "32" in codec:
        return
    text = "two \N{SNOWMAN} \U0001f600\nthree"
    data = (mark + text).encode(codec)
    assert b"".join(plain(iter(cut(data, range(0, 99, size))))).decode() == text


def test_damaged_utf_16_ends_the_input() -> None:
    """What was read before the damage is kept."""
    data = "\ufeffone\n".encode("utf-16-le") + b"\x00\xdc\n\0"
    with pytest.raises(Unreadable, match="cannot be read as UTF-16: "):
        list(plain(iter([data])))


def test_damaged_gzip_gives_what_could_be_unpacked() -> None:
    """Bytes that are wrong in the middle end the input with a reason."""
    first = gzip.compress(b"good\n")
    got = bytearray()
    with pytest.raises(Unreadable, match="damaged"):
        for chunk in plain(iter([first + b"no gzip at all"])):
            got += chunk
    assert bytes(got) == b"good\n"


def test_a_gzip_bomb_comes_in_small_pieces() -> None:
    """50 MB of zeros in 50 kB: no piece is over 1 MiB, and none is lost."""
    packed = gzip.compress(b"\0" * 50_000_000)
    sizes = [len(chunk) for chunk in plain(iter([packed]))]
    assert max(sizes) <= CHUNK_BYTES
    assert sum(sizes) == 50_000_000


def test_a_live_gzip_pipe_gives_what_was_flushed() -> None:
    """Flushed bytes are out before the member ends."""
    packer = zlib.compressobj(wbits=31)
    sent: list[str] = []

    def chunks() -> Iterator[bytes]:
        yield packer.compress(b"one\n") + packer.flush(zlib.Z_SYNC_FLUSH)
        sent.append("second")
        yield packer.compress(b"two\n") + packer.flush()

    pieces = plain(chunks())
    assert (next(pieces), sent) == (b"one\n", [])
    assert b"".join(pieces) == b"two\n"


def test_a_file_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    """A file's chunks are its bytes, at most 1 MiB at a time."""
    path = tmp_path / "big"
    data = os.urandom(1000) * 2500
    path.write_bytes(data)
    chunks = list(file_chunks(str(path)))
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= CHUNK_BYTES


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """A system error is Unreadable, with the system's own words."""
    with pytest.raises(Unreadable, match="No such file"):
        list(file_chunks(str(tmp_path / "gone")))
    with pytest.raises(Unreadable, match="directory"):
        list(file_chunks(str(tmp_path)))


def test_a_stream_in_memory_is_a_stream() -> None:
    """A stream without a descriptor is read by its own read."""
    assert list(stream_chunks(io.BytesIO(b"abc"))) == [b"abc"]


def test_a_nonblocking_pipe_is_waited_for() -> None:
    """A pipe that somebody made non-blocking is no error while it is empty."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def late() -> None:
        os.write(writing, b"late")
        os.close(writing)

    timer = threading.Timer(0.1, late)
    with os.fdopen(reading, "rb", buffering=0) as stream:
        timer.start()
        assert b"".join(stream_chunks(stream)) == b"late"
    timer.join()


async def test_a_thread_reads_no_further_than_two_chunks_ahead() -> None:
    """Back-pressure: what nobody asks for is not read."""
    made: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"x"

    async with aclosing(pumped(chunks())) as pump:
        await anext(pump)
        await asyncio.sleep(0.05)
        assert len(made) <= 3
        await anext(pump)
        await asyncio.sleep(0.05)
        assert len(made) <= 4
    await asyncio.sleep(0.05)
    assert len(made) <= 5


async def test_pumped_chunks_are_all_there_in_order() -> None:
    """The thread changes nothing: same chunks, same order, then the end."""
    chunks = [b"%d" % number for number in range(500)]
    assert [chunk async for chunk in pumped(iter(chunks))] == chunks


async def test_closing_does_not_wait_for_a_blocked_read() -> None:
    """While the thread hangs in a read, cancel and close return at once."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as stream:
        pump = pumped(stream_chunks(stream))
        waiting = asyncio.ensure_future(anext(pump))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pump.aclose()
        assert time.monotonic() - started < 1
        os.close(writing)
        await asyncio.sleep(0.05)  # the thread sees the end of its pipe


async def test_a_bug_in_the_thread_does_not_hang_the_reader() -> None:
    """Whatever ends the thread ends the reading, with its error."""

    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    pump = pumped(chunks())
    assert await anext(pump) == b"a"
    with pytest.raises(ZeroDivisionError):
        await anext(pump)
