"""What a run asks of an output that is not a file here."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol


class Stored(Protocol):
    """Where the output is that a run writes a local copy of."""

    def named(self, text: str) -> str:
        """The text with its address in place of the local name."""

    def shipping(
        self, rows: Path, notice: Callable[[str], None]
    ) -> AbstractAsyncContextManager[None]:
        """Bring rows there while the body writes them."""
