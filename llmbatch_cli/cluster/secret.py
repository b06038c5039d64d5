"""What a worker needs and nobody may read."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import field

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.job import Job

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
