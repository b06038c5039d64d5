"""A machine that does not play along: disks, descriptors, streams, stops, names, certificates.

The clock set back is not here: setting it back is the whole machine's, and the program's waits
and times come from clocks that nobody can set (time.monotonic and the loop's), which
`test_no_wait_goes_by_the_clock_on_the_wall` holds.
"""

import ast
import asyncio
import json
import os
import signal
import ssl
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any, Final

import pytest
from faults.harness import (
    KEY,
    PROMPT_END,
    FaultServer,
    Ran,
    arguments,
    batch,
    ended,
    fault_server,
    ids,
    rows_of,
    write_rows,
)
from support.certificates import write_certificate
from support.program import PROGRAM, environment, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")

SOURCE: Final = Path(__file__).parents[2] / "llmbatch_cli"


async def in_shell(tmp_path: Path, server: FaultServer, before: str, *more: str) -> Ran:
    """Run 400 rows behind a shell's words; `{}` in them is the command."""
    write_rows(tmp_path / "in.jsonl", ids(400))
    command = " ".join([*PROGRAM, *arguments(tmp_path, server.url, *more)])
    process = await asyncio.create_subprocess_shell(
        before.replace("{}", command), stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        env=environment({"OPENAI_API_KEY": KEY}), executable="/bin/bash",
    )  # fmt: skip
    return await ended(process, tmp_path / "out.jsonl")


# Where the answers go


async def test_a_full_disk_keeps_whole_rows_only(tmp_path: Path) -> None:
    """The run stops, says how many rows are safe, and goes on once there is room again."""
    async with fault_server({"wait_s": 0.01}) as server:
        # a file may grow to 32 KiB, which fails as a full disk does
        ran = await in_shell(tmp_path, server, "ulimit -f 32; trap '' XFSZ; {}", "-c", "4")
        kept = (tmp_path / "out.jsonl").read_bytes()
        assert len(ran.rows) < len((await server.counts()).log) < 400
        again = await in_shell(tmp_path, server, "{}", "--resume")
    assert ran.status == 3
    assert f"{len(ran.rows)} rows are safe" in ran.err
    assert 20_000 < len(kept) <= 32 * 1024
    assert kept.endswith(b"\n")
    assert (again.status, sorted(again.by_id)) == (0, sorted(ids(400)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
async def test_a_device_without_room_stops_the_run(tmp_path: Path) -> None:
    """Standard output on a full device: the spending stops, exit 3, one clear line."""
    write_rows(tmp_path / "in.jsonl", ids(400))
    told = arguments(tmp_path, "", "-c", "2")
    async with fault_server({"wait_s": 0.02}) as server:
        told[told.index("--base-url") + 1] = server.url
        del told[told.index("-o") : told.index("-o") + 2]
        with Path("/dev/full").open("wb") as full:
            process = await start(*told, stdin=DEVNULL, stdout=full)
        ran = await ended(process, tmp_path / "none")
        assert len((await server.counts()).log) < 100
    assert ran.status == 3
    assert "No space left on device" in ran.err


async def test_an_output_directory_that_goes_away_loses_nothing_that_is_open(
    tmp_path: Path,
) -> None:
    """Moved in the middle of a run, the directory still gets every row; the run ends well."""
    work, gone = tmp_path / "work", tmp_path / "gone"
    work.mkdir()
    write_rows(tmp_path / "in.jsonl", ids(200))
    async with fault_server({"wait_s": 0.05}) as server:
        told = arguments(tmp_path, server.url, "-c", "4")
        told[told.index("-o") + 1] = str(work / "out.jsonl")
        process = await start(*told, stdin=DEVNULL)
        await until_written(work / "out.jsonl", rows=10)
        work.rename(gone)
        ran = await ended(process, gone / "out.jsonl")
    assert (ran.status, sorted(ran.by_id)) == (0, sorted(ids(200)))


@pytest.mark.parametrize("kind", ["missing", "file", "unwritable"])
async def test_an_output_that_cannot_be_written_is_told_before_anything_is_sent(
    tmp_path: Path, kind: str
) -> None:
    """No directory, a file in its place, one that takes no file: exit 2, nothing spent."""
    places = {
        "missing": tmp_path / "no" / "out.jsonl",
        "file": tmp_path / "in.jsonl" / "out.jsonl",
        # where not even root can make a file
        "unwritable": Path("/proc/out.jsonl"),
    }
    write_rows(tmp_path / "in.jsonl", ids(2))
    async with fault_server() as server:
        told = arguments(tmp_path, server.url)
        told[told.index("-o") + 1] = str(places[kind])
        ran = await ended(await start(*told, stdin=DEVNULL), tmp_path / "none")
        assert (await server.counts()).log == {}
    assert (ran.status, str(places[kind]) in ran.err) == (2, True)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
async def test_closed_streams_cost_no_row(tmp_path: Path, closed: str) -> None:
    """With -o the rows need none of the standard streams, and nothing strays into the file."""
    async with fault_server() as server:
        ran = await in_shell(tmp_path, server, "{} " + closed, "-v")
    assert (ran.status, sorted(ran.by_id)) == (0, sorted(ids(400)))


async def test_sixty_four_descriptors_are_enough(tmp_path: Path) -> None:
    """Fewer requests at once, told once, and every row answered at its first try."""
    async with fault_server({"wait_s": 0.01}) as server:
        ran = await in_shell(tmp_path, server, "ulimit -n 64; {}", "-c", "1000")
        assert (await server.counts()).connections < 64
    assert (ran.status, sorted(ran.by_id)) == (0, sorted(ids(400)))
    assert {row["attempts"] for row in ran.rows} == {1}
    assert ran.err.count("open files") == 1


async def test_a_closed_standard_error_does_not_spill_into_the_answers(tmp_path: Path) -> None:
    """What would have been said there is said nowhere: standard output carries rows alone."""
    write_rows(tmp_path / "in.jsonl", ids(5))
    async with fault_server({"rows": {"row-1": ["400"]}}) as server:
        told = " ".join([*PROGRAM, "batch", str(tmp_path / "in.jsonl"), "-m", "openai/m"])
        process = await asyncio.create_subprocess_shell(
            f"{told} --base-url {server.url} -vv 2>&-", stdin=DEVNULL, stdout=PIPE,
            env=environment(), executable="/bin/bash",
        )  # fmt: skip
        ran = await ended(process, tmp_path / "none")
    assert ran.status == 1
    assert sorted(json.loads(line)["id"] for line in ran.out.splitlines()) == ids(5)


# Time


async def until_written(out: Path, *, rows: int) -> None:
    """Wait until so many rows stand in the output."""
    async with asyncio.timeout(20):
        while not out.exists() or out.read_bytes().count(b"\n") < rows:
            await asyncio.sleep(0.01)


async def test_a_stopped_program_goes_on(tmp_path: Path) -> None:
    """SIGSTOP and, 1.5 s later, SIGCONT: no row is lost, none is sent twice."""
    write_rows(tmp_path / "in.jsonl", ids(300))
    async with fault_server({"wait_s": 0.05}) as server:
        process = await start(*arguments(tmp_path, server.url, "-c", "8"), stdin=DEVNULL)
        await until_written(tmp_path / "out.jsonl", rows=30)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.3)
        written = len(rows_of(tmp_path / "out.jsonl"))
        await asyncio.sleep(1.2)
        assert len(rows_of(tmp_path / "out.jsonl")) == written
        process.send_signal(signal.SIGCONT)
        ran = await ended(process, tmp_path / "out.jsonl")
        counts = await server.counts()
    assert (ran.status, sorted(ran.by_id)) == (0, sorted(ids(300)))
    assert set(counts.requests.values()) == {1}


async def test_a_server_that_is_stopped_is_waited_for(tmp_path: Path) -> None:
    """The same on the other side: what was on its way is answered, and nothing sent twice."""
    write_rows(tmp_path / "in.jsonl", ids(100))
    async with fault_server({"wait_s": 0.05}) as server:
        process = await start(*arguments(tmp_path, server.url, "-c", "8"), stdin=DEVNULL)
        await until_written(tmp_path / "out.jsonl", rows=20)
        os.kill(server.pid, signal.SIGSTOP)
        await asyncio.sleep(1)
        os.kill(server.pid, signal.SIGCONT)
        ran = await ended(process, tmp_path / "out.jsonl")
        counts = await server.counts()
    assert (ran.status, sorted(ran.by_id)) == (0, sorted(ids(100)))
    assert set(counts.requests.values()) == {1}


WALL_CLOCK: Final = {
    "cli/running.py": "stamps the chat format's `created`",
    "cli/summary_file.py": "stamps `began_at` and `ended_at`",
    "cli/cluster_run.py": "stamps `began_at`",
    "cluster/ground.py": "notes when a run began, for people",
    "rows/stored/lock.py": "knows when another machine has renewed its lock on an object",
    "engine/run.py": "stamps `finished_at`",
    "compat/response.py": "stamps `created`",
    "compat/streaming.py": "stamps `created`",
    "providers/wire/limits.py": "reads a Retry-After or a reset that is a date",
    "core/clock.py": "shows when a wait ends",
    "cli/cache_command.py": "shows how long answers were not used",
    "engine/cache/table.py": "notes when an answer was used last, for other runs",
    "providers/vertex/provider.py": "renews a token by the date of its end",
    "pricing/prices.py": "knows prices that depend on the time of the day",
    "pricing/table.py": "lists the prices of today",
    "drivers/provider_batch/journal.py": "notes when a job was meant, for later processes",
    "drivers/provider_batch/timing.py": "knows how old a job is that another process has made",
    "cli/jobs_command.py": "shows how old jobs are, and until when they run",
    "ui/jobs.py": "shows how old jobs are, and until when they run",
    "providers/fake/batch.py": "works on its jobs while no process runs",
    "providers/local/weights.py": "tells an abandoned download by its file's date",
}


def test_no_wait_goes_by_the_clock_on_the_wall() -> None:
    """Setting the clock back cannot prolong a wait, but for those that others name by a date:
    who reads it is known, and why."""
    readers = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if any(reads_wall_clock(node) for node in ast.walk(ast.parse(path.read_text())))
    }
    assert readers == set(WALL_CLOCK)


def reads_wall_clock(node: ast.AST) -> bool:
    """Whether this is `time.time`, `datetime.now` or their like."""
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    return (node.value.id, node.attr) in {
        ("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"),
        ("time", "gmtime"), ("time", "localtime"), ("date", "today"),
    }  # fmt: skip


# Names and certificates


async def test_a_name_that_nobody_knows_is_unreachable(tmp_path: Path) -> None:
    """The rows fail as unreachable, nothing was billed, and the message names the host."""
    ran = await batch(tmp_path, ids(2), "https://no-such-host.invalid/v1", "--max-attempts", "2")
    assert (ran.status, sorted(ran.by_id)) == (1, ids(2))
    for row in ran.rows:
        assert (row["error"]["type"], row["attempts"]) == ("unreachable", 2)
        assert "no-such-host.invalid" in row["error"]["message"]
    assert "billed" not in ran.err


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    """The run stops at once, as no row would fare better; neither key nor prompt has left
    (simonw/llm PR 979, BerriAI/litellm 9848)."""
    pem = tmp_path / "server.pem"
    write_certificate(pem)
    async with fault_server(None, "--tls", str(pem)) as server:
        ran = await batch(tmp_path, ids(2), server.url)
        counts = await server.counts(ssl.create_default_context(cafile=str(pem)))
    assert (ran.status, ran.rows) == (3, [])
    assert "certificate is not trusted: self-signed certificate" in ran.err
    assert "hint: set SSL_CERT_FILE" in ran.err
    assert (counts.log, counts.keys) == ({}, [])


# Secrets


@pytest.mark.parametrize("level", ["-q", "--progress=json", "-vvvv"])
async def test_neither_key_nor_prompt_is_ever_told(tmp_path: Path, level: str) -> None:
    """Whatever fails and however much is told, standard error holds no secret of the user's;
    the key is not in the output, either."""
    kinds = ["500", "400", "html", "reset", "bad-http", "redirect", "404", "cut", "bad-gzip"]
    script: dict[str, Any] = {"rows": {f"row-{n}": [kind] for n, kind in enumerate(kinds)}}
    async with fault_server(script, "--elsewhere", "http://127.0.0.1:1") as server:
        names = ids(len(kinds) + 2)
        ran = await batch(tmp_path, names, server.url, "--max-attempts", "2", level)
        assert (await server.counts()).keys == [f"Bearer {KEY}"]
    assert sum(row["error"] is not None for row in ran.rows) == len(kinds)
    assert KEY not in ran.err
    assert PROMPT_END not in ran.err
    assert KEY not in (tmp_path / "out.jsonl").read_text()


async def test_a_server_that_tells_the_key_is_not_repeated(tmp_path: Path) -> None:
    """An error that quotes the request's own key does not give it away."""
    script = {"rows": {"row-0": ["tells-all"]}, "default": ["ok"]}
    async with fault_server(script) as server:
        ran = await batch(tmp_path, ids(3), server.url, "-vvv", "--log-prompts")
    assert ran.by_id["row-0"]["error"]["type"] == "rejected"
    assert "authorization" in ran.err
    assert KEY not in ran.err + (tmp_path / "out.jsonl").read_text()
