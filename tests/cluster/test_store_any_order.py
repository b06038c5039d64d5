"""The laws of shards on a disk hold in a store, too: whoever is slow, or killed at any request."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cluster import stage, steps, test_any_order, test_parts
from cluster.one_part import OPEN
from cluster.steps import Life

from llmbatch_cli.cluster.store_folder import StoreFolder
from llmbatch_cli.storage import Entry
from llmbatch_cli.storage.local import LocalStorage


class StepStorage(LocalStorage):
    """A store whose requests are steps; its worker may be killed before or after any."""

    life: Life | None = None

    def _step(self) -> None:
        if self.life is not None:
            self.life.operation()
            taken: steps.Steps | None = getattr(steps._here, "steps", None)
            if taken is not None:
                taken.at()
            self.life.check()

    def children(self, folder: str = "") -> Any:
        self._step()
        return super().children(folder)

    def entry(self, name: str) -> Entry | None:
        self._step()
        return super().entry(name)

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        self._step()
        return super().read(name, begin, end)

    def open(self, name: str, version: str | None = None) -> Any:
        self._step()
        return super().open(name, version)

    def create(self, name: str, data: bytes) -> bool:
        self._step()
        return super().create(name, data)

    def put(self, name: str, data: bytes) -> None:
        self._step()
        (path := self.path(name)).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def publish(self, source: str, name: str) -> bool:
        self._step()
        return super().publish(source, name)

    def delete(self, *names: str) -> None:
        for name in names:  # as a store does, in no order that a reader could rely on
            self._step()
            super().delete(name)
            with suppress(OSError):  # a store has no empty folders
                self.path(name).parent.rmdir()

    @contextmanager
    def writer(self, name: str) -> Iterator[Any]:
        held = bytearray()

        class Held:
            def write(self, data: bytes) -> None:
                held.extend(data)

        yield Held()
        self.put(name, bytes(held))


class StepFolder(StoreFolder):
    """What a StoreFolder does with requests, whose objects are files of a local folder."""

    def __init__(self, path: Path, life: Life | None = None) -> None:
        super().__init__(f"s3://here{path}")
        self.path, self.life = path, life
        storage = StepStorage(path)
        storage.life = life
        self.__dict__["_storage"] = storage


@pytest.fixture(autouse=True)
def in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stage, test_parts):
        monkeypatch.setattr(module, "LocalFolder", StepFolder)
        monkeypatch.setattr(module, "StageFolder", StepFolder)
    monkeypatch.setattr("llmbatch_cli.storage.local._sync", lambda file: None)
    monkeypatch.setattr("llmbatch_cli.storage.local._sync_folder", lambda folder: None)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.mark.parametrize("again", [False, True])
def test_one_is_killed_anywhere_and_the_next_makes_it_whole(tmp_path: Path, again: bool) -> None:
    test_parts.test_one_is_killed_anywhere_and_the_next_makes_it_whole(tmp_path, again)


@pytest.mark.parametrize("again", [False, True])
def test_a_coordinator_sees_what_is_whole(tmp_path: Path, again: bool) -> None:
    test_parts.test_a_coordinator_sees_what_is_whole(tmp_path, again)


@pytest.mark.parametrize("again", [False, True])
def test_a_late_link_loses_nothing_and_none_is_twice_there(tmp_path: Path, again: bool) -> None:
    test_parts.test_a_late_link_loses_nothing_and_none_is_twice_there(tmp_path, again)


def test_a_worker_is_killed_at_any_request(tmp_path: Path) -> None:
    test_any_order.test_a_worker_is_killed_at_any_file_operation(tmp_path, (), ordered=False)


def test_a_worker_is_slower_than_its_lease_at_any_request(tmp_path: Path) -> None:
    test_any_order.test_a_worker_is_slower_than_its_lease_at_any_file_operation(tmp_path)
