"""What --engine ray cannot be combined with, said before anything is read or sent."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.core.options import TABLES, Cluster, Sending
from llmbatch_cli.job import Job
from llmbatch_cli.rows.output.target import check_file
from llmbatch_cli.storage import address_of, located
from llmbatch_cli.storage.address import parsed

MOST_A_CORE: Final = 16
"""Workers; each is a process of some 150 MB."""
_BEGINNING: Final = b'{"index":'
DETACHED_RAY = "ray start --head starts one here, and --address auto takes it"


def check_cluster(job: Job, sending: Sending) -> None:
    """Raise UsageError for what a run on a cluster cannot do."""
    options = sending.cluster
    if options.engine != "ray":
        _refuse_alone(options, job)
        return
    output = job.output
    if output.output is None:
        raise UsageError("--engine ray writes a folder of parts", hint="name it, as in -o out/")
    _check_workers(options)
    if output.output.exists() and not output.output.is_dir():
        raise UsageError(
            f"{output.output} is a file", hint="--engine ray writes a folder of parts: name one"
        )
    if output.format not in (None, "jsonl", *TABLES):
        raise UsageError(
            f"--engine ray writes jsonl or tables, not --format {output.format}",
            hint="jq -r .text makes text of the finished parts",
        )
    for name, given, hint in (
        ("--batch-api", sending.batch_api.batch_api, "a provider's jobs need no machines"),
        ("--strict", job.input.strict, "llmbatch estimate reads all rows first"),
        ("--dedupe", sending.cache.dedupe, "--cache on a shared disk finds equal rows, too"),
    ):
        if given:
            raise UsageError(f"{name} does not go with --engine ray", hint=hint)
    if "-" in job.inputs.inputs:
        raise UsageError(
            "--engine ray cannot read standard input: workers read their parts of a file",
            hint="write the rows to a file that all machines see",
        )
    if sending.batch_api.detach and options.address is None:
        raise UsageError(
            "--detach needs a Ray cluster that stays when this command ends", hint=DETACHED_RAY
        )
    if sending.batch_api.detach and options.merge is not None:
        raise UsageError(
            "--merge puts parts together at the end, and --detach does not wait for it",
            hint="once the run is over, the same command with --merge puts them together",
        )
    _check_merge(options.merge, job)
    check_ray()


def check_ray() -> None:
    """Raise UsageError where Ray is not installed."""
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise UsageError("--engine ray needs ray, which is not installed", hint=install_hint("ray"))


def _check_workers(options: Cluster) -> None:
    most = MOST_A_CORE * (os.cpu_count() or 1)
    if options.address is None and (options.workers or 1) > most:
        raise UsageError(
            f"--workers {options.workers} is too many for this machine, which can have {most}",
            hint="one for each core is enough; --address names a cluster",
        )


def _refuse_alone(options: Cluster, job: Job) -> None:
    for name in ("address", "workers", "merge", "key_file"):
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is for --engine ray", hint="add --engine ray")
    output = job.output.output
    if output is None or not (output.is_dir() or address_of(output)):
        return
    if _is_begun(output):
        raise UsageError(
            f"{address_of(output) or output} is the folder of a run on a cluster",
            hint="add --engine ray to go on with it",
        )


def _check_merge(merge: Path | None, job: Job) -> None:
    """Raise UsageError for a file that cannot be written, or that holds something else."""
    if merge is None:
        return
    from llmbatch_cli.rows.input.folders import refuse_among_inputs

    folder, inputs = job.output.output or Path(), job.inputs.inputs
    address = address_of(merge)
    if address is not None and not located(address)[1]:
        raise UsageError(f"--merge {address} is a whole bucket", hint=f"as in {address}/all.jsonl")
    if str(merge) == "-":
        raise UsageError("--merge writes a file", hint="name it, as in --merge all.jsonl")
    if _place(merge).is_relative_to(_place(folder)):
        raise UsageError(
            f"--merge {address or merge} is in the folder of the parts",
            hint="name a file beside it",
        )
    refuse_among_inputs(merge, (*inputs, *job.input.inputs))
    if address is not None:
        return
    check_file(merge, inputs, filled=True)
    if merge.is_file() and not _may_replace(merge, job):
        raise UsageError(f"--merge {merge}: there is something else in it", hint="name another")


def _may_replace(merge: Path, job: Job) -> bool:
    """Whether a file is empty, or may be one of ours: rows are known by how they begin."""
    if merge.suffix != ".gz" and job.output.format not in TABLES:
        with merge.open("rb") as file:
            return file.read(len(_BEGINNING)) in (b"", _BEGINNING)
    is_asked = job.output.overwrite or _is_begun(job.output.output or Path())
    return is_asked or not merge.stat().st_size


def _is_begun(output: Path) -> bool:
    """Whether a run on a cluster has this folder."""
    from llmbatch_cli.cluster.folders import folder_at
    from llmbatch_cli.cluster.layout import PLAN

    with suppress(OSError):  # which the run itself will say
        return folder_at(output).read(PLAN) is not None
    return False


def _place(path: Path) -> Path:
    """A file or an object, as one that can be compared with others."""
    address = address_of(path)
    return path.resolve() if address is None else Path(str(parsed(address)))
