"""A provider that bills what it is asked for, whoever lives to see the answer."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from support.chat import completion
from support.scripted import Exchange, serve

IN_USD, OUT_USD = 1, 20
"""A million tokens."""
LONGEST: Final = 20
"""Tokens of an answer."""
LATENCY_S: Final = 0.2
_SEED: Final = 4


@dataclass
class Provider:
    """Each byte of text is a token; one in twenty requests is refused, and not billed."""

    url: str = ""
    billed: int = 0
    """In billionths of a US dollar."""
    _dice: random.Random = field(default_factory=lambda: random.Random(_SEED))

    async def answer(self, exchange: Exchange) -> None:
        """One request."""
        if self._dice.random() < 0.05:
            await exchange.reply(b'{"error": {"message": "no"}}', 503, {"retry-after": "0.01"})
            return
        body = json.loads(exchange.body)
        assert body["max_tokens"] == LONGEST
        asked = sum(len(one["content"].encode()) + 4 for one in body["messages"])
        length = self._dice.randint(1, LONGEST)
        self.billed += (asked * IN_USD + length * OUT_USD) * 1_000
        await asyncio.sleep(LATENCY_S)
        reply = completion("hello")
        reply["usage"] = {"prompt_tokens": asked, "completion_tokens": length}
        await exchange.reply(json.dumps(reply).encode())


@asynccontextmanager
async def billing() -> AsyncIterator[Provider]:
    """The provider at work."""
    provider = Provider()
    async with serve(provider.answer) as server:
        provider.url = f"{server.url}/v1"
        yield provider
