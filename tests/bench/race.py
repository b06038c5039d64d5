"""Races: what they cost beside a batch, how long one takes beside litellm's, how losers end."""

import json
import statistics
import sys
from pathlib import Path

from bench.limits import ask
from bench.measure import RunFailedError, run_process
from bench.peers import peer_python
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench
from bench.servers import instant_server, named_delays_server
from bench.table import Figure, Section, at_least, at_most

ROWS = 5_000
RACERS = 3
IN_FLIGHT = 300
FAST_S, SLOW_S = 0.1, 1.0
CANCELLED_ROWS, CANCELLED_IN_FLIGHT = 500, 100
CANCELLED_MODELS = ("openai/after-0.3", "openai/after-20", "openai/after-20")
SINGLE_RACES = Path(__file__).with_name("race_loops.py")


def race(bench: Bench) -> Section:
    """Requests a second of races and of a batch, taking turns; then single races' times.

    With answers at once a race costs the most: nothing is waited for, and of three requests two
    lose or are cancelled, which costs their connections too.
    """
    models = [f"openai/bench-model-{place}" for place in range(RACERS)]
    with instant_server(bench.folder) as server:
        turns = [
            (
                bench.race(ROWS, server, IN_FLIGHT, models),
                bench.llmbatch(ROWS * RACERS, server, IN_FLIGHT),
            )
            for _ in range(bench.pairs)
        ]
    races = [run for run, _ in turns]
    shares = [run.prompts_per_s * RACERS / batch.prompts_per_s for run, batch in turns]
    figures = [
        Figure("races", statistics.median(run.prompts_per_s for run in races), "races/s"),
        Figure("CPU a request", statistics.median(run.cpu_us / RACERS for run in races), "us"),
        Figure("peak memory", statistics.median(run.peak_mb for run in races), "MB", at_most(100)),
        Figure("race's requests/s / batch's", statistics.median(shares), "x", at_least(0.6)),
        *_single_races(),
        *_closings(bench),
    ]
    title = f"{RACERS} models, {IN_FLIGHT} in flight, {ROWS:,} rows, answers at once by "
    title += f"{server.name}; one race of {FAST_S:g} s against {SLOW_S:g} s; then cancelled ones, "
    title += f"{CANCELLED_IN_FLIGHT} in flight"
    return Section("race", title, figures)


def _single_races() -> list[Figure]:
    """The median time of one race, the slow model listed first."""
    python = peer_python("litellm")
    interpreters = {"llmbatch": Path(sys.executable), "litellm": python}
    with named_delays_server() as server:
        times_s = {
            name: _median_s(interpreter, name, server.base_url)
            for name, interpreter in interpreters.items()
            if interpreter.exists()
        }
    ours_s, theirs_s = times_s["llmbatch"], times_s.get("litellm")
    untold = "" if theirs_s else " (make bench-peers)"
    late_s = ours_s - FAST_S
    return [
        Figure("llmbatch, batch_completion_models", ours_s * 1e3, "ms"),
        Figure("llmbatch, over the fast model's own time", late_s * 1e3, "ms", at_most(30)),
        Figure(f"litellm, batch_completion_models{untold}", theirs_s and theirs_s * 1e3, "ms"),
        Figure(f"litellm's time / llmbatch's{untold}", theirs_s and theirs_s / ours_s, "x"),
    ]


def _median_s(python: Path, name: str, base_url: str) -> float:
    models = [f"openai/after-{SLOW_S:g}", f"openai/after-{FAST_S:g}"]
    command = [str(python), str(SINGLE_RACES), name, base_url, *models]
    run = run_process(command, limit_s=RUN_LIMIT_S)
    times: list[float] = json.loads(run.stdout.splitlines()[-1])["race_s"]
    return statistics.median(times)


def _closings(bench: Bench) -> list[Figure]:
    """From a winner's answer going out to a loser's socket being closed, as the server sees it."""
    runs = [_closings_s(bench) for _ in range(bench.pairs)]
    middle_s, late_s, last_s = (
        statistics.median(run[min(len(run) - 1, len(run) * percent // 100)] for run in runs)
        for percent in (50, 99, 100)
    )
    return [
        Figure("loser's socket closed, median", middle_s * 1e3, "ms"),
        Figure("loser's socket closed, 99 % within", late_s * 1e3, "ms", at_most(50)),
        Figure("loser's socket closed, the last", last_s * 1e3, "ms"),
    ]


def _closings_s(bench: Bench) -> list[float]:
    """Of one run, the shortest first."""
    rows, answers = bench.folder / "races.jsonl", bench.folder / "cancelled.jsonl"
    _write_races(rows)
    with named_delays_server() as server:
        command = [LLMBATCH, "race", str(rows), "-m", ",".join(CANCELLED_MODELS), "-q"]
        command += ["--base-url", server.base_url, "-c", str(CANCELLED_IN_FLIGHT)]
        run_process([*command, "-o", str(answers), "--overwrite"], limit_s=RUN_LIMIT_S)
        book = ask(f"http://127.0.0.1:{server.port}/book")
    won, closed = book["won"], book["closed"]
    took_s = sorted(at - won[race] for race, times in closed.items() for at in times)
    if len(took_s) != (losers := CANCELLED_ROWS * (len(CANCELLED_MODELS) - 1)):
        raise RunFailedError(f"{len(took_s):,} of {losers:,} losers were cancelled")
    return took_s


def _write_races(path: Path) -> None:
    """The server tells the races apart by the first word."""
    prompts = (f"race{i} Which is first?" for i in range(CANCELLED_ROWS))
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
