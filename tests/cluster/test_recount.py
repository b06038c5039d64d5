"""Figures of rows that are read again are those of the rows as they were answered."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from cluster.stage import shards_of

from llmbatch_cli.cluster.active import Active
from llmbatch_cli.cluster.chosen import Earlier
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.cluster.recount import outcome_of
from llmbatch_cli.cluster.tallies import merged, tally_of
from llmbatch_cli.core.events import Finished, Started
from llmbatch_cli.core.ledger import Attempt, MaybeBilled, Usage
from llmbatch_cli.core.types import Completion, Failure, Outcome, Racer
from llmbatch_cli.rows.output.render import render
from llmbatch_cli.ui.totals import Totals

USAGE = Usage(100, 20, 120, cached_tokens=30, reasoning_tokens=5)
NO = Failure("timeout", "no answer in 60 s", None, True)
LOST = Attempt("timeout", None, 1.5, True, None)


def row(index: int, completion: Completion | None, **more: Any) -> Outcome:
    failure = None if completion is not None else NO
    return Outcome(index, f"r{index}", "m", "p", completion, failure, 0.25, 1, **more)


ROWS = {
    "answered": row(0, Completion("yes", "stop", usage=USAGE), cost_usd=Decimal("0.0015")),
    "cut": row(0, Completion("yes", "length")),
    "empty": row(0, Completion("", "stop", usage=USAGE)),
    "tools": row(0, Completion(None, "tool_calls", tool_calls=[{"id": "1"}])),
    **{
        name: row(0, Completion(None, "stop", extras={name: ["x"]}))
        for name in ("images", "audio", "code", "output", "blocks")
    },
    "cached": row(0, Completion("yes", "stop", usage=USAGE), cached=True),
    "failed": row(0, None, failed_attempts=[LOST, LOST]),
    "billed": row(
        0, None, maybe_billed=MaybeBilled(2, Decimal("0.25")), failed_attempts=[LOST], cost_usd=None
    ),
    "refused": row(0, None, failed_attempts=[Attempt("refused", 200, 0.5, True, USAGE)]),
}


def figures(rows: Sequence[Outcome]) -> dict[str, Any]:
    totals = Totals()
    for one in rows:
        if one.part[0] == 1:
            totals(Started(one.index))
        totals(Finished(one))
    return tally_of(totals)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_counts_as_it_did(name: str) -> None:
    again = outcome_of(orjson.loads(render(ROWS[name], "jsonl")))
    assert figures([again]) == figures([ROWS[name]])


def test_the_winner_of_a_race_counts_its_tokens() -> None:
    """Those of the others are not in the row."""
    racers = [
        Racer("m", "p", "won", 0.2, usage=USAGE),
        Racer("n", "q", "cancelled", 0.1, 1),
        Racer("o", "q", "failed", 0.1, 2, NO),
    ]
    raced = row(0, Completion("yes", "stop", usage=USAGE), race=racers)
    again = outcome_of(orjson.loads(render(raced, "jsonl")))
    assert figures([again]) == figures([raced])


def test_several_outcomes_of_one_row_are_one_row() -> None:
    both = [row(3, Completion(text, "stop"), part=(n, 2)) for n, text in ((1, "a"), (2, "b"))]
    again = [outcome_of(orjson.loads(render(one, "jsonl"))) for one in both]
    assert figures(again) == figures(both)
    assert figures(again)["rows"] == 1


def test_figures_add_up() -> None:
    """Those of any cut of the rows into shards, and sums of sums."""
    rows = [ROWS[name] for name in ROWS]
    for place, one in enumerate(rows):
        one.index = place
    whole = figures(rows)
    parts = [figures(rows[:3]), figures(rows[3:4]), figures(rows[4:])]
    for sums in (merged(parts), merged([merged(parts[:2]), merged(parts[2:])])):
        assert sums == whole
        assert orjson.loads(orjson.dumps(sums)) == orjson.loads(orjson.dumps(whole))


def test_a_shard_that_is_taken_over_counts_rows_once() -> None:
    """Also those with several outcomes."""
    rows = [row(3, Completion(text, "stop"), part=(n, 2)) for n, text in ((1, "a"), (2, "b"))]
    found = Earlier({3: None}, of_this_run={3: [orjson.loads(render(r, "jsonl")) for r in rows]})
    active = Active(shards_of(1, 4)[0], Part(LocalFolder(Path()), Lease(0, 2, 1)), Totals())
    active.recount(found)
    assert (active.totals.rows, active.totals.answered) == (1, 1)
