"""The rows of an output as they come: objects beside it, each created once and never changed.

A run makes a generation: a head, that says what its rows follow on, and parts of them in their
order. A later run closes the generation before its own by an empty part, for which it has to win
the next free number; so a run that was only slow finds its number taken, and stops.

    OUT.parts/0001-head         what generation 1 follows on: nothing
    OUT.parts/0001-000001       rows
    OUT.parts/0001-000002       empty: closed by generation 2
    OUT.parts/0002-head         generation 2 follows on generation 1
    OUT.parts/0002-000001       rows
    OUT.parts/finished          while parts are removed: OUT has it all
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

import orjson

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.storage import Storage

PART_BYTES: Final = 16 * 2**20
AT_ONCE: Final = 16
"""Parts that are fetched, or removed, at the same time."""
_NAME: Final = re.compile(r"(\d{4,})-(?:(head)|(\d{6,}))")
FINISHED: Final = "finished"

Base = Literal["nothing", "object", "generation"]


@dataclass(slots=True)
class Generation:
    """The rows that one run has added."""

    number: int
    token: str
    """Of the run."""
    base: Base
    """What they follow on: an older generation, or the output itself."""
    of: str = ""
    """Which: the generation's number, the output's version."""
    parts: list[str] = field(default_factory=list)
    """Their names, in order, without an empty one at the end."""
    is_closed: bool = False


class Parts:
    """The parts of one output."""

    def __init__(self, storage: Storage, output: str) -> None:
        self._storage, self._output = storage, output
        self._folder = f"{output}.parts"
        self.free_number = 1
        """For the next generation."""

    def newest(self, *, tidy: bool = True) -> Generation | None:
        """The last generation; None where the output has all rows, or there are none.

        `tidy`: what a finished run has left is removed, which is for the lock's owner. Raises
        OSError.
        """
        sizes = {one.name.rpartition("/")[2]: one.size for one in self._storage.list(self._folder)}
        if FINISHED in sizes:
            self._remove(sizes if tidy else {})
            return None
        numbers = [int(found[1]) for name in sizes if (found := _NAME.fullmatch(name))]
        self.free_number = max(numbers, default=0) + 1
        heads = [int(found[1]) for name in sizes if (found := _NAME.fullmatch(name)) and found[2]]
        newest = self._generation(max(heads), sizes) if heads else None
        root = newest
        while root is not None and root.base == "generation":
            root = self._generation(int(root.of), sizes)
        if root is not None and root.base == "object":
            entry = self._storage.entry(self._output)
            if entry is None or entry.version != root.of:  # it was finished: the rest is old
                self._remove(sizes if tidy else {})
                return None
        return newest

    def content(self, generation: Generation) -> Iterator[bytes]:
        """All rows up to the end of a generation. Raises OSError."""
        if generation.base == "generation":
            sizes = self._sizes()
            yield from self.content(self._generation(int(generation.of), sizes))
        elif generation.base == "object":
            yield from self._read_output(generation.of)
        names = iter(generation.parts)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while some := [*islice(names, AT_ONCE)]:
                yield from pool.map(self._read, some)

    def begin(self, made: Generation, before: Generation | None) -> None:
        """Create the head of a generation, which makes it valid, after closing the one before.

        Raises OSError, and OutputError where another run does the same.
        """
        if before is not None:
            self._close(before)
        head = {"token": made.token, "base": made.base, "of": made.of}
        self._create(f"{made.number:04}-head", orjson.dumps(head))

    def add(self, generation: Generation, data: bytes) -> None:
        """Create the next part. Raises OSError, after which the same may be tried again, and
        OutputError where another run goes on in the place of this one."""
        name = f"{generation.number:04}-{len(generation.parts) + 1:06}"
        self._create(name, data)
        generation.parts.append(name)

    def _create(self, name: str, data: bytes) -> None:
        """What is there already may be our own, of which the reply was lost."""
        name = self._name(name)
        if not self._storage.create(name, data) and self._storage.read(name) != data:
            raise self.overtaken()

    def finish(self) -> None:
        """Remove all parts, once the output has their rows. Raises OSError."""
        names = self._sizes()
        if names:
            self._storage.put(self._name(FINISHED), b"")
            self._remove(names)

    def overtaken(self) -> OutputError:
        """The error of a run in whose place another goes on."""
        name = f"{self._storage.address}/{self._output}"
        return OutputError(
            f"another run has taken over {name}", hint="let one of them end; --resume goes on then"
        )

    def _close(self, generation: Generation) -> None:
        """Keep whoever writes it from adding more; what was added meanwhile is taken in."""
        while not generation.is_closed:
            name = f"{generation.number:04}-{len(generation.parts) + 1:06}"
            if self._storage.create(self._name(name), b""):
                generation.is_closed = True
            elif self._read(name):
                raise self.overtaken()  # it is alive, and its new rows are not in our copy
            else:
                generation.is_closed = True

    def _generation(self, number: int, sizes: dict[str, int]) -> Generation:
        head = orjson.loads(self._read(f"{number:04}-head"))
        found = Generation(number, head["token"], head["base"], head["of"])
        while (size := sizes.get(name := f"{number:04}-{len(found.parts) + 1:06}")) is not None:
            if size == 0:
                found.is_closed = True
                break
            found.parts.append(name)
        return found

    def _sizes(self) -> dict[str, int]:
        return {one.name.rpartition("/")[2]: one.size for one in self._storage.list(self._folder)}

    def _read_output(self, version: str) -> Iterator[bytes]:
        with self._storage.open(self._output, version) as file:
            while data := file.read(2**20):
                yield data

    def _read(self, name: str) -> bytes:
        return self._storage.read(self._name(name))

    def _remove(self, names: dict[str, int]) -> None:
        """The mark of the finish goes last."""
        if not names:
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self._delete, [name for name in names if name != FINISHED]):
                pass
        self._delete(FINISHED)

    def _delete(self, name: str) -> None:
        self._storage.delete(self._name(name))

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}"
