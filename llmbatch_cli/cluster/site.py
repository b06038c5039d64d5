"""Where a run on a cluster is, and what its processes are given. Plain values, which pickle."""

import hashlib
import os
import pickle
import platform
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final

from llmbatch_cli import __version__
from llmbatch_cli.cluster.messages import Why
from llmbatch_cli.cluster.service import ServiceOptions
from llmbatch_cli.cluster.session import WorkerOptions
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.job import Job
from llmbatch_cli.storage import StorageError

VERSIONS: Final = {"llmbatch": __version__, "Python": platform.python_version()}

MakeJob = Callable[[Mapping[str, str]], Job]
"""The job, with keys and addresses from these variables. It has to pickle."""


@frozen
class Secret:
    """What workers need and nobody may read: it is never shown."""

    make_job: bytes = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, make_job: MakeJob, environ: Mapping[str, str]) -> "Secret":
        """For a job whose keys are in these variables."""
        return cls(pickle.dumps(make_job), dict(environ))

    def job(self) -> Job:
        """The job; variables of this machine fill what the command's lack."""
        make_job: MakeJob = pickle.loads(self.make_job)  # noqa: S301 - our own, from the command
        return make_job({**os.environ, **self.environ})


@frozen
class Site:
    """Where a run is, for the processes of all machines."""

    service: ServiceOptions
    worker: WorkerOptions
    cwd: str
    """What relative names begin at."""
    versions: Mapping[str, str]
    run: str
    """Tells this run from others in the folder."""

    @property
    def name(self) -> str:
        """The coordinator's, by the folder."""
        return name_of(self.service.folder.address)


def name_of(folder: str) -> str:
    """What the coordinator of the folder at this address is called."""
    return "coordinator-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def cannot_use(site: Site, error: OSError) -> Why:
    """Why a run ends whose folder cannot be used."""
    hint = error.hint if isinstance(error, StorageError) else None
    said = error.strerror or str(error)
    return Why("output", f"cannot use {site.service.folder.address}: {said}", hint)


def other_versions(of_command: Mapping[str, str]) -> Why:
    """Why a process of other versions than the command's does nothing."""
    here, there = (", ".join(f"{k} {v}" for k, v in one.items()) for one in (VERSIONS, of_command))
    return Why(
        "usage",
        f"{platform.node()} has {here}, the command {there}",
        "have the same versions on all machines",
    )
