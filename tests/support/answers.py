"""Rows of output, as a run writes them."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    "<!--<script>\u2028\x00\x1b[31m\u202eevil\ud800 &amp; ${x} `y`"
)
"""An answer that wants to be run."""


def answer(index: int, text: str | None = "yes", **changes: Any) -> dict[str, Any]:
    """An answered row."""
    return {
        "index": index,
        "id": f"q{index}",
        "model": "gpt-4o-mini",
        "provider": "openai",
        "text": text,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14},
        "cost": 0.25,
        "latency": 0.5,
        "attempts": 1,
        "metadata": {},
        "error": None,
        **changes,
    }


def failure(index: int, kind: str = "overloaded", **changes: Any) -> dict[str, Any]:
    """A failed row."""
    error = {"type": kind, "message": f"sorry {index}", "status": 503, "retryable": True}
    lost = {"finish_reason": None, "usage": None, "cost": None, "error": error}
    return {**answer(index, None), **lost, **changes}


def write(path: Path, rows: Sequence[object]) -> Path:
    """The rows as a file of this name, gzip if it ends so."""
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
