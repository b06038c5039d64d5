"""How long it takes to go on with an output, and how much memory: `resume_speed.py [ROWS]`.

Times are this process's own, one step after the other; memory is the resident set's growth
over that of the bare program, at its peak.
"""

import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from llmbatch_cli.core.types import Message, Prompt, Request
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.keys import request_key
from llmbatch_cli.rows.output.settle import settle
from llmbatch_cli.rows.resume import prepare, read_back

ROWS = 1_000_000
ANSWER = "The capital of that country has been where it is for a very long time. " * 3
SHUFFLED_ROWS = 256


def prompt(index: int) -> Prompt:
    """A row of input."""
    messages: list[Message] = [{"role": "user", "content": f"What is the capital of {index}?"}]
    return Prompt(index, messages, index)


def key(row: Prompt) -> str:
    """Its key."""
    return request_key("openai", Request("gpt-4o-mini", row.messages, {"temperature": 0}), row)


def renamed_key(row: Prompt) -> str:
    """Its key, under another id."""
    row.id = f"id-{row.index}"
    return key(row)


def line(row: Prompt, failed: bool) -> bytes:
    """Its row of output."""
    error = {"type": "overloaded", "message": "try later", "status": 503, "retryable": True}
    return orjson.dumps(
        {
            "index": row.index,
            "id": row.id,
            "key": key(row),
            "model": "gpt-4o-mini",
            "provider": "openai",
            "text": None if failed else ANSWER,
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 24, "completion_tokens": 30, "total_tokens": 54},
            "cost": 0.0000216,
            "latency": 0.531,
            "attempts": 1,
            "metadata": {},
            "error": error if failed else None,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def write_output(path: Path, rows: int) -> None:
    """An output in the order in which answers come; one row in 1,000 has failed."""
    order = [*range(rows)]
    source = random.Random(1)
    for start in range(0, rows, SHUFFLED_ROWS):
        part = order[start : start + SHUFFLED_ROWS]
        source.shuffle(part)
        order[start : start + SHUFFLED_ROWS] = part
    with path.open("wb") as file:
        for place, index in enumerate(order):
            file.write(line(prompt(index), failed=place % 1_000 == 999))


def resident_bytes() -> int:
    """The memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def measured(what: str, rows: int) -> Iterator[None]:
    """Print what the body took."""
    peak, ended = [resident_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], resident_bytes())

    threading.Thread(target=watch, daemon=True).start()
    before, cpu, wall = resident_bytes(), time.process_time(), time.perf_counter()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    ended.set()
    grown, kept = max(peak[0], resident_bytes()) - before, resident_bytes() - before
    print(
        f"{what:<28}{wall:7.2f} s  {cpu:7.2f} s CPU  {rows / cpu:12,.0f} rows/s CPU"
        f"  peak +{grown / 2**20:6.1f} MiB  kept +{kept / 2**20:6.1f} MiB",
        flush=True,
    )


def claim_all(finished: FinishedRows, keys: Callable[[Prompt], str], rows: int) -> int:
    """How many rows of an input are still to be sent."""
    left = 0
    for index in range(rows):
        row = prompt(index)
        row.key = keys(row)
        left += not finished.claim(row)
    return left


def main() -> None:
    """Measure all steps."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        write_output(path, rows)
        with measured("read back", rows):
            finished = read_back(path)
        with measured("keys", rows):
            for index in range(rows):
                key(prompt(index))
        with measured("keys and claims", rows):
            left = claim_all(finished, key, rows)
        assert left == finished.failed_again == rows // 1_000
        del finished
        with measured("prepare, with a rewrite", rows):
            finished = prepare(path)
        claim_all(finished, key, rows)
        with measured("put in order", rows):
            assert settle(path, finished, ordered=True)
        finished = prepare(path)
        with measured("keys and claims, renamed", rows):
            assert claim_all(finished, renamed_key, rows) == rows // 1_000
        with measured("rename", rows):
            assert settle(path, finished, ordered=True)


if __name__ == "__main__":
    main()
