"""What the files of an output folder are called."""

import re
from typing import Final

WORK: Final = "_work"
"""The folder, within the output's, of what is not finished."""
PLAN: Final = f"{WORK}/plan.json"
RUN: Final = f"{WORK}/run.json"
BEAT: Final = f"{WORK}/coordinator.json"
MONEY: Final = f"{WORK}/money.json"
ROWS: Final = f"{WORK}/rows/"
"""Where whole shards are of which tables are made."""
MAKING: Final = ".tmp"
_EPOCH: Final = re.compile(r"(\d{5,})\.e(\d+)\.jsonl")
_DONE: Final = re.compile(r"(\d{5,})\.done(\d+)\.e(\d+)\.json")
_PART: Final = re.compile(r"part-(\d{5,})(?:-(\d+))?\.(\w+)")


def epoch_file(shard: int, epoch: int) -> str:
    """The rows of a shard as they were answered under an epoch."""
    return f"{WORK}/{shard:05}.e{epoch}.jsonl"


def done_file(shard: int, again: int, epoch: int) -> str:
    """Says how the shard went, that was made so often; it is there before the part."""
    return f"{WORK}/{shard:05}.done{again}.e{epoch}.json"


def whole_file(shard: int, epoch: int) -> str:
    """A whole shard in the making, of several epochs or in order."""
    return f"{WORK}/{shard:05}.w{epoch}{MAKING}"


def part_file(shard: int, again: int = 1, form: str = "jsonl") -> str:
    """A whole shard; `again` counts how often it was made, as failed rows were sent again."""
    return f"part-{shard:05}{f'-{again}' if again > 1 else ''}.{form}"


def epoch_of(name: str) -> tuple[int, int] | None:
    """The shard and the epoch by the name of a file in the folder `_work`."""
    found = _EPOCH.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def done_of(name: str) -> tuple[int, int, int] | None:
    """The shard, how often it was made, and the epoch, by a name in the folder `_work`."""
    found = _DONE.fullmatch(name)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def part_of(name: str) -> tuple[int, int] | None:
    """The shard, and how often it was made, by the name of a part."""
    found = _PART.fullmatch(name)
    return (int(found[1]), int(found[2] or 1)) if found else None
