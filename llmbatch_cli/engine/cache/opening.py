"""The cache of a run, as its options ask for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.folders import cache_folder
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Cache
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.cache.calls import (
    Fits,
    Look,
    Source,
    cached,
    deduped,
    fits_format,
    key_of,
)
from llmbatch_cli.engine.cache.store import Store
from llmbatch_cli.engine.cache.table import (
    Table,
    Unsuitable,
    check_writable,
    open_table,
    temporary_table,
)
from llmbatch_cli.engine.deadline import Deadlines

FILE: Final = "answers.db"


class Judge(Protocol):
    """Knows the form that answers have to have: see engine/shaped.py."""

    def fits(self, completion: Completion, request: Request) -> bool:
        """Whether an answer has it."""


@frozen
class Known:
    """The answers that a run may take instead of sending a request."""

    kept: Store | None
    """Those of earlier runs, too."""
    own: Store | None
    """Those of this run."""

    def of(self, source: Source, deadlines: Deadlines, judge: Judge | None) -> "KnownOf":
        """What one model is known to answer; `judge` says what is kept."""
        return KnownOf(self, source, deadlines, judge.fits if judge else fits_format)


@frozen
class KnownOf:
    """The answers of one model that may be taken instead of sending a request."""

    known: Known
    source: Source
    deadlines: Deadlines | None
    fits: Fits

    def before(self, call: Call, *, streamed: bool) -> Call:
        """The call, where no answer is known; inside of `deadlines`. What fits is kept.

        A streamed one does not wait for that of an equal row, since it is made to be watched.
        """
        kept, own = self.known.kept, self.known.own
        if kept is not None:
            call = cached(call, kept, self.source, self.deadlines, self.fits)
        if own is not None and not streamed:
            call = deduped(call, own, self.source, self.deadlines)
        return call

    def keep(self, request: Request, completion: Completion) -> None:
        """Keep the answer that a request has had in the end."""
        key = key_of(request, self.source)
        for answers in (self.known.kept, self.known.own):
            if answers is not None and key is not None:
                Look(answers, None, self.fits).keep(key, request, completion)


def place_of(path: str | Path | bool, environ: Mapping[str, str]) -> Path:
    """The cache's file: this one, or the user's own for True and an empty text."""
    return Path(path) if path and path is not True else cache_folder(environ) / FILE


@asynccontextmanager
async def open_known(
    options: Cache, environ: Mapping[str, str], observe: Observer
) -> AsyncIterator[Known]:
    """What these options ask for, for the time of an `async with`. Raises UsageError."""
    size_bytes = options.size_bytes
    async with AsyncExitStack() as stack:
        kept = own = None
        if options.is_kept:
            place = place_of(options.path or True, environ)
            is_own = place_of(True, environ) == place
            opening = partial(_table_at, place, size_bytes, make_folder=is_own)
            kept = await _opened(stack, opening, f"the cache {place}", observe)
        if options.dedupe:
            own = await _opened(stack, temporary_table, "the file of this run's answers", observe)
        yield Known(kept, own)


async def _opened(
    stack: AsyncExitStack, table: Callable[[], Table], name: str, observe: Observer
) -> Store | None:
    """The store over this table; None, and a notice, where there cannot be one."""

    def fail(reason: str) -> None:
        observe(Notice(f"{name} {reason}, so the run goes on without it"))

    try:
        opened = await asyncio.to_thread(table)
    except Unsuitable as error:
        fail(f"cannot be used: {error}")
        return None
    store = Store(opened, fail)
    stack.push_async_callback(store.aclose)
    return store


def _table_at(place: Path, size_bytes: int, *, make_folder: bool) -> Table:
    if make_folder:
        _make_folder(place.parent)
    return open_table(place, size_bytes)


def _make_folder(folder: Path) -> None:
    """Make the user's cache folder. Raises UsageError, and Unsuitable for a read-only disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        check_writable(error)
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror or error}",
            hint="LLMBATCH_CACHE_DIR names another folder, --cache=FILE another file",
        ) from error
