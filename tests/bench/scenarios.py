"""What is measured: one function a scenario, named in SCENARIOS at the end of the file."""

import statistics
import sys
from collections.abc import Callable, Iterable

from tests.bench.embedded import embedded
from tests.bench.measure import run_process
from tests.bench.programs import LLMBATCH, RUN_LIMIT_S, Bench, Throughput
from tests.bench.servers import delayed_server, instant_server
from tests.bench.table import Figure, Section, at_least, at_most

STARTS = 15


def throughput(bench: Bench) -> Section:
    """Prompts a second, CPU and memory beside every peer, with answers at once."""
    rows, in_flight = 50_000, 256
    with instant_server(bench.folder) as server:
        turns = _take_turns(bench, rows, server.base_url, in_flight)
        ours, bare = _median(own for own, _ in turns), _median(theirs for _, theirs in turns)
        slow = {
            "httpx": bench.peer("httpx", 2_000, server.base_url, in_flight),
            "litellm": bench.peer("litellm", 1_000, server.base_url, in_flight),
            "flexllm": bench.peer("flexllm", 5_000, server.base_url, in_flight),
        }
    share = statistics.median(theirs.wall_s / own.wall_s for own, theirs in turns)
    targets = {"litellm": at_least(40), "flexllm": at_least(6)}
    figures = [*_costs("llmbatch", ours), *_costs("aiohttp", bare)]
    for name, run in slow.items():
        figures += _costs(name, run)
    figures.append(Figure("llmbatch / aiohttp", share, "x", at_least(0.75)))
    for name, run in slow.items():
        ratio = ours.prompts_per_s / run.prompts_per_s if run else None
        figures.append(Figure(f"llmbatch / {name}", ratio, "x", targets.get(name)))
    title = f"{in_flight} in flight, answers at once, {rows:,} rows, served by {server.name}"
    return Section("throughput", title, figures)


def latency(bench: Bench) -> Section:
    """How near a thousand in flight come to the ideal when an answer takes a second."""
    rows, in_flight, delay_s = 20_000, 1_000, 1.0
    ideal_s = rows * delay_s / in_flight
    with instant_server(bench.folder) as server:
        start_s = statistics.median(
            bench.llmbatch(1, server.base_url, in_flight).wall_s for _ in range(3)
        )
    with delayed_server(bench.folder, delay_s) as server:
        ours = bench.llmbatch(rows, server.base_url, in_flight)
        bare = bench.peer("aiohttp", rows, server.base_url, in_flight)
    assert bare is not None
    figures = [
        *_costs("llmbatch", ours),
        Figure("ideal / llmbatch", ideal_s / ours.wall_s, "x", at_least(0.93)),
        Figure("ideal / llmbatch, without start-up", ideal_s / (ours.wall_s - start_s), "x"),
        Figure("ideal / aiohttp", ideal_s / bare.wall_s, "x"),
    ]
    title = f"{in_flight:,} in flight, answers after {delay_s:g} s, {rows:,} rows, "
    return Section("latency", title + f"served by {server.name}", figures)


def memory(bench: Bench) -> Section:
    """Whether peak memory stays where it is as the input grows."""
    small, large, in_flight = 100_000, 1_000_000, 256
    with instant_server(bench.folder) as server:
        base = bench.llmbatch(small, server.base_url, in_flight)
        grown = bench.llmbatch(large, server.base_url, in_flight) if bench.full else None
    peak_mb = grown.peak_mb if grown else None
    untold = "" if grown else " (--full)"
    figures = [
        Figure(f"peak, {small:,} rows", base.peak_mb, "MB", at_most(100)),
        Figure(f"peak, {large:,} rows{untold}", peak_mb, "MB", at_most(100)),
        Figure(f"growth{untold}", peak_mb and peak_mb / base.peak_mb, "x", at_most(1.15)),
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


def _take_turns(
    bench: Bench, rows: int, base_url: str, in_flight: int
) -> list[tuple[Throughput, Throughput]]:
    """llmbatch and the bare loop, one after the other: neighbours in time share the weather."""
    turns = []
    for _ in range(bench.pairs):
        ours = bench.llmbatch(rows, base_url, in_flight)
        bare = bench.peer("aiohttp", rows, base_url, in_flight)
        assert bare is not None
        turns.append((ours, bare))
    return turns


def _median(runs: Iterable[Throughput]) -> Throughput:
    """The run of the middle wall time (the slower of the two middle ones)."""
    ordered = sorted(runs, key=lambda run: run.wall_s)
    return ordered[len(ordered) // 2]


def _median_walls(commands: list[list[str]]) -> list[float]:
    """Each command's median wall time over STARTS rounds, the first round thrown away."""
    rounds = [
        [run_process(command, limit_s=RUN_LIMIT_S).wall_s for command in commands]
        for _ in range(STARTS + 1)
    ]
    return [statistics.median(walls) for walls in zip(*rounds[1:], strict=True)]


def _costs(name: str, run: Throughput | None) -> list[Figure]:
    if run is None:
        return [Figure(f"{name} (make bench-peers)", None, "prompts/s")]
    return [
        Figure(f"{name}, {run.rows:,} rows", run.prompts_per_s, "prompts/s"),
        Figure(f"{name}, CPU a prompt", run.cpu_us, "us"),
        Figure(f"{name}, peak memory", run.peak_mb, "MB"),
    ]


SCENARIOS: dict[str, Callable[[Bench], Section]] = {
    "throughput": throughput,
    "latency": latency,
    "memory": memory,
    "start": start,
    "embedded": embedded,
}
