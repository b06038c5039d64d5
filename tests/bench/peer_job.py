"""What each program under measure is given, and what it has to write.

Only the standard library: this is imported in the environments of the peers, too.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MODEL = "bench-model"
API_KEY = "no-key"
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Job:
    """What one peer is given to do."""

    rows: Path
    answers: Path
    base_url: str
    in_flight: int

    @property
    def chat_url(self) -> str:
        """Where a request goes."""
        return f"{self.base_url}/chat/completions"


def body(row: dict[str, Any]) -> dict[str, Any]:
    """The request of one row."""
    return {"model": MODEL, "messages": [{"role": "user", "content": row["prompt"]}]}


def answer(
    index: int, row: dict[str, Any], reply: dict[str, Any], latency: float | None
) -> dict[str, Any]:
    """The line that llmbatch writes, so that every loop serialises the same amount."""
    choice = reply["choices"][0]
    return {
        "index": index,
        "id": row["id"],
        "model": reply["model"],
        "provider": "openai",
        "text": choice["message"]["content"],
        "finish_reason": choice["finish_reason"],
        "usage": reply["usage"],
        "cost": None,
        "latency": latency,
        "attempts": 1,
        "metadata": {},
        "error": None,
    }


def read(path: Path) -> list[dict[str, Any]]:
    """All rows."""
    with path.open("rb") as source:
        return [json.loads(line) for line in source]


def write(answers: BinaryIO, answer: dict[str, Any]) -> None:
    """One line of the answers."""
    answers.write(json.dumps(answer).encode() + b"\n")


@contextmanager
def timed() -> Iterator[None]:
    """Print the time of the work inside, without interpreter start and imports."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    work_s, work_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"work_s": work_s, "work_cpu_s": work_cpu_s}))
