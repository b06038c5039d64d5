"""A run of made-up events, for the tests that look at it from outside: `python drive.py JSON`.

The options: rows, rows_per_s, in_flight, total, mode, verbose, fail_every, pull, noise
(prints to standard error in the middle), raises (ends with KeyboardInterrupt), label,
linger_s, stdout_is_terminal.
"""

import asyncio
import json
import os
import sys
from typing import Any

from llmbatch_cli.core.events import Counted, Finished, Notice, Observer, Pulled, Started
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.options import DisplayOptions
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.ui.progress import Streams, open_progress
from llmbatch_cli.ui.report import summary
from llmbatch_cli.ui.totals import Totals

HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b5A\u202eback\r\nnext "


def outcome(index: int, *, failed: bool = False) -> Outcome:
    """The end of one row."""
    if failed:
        failure = Failure("rate_limited", f"{HOSTILE}too fast " * 20, 429)
        return Outcome(index, f"q{index}", "m", "fake", error=failure)
    done = Completion("text", "stop", usage=Usage(24, 31, 55))
    return Outcome(index, f"q{index}", "m", "fake", completion=done)


async def pull(observe: Observer) -> None:
    """A download of 98 MB in 2 s, told from another thread."""
    for tenth in range(41):
        event = Pulled("smollm2", tenth * 2_452_500, 98_100_000)
        await asyncio.to_thread(observe, event)
        await asyncio.sleep(0.05)


async def rows(observe: Observer, options: dict[str, Any]) -> None:
    """The rows, each begun `in_flight` rows before it ends."""
    count, ahead = options["rows"], options.get("in_flight", 8)
    per_s, every = options["rows_per_s"], options.get("fail_every", 0)
    for index in range(count + ahead):
        if index < count:
            observe(Started(index))
        if index >= ahead:
            observe(Finished(outcome(index - ahead, failed=bool(every) and index % every == 0)))
            await asyncio.sleep(1 / per_s)
        if index == count // 2 and options.get("noise"):
            print("somebody else's line", file=sys.stderr)
            observe(Notice(f"half of it {HOSTILE}"))
        if index == count // 2 and options.get("raises"):
            raise KeyboardInterrupt


async def main(options: dict[str, Any]) -> None:
    """The whole run, and its summary."""
    totals = Totals()
    display = DisplayOptions(
        progress=options.get("mode", "auto"), verbose=options.get("verbose", 0)
    )
    streams = Streams(sys.stderr, os.environ, options.get("stdout_is_terminal", False))
    label = options.get("label", "openai/gpt-4o-mini")
    async with open_progress(display, streams, totals, label) as observe:
        if options.get("pull"):
            await pull(observe)
        if options.get("total"):
            observe(Counted(options["total"]))
        await rows(observe, options)
        await asyncio.sleep(options.get("linger_s", 0))
    print(f"llmbatch: {summary(totals)}", file=sys.stderr)


if __name__ == "__main__":
    try:
        asyncio.run(main(json.loads(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
