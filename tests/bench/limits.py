"""How near to an account's limits a run without flags comes, and how often it is refused."""

import json
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.programs import LLMBATCH, Bench, say
from bench.servers import limits_server
from bench.table import Figure, Section, at_least, at_most
from support.simulated import MEAN_S


@dataclass(frozen=True)
class Account:
    """An account's law, and how long it is watched."""

    name: str
    law: dict[str, Any]
    allowed: float
    """A minute, in the steady state."""
    steady_after_s: float = 30.0
    """What the run needs to find the limit is not counted."""
    run_s: float = 90.0
    counts: str = "accepted"
    """What of the server's book is limited."""


ROWS = 20_000
SHORT = [
    Account("600 a minute", {"rpm": 600}, 600),
    Account("6,000 a minute", {"rpm": 6000}, 6000),
    Account("6,000 a minute, told", {"rpm": 6000, "headers": True}, 6000),
]
LONG = [
    Account("60 a minute", {"rpm": 60}, 60, 600, 1500),
    Account("60 a minute, told", {"rpm": 60, "headers": True}, 60, 120, 300),
    Account("600 a minute, told", {"rpm": 600, "headers": True}, 600, 120, 300),
    Account("60,000 tokens a minute", {"tpm": 60_000}, 60_000, 300, 700, "tokens"),
    Account("20 at once", {"at_once": 20}, 20 / MEAN_S * 60, 150, 400),
    Account(
        "300 a minute, then 600",
        {"rpm": 300, "capacity_s": 5, "change": {"rpm": 600}, "change_after_s": 200},
        600,
        600,
        1200,
    ),
]
"""Those that need minutes, for --full."""


def limits(bench: Bench) -> Section:
    """Runs against servers with limits, all at the same time, as each is slow."""
    accounts = [*SHORT, *LONG] if bench.full else SHORT
    rows = bench.rows(ROWS)
    with ThreadPoolExecutor(len(accounts)) as pool:
        found = list(pool.map(lambda account: _figures(account, rows), accounts))
    longest_s = max(account.run_s for account in accounts)
    title = f"no flags, answers after about 1 s, up to {longest_s:g} s each, from the steady state"
    return Section("limits", title, [figure for figures in found for figure in figures])


def _figures(account: Account, rows: Path) -> list[Figure]:
    counts = _counts(account, rows)
    a_minute = counts[account.counts] * 60 / counts["spent_s"]
    asked = counts["accepted"] + counts["refused"]
    say(f"limits: {account.name}: {a_minute:,.0f} a minute")
    name = account.name
    return [
        Figure(f"{name}: share used", a_minute / account.allowed, "x", at_least(0.95)),
        Figure(f"{name}: refused", counts["refused"] / max(1, asked), "x", at_most(0.01)),
    ]


def _counts(account: Account, rows: Path) -> dict[str, float]:
    with limits_server(dict(account.law)) as server:
        command = [LLMBATCH, "batch", str(rows), "-m", "openai/bench-model", "-q"]
        with subprocess.Popen(
            [*command, "--base-url", server.base_url], stdout=subprocess.DEVNULL
        ) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(account.run_s)
            since_s = account.steady_after_s
            counts = ask(f"http://127.0.0.1:{server.port}/counts?since={since_s}")
            process.kill()
    return counts


def ask(url: str) -> dict[str, Any]:
    """What a server counts."""
    with urllib.request.urlopen(url, timeout=10) as reply:
        found: dict[str, Any] = json.load(reply)
    return found
