"""The same job on one machine and on Ray: throughput, CPU, memory, counting, and a soak."""

import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.cluster_processes import Watch
from bench.measure import clean_environment, run_process
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench, say
from bench.servers import delayed_server
from bench.table import Figure, Section, Target, at_least, at_most

WORKERS = (1, 2, 4)
IN_FLIGHT = 100
"""Of each worker, where an answer takes a second."""
STEADY_S = 25
LINEAR = 0.93
DENSE_ROWS, DENSE_WORKERS, DENSE_IN_FLIGHT = 40_000, 4, 1_200
BUSY_ROWS, BUSY_S = 100_000, 0.05
"""Answers so quick that they use up the CPU."""
SOAK_ROWS, FULL_SOAK_ROWS = 50_000, 2_000_000
COUNTED_ROWS = 200_000
SOAK = Path(__file__).with_name("cluster_soak.py")
COUNTING = Path(__file__).with_name("cluster_counting.py")
FROM, UNTIL = 0.25, 0.85
"""Of a run, between start and end, what is counted as its steady state."""


@dataclass(slots=True)
class Ran:
    """One run, watched."""

    watch: Watch
    points: list[tuple[float, int, Mapping[str, float]]] = field(default_factory=list)
    """When, rows answered, and the CPU by role so far."""
    wall_s: float = 0.0

    @property
    def _ends(self) -> tuple[Any, Any]:
        most = self.points[-1][1]
        steady = [point for point in self.points if FROM * most <= point[1] <= UNTIL * most]
        return steady[0], steady[-1]

    @property
    def rows_per_s(self) -> float:
        """In the steady state."""
        first, last = self._ends
        return float((last[1] - first[1]) / (last[0] - first[0]))

    def cpu_us(self, role: str) -> float:
        """A row, of all processes of the role, in the steady state."""
        first, last = self._ends
        spent_s = last[2].get(role, 0.0) - first[2].get(role, 0.0)
        return float(spent_s / (last[1] - first[1]) * 1e6)


def cluster(bench: Bench) -> Section:
    """What Ray costs, and what it stands."""
    costs = [
        *_costs(bench, "1 s", 1.0, DENSE_ROWS),
        *_costs(bench, "busy", BUSY_S, BUSY_ROWS, at_most(40)),
    ]
    figures = [*_throughput(bench), *costs, *_counting(bench), *_soak(bench)]
    title = (
        f"{IN_FLIGHT} in flight a worker, answers after 1 s; then {DENSE_IN_FLIGHT:,} in all of "
    )
    title += f"{DENSE_WORKERS}, answers after 1 s, and after {BUSY_S:g} s, which uses up the CPU"
    return Section("cluster", title, figures)


def _throughput(bench: Bench) -> list[Figure]:
    """Beside the least of workers, whose rate is a worker's own."""
    rates: dict[int, float] = {}
    with delayed_server(bench.folder, 1.0) as server:
        for workers in WORKERS:
            rows = workers * IN_FLIGHT * STEADY_S
            ran = _run(bench, rows, server.base_url, workers * IN_FLIGHT, workers)
            rates[workers] = ran.rows_per_s
    one = rates[WORKERS[0]]
    figures = [Figure(f"{n} workers", rate, "rows/s") for n, rate in rates.items()]
    figures += [
        Figure(f"{n} workers / {n} times one", rate / (n * one), "x", at_least(LINEAR))
        for n, rate in rates.items()
        if n > 1
    ]
    return figures


def _costs(
    bench: Bench, name: str, answer_s: float, rows: int, target: Target | None = None
) -> list[Figure]:
    """CPU and memory of a run, taking turns with one machine: one process, and as many processes
    of their own as there are workers, which is what Ray's part is told from."""
    here, apart, there = [], [], []
    with delayed_server(bench.folder, answer_s) as server:
        for _ in range(bench.pairs):
            here.append(_run(bench, rows, server.base_url, DENSE_IN_FLIGHT))
            apart.append(_apart(bench, rows, server.base_url))
            there.append(_run(bench, rows, server.base_url, DENSE_IN_FLIGHT, DENSE_WORKERS))

    def median(role: str) -> float:
        return statistics.median(ran.cpu_us(role) for ran in there)

    alone = statistics.median(apart)
    roles = ("worker", "ray", "coordinator", "driver")
    watch = there[-1].watch
    rate = statistics.median(ran.rows_per_s for ran in there)
    found = [
        Figure("one process", statistics.median(ran.rows_per_s for ran in here), "rows/s"),
        Figure("on Ray", rate, "rows/s"),
        Figure("one process, CPU a row", statistics.median(r.cpu_us("driver") for r in here), "us"),
        Figure(f"{DENSE_WORKERS} processes without Ray, CPU a row", alone, "us"),
        *(Figure(f"{role}, CPU a row", median(role), "us") for role in roles),
        Figure("all beyond processes without Ray", sum(map(median, roles)) - alone, "us", target),
        Figure("worker, peak memory", max(watch.peaks_mb("worker")), "MB", at_most(160)),
        Figure("coordinator, peak memory", max(watch.peaks_mb("coordinator")), "MB"),
        Figure("driver, peak memory", max(watch.peaks_mb("driver")), "MB"),
        Figure("Ray's own, what is shared once", watch.own_mb("ray"), "MB", at_most(600)),
    ]
    return [replace(figure, what=f"{name}: {figure.what}") for figure in found]


def _apart(bench: Bench, rows: int, url: str) -> float:
    """CPU a row of the same job in processes of their own, all at once."""
    with ThreadPoolExecutor(DENSE_WORKERS) as pool:
        share, in_flight = rows // DENSE_WORKERS, DENSE_IN_FLIGHT // DENSE_WORKERS
        bench.rows(share)
        runs = pool.map(
            lambda _: _run(bench, share, url, in_flight).cpu_us("driver"), range(DENSE_WORKERS)
        )
        return statistics.mean(runs)


def _run(bench: Bench, rows: int, url: str, in_flight: int, workers: int | None = None) -> Ran:
    """`llmbatch batch` of so many rows, on Ray or not, watched by what it says of itself."""
    out = bench.folder / f"answers-{time.monotonic_ns()}"
    command = [LLMBATCH, "batch", str(bench.rows(rows)), "-m", "openai/bench-model", "-o", str(out)]
    command += ["--base-url", url, "-c", str(in_flight), "--progress", "json"]
    if workers is not None:
        command += ["--engine", "ray", "--workers", str(workers)]
    began = time.monotonic()
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=clean_environment()
    ) as process:
        killer = threading.Timer(RUN_LIMIT_S, process.send_signal, [signal.SIGINT])
        killer.start()
        ran = Ran(Watch(process.pid))
        try:
            _follow(process, ran)
        finally:
            killer.cancel()
    ran.wall_s = time.monotonic() - began
    answered = ran.points[-1][1] if ran.points else 0
    if process.returncode or answered != rows:
        raise RuntimeError(f"ended with {process.returncode}, {answered:,} of {rows:,} rows")
    name = f"{workers} workers" if workers else "one machine"
    say(f"{name}: {rows:,} rows, {ran.rows_per_s:,.0f}/s, {ran.wall_s:.1f} s in all")
    return ran


def _follow(process: "subprocess.Popen[bytes]", ran: Ran) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        said: dict[str, Any] = (
            json.loads(line) if line.startswith(b"{") else {"notice": line.decode()}
        )
        if "answered" not in said:
            continue
        ran.points.append((time.monotonic(), said["answered"], dict(ran.watch.look())))
        if not said["final"] and len(ran.points) % 5 == 0:
            ran.watch.weigh()


def _counting(bench: Bench) -> list[Figure]:
    """The pass that numbers the rows before any is sent."""
    command = [sys.executable, str(COUNTING), str(bench.folder), str(COUNTED_ROWS)]
    run = run_process(command, limit_s=RUN_LIMIT_S)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return [Figure(f"counting {name}", rate / 1e6, "M rows/s") for name, rate in found.items()]


def _soak(bench: Bench) -> list[Figure]:
    rows = FULL_SOAK_ROWS if bench.full else SOAK_ROWS
    say(f"soak of {rows:,} rows")
    answer_s = 0.2 if bench.full else 1.0
    command = [sys.executable, str(SOAK), str(bench.folder), str(rows), str(answer_s)]
    run = run_process(command, limit_s=4 * RUN_LIMIT_S)
    found = json.loads(run.stdout.splitlines()[-1])
    return soak_figures(rows, found)


def soak_figures(rows: int, found: Mapping[str, Any]) -> list[Figure]:
    """What the soak's process has found."""
    return [
        Figure(f"soak, {rows:,} rows, kills", found["kills"], ""),
        Figure("soak, rows", rows / found["wall_s"], "rows/s"),
        Figure("soak, rows lost", found["lost"], "", at_most(0)),
        Figure("soak, rows twice in the output", found["twice"], "", at_most(0)),
        Figure("soak, extra requests", found["extra"], ""),
        Figure("soak, extra requests / those in flight at kills", found["extra"]
               / max(1, found["in_flight"]), "x", at_most(1)),
    ]  # fmt: skip
