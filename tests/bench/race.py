"""Races: what they cost beside a batch, and how long one takes beside litellm's."""

import json
import statistics
import sys
from pathlib import Path

from bench.measure import run_process
from bench.peers import peer_python
from bench.programs import RUN_LIMIT_S, Bench
from bench.servers import instant_server, named_delays_server
from bench.table import Figure, Section, at_least, at_most

ROWS = 5_000
RACERS = 3
IN_FLIGHT = 300
FAST_S, SLOW_S = 0.1, 1.0
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
                bench.race(ROWS, server.base_url, IN_FLIGHT, models),
                bench.llmbatch(ROWS * RACERS, server.base_url, IN_FLIGHT),
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
    ]
    title = f"{RACERS} models, {IN_FLIGHT} in flight, {ROWS:,} rows, answers at once by "
    title += f"{server.name}; then one race of {FAST_S:g} s against {SLOW_S:g} s"
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
