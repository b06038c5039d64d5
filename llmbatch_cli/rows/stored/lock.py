"""One run per output in a store: an object that names its owner, who renews it while it runs.

It keeps people from mistakes. What makes rows safe where it fails (a machine that slept, clocks
that differ) are the parts, of which each can be created only once.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.storage import Storage, StorageError

BEAT_S: Final = 20.0
DEAD_S: Final = 90.0
"""An owner that was not seen for so long has died."""
_TRIES: Final = 5


class StoreLock:
    """A lock that is held."""

    def __init__(self, storage: Storage, name: str, clock: Callable[[], float]) -> None:
        self._storage, self._name, self._clock = storage, name, clock
        self.token = secrets.token_hex(8)
        self._machine, self._pid = _machine(), os.getpid()
        self._ended = threading.Event()
        self._busy = threading.Lock()
        self.is_lost = False
        """Whether another run has taken it."""

    def take(self) -> None:
        """Raise UsageError where another run has it, OSError where the store fails."""
        for _ in range(_TRIES):
            if self._storage.create(self._name, self._data()):
                return
            owner = _read(self._storage, self._name)
            if owner is None:  # given back just now
                continue
            if owner.get("token") == self.token:  # it was created, though the reply was lost
                return
            if not self._is_dead(owner):
                raise self._refusal(owner)
            self._storage.delete(self._name)
        raise UsageError(f"{self.address} is being locked by several runs", hint="try again")

    @property
    def address(self) -> str:
        """Where it is."""
        return f"{self._storage.address}/{self._name}"

    def beat(self) -> None:
        """Say that the owner lives, unless the lock is another's by now."""
        with self._busy:
            if self._ended.is_set():
                return
            owner = _read(self._storage, self._name)
            self.is_lost = owner is None or owner.get("token") != self.token
            if not self.is_lost:
                self._storage.put(self._name, self._data())

    def beat_on(self) -> None:
        """Do so until the end, in a thread."""
        while not self._ended.wait(BEAT_S) and not self.is_lost:
            with suppress(OSError):  # the store is away; the next beat may reach it
                self.beat()

    def give_back(self) -> None:
        """Remove it, if it is ours."""
        self._ended.set()
        with self._busy, suppress(OSError):
            owner = _read(self._storage, self._name)
            if owner is not None and owner.get("token") == self.token:
                self._storage.delete(self._name)

    def _data(self) -> bytes:
        owner = {"token": self.token, "machine": self._machine, "pid": self._pid}
        return orjson.dumps({**owner, "seen_at": self._clock()})

    def _is_dead(self, owner: Any) -> bool:
        if self._age_s(owner) > DEAD_S:
            return True
        return owner.get("machine") == self._machine and not _is_running(owner.get("pid"))

    def _age_s(self, owner: Any) -> float:
        seen_at = owner.get("seen_at")
        return self._clock() - seen_at if isinstance(seen_at, int | float) else DEAD_S + 1

    def _refusal(self, owner: Any) -> UsageError:
        machine = str(owner.get("machine")).partition("/")[0]
        who = f"process {owner.get('pid')} on {machine}, seen {self._age_s(owner):.0f} s ago"
        return UsageError(
            f"{self.address.removesuffix('.lock')} is being written by another run ({who})",
            hint=f"wait for it; {DEAD_S:.0f} s after a crash it counts as dead, or delete "
            f"{self.address}",
        )


@contextmanager
def store_lock(
    storage: Storage, output: str, clock: Callable[[], float] = time.time
) -> Iterator[StoreLock]:
    """Hold the lock of this output. Raises UsageError."""
    lock = StoreLock(storage, f"{output}.lock", clock)
    try:
        lock.take()
    except OSError as error:
        hint = error.hint if isinstance(error, StorageError) else None
        name = f"{storage.address}/{output}"
        raise UsageError(f"cannot write {name}: {error.strerror or error}", hint=hint) from error
    threading.Thread(target=lock.beat_on, name="llmbatch-lock", daemon=True).start()
    try:
        yield lock
    finally:
        lock.give_back()


def _read(storage: Storage, name: str) -> Any:
    """The owner; None where there is none. Of what is no lock of ours nothing is known."""
    try:
        owner = orjson.loads(storage.read(name))
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _machine(space: str = "/proc/self/ns/pid") -> str:
    """This machine, and its process numbers: a container has its own."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{os.stat(space).st_ino}"  # noqa: PTH116
    return socket.gethostname()


def _is_running(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
