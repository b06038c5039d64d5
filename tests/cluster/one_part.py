"""One shard, its rows and its epochs."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cluster.stage import rows_in

from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.cluster.tallies import tally_of
from llmbatch_cli.core.events import Finished, Started
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.rows.output.render import render
from llmbatch_cli.ui.totals import Totals

ROWS = 4
OPEN: list[Part] = []
FAILED = Failure("server_error", "no", 500, True)


def outcome(index: int, text: str | None, *, key: str = "") -> Outcome:
    done = None if text is None else Completion(text, "stop")
    failure = FAILED if text is None else None
    return Outcome(index, f"r{index}", "m", "p", done, failure, 0.1, 1, key=key or f"key{index}")


def put(part: Part, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Write them; returns the record that goes with them."""
    totals = Totals()
    failed = sum(one.error is not None for one in outcomes)
    for one in outcomes:
        part.write(render(one, "jsonl"))
        totals(Started(one.index))
        totals(Finished(one))
    asyncio.run(part.flush(sync=True))
    return {"tally": tally_of(totals), "failed": failed, "retryable": failed}


def begun(folder: LocalFolder, epoch: int, base: int = 1, retry: RetryFailed = "retryable") -> Part:
    part = Part(folder, Lease(0, epoch, base))
    OPEN.append(part)
    assert part.begin(retry) is not None
    return part


def answers(folder: LocalFolder) -> dict[int, str | None]:
    rows = rows_in(folder.path)
    assert max(Counter(row["index"] for row in rows).values(), default=1) == 1
    return {row["index"]: row["text"] for row in rows}
