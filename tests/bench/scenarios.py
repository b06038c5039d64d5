"""What is measured: one function a scenario, named in SCENARIOS at the end of the file."""

import statistics
import sys
from collections.abc import Callable, Iterable

from bench.cluster_runs import cluster
from bench.embedded import embedded
from bench.estimate import estimate
from bench.limits import limits
from bench.measure import run_process
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench, Throughput
from bench.queueing import queueing
from bench.race import race
from bench.servers import REPLY, Server, delayed_server, instant_server
from bench.table import Figure, Section, at_least, at_most
from bench.tables import tables

STARTS = 15
PATH_RUNS = 5
PEER_ROWS = {
    "aiohttp": 50_000,
    "bare client": 50_000,
    "sockets": 50_000,
    "httpx": 1_000,
    "litellm": 1_000,
    "flexllm": 5_000,
    "saturate": 5_000,
}
"""As many as each does in some seconds."""
RATIO_TARGETS = {
    "aiohttp": at_least(2.0),
    "bare client": at_least(0.35),
    "litellm": at_least(60),
    "flexllm": at_least(9),
    "saturate": at_least(25),
}
LATENCY_PEERS = ("aiohttp", "bare client")

Turn = dict[str, Throughput | None]
"""One run of each program, by its name; None where its environment is not there."""


def throughput(bench: Bench) -> Section:
    """Prompts a second, CPU and memory beside every peer, with answers at once."""
    rows, in_flight = 50_000, 256
    with instant_server(bench.folder) as server:
        turns = [_turn(bench, rows, server, in_flight) for _ in range(bench.pairs)]
    figures = []
    for name in turns[0]:
        figures += _costs(name, [turn[name] for turn in turns])
    figures += [_ratio(name, turns) for name in PEER_ROWS if name != "sockets"]
    title = f"{in_flight} in flight, answers at once, {rows:,} rows, served by {server.name}"
    return Section("throughput", title, figures)


def path(bench: Bench) -> Section:
    """What the way of a row through the program costs, from its line to its answer's.

    The least of some runs, which is disturbed least by what else the machine does.
    """
    rows, in_flight = 50_000, 256
    runs = [bench.path(rows, in_flight, REPLY) for _ in range(PATH_RUNS)]
    least = min(run.cpu_us for run in runs)
    figures = [Figure("llmbatch without a network, CPU a prompt", least, "us", at_most(35))]
    title = f"{in_flight} in flight, answers at once and without a network, {rows:,} rows"
    return Section("path", f"{title}, least of {PATH_RUNS}", figures)


def latency(bench: Bench) -> Section:
    """How near a thousand in flight come to the ideal when an answer takes a second."""
    rows, in_flight, delay_s = 20_000, 1_000, 1.0
    ideal_s = rows * delay_s / in_flight
    with instant_server(bench.folder) as server:
        start_s = statistics.median(bench.llmbatch(1, server, in_flight).wall_s for _ in range(3))
    with delayed_server(bench.folder, delay_s) as server:
        ours = bench.llmbatch(rows, server, in_flight)
        peers = {name: bench.peer(name, rows, server, in_flight) for name in LATENCY_PEERS}
    with delayed_server(bench.folder, delay_s, tls=True) as server:
        https = bench.llmbatch(rows, server, in_flight)
        peers["bare client, https"] = bench.peer("bare client", rows, server, in_flight)
    figures = [
        *_costs("llmbatch", [ours]),
        *_costs("llmbatch, https", [https]),
        Figure("ideal / llmbatch", ideal_s / ours.wall_s, "x", at_least(0.95)),
        Figure("ideal / llmbatch, https", ideal_s / https.wall_s, "x", at_least(0.95)),
        Figure("ideal / llmbatch, without start-up", ideal_s / (ours.wall_s - start_s), "x"),
    ]
    for name, run in peers.items():
        figures.append(Figure(f"ideal / {name}", ideal_s / run.wall_s if run else None, "x"))
    title = f"{in_flight:,} in flight, answers after {delay_s:g} s, {rows:,} rows, "
    return Section("latency", title + f"served by {server.name}", figures)


def memory(bench: Bench) -> Section:
    """Whether peak memory stays where it is as the input grows."""
    small, large, in_flight = 100_000, 1_000_000, 256
    with instant_server(bench.folder) as server:
        base = bench.llmbatch(small, server, in_flight)
        grown = bench.llmbatch(large, server, in_flight) if bench.full else None
    peak_mb = grown.peak_mb if grown else None
    untold = "" if grown else " (--full)"
    figures = [
        Figure(f"peak, {small:,} rows", base.peak_mb, "MB", at_most(50)),
        Figure(f"peak, {large:,} rows{untold}", peak_mb, "MB", at_most(50)),
        Figure(f"growth{untold}", peak_mb and peak_mb / base.peak_mb, "x", at_most(1.1)),
    ]
    return Section("memory", f"{in_flight} in flight, served by {server.name}", figures)


def start(bench: Bench) -> Section:
    """How long a newcomer waits for nothing much: each beside an interpreter that does nothing."""
    with instant_server(bench.folder) as server:
        answers = str(bench.folder / "one.jsonl")
        one_row = [LLMBATCH, "batch", str(bench.rows(1)), "-m", "openai/bench-model"]
        one_row += ["--base-url", server.base_url, "-o", answers, "--overwrite", "-q"]
        nothing, version, row = _median_walls(
            [[sys.executable, "-c", "pass"], [LLMBATCH, "--version"], one_row]
        )
    figures = [
        Figure("python -c pass", nothing * 1e3, "ms"),
        Figure("llmbatch --version", version * 1e3, "ms"),
        Figure("one row, whole process", row * 1e3, "ms"),
        Figure("llmbatch --version / python -c pass", version / nothing, "x", at_most(6)),
        Figure("one row / python -c pass", row / nothing, "x", at_most(20)),
    ]
    return Section("start", f"medians of {STARTS}, served by {server.name}", figures)


def _turn(bench: Bench, rows: int, server: Server, in_flight: int) -> Turn:
    """llmbatch and every peer, one after the other: neighbours in time share the weather."""
    turn: Turn = {"llmbatch": bench.llmbatch(rows, server, in_flight)}
    for name, count in PEER_ROWS.items():
        turn[name] = bench.peer(name, count, server, in_flight)
    return turn


def _ratio(name: str, turns: list[Turn]) -> Figure:
    """The median over the turns of how many times llmbatch's prompts/s are the peer's."""
    ratios = [
        ours.prompts_per_s / theirs.prompts_per_s
        for turn in turns
        if (ours := turn["llmbatch"]) and (theirs := turn[name])
    ]
    value = statistics.median(ratios) if ratios else None
    return Figure(f"llmbatch / {name}", value, "x", RATIO_TARGETS.get(name))


def _median_walls(commands: list[list[str]]) -> list[float]:
    """Each command's median wall time over STARTS rounds, the first round thrown away."""
    rounds = [
        [run_process(command, limit_s=RUN_LIMIT_S).wall_s for command in commands]
        for _ in range(STARTS + 1)
    ]
    return [statistics.median(walls) for walls in zip(*rounds[1:], strict=True)]


def _costs(name: str, runs: Iterable[Throughput | None]) -> list[Figure]:
    """Medians over the runs of one program."""
    measured = [run for run in runs if run]
    if not measured:
        return [Figure(f"{name} (make bench-peers)", None, "prompts/s")]
    rate = statistics.median(run.prompts_per_s for run in measured)
    cpu_us = statistics.median(run.cpu_us for run in measured)
    peak_mb = statistics.median(run.peak_mb for run in measured)
    return [
        Figure(f"{name}, {measured[0].rows:,} rows", rate, "prompts/s"),
        Figure(f"{name}, CPU a prompt", cpu_us, "us"),
        Figure(f"{name}, peak memory", peak_mb, "MB"),
    ]


SCENARIOS: dict[str, Callable[[Bench], Section]] = {
    "throughput": throughput,
    "path": path,
    "latency": latency,
    "memory": memory,
    "start": start,
    "embedded": embedded,
    "race": race,
    "limits": limits,
    "queueing": queueing,
    "tables": tables,
    "estimate": estimate,
    "cluster": cluster,
}
