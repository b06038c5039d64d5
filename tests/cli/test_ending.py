"""How a run ends before its input does: signals, and readers that go away."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.chat import echo
from support.program import PROGRAM, environment, jsonl, start
from support.scripted import Exchange, Server, serve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

ROWS = jsonl([f"row {index}" for index in range(500)])


class Slow:
    """A handler that answers ten rows, then holds the rest until it is released."""

    def __init__(self) -> None:
        self.seen = 0
        self.held = 0
        self.closed = 0
        self.released = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        self.seen += 1
        if self.seen > 10:
            self.held += 1
            gone = asyncio.ensure_future(exchange.until_closed())
            freed = asyncio.ensure_future(self.released.wait())
            await asyncio.wait((gone, freed), return_when=asyncio.FIRST_COMPLETED)
            freed.cancel()
            if gone.done():
                self.closed += 1
                return
            gone.cancel()
        await echo(exchange)

    async def holds(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.held < count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    tmp_path: Path, handler: Slow
) -> AsyncIterator[tuple[Server, asyncio.subprocess.Process, Path]]:
    """The program in the middle of a run: ten rows done, eight in flight."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(ROWS)
    async with serve(handler) as server:
        process = await start(
            "batch", str(source), "-m", "m", "--base-url", server.url, "-c", "8", "-o", str(out),
            stdin=DEVNULL,
        )  # fmt: skip
        await handler.holds(8)
        try:
            yield server, process, out
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def end(process: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(20):
        _, err = await process.communicate()
    assert process.returncode is not None
    text = err.decode()
    assert "Traceback" not in text
    assert "Exception ignored" not in text
    return process.returncode, text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_first_signal_finishes_what_is_in_flight(tmp_path: Path, number: int) -> None:
    """No new row begins, those in flight are answered and written; exit 130."""
    handler = Slow()
    async with running(tmp_path, handler) as (server, process, out):
        process.send_signal(number)
        await asyncio.sleep(0.3)
        handler.released.set()
        status, err = await end(process)
        assert len(server.exchanges) == 18
    assert status == 130
    assert "8 rows in flight" in err
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert len(rows) == 18
    assert all(row["error"] is None for row in rows)


async def test_the_second_signal_drops_what_is_in_flight(tmp_path: Path) -> None:
    """Twice Ctrl-C ends at once: sockets closed, every finished row kept; exit 130."""
    handler = Slow()
    async with running(tmp_path, handler) as (_, process, out):
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        status, _ = await end(process)
        async with asyncio.timeout(5):
            while handler.closed < 8:
                await asyncio.sleep(0.01)
    assert status == 130
    assert len(out.read_bytes().splitlines()) == 10


@pytest.mark.parametrize("ignored", ["HUP", "INT", "HUP INT TERM"])
async def test_a_signal_that_was_ignored_at_the_start_stays_ignored(
    tmp_path: Path, ignored: str
) -> None:
    """nohup survives a hang-up, and a script's `command &` a Ctrl-C: every row is answered.

    gem/oq-engine PR 4027, science-learner/ScienceFlow PR 2.
    """
    source, handler = tmp_path / "in.jsonl", Slow()
    source.write_bytes(jsonl([f"row {index}" for index in range(30)]))
    async with serve(handler) as server:
        process = await asyncio.create_subprocess_shell(
            f"trap '' {ignored}; exec {' '.join(PROGRAM)} batch {source} -m m -c 8 "
            f"--base-url {server.url}",
            stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment(), executable="/bin/bash",
        )  # fmt: skip
        await handler.holds(8)
        for name in ignored.split():
            process.send_signal(signal.Signals[f"SIG{name}"])
        await asyncio.sleep(0.2)
        handler.released.set()
        async with asyncio.timeout(20):
            out, err = await process.communicate()
    assert (process.returncode, out.count(b"\n")) == (0, 30)
    assert b"stopping" not in err


async def test_a_signal_while_the_input_is_silent_ends_the_run() -> None:
    """Waiting for a pipe that says nothing is no reason to hang."""
    async with serve(echo) as server:
        process = await start("batch", "-m", "m", "--base-url", server.url)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(jsonl(["a"]))
        assert await asyncio.wait_for(process.stdout.readline(), 20)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 130


async def test_a_reader_that_leaves_stops_the_spending(tmp_path: Path) -> None:
    """`| head -3`: the rest is not sent, exit 0, nothing on standard error but the summary."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl([f"row {index}" for index in range(20_000)]))
    async with serve(echo) as server:
        command = " ".join(PROGRAM)
        process = await asyncio.create_subprocess_shell(
            f"set -o pipefail; {command} batch {source} -m m --base-url {server.url} | head -3",
            stdout=PIPE, stderr=PIPE, env=environment(), executable="/bin/bash",
        )  # fmt: skip
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        assert len(server.exchanges) < 15_000
    assert (process.returncode, len(out.splitlines())) == (0, 3)
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
    assert b"error" not in err.lower().replace(b"0 errors", b"")


async def test_a_reader_that_leaves_is_noticed_while_answers_are_awaited() -> None:
    """With nothing to write the closed pipe is seen all the same, and the requests end."""
    handler = Slow()
    handler.seen = 10
    read_end, write_end = os.pipe()
    async with serve(handler) as server:
        process = await start(
            "batch", "-m", "m", "--base-url", server.url, "-c", "4", stdout=write_end
        )
        os.close(write_end)
        assert process.stdin is not None
        process.stdin.write(ROWS)
        await handler.holds(4)
        os.close(read_end)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_a_closed_standard_error_is_no_reason_to_stop() -> None:
    """The rows matter: with nobody to tell progress to, the run goes on."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    async with serve(echo) as server:
        process = await start(
            "batch", "-m", "m", "--base-url", server.url, "--progress", "plain", "-v",
            stderr=write_end,
        )  # fmt: skip
        os.close(write_end)
        out, _ = await process.communicate(jsonl(["a", "b"]) + b"broken\n")
    assert (process.returncode, len(out.splitlines())) == (1, 3)


async def test_few_descriptors_mean_fewer_requests_in_flight(tmp_path: Path) -> None:
    """Where the hard limit of open files is low, the run says so and goes on."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(ROWS)
    async with serve(echo) as server:
        command = " ".join(PROGRAM)
        process = await asyncio.create_subprocess_shell(
            f"ulimit -n 64; {command} batch {source} -m m --base-url {server.url} -c 1000",
            stdout=PIPE, stderr=PIPE, env=environment(), executable="/bin/bash",
        )  # fmt: skip
        out, err = await process.communicate()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 500
    assert [row for row in rows if row["error"]] == []
    assert b"open files" in err


@pytest.mark.parametrize("how", ["plain", "json", "quiet"])
async def test_a_stopped_run_speaks_in_the_form_that_was_asked_for(
    tmp_path: Path, how: str
) -> None:
    """With --progress json all is objects, the last one final; with -q there is silence."""
    source, out, handler = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Slow()
    source.write_bytes(ROWS)
    form = "jsonl" if how != "plain" else "text"  # with text there is nothing to go on with
    flag = ["-q"] if how == "quiet" else ["--progress", how]
    async with serve(handler) as server:
        process = await start(
            "batch", str(source), "-m", "m", "--base-url", server.url, "-c", "1", "-o", str(out),
            "-f", form, *flag, stdin=DEVNULL,
        )  # fmt: skip
        await handler.holds(1)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        handler.released.set()
        status, err = await end(process)
    assert status == 130
    if how == "quiet":
        assert err == ""
    elif how == "plain":
        assert "stopping: 1 row in flight has 10 s to end; SIGTERM again drops it" in err
        assert "to go on" not in err
    else:
        objects = [json.loads(line) for line in err.splitlines()]
        notices = [one["notice"] for one in objects if "notice" in one]
        assert notices[0].startswith("stopping: 1 row in flight")
        assert notices[1].startswith("to go on: llmbatch batch")
        assert (objects[-1]["final"], objects[-1]["eta_s"]) == (True, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_the_input_is_copied_leaves_nothing_behind(
    tmp_path: Path, number: int
) -> None:
    """--strict reads a pipe to its end first; ended amid that, no copy and no lock stay."""
    process = await start(
        "batch", "--strict", "-m", "fake/echo", "-o", str(tmp_path / "out.jsonl"),
        env={"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b'"a"\n')
    async with asyncio.timeout(20):
        while not list(tmp_path.glob("llmbatch-*/*")):
            await asyncio.sleep(0.02)
    process.send_signal(number)
    async with asyncio.timeout(10):
        assert await process.wait() == 130
    assert list(tmp_path.iterdir()) == []


async def test_finished_rows_reach_a_slow_reader_or_are_told_to_be_lost(tmp_path: Path) -> None:
    """The first signal says what is being written, the second waits for it while it moves, the
    third says how much is lost."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl([f"row {index} " + "x" * 400 for index in range(30_000)]))
    lines: list[int] = []
    for signals in (2, 3):
        process = await start("batch", str(source), "-m", "fake/echo", stdin=DEVNULL, limit=2**12)
        assert process.stderr is not None
        assert process.stdout is not None
        got = await process.stdout.read(1)
        await asyncio.sleep(1)
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.2)
        async with asyncio.timeout(20):
            out, err = await process.communicate()
        lines.append((got + out).count(b"\n"))
        told = err.decode()
        assert process.returncode == 130
        assert "stopping: writing " in told
        assert "Ctrl-C once more drops what is not written" in told
        assert (f"{lines[-1]:,} rows: {lines[-1]:,} answered" in told) == (signals == 2)
        assert ("that finished could not be written to standard output" in told) == (signals == 3)
    assert lines[0] > 1_000
