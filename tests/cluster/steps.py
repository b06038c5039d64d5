"""Threads that take turns with the loop, and a process that is killed at any file operation."""

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from llmbatch_cli.cluster.folder import Folder

_here = threading.local()


class Killed(BaseException):
    """Its process is no more."""


class Steps:
    """A thread that stops at each file operation until the loop lets it go on."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = False
        self.kills = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def _work(self) -> None:
        _here.steps = self
        try:
            self.at()
            self.result = self._function()
        except BaseException as error:  # noqa: BLE001 - passed on
            self.error = error
        self.ended = True
        self._stopped.release()

    def at(self) -> None:
        """In the thread: wait for the loop."""
        self._stopped.release()
        self._go.acquire()
        if self.kills:
            raise Killed

    def step(self) -> None:
        """In the loop: let it go as far as its next file operation."""
        self._go.release()
        self._stopped.acquire()


class StageFile(io.BytesIO):
    """A file that may be torn where its process dies."""

    def __init__(self, file: BinaryIO, folder: "StageFolder") -> None:
        super().__init__()
        self._file, self._folder = file, folder

    def write(self, data: Any) -> int:
        try:
            self._folder._step()
        except Killed:
            self._file.write(data[: len(data) // 2])
            raise
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


class StageFolder(Folder):
    """Each operation is a step of its own; the worker may be killed before or after any."""

    def __init__(self, path: Path, life: "Life | None" = None) -> None:
        super().__init__(path)
        self.life = life

    def _step(self) -> None:
        if self.life is not None:
            self.life.operation()
            steps: Steps | None = getattr(_here, "steps", None)
            if steps is not None:
                steps.at()
            self.life.check()

    def names(self, under: str = "") -> list[str]:
        self._step()
        return super().names(under)

    def size(self, name: str) -> int | None:
        self._step()
        return super().size(name)

    def read(self, name: str) -> bytes | None:
        self._step()
        return super().read(name)

    def lines(self, name: str) -> Iterator[bytes]:
        self._step()
        yield from super().lines(name)

    def create(self, name: str) -> BinaryIO | None:
        self._step()
        file = super().create(name)
        if file is None:
            return None
        if self.life is not None:
            self.life.files.append(file)
        return StageFile(file, self)

    def sync(self, file: BinaryIO) -> None:
        self._step()

    def replace(self, name: str, data: bytes) -> None:
        self._step()
        (self.path / name).write_bytes(data)

    def publish(self, name: str, final: str) -> bool:
        self._step()
        return super().publish(name, final)

    def delete(self, name: str) -> None:
        self._step()
        super().delete(name)

    @staticmethod
    def _sync(folder: Path) -> None:
        """No disk loses power here."""


@dataclass
class Life:
    """One worker's process."""

    name: str
    dies_at: int | None = None
    """The file operation that it does not do any more."""
    slow: Callable[[], float] = lambda: 0.001
    operations: int = 0
    dead: bool = False
    files: list[BinaryIO] = field(default_factory=list)

    def operation(self) -> None:
        self.operations += 1
        if self.operations == self.dies_at:
            self.dead = True

    def check(self) -> None:
        if self.dead:
            raise Killed
