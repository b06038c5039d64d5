"""`--summary FILE`: the figures of a run as JSON, also of one that stops early."""

import os
import re
import time
from pathlib import Path
from typing import Any, Final

from llmbatch_cli import __version__
from llmbatch_cli.cli.ending import Ended as EndedRun
from llmbatch_cli.cli.say import Voice
from llmbatch_cli.core.errors import ExitStatus, OutputError, UsageError
from llmbatch_cli.job import Job
from llmbatch_cli.ui.totals import Totals

MARK: Final = b'{\n  "llmbatch": '
"""How every such file begins."""


class Ended:
    """How a run has ended; its file is there as a whole, or as it was."""

    def __init__(self, path: Path | None, label: str) -> None:
        self.began_at = time.time()
        """In seconds since the epoch."""
        self._path = path
        self._figures: dict[str, Any] = {"llmbatch": __version__, "run": label}

    def check(self, job: Job) -> None:
        """Raise UsageError where the file cannot be written, or holds something else."""
        path = self._path
        if path is None:
            return
        from llmbatch_cli.rows.output.target import check_file

        others = [str(one) for one in (job.output.output, job.rows_file) if one is not None]
        same = [one for one in others if os.path.realpath(one) == os.path.realpath(path)]
        if same or str(path) == "-":
            raise UsageError(
                f"--summary {path}: the answers go there", hint="name a file of its own"
            )
        check_file(path, job.inputs.inputs, filled=True)
        if path.is_file():
            with path.open("rb") as file:
                old = file.read(len(MARK))
            if old and old != MARK:
                raise UsageError(
                    f"--summary {path}: there is something else in it", hint="name another file"
                )

    def take(self, run: EndedRun, totals: Totals, *, interrupted: bool) -> None:
        """Keep the figures of the run, and the reason of its end."""
        if self._path is None:
            return
        from llmbatch_cli.ui.summary_json import summary_figures

        reason: dict[str, Any] | None = None
        if run.error is not None:
            kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(run.error).__name__).lower()
            reason = {"type": kind, "message": run.error.message, "hint": run.error.hint}
        elif interrupted:
            reason = {"type": "interrupted", "message": "the run was interrupted", "hint": None}
        self._figures |= summary_figures(totals)
        self._figures |= {"began_at": self.began_at, "ended_at": time.time(), "reason": reason}

    def write(self, status: ExitStatus, voice: Voice) -> ExitStatus:
        """Write the file, if one is asked for. Returns the exit status, as of a full disk."""
        path = self._path
        if path is None:
            return status
        import orjson

        from llmbatch_cli.rows.output.outfile import renewed

        figures = {**self._figures, "exit_status": int(status)}
        data = orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        try:
            if path.exists() and not path.is_file():  # a pipe or a device
                path.write_bytes(data)
            else:
                with renewed(Path(os.path.realpath(path))) as file:
                    file.write(data)
        except OSError as error:
            voice.error(OutputError(f"cannot write {path}: {error.strerror or error}"))
            return status or ExitStatus.STOPPED
        return status
