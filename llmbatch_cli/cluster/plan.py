"""What is done in a folder: its shards, and what they were made of. It is written once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

import orjson

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.layout import PLAN
from llmbatch_cli.cluster.shards import Shard
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen

FORM: Final = 1
"""Raised when the file changes its meaning."""
SHARDS_A_WORKER: Final = 16
MOST_ROWS: Final = 20_000
"""Of a shard: what is read again when its worker is lost, and held in memory to put it in order."""


@frozen
class ClusterPlan:
    """The shards of an input, and what is asked for its rows."""

    shards: Sequence[Shard]
    inputs: Mapping[str, Mapping[str, Any]]
    """The fingerprint of each file, by its name."""
    asked: str
    """A digest of the model, its parameters and all that makes a prompt of a row."""
    shown: str = ""
    """The model, for people."""
    output: Mapping[str, Any] = field(default_factory=dict)
    """The format, and what else the rows of all parts have in common."""

    @property
    def rows(self) -> int:
        """Of the whole input."""
        return sum(shard.rows for shard in self.shards)


def rows_a_shard(rows: int, workers: int) -> int:
    """How many rows a shard has: there are some for each worker to even out who is faster."""
    return max(1, min(MOST_ROWS, -(-rows // (SHARDS_A_WORKER * workers))))


def digest(values: object) -> str:
    """A digest of plain values."""
    data = orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=repr)
    return hashlib.sha256(data).hexdigest()[:32]


def save(plan: ClusterPlan, folder: Folder) -> bool:
    """Write the plan, whole or not at all; False where there is one. Blocks. Raises OSError."""
    data = {
        "form": FORM,
        "asked": plan.asked,
        "shown": plan.shown,
        "output": plan.output,
        "inputs": plan.inputs,
        "shards": [shard.as_json() for shard in plan.shards],
    }
    return folder.add(PLAN, orjson.dumps(data))


def load(folder: Folder) -> ClusterPlan | None:
    """The plan of a folder; None where there is none. Blocks. Raises UsageError, OSError."""
    data = folder.read(PLAN)
    if data is None:
        return None
    try:
        said = orjson.loads(data)
        if said["form"] != FORM:
            raise UsageError(
                f"{folder.address}/{PLAN} was written by another version of llmbatch",
                hint="go on with that one, or write to another folder",
            )
        shards = [Shard.from_json(one) for one in said["shards"]]
        return ClusterPlan(shards, said["inputs"], said["asked"], said["shown"], said["output"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{folder.address}/{PLAN} cannot be read: {error}", hint="write to another folder"
        ) from error


def check_same(old: ClusterPlan, new: ClusterPlan) -> None:
    """Raise UsageError where a folder was begun with something else."""
    gone = [name for name in old.inputs if name not in new.inputs]
    more = [name for name in new.inputs if name not in old.inputs]
    changed = [
        name
        for name, print_ in old.inputs.items()
        if name in new.inputs and new.inputs[name] != print_
    ]
    hint = "write to another folder, or name the inputs as they were"
    if changed:
        raise UsageError(
            f"{changed[0]} has changed since the run began, and rows may not be edited here",
            hint="write to another folder",
        )
    if gone or more:
        name, verb = (gone[0], "was") if gone else (more[0], "was not")
        raise UsageError(f"{name} {verb} among the inputs when the run began", hint=hint)
    if old.asked != new.asked:
        raise UsageError(
            f"the folder was begun with another model, prompt, parameter or choice of rows "
            f"(then {old.shown})",
            hint="repeat the options that it was begun with, or write to another folder",
        )
    if old.output != new.output:
        raise UsageError(
            "the folder was begun with another format or other columns",
            hint="repeat the options that it was begun with, or write to another folder",
        )
