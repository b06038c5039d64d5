"""A loopback chat server that queues and refuses nothing, as vLLM, Ollama and llama.cpp do.

`python queueing_server.py SERVER` prints its port on standard output and serves until it is
ended. SERVER is a JSON object of the arguments of support.queueing.QueueingProvider; `change`,
with its `slots` and `mean_s`, comes into force after `change_after` answers.

`GET /seen?since=ANSWERS&until=ANSWERS` tells as JSON how many were in flight and what part of the
possible throughput was used, on average between these two answers, and how many had answers.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.limits_server import completion, serve
from support.queueing import QueueingProvider, Sums

from llmbatch_cli.core.types import Request

REQUEST = Request("any", [], {})


class QueueingAccount:
    """A queueing server, and what was there at each of its answers."""

    def __init__(self, server: dict[str, Any]) -> None:
        self._change = server.pop("change", {})
        self._change_after = server.pop("change_after", 0)
        self._provider = QueueingProvider(**server)
        self._seen: list[Sums] = []

    async def answer(self, body_bytes: int) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and body, when the request has had its turn."""
        answer = await self._provider.call(REQUEST)
        self._seen.append(self._provider.so_far())
        if self._change and len(self._seen) == self._change_after:
            self._provider.change(**self._change)
        assert answer.usage is not None
        tokens = answer.usage.completion_tokens or 0
        return 200, {}, completion(tokens + 10, tokens)

    def counts(self, query: dict[str, float]) -> dict[str, float]:
        """What was seen between two answers."""
        before, after = (self._seen[int(query[name])] for name in ("since", "until"))
        in_flight, used = after.since(before)
        return {"in_flight": in_flight, "used": used, "answered": len(self._seen)}


if __name__ == "__main__":
    asyncio.run(serve(lambda: QueueingAccount(json.loads(sys.argv[1]))))
