"""Generators that end with whoever reads them, not when they are collected as garbage."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

Item = TypeVar("Item")


@asynccontextmanager
async def closed(items: AsyncIterator[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """The items; what gives them is closed at the end, as a download that is left early."""
    try:
        yield items
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
