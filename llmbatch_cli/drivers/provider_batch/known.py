"""The outputs of this user that have open jobs: a small file each in the user's state folder."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import orjson

from llmbatch_cli.core.folders import state_folder
from llmbatch_cli.core.text import format_count
from llmbatch_cli.drivers.provider_batch.journal import Job, folder_of


def remember(output: Path, environ: Mapping[str, str]) -> None:
    """The output has jobs now. Where the folder cannot be written, `llmbatch jobs` needs its
    name."""
    place = _place(output, environ)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(orjson.dumps({"output": str(_absolute(output))}))


def forget(output: Path, environ: Mapping[str, str]) -> None:
    """The output has none any more."""
    with suppress(OSError):
        _place(output, environ).unlink()


def known(environ: Mapping[str, str]) -> list[Path]:
    """The outputs whose jobs are there, by name; what is gone is forgotten."""
    found = []
    with suppress(OSError):
        for place in (state_folder(environ) / "jobs").glob("*.json"):
            with suppress(OSError, ValueError, LookupError, TypeError):
                output = Path(orjson.loads(place.read_bytes())["output"])
                if folder_of(output).is_dir():
                    found.append(output)
                else:
                    place.unlink()
    return sorted(found)


def _absolute(output: Path) -> Path:
    return Path(os.path.abspath(output))  # noqa: PTH100 - a link stays one


def _place(output: Path, environ: Mapping[str, str]) -> Path:
    name = blake2b(os.fsencode(_absolute(output)), digest_size=10).hexdigest()
    return state_folder(environ) / "jobs" / f"{name}.json"


def going_on(jobs: Sequence[Job], provider: str, output: Path, *, is_detached: bool) -> str:
    """That these go on without this process, and what is to be done about them."""
    goes, submitted = ("goes on", "is submitted") if len(jobs) == 1 else ("go on", "are submitted")
    rows = format_count(sum(job.intent.rows for job in jobs), "row")
    return (
        f"{format_count(len(jobs), 'job')} with {rows} {submitted if is_detached else goes} at "
        f"{provider}; the same command with --resume collects them, "
        f"llmbatch jobs cancel {output} ends them"
    )
