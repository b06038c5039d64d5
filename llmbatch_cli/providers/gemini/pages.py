"""Google's lists, page by page: google.aip.dev/158 (read 2026-11-26). A page may have no items and
others behind it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.providers.wire.replies import text_or_none

MOST_PAGES: Final = 10_000


async def pages(
    ask: Callable[[Mapping[str, str]], Awaitable[Mapping[str, Any]]], what: str
) -> AsyncIterator[Mapping[str, Any]]:
    """All pages; `ask` is given what the query has to say for the next one.

    Raises BadReply where they have no end.
    """
    query: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = await ask(query)
        yield page
        token = text_or_none(page.get("nextPageToken"))
        if not token:
            return
        if query.get("pageToken") == token:
            break
        query = {"pageToken": token}
    raise BadReply(f"the list of {what} has no end")
