"""The sink: whole rows, soon, and never at the cost of the event loop."""

import asyncio
import errno
import fcntl
import gzip
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmbatch_cli.core.errors import LlmbatchError, OutputError, ReaderGone, UsageError
from llmbatch_cli.rows.output.sink import ROOM_BYTES, open_sink

LONG = b"x" * 9999 + b"\n"


def numbered(count: int) -> list[bytes]:
    return [b'{"index":%d}\n' % i for i in range(count)]


async def save(
    target: Path,
    rows: list[bytes],
    *,
    overwrite: bool = False,
    append: bool = False,
    fsync: bool = False,
) -> int:
    """Write the rows; the number that the sink says are safe."""
    async with open_sink(target, overwrite=overwrite, append=append, fsync=fsync) as sink:
        for row in rows:
            sink.write(row)
            await sink.room()
    return sink.rows_written


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end; a test may close either."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno == errno.EBADF  # noqa: PT017 - the test has closed it


# What is written


@pytest.mark.parametrize("count", [0, 1, 30_000])
async def test_every_row_is_in_the_file_in_order(tmp_path: Path, count: int) -> None:
    """After the end the file holds exactly the rows that were written, in their order."""
    target = tmp_path / "out.jsonl"
    rows = numbered(count)
    assert await save(target, rows, fsync=True) == count
    assert target.read_bytes() == b"".join(rows)


async def test_rows_longer_than_any_buffer_are_whole(tmp_path: Path) -> None:
    """The size of a row makes no difference."""
    target = tmp_path / "out.jsonl"
    rows = [b"a\n", b"b" * (ROOM_BYTES + 9) + b"\n", b"c\n", LONG]
    assert await save(target, rows) == 4
    assert target.read_bytes() == b"".join(rows)


async def test_rows_of_a_failed_body_are_kept(tmp_path: Path) -> None:
    """What was handed over before an error is written, and the error goes on."""
    target = tmp_path / "out.jsonl"
    with pytest.raises(KeyError):
        async with open_sink(target, overwrite=False) as sink:
            sink.write(b"paid\n")
            raise KeyError
    assert target.read_bytes() == b"paid\n"


async def test_a_new_file_has_the_rights_that_umask_leaves(tmp_path: Path) -> None:
    """The file is as private as the user's umask asks."""
    before = os.umask(0o027)
    try:
        await save(tmp_path / "out.jsonl", [])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o640


async def test_standard_output_is_written_and_left_open(pipe: tuple[int, int]) -> None:
    """Rows go to the given descriptor, which can be used afterwards."""
    async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
        sink.write(b"a\n")
    os.write(pipe[1], b"b\n")
    assert os.read(pipe[0], 99) == b"a\nb\n"


@pytest.mark.parametrize("target", ["/dev/null", "/dev/stderr"])
async def test_devices_are_written_without_being_asked_to_overwrite(target: str) -> None:
    """What is no regular file holds nothing that could be lost."""
    assert await save(Path(target), [b"\n"]) == 1


async def test_a_fifo_waits_for_its_reader_without_holding_the_loop(tmp_path: Path) -> None:
    """Opening a fifo that nobody reads yet lets everything else go on."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(save(fifo, [b"a\n"]))
    await asyncio.sleep(0.05)
    assert not task.done()
    assert await asyncio.to_thread(fifo.read_bytes) == b"a\n"
    assert await task == 1


async def test_waiting_for_a_fifo_s_reader_can_be_cancelled(tmp_path: Path) -> None:
    """A cancelled wait ends at once, and a reader that comes later finds the end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(save(fifo, [b"a\n"]))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 2)
    assert await asyncio.to_thread(fifo.read_bytes) == b""


# What is refused


async def refused(target: Path | None, **options: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        async with open_sink(target, **{"overwrite": False, **options}):  # type: ignore[arg-type]
            pytest.fail("the body ran")
    return caught.value


async def test_a_file_that_holds_something_is_kept(tmp_path: Path) -> None:
    """Answers that were paid for are replaced only on --overwrite."""
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"old\n")
    error = await refused(target)
    assert str(target) in error.message
    assert "--overwrite" in (error.hint or "")
    assert "--resume" in (error.hint or "")
    assert target.read_bytes() == b"old\n"
    await save(target, [b"new\n"], overwrite=True)
    assert target.read_bytes() == b"new\n"


async def test_an_empty_file_is_written(tmp_path: Path) -> None:
    """There is nothing to lose in an empty file."""
    target = tmp_path / "out.jsonl"
    target.touch()
    await save(target, [b"a\n"])
    assert target.read_bytes() == b"a\n"


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
async def test_a_run_that_comes_to_nothing_loses_nothing(tmp_path: Path, name: str) -> None:
    """With --overwrite the old rows are put aside, so that no --resume takes them for new ones,
    and go when the first new one comes; no file is made for none."""
    target = tmp_path / name
    for _ in range(2):  # the second time there is nothing to put aside
        with pytest.raises(UsageError):
            async with open_sink(target, overwrite=True):
                raise UsageError("no key")
        assert not target.exists()
    target.write_bytes(b"precious\n")
    target.chmod(0o640)
    async with open_sink(target, overwrite=True) as sink:
        assert target.read_bytes() == b""
        sink.leave()
    old = tmp_path / f"{name}.old-1"
    assert (old.read_bytes(), target.exists(), sink.old) == (b"precious\n", False, old)
    old.rename(target)
    async with open_sink(target, overwrite=True) as sink:
        sink.leave()
        sink.write(b"new\n")
    data = target.read_bytes()
    assert (gzip.decompress(data) if name.endswith("gz") else data) == b"new\n"
    assert (target.stat().st_mode & 0o777, sink.old, old.exists()) == (0o640, None, False)
    await save(target, [], overwrite=True)
    assert b"new" not in target.read_bytes()
    assert [*tmp_path.iterdir()] == [target]


@pytest.mark.parametrize("overwrite", [False, True])
async def test_append_keeps_what_is_there(tmp_path: Path, overwrite: bool) -> None:
    """Appended rows stand behind the old ones, which count for nothing."""
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"old\n")
    assert await save(target, [b"new\n"], append=True, overwrite=overwrite) == 1
    assert target.read_bytes() == b"old\nnew\n"


async def test_no_input_is_written_over(tmp_path: Path) -> None:
    """Under any name, even with --overwrite, the input is safe."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"prompt\n")
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    for name in ("in.jsonl", "link", "hard"):
        inputs = [str(tmp_path / "missing.jsonl"), str(source)]
        error = await refused(tmp_path / name, overwrite=True, inputs=inputs)
        assert "input" in error.message
    assert source.read_bytes() == b"prompt\n"


async def test_standard_output_into_an_input_is_refused(tmp_path: Path) -> None:
    """`batch in.jsonl >> in.jsonl` would feed on its own answers."""
    source = tmp_path / "in.jsonl"
    with source.open("ab") as file:
        error = await refused(None, stdout_fd=file.fileno(), inputs=[str(source)])
    assert "standard output" in error.message


@pytest.mark.parametrize(
    ("name", "words"),
    [(".", "directory"), ("no/out.jsonl", "no directory"), ("file/out.jsonl", "irectory")],
)
async def test_a_target_that_cannot_be_opened_is_told_at_once(
    tmp_path: Path, name: str, words: str
) -> None:
    """Nothing is sent where the answers would have no place."""
    (tmp_path / "file").touch()
    error = await refused(tmp_path / name)
    assert words in error.message


async def test_a_place_that_is_not_writable_is_told_at_once() -> None:
    """The reason is the system's own."""
    error = await refused(Path("/proc/out.jsonl"))
    assert error.message.startswith("cannot write /proc/out.jsonl: ")


async def test_a_closed_standard_output_is_told_at_once(pipe: tuple[int, int]) -> None:
    """`>&-` leaves nowhere to write to."""
    os.close(pipe[1])
    assert "closed" in (await refused(None, stdout_fd=pipe[1])).message


# When it is written


async def test_a_row_is_seen_by_another_process_at_once(tmp_path: Path) -> None:
    """A row is in the file within 100 ms (here with room for a slow machine)."""
    target = tmp_path / "out.jsonl"
    async with open_sink(target, overwrite=False) as sink:
        for row in (b"a\n", b"b\n"):
            sink.write(row)
            await asyncio.sleep(0.3)
            tail = await asyncio.create_subprocess_exec(
                "tail", "-n1", str(target), stdout=asyncio.subprocess.PIPE
            )
            assert (await tail.communicate())[0] == row


async def test_a_gzip_row_can_be_unpacked_at_once(tmp_path: Path) -> None:
    """What is written of a .gz can be read while the run goes on."""
    target = tmp_path / "out.jsonl.gz"
    async with open_sink(target, overwrite=False) as sink:
        sink.write(b"a\n")
        await asyncio.sleep(0.4)
        assert zlib.decompressobj(wbits=31).decompress(target.read_bytes()) == b"a\n"


async def test_a_gzip_file_is_whole_at_the_end(tmp_path: Path) -> None:
    """A finished .gz unpacks to its rows; one that is added to unpacks to all of them."""
    target = tmp_path / "out.jsonl.gz"
    rows = numbered(5000)
    assert await save(target, rows) == 5000
    assert gzip.decompress(target.read_bytes()) == b"".join(rows)
    await save(target, [b"more\n"], append=True)
    assert gzip.decompress(target.read_bytes()) == b"".join(rows) + b"more\n"


def program(body: str, *args: str) -> "subprocess.Popen[bytes]":
    """A process that runs `body` as a coroutine, with this file's imports at hand."""
    head = """
        import asyncio, resource, sys
        from pathlib import Path
        from llmbatch_cli.core.errors import *
        from llmbatch_cli.rows.output.sink import open_sink
        async def main():
    """
    code = textwrap.dedent(head) + textwrap.indent(textwrap.dedent(body), "    ")
    command = [sys.executable, "-c", code + "\nasyncio.run(main())\n", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_kill_loses_no_row_that_was_counted(tmp_path: Path, name: str) -> None:
    """After kill -9 every row that rows_written counted can be read."""
    target = tmp_path / name
    body = """
        async with open_sink(Path(sys.argv[1]), overwrite=False) as sink:
            for i in range(10**9):
                sink.write(b"%d\\n" % i)
                await sink.room()
                if i == 1000:
                    while sink.rows_written < 1000:
                        await asyncio.sleep(0.01)
                    print(sink.rows_written, flush=True)
                await asyncio.sleep(0)
    """
    with program(body, str(target)) as process:
        assert process.stdout is not None
        counted = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    data = target.read_bytes()
    if target.suffix == ".gz":
        data = zlib.decompressobj(wbits=31).decompress(data)
    rows = data.splitlines()[:counted]
    assert counted >= 1000
    assert rows == [b"%d" % i for i in range(counted)]


# A slow reader


def set_pipe(fd: int) -> None:
    """Make the pipe as small as it can be."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)


async def test_a_stuck_reader_does_not_hold_the_loop(pipe: tuple[int, int]) -> None:
    """While nobody reads, the loop runs on, room waits, and a cancel ends the run."""
    set_pipe(pipe[1])
    crowded = asyncio.Event()

    async def fill() -> None:
        async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
            while sink._handed_bytes <= ROOM_BYTES:
                sink.write(LONG)
            crowded.set()
            await sink.room()

    task = asyncio.create_task(fill())
    await crowded.wait()
    worst = 0.0
    for _ in range(20):
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        worst = max(worst, time.perf_counter() - before)
    assert worst < 0.1
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    os.close(pipe[0])  # frees the thread


async def test_closing_on_a_stuck_reader_can_be_cancelled(pipe: tuple[int, int]) -> None:
    """The end waits for the reader as long as nobody loses patience."""
    set_pipe(pipe[1])
    handed = asyncio.Event()

    async def fill() -> None:
        async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
            for _ in range(100):
                sink.write(LONG)
            handed.set()

    task = asyncio.create_task(fill())
    await handed.wait()
    await asyncio.sleep(0.1)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 2)
    os.close(pipe[0])


async def test_a_cancelled_end_waits_for_a_reader_that_reads(pipe: tuple[int, int]) -> None:
    """Rows that were paid for are not dropped while they move, however slowly."""
    set_pipe(pipe[1])
    rows, sinks = [LONG] * 60, []

    async def fill() -> None:
        async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
            sinks.append(sink)
            for row in rows:
                sink.write(row)

    task = asyncio.create_task(fill())
    await asyncio.sleep(0.05)
    assert sinks[0].rows_waiting == 60
    task.cancel()
    assert await asyncio.to_thread(read_exactly, pipe[0], 60 * len(LONG)) == b"".join(rows)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 2)
    assert sinks[0].rows_waiting == 0


def test_an_interpreter_ends_although_nobody_reads() -> None:
    """A cancelled run's process ends with the writer stuck in a full pipe."""
    body = """
        async def fill():
            async with open_sink(None, overwrite=False) as sink:
                while True:
                    sink.write(b"x" * 9999 + b"\\n")
                    await sink.room()
        try:
            await asyncio.wait_for(fill(), 0.2)
        except TimeoutError:
            pass
    """
    with program(body) as process:
        assert process.wait(20) == 0


async def test_a_late_reader_gets_every_row(pipe: tuple[int, int]) -> None:
    """Back-pressure delays rows and loses none."""
    rows = [LONG] * (ROOM_BYTES * 2 // len(LONG))
    got: list[bytes] = []

    def read() -> None:
        time.sleep(0.1)
        while data := os.read(pipe[0], 2**20):
            got.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
        for row in rows:
            sink.write(row)
            await sink.room()
            assert sink._handed_bytes - sink._written_bytes <= ROOM_BYTES + len(row)
    os.close(pipe[1])
    await asyncio.to_thread(reader.join)
    assert sink.rows_written == len(rows)
    assert b"".join(got) == b"".join(rows)


async def test_a_non_blocking_pipe_is_written_whole(pipe: tuple[int, int]) -> None:
    """A parent that made the pipe non-blocking costs no row."""
    set_pipe(pipe[1])
    os.set_blocking(pipe[1], False)
    task = asyncio.create_task(asyncio.to_thread(read_exactly, pipe[0], 50 * len(LONG)))
    async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
        for _ in range(50):
            sink.write(LONG)
    assert await task == LONG * 50


def read_exactly(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        time.sleep(0.001)
        data += os.read(fd, count - len(data))
    return data


# A sink that breaks


async def test_a_reader_that_goes_is_noticed_while_no_row_is_written(
    pipe: tuple[int, int],
) -> None:
    """`| head` stops the spending although every answer is still awaited."""
    with pytest.raises(ReaderGone):
        async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
            sink.write(b"a\n")
            await asyncio.to_thread(os.read, pipe[0], 2)
            os.close(pipe[0])
            assert isinstance(await asyncio.wait_for(sink.failed(), 5), ReaderGone)
            with pytest.raises(ReaderGone):
                sink.write(b"b\n")
    assert sink.rows_written == 1


async def test_a_reader_that_goes_ends_a_wait_for_room(pipe: tuple[int, int]) -> None:
    """Nobody waits for room in a pipe that has no reader."""

    async def fill() -> None:
        async with open_sink(None, overwrite=False, stdout_fd=pipe[1]) as sink:
            while True:
                sink.write(LONG)
                await sink.room()

    task = asyncio.create_task(fill())
    await asyncio.sleep(0.1)
    os.close(pipe[0])
    with pytest.raises(ReaderGone):
        await asyncio.wait_for(task, 5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("by_name", [False, True])
async def test_a_full_disk_is_told_everywhere(by_name: bool) -> None:
    """failed, write, room and the end all say the file, the reason and the safe rows."""
    fd = os.open("/dev/full", os.O_WRONLY)
    errors: list[LlmbatchError] = []
    with pytest.raises(OutputError) as ended:
        async with open_sink(
            Path("/dev/full") if by_name else None, overwrite=False, stdout_fd=fd
        ) as sink:
            waiting = asyncio.create_task(sink.failed())
            sink.write(b"a\n")
            errors.append(await asyncio.wait_for(waiting, 5))
            with pytest.raises(OutputError):
                sink.write(b"b\n")
            with pytest.raises(OutputError):
                await sink.room()
    os.close(fd)
    name = "/dev/full" if by_name else "standard output"
    message = f"cannot write {name}: {os.strerror(errno.ENOSPC)}; 0 rows are safe"
    assert [error.message for error in [*errors, ended.value]] == [message, message]
    assert isinstance(ended.value.__cause__, OSError)


async def test_an_error_of_the_body_is_not_hidden_by_the_sink_s() -> None:
    """Whoever stops a run for a reason of its own sees that reason."""
    with pytest.raises(KeyError):
        async with open_sink(Path("/dev/full"), overwrite=False) as sink:
            sink.write(b"a\n")
            raise KeyError


FILL = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    try:
        async with open_sink(Path(sys.argv[1]), overwrite=False, append=True) as sink:
            for i in range(100_000):
                sink.write(b"%09d\\n" % (i * 2654435761 % 10**9))
                await sink.room()
                if i % 1000 == 0:
                    await asyncio.sleep(0.001)
    except OutputError as error:
        print(sink.rows_written, error.message)
"""


@pytest.mark.parametrize(("old", "limit"), [(b"", 300_000), (b"old row\n", 300_001)])
def test_a_file_that_can_grow_no_more_ends_with_a_whole_row(
    tmp_path: Path, old: bytes, limit: int
) -> None:
    """On a full disk the torn row is cut off, and exactly the safe rows are in the file."""
    target = tmp_path / "out.jsonl"
    target.write_bytes(old)
    with program(FILL, str(target), str(limit)) as process:
        out, _ = process.communicate(timeout=30)
    rows, message = out.decode().split(" ", 1)
    count = int(rows)
    assert f"{os.strerror(errno.EFBIG)}; {count:,} rows are safe" in message
    assert target.read_bytes() == old + b"".join(
        b"%09d\n" % (i * 2654435761 % 10**9) for i in range(count)
    )
    assert target.stat().st_size > limit - 10


def test_a_gzip_file_that_can_grow_no_more_keeps_the_safe_rows(tmp_path: Path) -> None:
    """On a full disk a .gz holds exactly the rows that were counted."""
    target = tmp_path / "out.jsonl.gz"
    with program(FILL, str(target), "300000") as process:
        out, _ = process.communicate(timeout=30)
    count = int(out.split()[0])
    assert count > 0
    data = zlib.decompressobj(wbits=31).decompress(target.read_bytes())
    assert data.count(b"\n") == count
    assert data.endswith(b"\n")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user cannot mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_real_full_disk_keeps_whole_rows(tiny_disk: Path) -> None:
    """When the disk is full, the file holds exactly the rows that are said to be safe."""
    target = tiny_disk / "out.jsonl"
    rows = numbered(100_000)
    with pytest.raises(OutputError) as caught:
        await save(target, rows)
    written = target.read_bytes()
    count = written.count(b"\n")
    assert written == b"".join(rows[:count])
    assert f"{count:,} rows are safe" in caught.value.message
