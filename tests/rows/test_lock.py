"""One run an output."""

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.lock import locked

HOLDER = """
import sys, pathlib
from llmbatch_cli.rows.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_second_run_is_refused(tmp_path: Path) -> None:
    """While one process has an output, another one is told so, with the owner's number."""
    path = tmp_path / "out.jsonl"
    with holder(path) as process:
        with pytest.raises(UsageError, match=f"out.jsonl .*process {process.pid}") as caught:
            locked(path).__enter__()
        assert caught.value.hint
        with locked(tmp_path / "other.jsonl"):
            pass


def test_a_lock_dies_with_its_owner(tmp_path: Path) -> None:
    """After kill -9 the next run has the output at once, and clears up at its end."""
    path = tmp_path / "out.jsonl"
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(path), pytest.raises(UsageError, match=f"process {os.getpid()}"):
            locked(path).__enter__()
    assert names(tmp_path) == set()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The lock's file is gone after the end, and after an error; the output is not made."""
    path = tmp_path / "out.jsonl"
    with locked(path):
        pass
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    assert names(tmp_path) == set()
    with locked(path):
        pass


def test_a_file_has_one_lock_by_all_its_names(tmp_path: Path) -> None:
    """A symbolic link or a detour is the same output, and so is what has taken its place."""
    path, link = tmp_path / "out.jsonl", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with locked(path):
        new = tmp_path / "new"
        new.write_text("new")
        new.replace(path)
        for other in (link, tmp_path / ".." / tmp_path.name / "out.jsonl"):
            with pytest.raises(UsageError, match="another run"):
                locked(other).__enter__()


def test_what_is_no_file_is_not_locked(tmp_path: Path) -> None:
    """Two runs may write to a device or a pipe, and nothing is made beside it."""
    before, pipe = names(Path("/dev")), tmp_path / "pipe"
    os.mkfifo(pipe)
    ends = os.pipe()
    try:
        for target in (Path("/dev/null"), pipe, Path(f"/dev/fd/{ends[1]}")):
            with locked(target), locked(target):
                assert (names(Path("/dev")), names(tmp_path)) == (before, {"pipe"})
    finally:
        os.close(ends[0])
        os.close(ends[1])


def test_no_folder_is_left_to_whoever_writes(tmp_path: Path) -> None:
    """An output that cannot be is not the lock's to tell."""
    with locked(tmp_path / "no" / "out.jsonl"):
        assert names(tmp_path) == set()


NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524, errno.EIO, errno.ESTALE, errno.EBADF,
            errno.EINVAL, errno.EPERM, errno.ENODEV)  # fmt: skip
"""What network disks answer to flock: llnl/scr 510 and cctools 1737 (524, the kernel's ENOTSUPP),
bigscience-workshop/petals 515 (EBADF), cactus 1299 (ENOLCK)."""


@pytest.mark.parametrize(
    "call",
    [
        *((fcntl, "flock", number) for number in NO_LOCKS),
        # a folder that is read-only, not ours, full, gone; a lease; a name that is not found
        *((os, "open", number) for number in (30, 13, 28, errno.ESTALE, 11, 2)),
    ],
)
def test_a_place_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[object, str, int]
) -> None:
    """Where no file can be made beside the output, or nothing locked, the run goes on unlocked
    and says so (llnl/scr 510, cooperative-computing-lab/cctools 1737)."""
    path = tmp_path / "out.jsonl"
    module, name, number = call

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(module, name, fail)
        with locked(path) as notice, locked(path):
            pass
    assert notice is not None
    assert str(path) in notice
    assert os.strerror(number) in notice
    assert names(tmp_path) == set()
    with locked(path) as notice:
        assert notice is None


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_only_two_answers_say_that_another_run_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The owner may be on another machine, so that nothing else tells of it."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(UsageError, match="another run"):
        locked(tmp_path / "out.jsonl").__enter__()


def test_a_disk_whose_files_have_no_names_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems in user space number a file anew each time that it is looked up."""
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with locked(tmp_path / "out.jsonl") as notice:
        assert notice is not None
    assert names(tmp_path) == set()


def contend(path: str, rounds: int, failures: "multiprocessing.Queue[str]") -> None:
    """Take the lock again and again; within it, be the only one that has made a file."""
    claim, taken = Path(path + ".claim"), 0
    while taken < rounds:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(Path(path)))
            except UsageError:
                continue
            try:
                os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                failures.put("two at once")
            claim.unlink(missing_ok=True)
            taken += 1
    failures.put("")


def test_never_two_at_once(tmp_path: Path) -> None:
    """Whoever takes a lock while another one gives it up, there is never more than one."""
    spawning = multiprocessing.get_context("spawn")
    failures: multiprocessing.Queue[str] = spawning.Queue()
    arguments = (str(tmp_path / "out.jsonl"), 200, failures)
    processes = [spawning.Process(target=contend, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    found = [failures.get(timeout=40) for _ in processes]
    for process in processes:
        process.join()
    assert found == [""] * 3
    assert names(tmp_path) == set()
