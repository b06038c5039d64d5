"""What reading and checking an answer costs: `schema_speed.py [ROWS]`.

Microseconds of this process's own time for each answer to a schema of ten fields, the least of
five turns, beside parsing it as JSON and nothing else.
"""

import sys
import time
from collections.abc import Callable

import orjson

from llmbatch_cli.answer_shapes import shape_of
from llmbatch_cli.core.options import Answers

ROWS = 20_000
TURNS = 5
FIELDS = (
    "name, age int, score float, alive bool, mood good|bad|mixed, tags str[], note str?, "
    "city, stars 1|2|3|4|5, email"
)
ANSWER = orjson.dumps(
    {
        "name": "Ann Example", "age": 31, "score": 0.75, "alive": True, "mood": "good",
        "tags": ["one", "two", "three"], "note": None, "city": "Ulm", "stars": 4,
        "email": "ann@example.org",
    }
).decode()  # fmt: skip


def least_us(call: Callable[[], object], rows: int) -> float:
    """Microseconds a call."""
    times = []
    for _ in range(TURNS):
        began = time.process_time()
        for _ in range(rows):
            call()
        times.append(time.process_time() - began)
    return min(times) / rows * 1e6


def main() -> None:
    """Show a line for each kind of answer."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    shape = shape_of(Answers(schema=FIELDS))
    assert shape is not None
    read = shape.read
    kinds = {
        "parsed only": lambda: orjson.loads(ANSWER),
        "as it is": lambda: read(ANSWER, True),
        "in a fence": lambda: read(f"Here you are:\n```json\n{ANSWER}\n```\n", True),
        "behind a thinking block": lambda: read(f"<think>{'hm ' * 200}</think>{ANSWER}", True),
        "mended": lambda: read(ANSWER.replace("}", ",}"), True),
    }
    for name, call in kinds.items():
        few = rows // 100 if name == "mended" else rows
        print(f"{name:24} {least_us(call, few):8.2f} us")


if __name__ == "__main__":
    main()
