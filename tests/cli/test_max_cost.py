"""--max-cost, by the real program against a provider that counts true tokens and money."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from support.program import Done, jsonl, run
from support.race_server import completion
from support.scripted import Exchange, Server, abort, serve

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
        self.billed += (asked * IN_USD + length * OUT_USD) * 1_000
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


@dataclass
class Spent:
    """One run, and what it was billed."""

    done: Done
    provider: Provider
    rows: list[dict[str, Any]]


async def spend(
    provider: Provider, arguments: Sequence[str], rows: Sequence[object], folder: Path
) -> Spent:
    out = folder / "out.jsonl"
    async with serve(provider.answer) as server:
        done = await run(*arguments, *common(server, out), stdin=jsonl(rows))
    lines = out.read_text().splitlines() if out.exists() else []
    return Spent(done, provider, [json.loads(line) for line in lines])


def common(server: Server, out: Path) -> Sequence[str]:
    return ("--base-url", f"{server.url}/v1", "-o", str(out), "--progress", "none")


CAPPED: Final = (*PRICE, "--max-cost", f"{CAP / 1e9}", "--max-tokens", str(LIMIT), "-c", "16")
TROUBLES: Final = {"busy": 0.05, "reset": 0.04, "broken": 0.02, "untold": 0.03}
ROWS: Final = [{"id": f"r{n}", "prompt": f"Name number {n}. " + "x" * (n % 40)} for n in range(900)]
RUNS: Final[dict[str, tuple[dict[str, float], Sequence[str]]]] = {
    "batch": (TROUBLES, ("batch", "-m", "openai/a")),
    "in order": (TROUBLES, ("batch", "-m", "openai/a", "--ordered")),
    "schema": ({**TROUBLES, "misfit": 0.2}, ("batch", "-m", "openai/a", "--schema", "name")),
    "fallback": (TROUBLES, ("batch", "-m", "openai/never", "--fallback", "openai/a")),
    "race": (TROUBLES, ("race", "-m", "openai/race", "-m", "openai/race-too")),
    "hedge": (
        TROUBLES,
        ("race", "-m", "openai/race", "-m", "openai/race-too", "--hedge", "0.01"),
    ),
}


@pytest.mark.parametrize("seed", range(50))
async def test_the_bill_never_passes_the_cap(seed: int, tmp_path: Path) -> None:
    """Whatever the provider breaks behind the work, and whoever loses a race; nine tenths are
    used; what was answered is written, once, and --resume would go on."""
    name = list(RUNS)[seed % len(RUNS)]
    rates, arguments = RUNS[name]
    spent = await spend(Provider(rates, seed), (*arguments, *CAPPED), ROWS, tmp_path)
    assert spent.done.status == 3, spent.done.err
    assert 0.9 * CAP <= spent.provider.billed <= CAP, (name, spent.done.err)
    ids = [row["id"] for row in spent.rows]
    assert len(ids) == len(set(ids))
    assert 10 < len(ids) < len(ROWS)
    assert "--max-cost $0.40: $0." in spent.done.err
    assert "to go on: llmbatch" in spent.done.err
    assert "Traceback" not in spent.done.err
