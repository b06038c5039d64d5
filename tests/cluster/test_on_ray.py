"""Runs on a real Ray cluster of several nodes on this machine, and processes that are killed."""

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from cluster.billing import IN_USD, LONGEST, OUT_USD, billing
from cluster.on_ray import (
    Nodes,
    drive,
    driven,
    end_of,
    found_in_memory,
    ids_of,
    kill,
    parts,
    processes,
    ray_nodes,
)
from faults.harness import FaultServer, fault_server, ids, write_rows
from support.moto import SECRET, Bucket

from llmbatch_cli.cluster.store_folder import SYNC_S

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("ray")]
pytest.importorskip("ray")

ROWS: Final = 1_200
AT_ONCE: Final = 60
WAIT_S: Final = 0.4
KEY: Final = "sk-planted-0123456789abcdef"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes() as started:
        yield started


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with fault_server({"wait_s": WAIT_S}) as started:
        yield started


class Job:
    """One job, as often as it takes."""

    def __init__(self, nodes: Nodes, server: FaultServer, folder: Path, rows: int = ROWS) -> None:
        self.out, self.server, self.rows = folder / "out", server, rows
        write_rows(folder / "in.jsonl", ids(rows))
        self.words: tuple[str, ...] = (
            "batch", str(folder / "in.jsonl"), "-m", "openai/m", "--base-url", server.url,
            "-c", str(AT_ONCE), "-o", str(self.out), "--engine", "ray",
            "--address", nodes.address, "--workers", "2",
        )  # fmt: skip
        self.env = {"OPENAI_API_KEY": KEY}

    async def begin(self, *more: str) -> Process:
        return await drive(*self.words, *more, env=self.env)

    async def go_on(self, *more: str) -> tuple[int, str]:
        return await driven(*self.words, *more, env=self.env)

    async def until(self, requests: int) -> None:
        """Wait until the server has been asked so often."""
        async with asyncio.timeout(60):
            while await self.asked() < requests:
                await asyncio.sleep(0.05)

    async def asked(self) -> int:
        return sum((await self.server.counts()).requests.values())

    async def check(self, *, extra: int = 0) -> None:
        """Every row once in the parts; so many requests too many, at most."""
        found = ids_of(parts(self.out))
        assert found.keys() == set(ids(self.rows))
        assert max(found.values()) == 1
        assert await self.asked() <= self.rows + extra


async def test_every_row_is_answered_once(
    nodes: Nodes, server: FaultServer, tmp_path: Path
) -> None:
    job = Job(nodes, server, tmp_path)
    merged = tmp_path / "all.jsonl"
    status, said = await job.go_on("--merge", str(merged))
    assert status == 0, said
    assert f"{ROWS:,} answered" in said
    await job.check()
    whole = merged.read_bytes()
    assert whole == b"".join(part.read_bytes() for part in sorted(job.out.glob("part-*")))
    again, said = await job.go_on()
    assert again == 0
    assert f"{ROWS:,} rows were answered before" in said
    await job.check()


KILLED: Final = {
    "worker": ["WorkerActor"],
    "coordinator": ["CoordinatorActor"],
    "both": ["WorkerActor", "CoordinatorActor"],
}


@pytest.mark.parametrize("whom", KILLED)
async def test_what_is_killed_loses_no_row(
    whom: str, nodes: Nodes, server: FaultServer, tmp_path: Path
) -> None:
    job = Job(nodes, server, tmp_path)
    driver = await job.begin()
    await job.until(ROWS // 3)
    for name in KILLED[whom]:
        kill(processes(name)[-1])
    status, said = await end_of(driver)
    assert status == 0, said
    await job.check(extra=AT_ONCE)


async def test_a_node_is_lost(nodes: Nodes, server: FaultServer, tmp_path: Path) -> None:
    job = Job(nodes, server, tmp_path)
    driver = await job.begin()
    await job.until(ROWS // 3)
    nodes.lose(nodes.nodes[0])
    status, said = await end_of(driver)
    nodes.add()
    assert status == 0, said
    await job.check(extra=AT_ONCE)


@pytest.mark.parametrize("with_coordinator", [False, True])
async def test_the_command_is_killed_and_begun_again(
    with_coordinator: bool, nodes: Nodes, server: FaultServer, tmp_path: Path
) -> None:
    job = Job(nodes, server, tmp_path)
    driver = await job.begin()
    await job.until(ROWS // 4)
    driver.kill()
    await driver.wait()
    if with_coordinator:
        kill(processes("CoordinatorActor")[-1])
    status, said = await job.go_on()
    assert status == 0, said
    assert "answered before" in said
    await job.check(extra=AT_ONCE)


async def test_a_second_command_is_refused(
    nodes: Nodes, server: FaultServer, tmp_path: Path
) -> None:
    job = Job(nodes, server, tmp_path, 3 * ROWS)
    driver = await job.begin()
    await job.until(ROWS // 4)
    status, said = await job.go_on()
    assert status == 2, said
    assert "another run is at work in" in said
    assert (await end_of(driver))[0] == 0
    await job.check()


async def test_an_interrupt_lets_end_what_is_in_flight(
    nodes: Nodes, server: FaultServer, tmp_path: Path
) -> None:
    job = Job(nodes, server, tmp_path)
    driver = await job.begin()
    await job.until(ROWS // 4)
    driver.send_signal(signal.SIGINT)
    status, said = await end_of(driver)
    assert status == 130, said
    assert "to go on: llmbatch batch" in said
    assert (await job.go_on())[0] == 0
    await job.check()


async def test_a_bad_key_ends_all(nodes: Nodes, tmp_path: Path) -> None:
    async with fault_server({"default": ["401"]}) as server:
        job = Job(nodes, server, tmp_path)
        status, said = await job.go_on()
        assert status == 3, said
        assert "401" in said or "unauthorized" in said.lower()
        assert await job.asked() <= 3 * AT_ONCE


async def test_left_to_itself_and_followed(
    nodes: Nodes, server: FaultServer, tmp_path: Path
) -> None:
    job = Job(nodes, server, tmp_path)
    status, said = await job.go_on("--detach")
    assert (status, "goes on by itself" in said) == (0, True), said
    assert (await job.go_on())[0] == 2  # it is at work
    address = ("--address", nodes.address)
    status, said = await driven("cluster", "attach", str(job.out), *address)
    assert status == 0, said
    assert f"{ROWS:,} answered" in said
    await job.check()


async def test_the_key_is_nowhere(nodes: Nodes, server: FaultServer, tmp_path: Path) -> None:
    job = Job(nodes, server, tmp_path)
    driver = await job.begin()
    await job.until(ROWS // 3)
    wanted = KEY.encode(), b"CoordinatorActor"
    held = await asyncio.to_thread(found_in_memory, "gcs_server", *wanted)
    held |= await asyncio.to_thread(found_in_memory, "raylet", *wanted)
    status, said = await end_of(driver)
    assert status == 0
    assert KEY in (await server.counts()).keys[0]
    assert KEY not in said
    assert held == {b"CoordinatorActor"}  # so that the right memory was looked into
    folders = (Path(nodes.cluster.head_node.get_session_dir_path()), job.out)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


async def test_in_and_out_of_a_store(
    nodes: Nodes, server: FaultServer, bucket: Bucket, tmp_path: Path
) -> None:
    """The nodes have no credentials: those of the command go to the workers, and to no file.

    What a killed worker had not yet put is asked for again.
    """
    job = Job(nodes, server, tmp_path)
    rows = (tmp_path / "in.jsonl").read_bytes().splitlines(keepends=True)
    for number in range(3):
        bucket.put(f"in/{number}.jsonl", b"".join(rows[number * 400 : number * 400 + 400]))
    job.words = (
        "batch", f"{bucket.address}/in/", *job.words[2:8], "-o", f"{bucket.address}/out/",
        *job.words[10:], "--merge", f"{bucket.address}/all.jsonl",
    )  # fmt: skip
    job.env |= dict(bucket.variables)
    driver = await job.begin()
    await job.until(ROWS // 3)
    for name in KILLED["both"]:
        kill(processes(name)[-1])
    status, said = await end_of(driver)
    assert status == 0, said
    merged = bucket.get("all.jsonl")
    assert ids_of([json.loads(line) for line in merged.splitlines()]) == Counter(ids(ROWS))
    rate = AT_ONCE / 2 / WAIT_S  # of one worker
    assert await job.asked() <= ROWS + AT_ONCE + rate * (SYNC_S + 1)
    parts_there = [name for name in bucket.names if name.startswith("out/part-")]
    assert merged == b"".join(map(bucket.get, parts_there))
    left = [name for name in bucket.names if name.startswith("out/_work/")]
    assert [name for name in left if not name.endswith(".json")] == []
    asking = await drive(
        "cluster", "status", f"{bucket.address}/out", "--address", nodes.address, env=job.env
    )
    shown, _ = await asking.communicate()
    assert f"out: over, {ROWS:,} of {ROWS:,} rows finished" in shown.decode()
    folder = Path(nodes.cluster.head_node.get_session_dir_path())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in said


async def test_max_cost_holds_for_all_workers_and_their_kills(nodes: Nodes, tmp_path: Path) -> None:
    """Of what a killed worker held nothing is spent again."""
    cap = 0.1
    write_rows(tmp_path / "in.jsonl", ids(900))
    async with billing() as provider:

        async def until(share: float) -> None:
            async with asyncio.timeout(30):
                while provider.billed < share * cap * 1e9:
                    await asyncio.sleep(0.02)

        driver = await drive(
            "batch", str(tmp_path / "in.jsonl"), "-m", "openai/m", "--base-url", provider.url,
            "-c", "24", "-o", str(tmp_path / "out"), "--price", f"openai/*={IN_USD},{OUT_USD}",
            "--max-cost", str(cap), "--max-tokens", str(LONGEST),
            "--engine", "ray", "--address", nodes.address, "--workers", "3",
            env={"OPENAI_API_KEY": KEY},
        )  # fmt: skip
        for share, whom in ((0.2, "worker"), (0.4, "both")):
            await until(share)
            for name in KILLED[whom]:
                kill(processes(name)[-1])
        status, said = await end_of(driver)
    assert status == 3, said
    assert "--max-cost $0.10" in said
    assert 0.5 * cap < provider.billed / 1e9 <= cap
