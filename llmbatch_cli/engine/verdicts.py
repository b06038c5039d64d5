"""Whether what has failed for one row fails for all: as long as the model has not answered."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from llmbatch_cli.core.errors import ProviderError, Unauthorized
from llmbatch_cli.core.ledger import Ledger

_NOTHING_NEW: Final = nullcontext()


class Verdicts:
    """Which models have answered in this run, and which of their calls are under way."""

    def __init__(self) -> None:
        self.answered: set[str] = set()
        """Those that have answered."""
        self._kinds: dict[str, set[str]] = {}
        """How calls of a model have failed that has not answered."""
        self._calls: dict[str, set[asyncio.Future[None]]] = {}

    def calling(self, model: str, ledger: Ledger) -> AbstractContextManager[None]:
        """A call of the model is under way; without an exception it has answered, unless the
        answer was there already."""
        return _NOTHING_NEW if model in self.answered else self._first_calls(model, ledger)

    @contextmanager
    def _first_calls(self, model: str, ledger: Ledger) -> Iterator[None]:
        ended = asyncio.get_running_loop().create_future()
        calls = self._calls.setdefault(model, set())
        calls.add(ended)
        try:
            yield
            if not ledger.cached:
                self.answered.add(model)
        except ProviderError as error:
            self._kinds.setdefault(model, set()).add(error.kind)
            raise
        finally:
            calls.discard(ended)
            ended.set_result(None)

    @property
    def any_answered(self) -> bool:
        """Whether any model has answered."""
        return bool(self.answered)

    def is_final(self, model: str, error: ProviderError) -> bool:
        """Whether the model fails every row like this, as far as is known now.

        A 403 from a model that has answered is about this prompt, not about the key. A server
        that has answered another row, or refused it in another way, has what this one lacks.
        """
        if model in self.answered:
            return error.fatal and not (isinstance(error, Unauthorized) and error.status == 403)
        return error.fatal or (error.hopeless and len(self._kinds.get(model, ())) <= 1)

    async def settle(self, model: str, error: ProviderError) -> None:
        """Wait for the calls that are under way now, where the error is final unless one of them
        is answered: the first row may be odd, and the next one not."""
        others = set(self._calls.get(model, ()))
        if others and error.hopeless and model not in self.answered:
            await asyncio.wait(others)
