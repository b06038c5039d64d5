"""A provider on loopback that counts true tokens and money."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from support.race_server import completion
from support.scripted import Exchange, abort

IN_USD, OUT_USD = 1, 20
"""A million tokens."""
LIMIT: Final = 200
CAP: Final = 400_000_000
"""In billionths of a dollar: some hundred requests."""
PRICE: Final = ("--price", f"openai/*={IN_USD},{OUT_USD}")


@dataclass
class Provider:
    """Bills what it does: each byte of text a token, and answers up to the limit.

    Whatever breaks behind the work is billed all the same.
    """

    rates: dict[str, float]
    """The share of requests that end so: busy, untold, reset, broken or misfit."""
    seed: int = 0
    billed: int = 0
    """In billionths of a dollar."""
    untold: int = 0
    """The part that no reply tells of."""
    seen: Counter[str] = field(default_factory=Counter)
    latency_s: float = 0.004

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def answer(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        fate, model = self._fate(), body["model"]
        self.seen[fate] += 1
        if fate == "busy" or model == "never":
            status = 503 if fate == "busy" else 400
            await exchange.reply(b'{"error": {"message": "no"}}', status, {"retry-after": "0.01"})
            return
        asked = sum(len(one["content"].encode()) + 4 for one in body["messages"])
        asked += len(json.dumps(body.get("response_format", "")))
        whole = fate in UNSEEN or model.startswith("race")  # a loser's length is not seen
        length = LIMIT if whole else self._random.randint(1, LIMIT)
        assert body.get("max_tokens") == LIMIT
        cost = (asked * IN_USD + length * OUT_USD) * 1_000
        self.billed += cost
        self.untold += cost if fate in UNSEEN else 0
        least_s = 0.03 if model.startswith("race") else 0.0  # a loser has been sent by then
        await asyncio.sleep(least_s + self._random.random() * self.latency_s)
        if fate == "reset":
            abort(exchange)
            return
        text = "no JSON" if fate == "misfit" else '{"name": "a"}'
        reply = completion(text)
        reply["usage"] = {"prompt_tokens": asked, "completion_tokens": length}
        if fate == "untold":
            del reply["usage"]
        data = json.dumps(reply).encode()
        await exchange.reply(data[: len(data) // 2] if fate == "broken" else data)

    def _fate(self) -> str:
        drawn = self._random.random()
        for fate, rate in self.rates.items():
            if drawn < rate:
                return fate
            drawn -= rate
        return "answered"


UNSEEN: Final = ("reset", "broken", "untold")
