"""Ray on this machine as several nodes, and the program as a driver of it."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.program import environment

DRIVER: Final = Path(__file__).with_name("driver.py")
LEASE_S: Final = 4.0
MOST_BYTES: Final = 2**28
"""A larger piece of memory is room for something else."""


@dataclass
class Nodes:
    """A Ray cluster: processes of this machine that take each other for machines."""

    cluster: Any
    nodes: list[Any]

    @property
    def address(self) -> str:
        """For --address."""
        return str(self.cluster.address)

    def lose(self, node: Any) -> None:
        """Kill a node with all that runs on it."""
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)

    def add(self) -> None:
        """One more node."""
        self.nodes.append(self.cluster.add_node(num_cpus=2, include_dashboard=False))


@contextmanager
def ray_nodes(count: int = 2, env: dict[str, str] | None = None) -> Iterator[Nodes]:
    """So many nodes beside the head, which runs no worker."""
    from ray.cluster_utils import Cluster

    short = tempfile.mkdtemp(prefix="r")  # a socket's path has 107 bytes at most
    Path(short, "ray").mkdir()
    before = dict(os.environ)
    os.environ.update({"RAY_TMPDIR": short, "RAY_AUTH_MODE": "disabled", **(env or {})})
    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        nodes = Nodes(cluster, [])
        for _ in range(count):
            nodes.add()
        try:
            yield nodes
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(short, ignore_errors=True)


async def drive(*words: str, env: dict[str, str] | None = None) -> Process:
    """The driver, begun."""
    own = {"LEASE_S": str(LEASE_S), "RAY_AUTH_MODE": "disabled", **(env or {})}
    own = {**environment(own), "PYTHONWARNINGS": "default"}
    return await asyncio.create_subprocess_exec(
        sys.executable, str(DRIVER), *words, env=own, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def driven(*words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The driver, to its end: its status, and what it said."""
    return await end_of(await drive(*words, env=env))


async def end_of(driver: Process) -> tuple[int, str]:
    """How it ended, and what it said."""
    out, err = await asyncio.wait_for(driver.communicate(), 100)
    assert out == b""
    return driver.returncode or 0, err.decode()


def parts(out: Path) -> list[dict[str, Any]]:
    """The rows of all parts."""
    return [
        json.loads(line)
        for part in sorted(out.glob("part-*.jsonl"))
        for line in part.read_bytes().splitlines()
    ]


def ids_of(rows: Sequence[dict[str, Any]]) -> Counter[str]:
    """How often each id stands there."""
    return Counter(row["id"] for row in rows)


def processes(name: str) -> list[int]:
    """The processes of ours that Ray calls so."""
    found, parents = [], {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                said = (place / "cmdline").read_bytes()
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents[int(place.name)] = parent
            if said.startswith(f"ray::{name}".encode()):
                found.append(int(place.name))
    return sorted(one for one in found if _descends(one, parents))


def _descends(process: int, parents: dict[int, int]) -> bool:
    """Whether it is of a cluster of this process: others may be tested here, too."""
    while process > 1 and process != os.getpid():
        process = parents.get(process, 0)
    return process == os.getpid()


def kill(number: int) -> None:
    """kill -9."""
    os.kill(number, signal.SIGKILL)


def found_in_memory(program: str, *wanted: bytes) -> set[bytes]:
    """What of these the processes of this program hold in their own memory now."""
    found: set[bytes] = set()
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and (place / "comm").read_text().strip() == program[:15]:
                found |= _found_in(place, wanted)
        except OSError:  # it has ended
            continue
    return found


def _found_in(place: Path, wanted: Sequence[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    with (place / "mem").open("rb", buffering=0) as memory:
        for line in (place / "maps").read_text().splitlines():
            span, rights, _, _, file, *path = line.split()
            begin, end = (int(one, 16) for one in span.split("-"))
            is_own = file == "0" and (not path or path == ["[heap]"])
            if not is_own or not rights.startswith("rw") or end - begin > MOST_BYTES:
                continue
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except OSError:  # a page that nobody can read
                continue
            found |= {one for one in wanted if one in data}
    return found
