"""All faults at once over many rows: nothing is lost, and both sides count the same."""

import os
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from faults.harness import Counts, Ran, Row, batch, fault_server, ids

ROWS: Final = int(os.environ.get("LLMBATCH_MIXTURE_ROWS", "20000"))
MEBIBYTE: Final = 2**20
CAP_BYTES: Final = 64 * MEBIBYTE
FLAT_BYTES: Final = 80 * MEBIBYTE
"""What 20,000 rows may hold, 5,000 as well: the program starts with 45 MiB."""
TIMEOUT_S: Final = 15

MEANING: Final = {
    **dict.fromkeys(("429", "429-ms"), ("rate_limited", 429)),
    **{status: ("overloaded", int(status)) for status in ("408", "500", "502", "503", "529")},
    "502-html": ("overloaded", 502),
    **dict.fromkeys(("reset", "reset-amid", "closed", "cut"), ("interrupted", None)),
    "bad-http": ("bad_reply", None),
    **dict.fromkeys(
        ("bad-gzip", "cut-gzip", "bad-json", "other-json", "no-choices", "empty", "html"),
        ("bad_reply", 200),
    ),
    "redirect": ("bad_reply", 307),
    **dict.fromkeys(("endless", "10-gb", "bomb"), ("bad_reply", 200)),
    **dict.fromkeys(("400", "404"), ("rejected", None)),
    **dict.fromkeys(("never", "drip", "headers-only"), ("timed_out", None)),
}
"""What the program is to make of each fault."""

TOLD_TO_WAIT: Final = {f"row-{ROWS - 150}": "429", f"row-{ROWS - 100}": "429-ms"}
"""Each makes the whole run slower by design, so they come when most of it is done."""
REJECTED: Final = {
    f"row-{100 + 37 * place}": fault for place, fault in enumerate(("400", "404") * 5)
}
SLOW: Final = {
    f"row-{50 + 41 * place}": fault
    for place, fault in enumerate(("never", "drip", "headers-only") * 2)
}
HUGE: Final = {"row-700": "endless", "row-1700": "10-gb", "row-2700": "bomb"}
SINGLE: Final = TOLD_TO_WAIT | REJECTED | SLOW | HUGE
QUICK: Final = [fault for fault in MEANING if fault not in SINGLE.values()]


def told(row: Row) -> list[str]:
    """The kinds of a row's failed tries."""
    return [one["type"] for one in row.get("failed_attempts", [])]


def meant(counts: Counts, name: str) -> list[str]:
    """The same, by what the server has answered."""
    return [MEANING[fault][0] for fault in counts.faults(name) if fault != "ok"]


def check_summary(ran: Ran, counts: Counts) -> None:
    """What the program says of the run is what the server and the rows say."""
    final, rows = ran.final, ran.rows
    failed = Counter(row["error"]["type"] for row in rows if row["error"])
    assert final["rows"] == final["total"] == len(rows)
    assert final["answered"] == len(rows) - failed.total()
    assert (final["failed"], final["errors"]) == (failed.total(), failed)
    assert final["retries"] == sum(counts.requests.values()) - len(rows)
    assert (final["dropped"], final["in_flight"]) == (0, 0)


@pytest.mark.timeout(120)
async def test_every_row_of_a_mixture_ends_once(tmp_path: Path) -> None:
    """Every row has one output row, whose tries are what the server gave it, in their order;
    the run ends, its summary agrees, and its memory does not grow with the rows."""
    names = ids(ROWS)
    rows = {name: [fault, "ok"] for name, fault in SINGLE.items()}
    script = {"mixture": QUICK, "share": 0.1, "seed": 7, "rows": rows}
    async with fault_server(script, "--elsewhere", "http://127.0.0.1:1") as server:
        ran = await batch(
            tmp_path, names, server.url, "-c", "64", "--timeout", str(TIMEOUT_S),
            "--progress", "json", timeout_s=110,
        )  # fmt: skip
        counts = await server.counts()
    by_id = ran.by_id
    assert ran.status == 1
    assert set(by_id) == set(names) == set(counts.log)
    assert {name: row["attempts"] for name, row in by_id.items()} == counts.requests
    different = [name for name, row in by_id.items() if told(row) != meant(counts, name)]
    assert [(name, told(by_id[name]), meant(counts, name)) for name in different] == []
    for name, row in by_id.items():
        assert row["text"] == (name if counts.faults(name)[-1] == "ok" else None)
    assert {by_id[name]["error"]["type"] for name in SLOW} == {"timed_out"}
    check_summary(ran, counts)
    assert ran.peak_bytes < FLAT_BYTES + CAP_BYTES * len(HUGE)
