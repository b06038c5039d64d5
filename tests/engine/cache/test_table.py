"""The cache's file: bounded, shared by several runs, and never another program's."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.engine.cache import disk, table
from llmbatch_cli.engine.cache.table import FRESH_S, Table, Unsuitable, open_table, temporary_table


def key(number: int) -> bytes:
    return number.to_bytes(16)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Also by the next one that opens the file; an unknown key has no answer."""
    first = open_table(tmp_path / "a.db")
    first.write({key(1): b"one", key(2): b"two"})
    first.close()
    again = open_table(tmp_path / "a.db")
    assert again.read([key(1), key(3)]) == {key(1): b"one"}
    assert again.contents().answers == 2
    again.close()


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """Answers may be private; so are the log and what SQLite shares between runs."""
    one = open_table(tmp_path / "a.db")
    one.write({key(1): b"one"})
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert {path.name for path in tmp_path.iterdir()} == {"a.db", "a.db-wal", "a.db-shm"}
    one.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_the_size_is_bounded_and_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """The file stays near its bound however much is written; what was used again is kept."""
    now = 0.0
    bound = 1_000_000
    one = Table(open_table(tmp_path / "a.db")._connection, bound, lambda: now)
    one.write({key(0): b"kept"})
    for start in range(1, 20_000, 200):
        now += FRESH_S + 1
        one.write({key(start + number): bytes(500) for number in range(200)})
        assert one.read([key(0)]) == {key(0): b"kept"}
        assert one.size_bytes <= bound
    one.close()
    assert (tmp_path / "a.db").stat().st_size < 1.2 * bound
    again = open_table(tmp_path / "a.db")
    assert again.read([key(1), key(19_999)]).keys() == {key(19_999)}
    again.close()


def test_a_lower_bound_gives_space_back(tmp_path: Path) -> None:
    """A cache that was larger shrinks when it is opened."""
    large = open_table(tmp_path / "a.db", 10_000_000)
    large.write({key(number): bytes(1000) for number in range(3000)})
    large.close()
    open_table(tmp_path / "a.db", 500_000).close()
    assert (tmp_path / "a.db").stat().st_size < 600_000


def test_an_answer_that_would_fill_the_cache_is_not_kept(tmp_path: Path) -> None:
    """It would drive out all others."""
    one = open_table(tmp_path / "a.db", 100_000)
    one.write({key(1): b"small", key(2): bytes(50_000)})
    assert one.read([key(1), key(2)]) == {key(1): b"small"}
    one.close()


def test_clear_empties_it_under_a_run_that_goes_on(tmp_path: Path) -> None:
    """The other run finds nothing any more, and goes on writing."""
    run, other = open_table(tmp_path / "a.db"), open_table(tmp_path / "a.db")
    run.write({key(number): bytes(1000) for number in range(1000)})
    assert other.clear() == 1000
    assert run.read([key(1)]) == {}
    run.write({key(1): b"new"})
    assert other.read([key(1)]) == {key(1): b"new"}
    run.close()
    other.close()
    assert (tmp_path / "a.db").stat().st_size < 100_000


WRITER = """if True:
    import sys
    from pathlib import Path
    from llmbatch_cli.engine.cache.table import open_table
    table = open_table(Path(sys.argv[1]), 10**9)
    for start in range(0, 2000, 20):
        rows = range(start, start + 20)
        table.write({f"{sys.argv[2]} {number}".encode(): bytes(300) for number in rows})
    table.close()
"""


def test_several_runs_open_and_write_one_file_at_once(tmp_path: Path) -> None:
    """From its first moment on: none fails, and every answer is there."""
    file = tmp_path / "a.db"
    runs = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(number)])
        for number in range(4)
    ]
    assert [run.wait(40) for run in runs] == [0, 0, 0, 0]
    one = open_table(file)
    assert one.contents().answers == 8000
    one.close()


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """Neither a text nor another program's database is taken for a cache, or changed."""
    text, database = tmp_path / "rows.jsonl", tmp_path / "notes.db"
    text.write_text('"What is the capital of France?"\n' * 100)
    with sqlite3.connect(database) as other:
        other.execute("create table notes (text)")
    other.close()
    for path in (text, database):
        before = path.read_bytes()
        with pytest.raises(UsageError, match="is not a cache of llmbatch"):
            open_table(path)
        assert path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.db", "rows.jsonl"]


def test_a_place_where_no_file_can_be_is_a_usage_error(tmp_path: Path) -> None:
    """A folder, or a name in a folder that is not there."""
    for path in (tmp_path, tmp_path / "no" / "a.db"):
        with pytest.raises(UsageError, match="cannot open the cache"):
            open_table(path)


def test_a_cut_off_file_is_unsuitable(tmp_path: Path) -> None:
    """A cache that is broken is told apart from a file that never was one."""
    one = open_table(tmp_path / "a.db")
    one.write({key(number): bytes(1000) for number in range(1000)})
    one.close()
    os.truncate(tmp_path / "a.db", 50_000)
    with pytest.raises(Unsuitable):
        open_table(tmp_path / "a.db", 10_000)


@pytest.mark.parametrize("mode", ["delete", "memory"])
def test_where_sqlite_keeps_no_log_it_is_unsuitable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """SQLite does not fail there: it says that it goes on in another way."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if sql == "pragma journal_mode = wal":
                sql = f"select '{mode}'"
            return super().execute(sql, *parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(table, "_connect", lambda path: sqlite3.connect(path, factory=Connection))
    with pytest.raises(Unsuitable, match="cannot keep a write-ahead log"):
        open_table(tmp_path / "a.db")


def test_a_temporary_table_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no bound, and may be larger than memory."""
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    one = temporary_table()
    one.write({key(number): bytes(1000) for number in range(10_000)})
    assert one.read([key(9_999)]) == {key(9_999): bytes(1000)}
    one.close()
    assert list(tmp_path.iterdir()) == []


MOUNTS = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 21 0:35 / /home rw,relatime shared:2 - nfs4 server:/home rw
41 40 0:36 / /home/ann/local rw shared:3 - xfs /dev/sdb rw
42 21 0:37 / /mnt/team\040files rw - fuse.sshfs ann@host:/ rw
43 21 0:38 / /srv rw - cifs //server/srv rw
44 21 0:39 / /srv rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/tmp/a.db", None),
        ("/home/ann/a.db", "nfs4"),
        ("/home/ann/local/a.db", None),
        ("/homely/a.db", None),
        ("/mnt/team files/a.db", "fuse.sshfs"),
        ("/srv/a.db", None),
    ],
)
def test_a_network_disk_is_known_by_its_mount(tmp_path: Path, path: str, kind: str | None) -> None:
    """The innermost mount decides; of two at one place the later one."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert disk.network_disk(Path(path), mounts) == kind


def test_without_a_list_of_mounts_nothing_is_a_network_disk(tmp_path: Path) -> None:
    """As on macOS and Windows, where SQLite itself must notice."""
    assert disk.network_disk(tmp_path, tmp_path / "none") is None


def test_no_cache_is_made_on_a_network_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would only seem to work there."""
    monkeypatch.setattr(table, "network_disk", lambda path: "nfs4")
    with pytest.raises(Unsuitable, match=r"it is on a network disk \(nfs4\)"):
        open_table(tmp_path / "a.db")
    assert list(tmp_path.iterdir()) == []
