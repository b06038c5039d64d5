"""The rows of an output as objects: chained, closed, removed. On a folder, whose laws are those
of a store (tests/storage)."""

from pathlib import Path

import pytest

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.rows.stored.parts import FINISHED, Generation, Parts
from llmbatch_cli.storage import Storage, storage_at


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return storage_at(str(tmp_path))


def content(parts: Parts) -> bytes:
    found = parts.newest()
    return b"".join(parts.content(found)) if found else b""


def begun(storage: Storage, token: str, *rows: bytes) -> tuple[Parts, Generation]:
    """What a run that goes on where the last one has stopped makes of these rows."""
    parts = Parts(storage, "out")
    before = parts.newest()
    made = Generation(parts.free_number, token, "generation" if before else "nothing")
    made.of = str(before.number) if before else ""
    parts.begin(made, before)
    for row in rows:
        parts.add(made, row)
    return parts, made


def test_rows_are_read_back_over_all_runs(storage: Storage) -> None:
    """In their order, each once."""
    begun(storage, "a", b"1\n", b"2\n")
    begun(storage, "b")
    begun(storage, "c", *(b"%d\n" % n for n in range(3, 40)))
    assert content(Parts(storage, "out")) == b"".join(b"%d\n" % n for n in range(1, 40))


def test_a_slow_run_stops_where_another_goes_on(storage: Storage) -> None:
    """Its next part is refused, and nothing of it is in the output."""
    slow, made = begun(storage, "a", b"1\n")
    begun(storage, "b", b"2\n")
    with pytest.raises(OutputError, match="another run has taken over"):
        slow.add(made, b"late\n")
    assert content(Parts(storage, "out")) == b"1\n2\n"


def test_a_run_that_was_overtaken_while_it_began_stops(storage: Storage) -> None:
    """Of two that go on in the same place one has it."""
    begun(storage, "a", b"1\n")
    second, third = Parts(storage, "out"), Parts(storage, "out")
    before = second.newest(), third.newest()
    made = [
        Generation(parts.free_number, "bc"[n], "generation", "1")
        for n, parts in enumerate((second, third))
    ]
    second.begin(made[0], before[0])
    with pytest.raises(OutputError, match="another run has taken over"):
        third.begin(made[1], before[1])


def test_rows_that_were_added_after_a_look_are_not_lost(storage: Storage) -> None:
    """Whoever has looked before them does not go on without them."""
    slow, made = begun(storage, "a", b"1\n")
    parts = Parts(storage, "out")
    before = parts.newest()
    slow.add(made, b"2\n")
    with pytest.raises(OutputError):
        parts.begin(Generation(parts.free_number, "b", "generation", "1"), before)
    assert content(Parts(storage, "out")) == b"1\n2\n"


def test_the_same_part_may_be_added_again(storage: Storage) -> None:
    """As where the store has taken it, and its reply was lost."""
    parts, made = begun(storage, "a")
    storage.create("out.parts/0001-000001", b"1\n")
    parts.add(made, b"1\n")
    assert content(Parts(storage, "out")) == b"1\n"


def test_parts_without_a_head_are_not_read(storage: Storage) -> None:
    """A run that rewrites all rows was killed before it had them: the old ones count, and no
    later run meets its parts."""
    begun(storage, "a", b"1\n")
    parts = Parts(storage, "out")
    parts.newest()
    parts.add(Generation(parts.free_number, "b", "nothing"), b"new 1\n")
    later = Parts(storage, "out")
    assert content(later) == b"1\n"
    assert later.free_number == 3


@pytest.mark.parametrize("left", [0, 1, 2, 3, 4])
def test_a_finish_that_was_killed_leaves_no_rows_behind(storage: Storage, left: int) -> None:
    """Whatever is left of the parts then, the output has it."""
    begun(storage, "a", b"1\n")
    begun(storage, "b", b"2\n")
    names = [entry.name for entry in storage.list("out.parts")]
    storage.put(f"out.parts/{FINISHED}", b"")
    for name in names[: len(names) - left]:
        storage.delete(name)
    assert Parts(storage, "out").newest() is None
    assert [*storage.list()] == []


def test_an_output_that_was_replaced_is_newer_than_what_followed_on_it(storage: Storage) -> None:
    """A run was killed after it had put the output together, before it has removed a part."""
    storage.put("out", b"old\n")
    entry = storage.entry("out")
    assert entry is not None
    parts = Parts(storage, "out")
    parts.newest()
    made = Generation(parts.free_number, "a", "object", entry.version)
    parts.begin(made, None)
    parts.add(made, b"1\n")
    assert content(Parts(storage, "out")) == b"old\n1\n"
    storage.put("out", b"old\n1\n")
    assert Parts(storage, "out").newest() is None
    assert [one.name for one in storage.list()] == ["out"]
