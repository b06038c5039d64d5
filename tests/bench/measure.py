"""Run one program to its end and say what it cost."""

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
STDERR_SHOWN_BYTES = 2_000
FOREIGN_PREFIXES = ("LLMBATCH_MODEL", "OPENAI_", "LITELLM_", "FLEXLLM_", "PYTHON")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class RunFailedError(Exception):
    """A measured program ended badly; the text has the end of its standard error."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one process cost, from its start to its end, interpreter start included."""

    wall_s: float
    cpu_s: float
    """User and system time of the process and of the children that it waited for."""
    peak_bytes: int
    """Peak resident memory. Never less than this harness's own, which Linux hands down at exec;
    so the harness imports only the standard library."""
    stdout: bytes


def run_process(
    command: Sequence[str],
    *,
    limit_s: float,
    extra_env: Mapping[str, str] | None = None,
    failed_rows: bool = False,
) -> Run:
    """Run `command` with no standard input, killed after `limit_s`.

    Raises RunFailedError when its exit status is not 0; with `failed_rows`, nor 1.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=clean_environment() | dict(extra_env or {}),
        )
        usage = _wait(process, limit_s)
        wall_s = time.perf_counter() - started
        if process.returncode not in ((0, 1) if failed_rows else (0,)):
            raise RunFailedError(_complaint(command, process.returncode, err))
        return Run(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_bytes=usage.ru_maxrss * RSS_UNIT_BYTES,
            stdout=_read(out),
        )


def _wait(process: "subprocess.Popen[bytes]", limit_s: float) -> resource.struct_rusage:
    """Wait with wait4, which alone tells the usage of one child; Popen must be told its end."""
    killer = threading.Timer(limit_s, process.kill)
    killer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    finally:
        killer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def clean_environment() -> dict[str, str]:
    """The caller's environment without keys, settings and proxies: all traffic is loopback."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN_PREFIXES) and name.lower() not in PROXIES
    }


def _complaint(command: Sequence[str], status: int, err: IO[bytes]) -> str:
    shown = _read(err)[-STDERR_SHOWN_BYTES:].decode(errors="replace").strip()
    return f"{Path(command[0]).name} {' '.join(command[1:4])} ... ended with {status}:\n{shown}"


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
