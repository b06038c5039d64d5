"""How near to an account's limits a run without flags comes, and how often it is refused."""

import json
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.programs import LLMBATCH, Bench, say
from bench.servers import limits_server
from bench.table import Figure, Section, at_least, at_most

STEADY_AFTER_S = 30.0
"""What the run needs to find the limit is not counted."""
RUN_S = 90.0
ROWS = 20_000
LAWS: dict[str, tuple[dict[str, Any], float]] = {
    "600 a minute": ({"rpm": 600}, 600),
    "6,000 a minute": ({"rpm": 6000}, 6000),
    "6,000 a minute, told": ({"rpm": 6000, "headers": True}, 6000),
}
"""The account's law, and the requests a minute that it allows."""


def limits(bench: Bench) -> Section:
    """Runs of RUN_S seconds against a server with limits; figures from STEADY_AFTER_S on."""
    figures = []
    for name, (law, allowed) in LAWS.items():
        counts = _counts(bench.rows(ROWS), law)
        a_minute = counts["accepted"] * 60 / counts["spent_s"]
        asked = counts["accepted"] + counts["refused"]
        figures += [
            Figure(f"{name}: share used", a_minute / allowed, "x", at_least(0.95)),
            Figure(f"{name}: refused", counts["refused"] / max(1, asked), "x", at_most(0.01)),
        ]
        say(f"limits: {name}: {a_minute:,.0f} a minute")
    title = f"no flags, answers after about 1 s, {RUN_S:g} s each, first {STEADY_AFTER_S:g} s apart"
    return Section("limits", title, figures)


def _counts(rows: Path, law: dict[str, Any]) -> dict[str, float]:
    with limits_server(law) as server:
        command = [LLMBATCH, "batch", str(rows), "-m", "openai/bench-model", "-q"]
        with subprocess.Popen(
            [*command, "--base-url", server.base_url], stdout=subprocess.DEVNULL
        ) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(RUN_S)
            counts = _ask(f"http://127.0.0.1:{server.port}/counts?since={STEADY_AFTER_S}")
            process.kill()
    return counts


def _ask(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as reply:
        found: dict[str, float] = json.load(reply)
    return found
