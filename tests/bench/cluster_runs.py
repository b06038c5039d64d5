"""The same job on one machine and on Ray: throughput, CPU, memory, counting, and a soak."""

import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cluster_processes import Watch
from bench.measure import clean_environment, run_process
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench, say
from bench.servers import delayed_server
from bench.table import Figure, Section, at_least, at_most

WORKERS = (1, 2, 4)
IN_FLIGHT = 100
"""Of each worker, where an answer takes a second."""
STEADY_S = 25
LINEAR = 0.93
DENSE_ROWS, DENSE_WORKERS, DENSE_IN_FLIGHT = 40_000, 4, 1_200
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
    figures = [*_throughput(bench), *_costs(bench), *_counting(bench), *_soak(bench)]
    title = f"answers after 1 s; {IN_FLIGHT} in flight a worker, then {DENSE_IN_FLIGHT:,} in all"
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


def _costs(bench: Bench) -> list[Figure]:
    """CPU and memory of a run that keeps its processes busy, taking turns with one machine."""
    turns = []
    with delayed_server(bench.folder, 1.0) as server:
        for _ in range(bench.pairs):
            here = _run(bench, DENSE_ROWS, server.base_url, DENSE_IN_FLIGHT)
            there = _run(bench, DENSE_ROWS, server.base_url, DENSE_IN_FLIGHT, DENSE_WORKERS)
            turns.append((here, there))
    there = turns[-1][1]

    def median(role: str) -> float:
        return statistics.median(ran.cpu_us(role) for _, ran in turns)

    alone = statistics.median(ran.cpu_us("driver") for ran, _ in turns)
    own = sum(median(role) for role in ("ray", "coordinator", "driver"))
    watch = there.watch
    return [
        Figure("one machine", statistics.median(a.rows_per_s for a, _ in turns), "rows/s"),
        Figure("on Ray", statistics.median(b.rows_per_s for _, b in turns), "rows/s"),
        Figure("one machine, CPU a row", alone, "us"),
        Figure("workers, CPU a row", median("worker"), "us"),
        Figure("Ray's own processes, CPU a row", median("ray"), "us"),
        Figure("coordinator, CPU a row", median("coordinator"), "us"),
        Figure("driver, CPU a row", median("driver"), "us"),
        Figure("all beyond one machine, CPU a row", median("worker") + own - alone, "us",
               at_most(40)),
        Figure("worker, peak memory", max(watch.peaks_mb("worker")), "MB", at_most(140)),
        Figure("coordinator, peak memory", max(watch.peaks_mb("coordinator")), "MB"),
        Figure("driver, peak memory", max(watch.peaks_mb("driver")), "MB"),
        Figure("Ray's own processes, what is shared once", watch.own_mb("ray"), "MB", at_most(600)),
    ]  # fmt: skip


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
        said = json.loads(line) if line.startswith(b"{") else {"notice": line.decode()}
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


def soak_figures(rows: int, found: Mapping[str, Any]) -> Sequence[Figure]:
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
