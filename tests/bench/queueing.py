"""How well a run without flags does at servers that queue: what it uses of them, what waits."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.limits import ask
from bench.measure import run_process
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench, say
from bench.servers import queueing_server
from bench.table import Figure, Section, at_least, at_most

AT_A_TIME = 3
"""Runs side by side: they wait nearly all of the time."""


@dataclass(frozen=True)
class Server:
    """A server that queues, and how many rows it is asked."""

    name: str
    slots: int
    mean_s: float
    rows: int
    sigma: float = 0.0
    batch: float | None = None
    timeout: float = 10.0
    """In mean times."""

    @property
    def answer_s(self) -> float:
        """The mean time of an answer where all slots are in use."""
        return self.mean_s * (1 + self.slots / self.batch if self.batch else 1)

    @property
    def law(self) -> dict[str, Any]:
        """For queueing_server.py."""
        law: dict[str, Any] = {"slots": self.slots, "mean_s": self.mean_s, "sigma": self.sigma}
        return law | ({"batch": self.batch} if self.batch else {}) | {"seed": 1}


def _kinds(slots: int, mean_s: float, rows: int) -> list[Server]:
    name = "1 slot" if slots == 1 else f"{slots} slots"
    return [
        Server(name, slots, mean_s, rows),
        Server(f"{name}, times vary", slots, mean_s, rows, sigma=0.3),
        Server(f"{name}, times vary much", slots, mean_s, rows, sigma=1.0, timeout=30.0),
    ]


SERVERS: Sequence[Server] = [
    *_kinds(1, 0.1, 300),
    *_kinds(4, 0.2, 600),
    *_kinds(16, 0.4, 2_400),
    *_kinds(64, 0.4, 4_000),
    Server("128 slots, slower together", 128, 0.2, 8_000, batch=128),
    Server("128 slots, slower together, times vary", 128, 0.2, 8_000, sigma=0.3, batch=128),
]


def queueing(bench: Bench) -> Section:
    """A run without flags at each server; figures from the first tenth on, without the end."""
    for server in SERVERS:
        bench.rows(server.rows)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = list(pool.map(lambda server: figures_of(server, bench), SERVERS))
    title = "no flags, --timeout 10 times an answer (30 where times vary much), after a tenth"
    return Section("queueing", title, [figure for figures in found for figure in figures])


def figures_of(server: Server, bench: Bench) -> list[Figure]:
    """One run at one server."""
    answers = bench.folder / f"{server.name}.jsonl"
    with queueing_server(server.law) as served:
        command = [LLMBATCH, "batch", str(bench.rows(server.rows)), "-m", "openai/bench-model"]
        command += ["--base-url", served.base_url, "-o", str(answers), "--overwrite", "-q"]
        command += ["--timeout", f"{server.timeout * server.answer_s:g}", "--max-errors", "1000"]
        run_process(command, limit_s=RUN_LIMIT_S, failed_rows=True)
        until = server.rows - 2 * server.slots - 20
        url = f"http://127.0.0.1:{served.port}/seen?since={server.rows // 10}&until={until}"
        seen = ask(url)
    say(f"queueing: {server.name}: {seen['used']:.3f} used, {seen['in_flight']:.1f} in flight")
    name = server.name
    return [
        Figure(f"{name}: share used", seen["used"], "x", at_least(0.95)),
        Figure(f"{name}: in flight", seen["in_flight"], "", at_most(2 * server.slots + 8)),
        Figure(f"{name}: timed out", _failed(answers), "rows", at_most(0)),
    ]


def _failed(answers: Path) -> int:
    with answers.open() as lines:
        return sum(json.loads(line)["error"] is not None for line in lines)
