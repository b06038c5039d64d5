"""What waits in memory by the thousand holds no more of it than its length.

orjson's own bytes hold 4 KiB at least, and up to 13 times what they are long.
"""

import tracemalloc
from collections.abc import Callable

import pytest

from llmbatch_cli.core.types import Completion, Outcome
from llmbatch_cli.engine.cache.stored import to_bytes
from llmbatch_cli.providers.wire.messages import json_bytes
from llmbatch_cli.rows.output.render import render

ANSWER = Completion("x" * 600)
OUTCOME = Outcome(0, 0, "m", "p", completion=ANSWER)
MADE: dict[str, Callable[[], bytes | None]] = {
    "a row that waits to be written": lambda: render(OUTCOME, "jsonl"),
    "a request in flight": lambda: json_bytes({"messages": [{"content": "x" * 600}]}),
    "an answer that waits for the cache's disk": lambda: to_bytes(ANSWER),
}


@pytest.mark.parametrize("name", MADE)
def test_held_bytes(name: str) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        held = [MADE[name]() or b"" for _ in range(100)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1.2 * sum(map(len, held))
