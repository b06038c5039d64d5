"""The options of a run on several machines."""

from pathlib import Path
from typing import ClassVar, Literal

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.option import option

Engine = Literal["local", "ray"]


@frozen(kw_only=True)
class Cluster:
    """Whether the rows are answered by this process, or by workers on a Ray cluster."""

    section: ClassVar[str] = "Cluster"

    engine: Engine = option(
        "local",
        "Where the rows are answered: by this process, or by workers on a Ray cluster, which "
        "write a folder of parts. The same command goes on with what is left.",
    )
    address: str | None = option(
        None,
        "With --engine ray: the cluster's address, or auto.",
        metavar="ADDRESS",
        shown="Ray is started on this machine",
    )
    workers: int | None = option(
        None,
        "With --engine ray: how many workers, each with a core.",
        min=1,
        shown="as many as this machine has cores",
    )
    merge: Path | None = option(
        None,
        "With --engine ray: put all parts together in this file, or object, at the end.",
        metavar="FILE",
    )
    key_file: Path | None = option(
        None,
        "With --engine ray: read keys from this file on each machine (NAME=value in each line), "
        "instead of sending those of this one.",
        metavar="FILE",
    )
