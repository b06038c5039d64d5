"""The journal beside an output: which jobs were meant, made and collected.

For the output `answers.jsonl` the folder `answers.jsonl.llmbatch-jobs/` holds, while any job is
open:

    journal.jsonl   one record a line, each on the disk before the next step is taken
    ID.rows         the rows of the job ID, a line each (spool.py)
    ID.body         the same rows as the provider gets them

Records, in the order of a job's life (`at` is the time in each):

    {"do":"intent","id":ID,...}              the job is meant; its two files are on the disk
    {"do":"uploaded","id":ID,"upload":FILE}  the provider has the file
    {"do":"creating","id":ID}                the request that makes the job may now be sent
    {"do":"refused","id":ID,"until":TIME}    it has made none, surely; not again before that time
    {"do":"created","id":ID,"job":JOB}       the provider's id of the job; "sure" if its create
                                             was answered by it, and it was not found in the list
    {"do":"mistaken","id":ID,"job":JOB}      that job was another's
    {"do":"cancelling","id":ID}              its end was asked for
    {"do":"ended","id":ID,"word":WORD}       by the provider's word
    {"do":"collected","id":ID,"next":[...]}  its rows are in the output and on the disk, but for
                                             those that are asked again: `next` has the intents of
                                             the jobs for these
After `creating` without `refused` or `created` there may be a job: it is looked for, never made
again blindly. A line that is cut off at the end was never acted upon, and is dropped.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self

import orjson

from llmbatch_cli.core.errors import OutputError, UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.providers.batch_api import Intent

ENDING: Final = ".llmbatch-jobs"
VERSION: Final = 1

State = Literal["intent", "uploaded", "creating", "created", "cancelling", "ended"]


def folder_of(output: Path) -> Path:
    """Where the jobs of this output are kept, by whatever link it is called."""
    real = Path(os.path.realpath(output)) if output.is_symlink() else output
    return real.with_name(real.name + ENDING)


@frozen(kw_only=True)
class Reached:
    """How the provider of a job is reached again; never a key."""

    provider: str
    spec: str
    """The model as the user named it."""
    base_url: str
    account: str
    """The digest of address and key, see BatchWire.account."""


@dataclass(slots=True)
class Job:
    """One job, as far as it has come."""

    intent: Intent
    reached: Reached
    state: State = "intent"
    upload: str | None = None
    id: str | None = None
    """The provider's."""
    is_sure: bool = False
    """Whether it came in the reply to the create, so that the job is nobody else's."""
    others: list[str] = field(default_factory=list)
    """Jobs that were found for it and were not it."""
    until_s: float = 0.0
    """It is not submitted before."""
    refusals: int = 0
    """How often it was not taken because too much waited."""
    creating_s: float = 0.0
    """When the request that makes it was last sent."""
    word: str = ""
    """The provider's for how it has ended."""

    @property
    def is_submitted(self) -> bool:
        """Whether the provider has it, or may have it."""
        return self.state not in ("intent", "uploaded")


class Journal:
    """The jobs of one output. Whoever writes to it holds the output's lock."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Reads what is there. Raises UsageError where it cannot be read."""
        self.folder = folder
        self.jobs: dict[str, Job] = {}
        """Those that are not collected, in the order of their intents."""
        self.collected = 0
        """Jobs that were."""
        self._clock = clock
        self._file: int | None = None
        self._whole = 0
        """Bytes of the records that are whole."""
        try:
            self._read()
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UsageError(
                f"the journal of the jobs cannot be read: {self.path}: {error}",
                hint="it was changed by something else; where no job is open, remove its folder",
            ) from error

    @property
    def path(self) -> Path:
        """The file of records."""
        return self.folder / "journal.jsonl"

    def rows_of(self, id_: str) -> Path:
        """The rows of a job."""
        return self.folder / f"{id_}.rows"

    def body_of(self, id_: str) -> Path:
        """What the provider gets."""
        return self.folder / f"{id_}.body"

    # Records

    def intend(self, intent: Intent, reached: Reached) -> Job:
        """A job is meant. Its files are on the disk."""
        self.make()
        sync_folder(self.folder)
        record = _as_record(intent, reached)
        self._record("intent", intent.id, **record)
        return self.jobs.setdefault(intent.id, Job(intent, reached))

    def uploaded(self, job: Job, upload: str) -> None:
        self._record("uploaded", job.intent.id, upload=upload)
        job.state, job.upload = "uploaded", upload

    def creating(self, job: Job) -> None:
        self._record("creating", job.intent.id)
        job.state, job.creating_s = "creating", self._clock()

    def refused(self, job: Job, until_s: float = 0.0) -> None:
        """No job was made, or the one that was made was refused as too much."""
        self._record("refused", job.intent.id, until=until_s)
        _refused(job, until_s)

    def created(self, job: Job, id_: str, *, is_sure: bool = False) -> None:
        self._record("created", job.intent.id, job=id_, sure=is_sure)
        job.state, job.id, job.is_sure = "created", id_, is_sure

    def not_of(self, job: Job) -> list[str]:
        """Jobs at the provider that are surely not this one."""
        sure = [one.id for one in self.jobs.values() if one.id is not None and one.is_sure]
        return [*job.others, *sure]

    def mistaken(self, job: Job) -> None:
        """The job that was found is another's."""
        self._record("mistaken", job.intent.id, job=job.id)
        _mistaken(job)

    def cancelling(self, job: Job) -> None:
        self._record("cancelling", job.intent.id)
        job.state = "cancelling"

    def ended(self, job: Job, word: str) -> None:
        self._record("ended", job.intent.id, word=word)
        job.state, job.word = "ended", word

    def settled(self, job: Job, following: Sequence[tuple[Intent, Reached]] = ()) -> list[Job]:
        """All of its rows are in the output, and on the disk, or in the jobs that follow it."""
        if following:
            sync_folder(self.folder)
        records = [_as_record(intent, reached) for intent, reached in following]
        self._record("collected", job.intent.id, next=records)
        self.collected += 1
        del self.jobs[job.intent.id]
        for intent, reached in following:
            self.jobs[intent.id] = Job(intent, reached)
        self.forget_files(job.intent.id)
        return [self.jobs[intent.id] for intent, _ in following]

    # Files

    def make(self) -> None:
        """Make the folder and the file, if they are not there."""
        if self._file is not None:
            return
        is_new = not self.path.exists()
        self.folder.mkdir(exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._file, self._whole)
        os.lseek(self._file, 0, os.SEEK_END)
        if is_new:
            self._record("begun", "", version=VERSION)
            sync_folder(self.folder)
            sync_folder(self.folder.parent)

    def forget_files(self, id_: str) -> None:
        """Remove the files of a job."""
        for path in (self.rows_of(id_), self.body_of(id_)):
            with suppress(OSError):
                path.unlink()

    def sweep(self) -> None:
        """Remove files of jobs that were never meant: of a run that was killed before."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.suffix in (".rows", ".body", ".new") and path.stem not in self.jobs:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it; without an open job the whole folder goes."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self.sweep()
        if not self.jobs:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _record(self, what: str, id_: str, **more: Any) -> None:
        self.make()
        assert self._file is not None  # noqa: S101 - for the types
        line = orjson.dumps({"do": what, "id": id_, "at": round(self._clock(), 3), **more}) + b"\n"
        rest = line
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:  # no half of a record stays before the next one
            with suppress(OSError):
                os.ftruncate(self._file, self._whole)
                os.lseek(self._file, self._whole, os.SEEK_SET)
            raise
        self._whole += len(line)

    # Reading

    def _read(self) -> None:
        for record in self._records():
            do, id_ = record["do"], record["id"]
            if do == "begun":
                if record["version"] != VERSION:
                    raise ValueError(f"it is of version {record['version']}")
            elif do == "intent":
                self._add(record)
            else:
                self._replay(do, self.jobs[id_], record)

    def _records(self) -> Iterator[Mapping[str, Any]]:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._whole += len(line)
                yield orjson.loads(line)

    def _add(self, record: Mapping[str, Any]) -> None:
        intent, reached = _from_record(record)
        self.jobs[intent.id] = Job(intent, reached)

    def _replay(self, do: str, job: Job, record: Mapping[str, Any]) -> None:
        if do == "uploaded":
            job.state, job.upload = "uploaded", record["upload"]
        elif do == "creating":
            job.state, job.creating_s = "creating", record["at"]
        elif do == "refused":
            _refused(job, record["until"])
        elif do == "created":
            job.state, job.id = "created", record["job"]
            job.is_sure = record.get("sure", False)
        elif do == "mistaken":
            _mistaken(job)
        elif do == "cancelling":
            job.state = "cancelling"
        elif do == "ended":
            job.state, job.word = "ended", record["word"]
        elif do == "collected":
            self.collected += 1
            del self.jobs[job.intent.id]
            for following in record["next"]:
                self._add(following)
        else:
            raise ValueError(f"an unknown record, {do!r}")


def _refused(job: Job, until_s: float) -> None:
    job.state = "uploaded" if job.upload is not None else "intent"
    if job.id is not None:  # it would be found by the same mark
        job.others.append(job.id)
    job.id, job.until_s, job.refusals = None, until_s, job.refusals + 1


def _mistaken(job: Job) -> None:
    job.others.append(job.id or "")
    job.state, job.id = "creating", None


def _as_record(intent: Intent, reached: Reached) -> dict[str, Any]:
    return {**asdict(intent), **asdict(reached)}


def _from_record(record: Mapping[str, Any]) -> tuple[Intent, Reached]:
    return (
        Intent(**{one.name: record[one.name] for one in fields(Intent)}),
        Reached(**{one.name: record[one.name] for one in fields(Reached)}),
    )


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_write(folder: Path, error: OSError) -> OutputError:
    """What a full or broken disk means to the jobs, which all go on."""
    return OutputError(
        f"the jobs' files cannot be written: {error.strerror or error}: {folder}",
        hint="make room there; then --resume goes on with all that is journaled",
    )
