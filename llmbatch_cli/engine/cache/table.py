"""The table of answers, in a file of SQLite. Blocks; for one thread at a time."""

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.cache.disk import network_disk

APPLICATION: Final = 0x6C6C6D62
"""`llmb`, in the file's header: no other program's file is taken for a cache."""
_APPLICATION: Final = APPLICATION.to_bytes(4)
_HEADER_BYTES: Final = 72
"""Up to and with the application: https://sqlite.org/fileformat2.html (read 2026-11-26)."""
BUSY_S: Final = 10.0
"""The longest wait for another run that writes."""
FRESH_S: Final = 3600
"""An answer whose last use is more recent is not marked as used again, which would be a write."""
EVICTED: Final = 256
"""Answers that are removed at a time."""
EVICTIONS: Final = 8
"""How often that is done in a turn, so that reading is not held up: more goes than was added."""
_WAL_BYTES: Final = 16 * 2**20
"""The log's size, after a time in which it had to be longer."""
_MANY_TOUCHED: Final = 256

# With a rowid: without, SQLite keeps the answers inside the index of keys, which took four times
# as long and space. `used` stands before the answer, or reading it would read that, too.
_SCHEMA: Final = (
    "create table if not exists answers"
    " (key blob primary key, used integer not null, answer blob not null)",
    "create index if not exists answers_by_use on answers (used)",
)


class Unsuitable(Exception):
    """Why a cache cannot be used where it is."""


class Broken(Unsuitable):
    """What is wrong with the contents of its file."""


@frozen
class Contents:
    """What a cache holds."""

    answers: int
    size_bytes: int
    oldest_s: int | None
    """When the least recently used one was last used, since the epoch; None in an empty one."""


class Table:
    """Answers by key, bounded: what was not used for longest goes first."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        bound_bytes: int | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._bound_bytes = bound_bytes
        self._clock = clock
        self._touched: set[bytes] = set()
        """Keys that were read, and whose last use is long ago."""

    def read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The answers that there are."""
        found: dict[bytes, bytes] = {}
        stale_s = self._clock() - FRESH_S
        for key in keys:
            query = "select used, answer from answers where key = ?"
            row = self._connection.execute(query, (key,)).fetchone()
            if row is not None:
                found[key] = row[1]
                if row[0] < stale_s:
                    self._touched.add(key)
        return found

    @property
    def has_touched_many(self) -> bool:
        """Whether it is time to write which answers were used."""
        return len(self._touched) >= _MANY_TOUCHED

    def write(self, answers: Mapping[bytes, bytes]) -> None:
        """Add these, note which ones were used, and remove what is too much."""
        now, touched = int(self._clock()), self._touched
        if not (answers or touched):
            return
        self._touched = set()
        most = self._bound_bytes
        add = "insert or replace into answers (key, used, answer) values (?, ?, ?)"
        rows = [
            (key, now, answer)
            for key, answer in answers.items()
            if most is None or len(answer) <= most // 4
        ]
        with _transaction(self._connection):
            self._connection.executemany(add, rows)
            touch = "update answers set used = ? where key = ?"
            self._connection.executemany(touch, [(now, key) for key in touched])
        self._evict(EVICTIONS)

    @property
    def size_bytes(self) -> int:
        """What the answers and their index take, without free pages and the log."""
        return (self._pragma("page_count") - self._free_pages) * self._pragma("page_size")

    @property
    def _free_pages(self) -> int:
        return self._pragma("freelist_count")

    def trim(self) -> None:
        """Remove all that is too much, as of a time with a higher bound; may take seconds."""
        if self._evict(None):
            self._shrink()

    def _evict(self, steps: int | None) -> bool:
        """Remove what was not used for longest while there is too much; whether there was.

        In short steps, since other runs wait.
        """
        evicted = False
        delete = (
            "delete from answers where rowid in (select rowid from answers order by used limit ?)"
        )
        for _ in count() if steps is None else range(steps):
            if self._bound_bytes is None or self.size_bytes <= self._bound_bytes:
                break
            with _transaction(self._connection):
                gone = self._connection.execute(delete, (EVICTED,)).rowcount
            evicted = gone > 0
            if not evicted:
                break
        return evicted

    def _shrink(self) -> None:
        """Give free pages back to the disk."""
        # Not `execute`, which would stop after the first page.
        self._connection.executescript("pragma incremental_vacuum")
        self._connection.execute("pragma wal_checkpoint(truncate)").fetchall()

    def contents(self) -> Contents:
        """How much there is. Raises Unsuitable."""
        query = "select count(*), min(used) from answers"
        with _as_unsuitable():
            answers, oldest_s = self._connection.execute(query).fetchone()
            return Contents(answers, self.size_bytes, oldest_s)

    def clear(self) -> int:
        """Remove every answer, also under a run that goes on; returns how many there were.

        Raises Unsuitable.
        """
        with _as_unsuitable():
            with _transaction(self._connection):
                gone = self._connection.execute("delete from answers").rowcount
            self._shrink()
        return gone

    def close(self) -> None:
        """The last one to close a file takes its log away."""
        self._connection.close()

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"pragma {name}").fetchone()[0])


class _transaction:  # noqa: N801 - as contextlib's
    """All or nothing; begins at once with the lock, so that no other run can make it fail later."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("begin immediate")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("commit")
        elif self._connection.in_transaction:
            self._connection.execute("rollback")


def temporary_table() -> Table:
    """One of this process, in memory as long as it is small; SQLite removes its file.

    Raises Unsuitable.
    """
    with _as_unsuitable():
        connection = _connect("")
        connection.execute("pragma journal_mode = memory")
        connection.execute("pragma synchronous = off")
        for statement in _SCHEMA:
            connection.execute(statement)
        return Table(connection, None)


def open_table(path: Path, bound_bytes: int | None = None, *, create: bool = True) -> Table:
    """The cache in this file, which is made if it is not there.

    Raises UsageError for a file that cannot be one, and Unsuitable where SQLite cannot share it
    or nothing can be written.
    """
    if (disk := network_disk(path)) is not None:
        raise Unsuitable(f"it is on a network disk ({disk})")
    _make(path, create=create)
    with ExitStack() as stack, _as_unsuitable():
        connection = stack.enter_context(closing(_connect(path)))
        _check_is_ours(connection, path)
        _set_up(connection)
        table = Table(connection, bound_bytes)
        table.trim()
        stack.pop_all()
    return table


@contextmanager
def _as_unsuitable() -> Iterator[None]:
    """Raise Unsuitable for what SQLite raises; Broken for what waiting does not mend."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unsuitable(reason_of(error)) from error
    except sqlite3.Error as error:
        raise Broken(reason_of(error)) from error


def reason_of(error: sqlite3.Error) -> str:
    """What SQLite says."""
    return f"SQLite says: {error}"


def _make(path: Path, *, create: bool) -> None:
    """An empty file that only its owner can read: answers may be private."""
    flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError as error:
        check_writable(error)
        raise UsageError(
            f"cannot open the cache {path}: {error.strerror or error}",
            hint="name another file, as in --cache=answers.db",
        ) from error


def check_writable(error: OSError) -> None:
    """Raise Unsuitable where the disk takes no writes, which is no mistake of the user's."""
    if error.errno == errno.EROFS:
        raise Unsuitable("it is on a read-only disk") from error


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _check_is_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Raise UsageError for a file of something else."""
    try:
        application = connection.execute("pragma application_id").fetchone()[0]
        tables = connection.execute("select count(*) from sqlite_master").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
    else:
        if application == APPLICATION or (application == 0 and tables == 0):
            return
    raise UsageError(
        f"{path} is not a cache of llmbatch",
        hint="--cache=FILE names the cache; --cache alone takes the default one",
    )


def _set_up(connection: sqlite3.Connection) -> None:
    """Begin a new cache, or go on with one. Raises Unsuitable, and sqlite3's errors."""
    connection.execute("pragma auto_vacuum = incremental")  # works before the first table only
    mode = _patiently(lambda: connection.execute("pragma journal_mode = wal").fetchone()[0])
    if mode != "wal":
        raise Unsuitable("SQLite cannot keep a write-ahead log there")
    connection.execute("pragma synchronous = normal")
    connection.execute(f"pragma journal_size_limit = {_WAL_BYTES}")
    if connection.execute("pragma application_id").fetchone()[0] != APPLICATION:
        with _transaction(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"pragma application_id = {APPLICATION}")


def _patiently(work: Callable[[], Any]) -> Any:
    """Do what fails at once where another run does the same, which SQLite does not wait for."""
    until_s = time.monotonic() + BUSY_S
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > until_s:
                raise
        time.sleep(0.02)


def remove_broken(path: Path) -> bool:
    """Take a broken cache off the disk, with its log; False for a file of something else."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header.startswith(b"SQLite format 3\0") or not header.endswith(_APPLICATION):
        return False
    for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            name.unlink()
    return True
