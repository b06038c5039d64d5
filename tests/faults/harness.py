"""The fault server and the program, each in a process of its own, and what they have done."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final
from urllib.request import urlopen

from support.program import start

SERVER: Final = Path(__file__).with_name("server.py")
KEY: Final = "sk-secret-0123456789abcdef"
PROMPT_END: Final = "a prompt that nobody else may read"

Row = dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """What a fault server has seen."""

    log: dict[str, list[tuple[str, float]]]
    """For each row its requests: which fault was its answer, and when it came."""
    hung_up: int
    connections: int
    keys: list[str]

    @property
    def requests(self) -> dict[str, int]:
        """How often each row was asked."""
        return {row: len(tries) for row, tries in self.log.items()}

    def faults(self, row: str) -> list[str]:
        """What the row's tries were answered."""
        return [fault for fault, _ in self.log.get(row, [])]


@dataclass(frozen=True)
class FaultServer:
    """A fault server at work."""

    port: int
    scheme: str = "http"
    pid: int = 0

    @property
    def url(self) -> str:
        """For --base-url."""
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"

    async def counts(self, trust: SSLContext | None = None) -> Counts:
        """What it has seen so far; `trust` is for https."""
        return Counts(**json.loads(await asyncio.to_thread(self._counts, trust)))

    def _counts(self, trust: SSLContext | None) -> bytes:
        address = f"{self.scheme}://127.0.0.1:{self.port}/_counts"
        with urlopen(address, timeout=10, context=trust) as reply:
            told: bytes = reply.read()
        return told


@asynccontextmanager
async def fault_server(
    script: Mapping[str, Any] | None = None, *options: str
) -> AsyncIterator[FaultServer]:
    """A server with this script, and further options of its command line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), "--script", json.dumps(script or {}), *options,
        stdin=DEVNULL, stdout=PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield FaultServer(port, "https" if "--tls" in options else "http", process.pid)
    finally:
        process.kill()
        await process.communicate()


@dataclass(frozen=True)
class Ran:
    """How one run of the program has ended."""

    status: int
    out: bytes
    err: str
    rows: list[Row]
    """What the output file holds."""
    peak_bytes: int
    """The most memory the program has held."""

    @property
    def by_id(self) -> dict[str, Row]:
        """The rows by their ids; fails where an id stands there twice."""
        found = {row["id"]: row for row in self.rows}
        assert len(found) == len(self.rows)
        return found

    @property
    def final(self) -> Row:
        """The last object of --progress json."""
        told: list[Row] = [json.loads(line) for line in self.err.splitlines() if line[:1] == "{"]
        assert told[-1]["final"]
        return told[-1]


def ids(count: int) -> list[str]:
    """row-0, row-1, ..."""
    return [f"row-{number}" for number in range(count)]


def write_rows(path: Path, names: list[str]) -> None:
    """Input rows whose prompts begin with their ids."""
    rows = ({"id": name, "prompt": f"{name} {PROMPT_END}"} for name in names)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(path: Path) -> list[Row]:
    """The output's rows; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def arguments(tmp_path: Path, url: str, *more: str) -> list[str]:
    """The command line that sends in.jsonl there and writes out.jsonl."""
    source, out = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
    return ["batch", source, "-m", "openai/m", "--base-url", url, "-o", out, *more]


async def batch(
    tmp_path: Path,
    names: list[str],
    url: str,
    *more: str,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 40,
    **options: Any,
) -> Ran:
    """Send these rows, and wait for the end."""
    write_rows(tmp_path / "in.jsonl", names)
    told = arguments(tmp_path, url, *more)
    env = {"OPENAI_API_KEY": KEY, **(env or {})}
    process = await start(*told, env=env, **{"stdin": DEVNULL, **options})
    return await ended(process, tmp_path / "out.jsonl", timeout_s)


async def ended(process: Process, out: Path, timeout_s: float = 40) -> Ran:
    """Wait for the end of the program; kill it when that does not come in time."""
    peak = asyncio.ensure_future(peak_bytes(process.pid))
    try:
        async with asyncio.timeout(timeout_s):
            stdout, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    told = (err or b"").decode()
    assert "Traceback" not in told, told
    return Ran(process.returncode, stdout or b"", told, rows_of(out), await peak)


async def peak_bytes(pid: int) -> int:
    """The most memory that the process has held, from now until it has ended; 0 is unknown."""
    peak = 0
    while (now := high_water_bytes(pid)) is not None:
        peak = max(peak, now)
        await asyncio.sleep(0.02)
    return peak


def high_water_bytes(pid: int) -> int | None:
    """VmHWM, which no exec hands on, unlike ru_maxrss; None for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
