"""--max-cost, by the real program against a provider that counts true tokens and money."""

import asyncio
import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from support.charging import CAP, IN_USD, LIMIT, OUT_USD, PRICE, Provider
from support.program import Done, jsonl, run, start
from support.race_server import completion
from support.scripted import Exchange, Server, abort, serve

from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.models import longest
from llmbatch_cli.providers.registry import Access, resolve


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


@pytest.mark.parametrize("seed", range(24))
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


async def refused(*arguments: str, rows: Sequence[object] = ("?",)) -> str:
    """The message of a run that sends nothing."""
    provider = Provider({})
    async with serve(provider.answer) as server:
        done = await run(
            "batch", "-m", "openai/a", "--base-url", f"{server.url}/v1", *arguments,
            stdin=jsonl(rows),
        )  # fmt: skip
    assert (done.status, done.out, len(server.exchanges)) == (2, b"", 0), done.err
    return done.err


@pytest.mark.parametrize("cap", ["0", "-1", "nan", "inf"])
async def test_a_cap_is_a_sum_of_money(cap: str) -> None:
    """Above nothing, and below everything."""
    err = await refused("--max-cost", cap, *PRICE, "--max-tokens", "9")
    assert "--max-cost must be a number of US dollars above 0" in err


async def test_an_answer_without_an_end_is_refused_before_anything_is_sent() -> None:
    """Unless each row has a limit of its own; among those a row without one fails alone."""
    err = await refused(*PRICE, "--max-cost", "1")
    assert "openai/a: the longest answer is not known, as --max-cost needs it" in err
    assert "hint: set --max-tokens" in err
    limited = {"prompt": "?", "max_tokens": LIMIT}
    provider = Provider({})
    async with serve(provider.answer) as server:
        done = await run(
            "batch", "-m", "openai/a", "--base-url", f"{server.url}/v1", *PRICE,
            "--max-cost", "1", "-c", "1", stdin=jsonl([limited, "no limit", limited]),
        )  # fmt: skip
        assert done.status == 1
        assert [row["error"] and row["error"]["type"] for row in done.rows] == [
            None, "rejected", None,
        ]  # fmt: skip
        assert "hint: set --max-tokens" in done.rows[1]["error"]["message"]
        assert len(server.exchanges) == 2


async def test_strict_finds_what_may_cost_anything() -> None:
    """With the row's place, and sends nothing."""
    rows = [{"prompt": "?", "max_tokens": 9}, "no limit"]
    err = await refused(*PRICE, "--max-cost", "1", "--strict", rows=rows)
    assert "1 of 2 rows" in err


async def test_a_model_without_a_price_is_refused_or_not_counted(tmp_path: Path) -> None:
    """With --allow-unpriced it is said at the beginning and at the end; a row's own such model
    fails that row alone."""
    hosted = {"OPENAI_API_KEY": "k", "LITELLM_API_KEY": "k"}
    provider = Provider({})
    limit = ("--max-cost", "1", "--max-tokens", str(LIMIT))
    async with serve(provider.answer) as server:
        env = {**hosted, "LITELLM_BASE_URL": f"{server.url}/v1"}
        arguments = ("batch", "-m", "litellm/unheard-of", *limit)
        done = await run(*arguments, stdin=jsonl(["?"]), env=env)
        assert done.status == 2
        assert "the price of litellm/unheard-of is not known" in done.err
        assert "--price litellm/unheard-of=" in done.err
        assert "--allow-unpriced" in done.err
        assert not server.exchanges
        done = await run(*arguments, "--allow-unpriced", stdin=jsonl(["a", "b"]), env=env)
        assert done.status == 0, done.err
        assert done.err.count("--max-cost does not count its requests") == 1
        assert "did not count 2 requests to litellm/unheard-of" in done.err
        rows = [{"prompt": "?", "model": "litellm/unheard-of"}, "?"]
        done = await run("batch", "-m", "fake/echo", *limit, stdin=jsonl(rows), env=env)
        assert done.status == 1
        by_index = {row["index"]: row for row in done.rows}
        assert "is not known" in by_index[0]["error"]["message"]
        assert by_index[1]["text"] == "?"


async def test_resume_goes_on_with_a_cap_of_its_own(tmp_path: Path) -> None:
    """Until all rows are answered, each once; each run keeps within its own cap."""
    provider, total = Provider({}), 0
    arguments = ("batch", "-m", "openai/a", *CAPPED)
    for number in range(20):
        more = ("--resume",) if number else ()
        spent = await spend(provider, (*arguments, *more), ROWS[:400], tmp_path)
        assert provider.billed - total <= CAP
        total = provider.billed
        if spent.done.status == 0:
            break
        assert spent.done.status == 3
    assert 1 < number < 19
    assert sorted(row["id"] for row in spent.rows) == sorted(one["id"] for one in ROWS[:400])
    costs = sum(round(row["cost"] * 1e9) for row in spent.rows)
    assert costs == total  # row by row what was billed, to the last billionth


async def test_the_rows_tell_of_the_same_money(tmp_path: Path) -> None:
    """What may have been billed unseen is in each row with the amount that was held for it."""
    provider = Provider({"reset": 0.2}, 7)
    arguments = ("batch", "-m", "openai/a", *PRICE, "--max-cost", "9", "--max-tokens", str(LIMIT))
    spent = await spend(provider, arguments, ROWS[:60], tmp_path)
    assert spent.done.status == 0, spent.done.err
    seen = sum(row["cost"] for row in spent.rows) * 1e9
    unseen = [row["maybe_billed"] for row in spent.rows if "maybe_billed" in row]
    held = sum(one["up_to"] for one in unseen) * 1e9
    assert sum(one["attempts"] for one in unseen) == provider.seen["reset"] > 0
    assert seen < provider.billed <= seen + held < 1.1 * provider.billed


@pytest.mark.parametrize("more", [("--stream",), ("--all",), ("--wins", "2")])
async def test_every_kind_of_race_keeps_within_the_cap(more: Sequence[str], tmp_path: Path) -> None:
    """A model without room for its request leaves the race; with --all the row stays undone."""
    arguments = ("race", "-m", "openai/race", "-m", "openai/race-too", *CAPPED, *more)
    spent = await spend(Provider(TROUBLES, 3), arguments, ROWS, tmp_path)
    assert spent.done.status == 3, spent.done.err
    assert spent.provider.billed <= CAP
    assert spent.provider.billed >= 0.9 * CAP or more == ("--stream",)
    for row in spent.rows:
        assert (row["text"] is None) == (row["error"] is not None)


async def test_several_servers_share_the_cap(tmp_path: Path) -> None:
    """A request that one of them has broken off may be billed, and is paid for again."""
    one, other = Provider({"reset": 0.5}, 1), Provider(TROUBLES, 2)
    out = tmp_path / "out.jsonl"
    async with serve(one.answer) as first, serve(other.answer) as second:
        done = await run(
            "batch", "-m", "openai/a", *CAPPED, *common(first, out),
            "--base-url", f"{second.url}/v1", stdin=jsonl(ROWS),
        )  # fmt: skip
    assert done.status == 3, done.err
    assert 0.9 * CAP <= one.billed + other.billed <= CAP


async def test_an_interrupted_run_has_paid_no_more(tmp_path: Path) -> None:
    """Ctrl-C while rows wait for room: they are left, and the run ends."""
    provider, out = Provider({}, latency_s=5), tmp_path / "out.jsonl"
    async with serve(provider.answer) as server:
        process = await start(
            "batch", "-m", "openai/a", *PRICE, "--max-cost", "0.01", "--max-tokens", str(LIMIT),
            "-c", "16", *common(server, out),
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(jsonl(ROWS))
        process.stdin.close()
        while not server.exchanges:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.2)
        assert await asyncio.wait_for(process.wait(), 20) == 130
    assert provider.billed <= 10_000_000


async def test_what_costs_nothing_is_not_held_back(tmp_path: Path) -> None:
    """An own server and the cache: nothing is reserved for them."""
    provider, out = Provider({}), tmp_path / "out.jsonl"
    cache, tiny = ("--cache", str(tmp_path / "cache.db")), ("--max-cost", "0.000001")
    async with serve(provider.answer) as server:
        for more in (cache, (*PRICE, *tiny, *cache, "--overwrite"), (*tiny, "--overwrite")):
            arguments = ("batch", "-m", "openai/a", "--max-tokens", str(LIMIT), *more)
            done = await run(*arguments, *common(server, out), stdin=jsonl(ROWS[:30]))
            assert (done.status, len(out.read_text().splitlines())) == (0, 30), done.err
        assert len(server.exchanges) == 60


async def test_what_is_given_for_nothing_needs_no_limit() -> None:
    """A price of 0: nothing can pass the cap."""
    provider = Provider({})
    async with serve(provider.answer) as server:
        done = await run(
            *("batch", "-m", "openai/never", "--base-url", f"{server.url}/v1"),
            *("--price", "openai/never=0,0", "--max-cost", "0.000001"),
            stdin=jsonl(["?"]),
        )
    assert done.status == 1, done.err  # it was sent
    assert len(server.exchanges) == 1


LISTED: Final = {
    "groq": {"data": [{"id": "other"}, {"id": "a", "max_completion_tokens": 1_000}]},
    "gemini": {"models": [{"name": "models/a", "outputTokenLimit": 1_000}]},
}
GEMINI_ANSWER: Final = {
    "candidates": [{"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
}


@pytest.mark.parametrize("provider", LISTED)
@pytest.mark.parametrize("more", [(), ("--max-tokens", "50")])
async def test_the_longest_answer_is_the_one_that_the_provider_lists(
    provider: str, more: Sequence[str]
) -> None:
    """It is asked once, with the key, where no limit is set."""

    async def reply(exchange: Exchange) -> None:
        answer = GEMINI_ANSWER if provider == "gemini" else completion("yes")
        body = LISTED[provider] if exchange.method == "GET" else answer
        await exchange.reply(json.dumps(body).encode(), 200, {"content-type": "application/json"})

    async with serve(reply) as server:
        done = await run(
            *("batch", "-m", f"{provider}/a", "--base-url", f"{server.url}/v1", *more),
            *("--max-cost", "1", "--price", f"{provider}/*=1,10"),
            stdin=jsonl(["?", "??"]),
            env={f"{provider.upper()}_API_KEY": "secret"},
        )
    assert done.status == 0, done.err
    asked = [exchange for exchange in server.exchanges if exchange.method == "GET"]
    assert len(asked) == (0 if more else 1)
    assert ("for an answer of up to 1,000 tokens" in done.err) is not bool(more)
    assert all("secret" in str(exchange.headers) for exchange in asked)


@pytest.mark.parametrize(
    "reply", [b"", b"[]", b'{"data": [{"id": "a", "max_completion_tokens": "9"}, 1]}', b"{", None]
)
async def test_a_provider_that_does_not_tell_is_asked_for_nothing_else(reply: bytes | None) -> None:
    """Whatever it says, or if it is not there: the missing option is named, as without a list."""

    async def answer(exchange: Exchange) -> None:
        if reply is None:
            abort(exchange)
        else:
            await exchange.reply(reply)

    async with serve(answer) as server:
        done = await run(
            *("batch", "-m", "groq/a", "--base-url", f"{server.url}/v1"),
            *("--max-cost", "1", "--price", "groq/*=1,10"),
            stdin=jsonl(["?"]),
            env={"GROQ_API_KEY": "k"},
        )
    assert done.status == 2
    assert "groq/a: the longest answer is not known" in done.err
    assert "hint: set --max-tokens" in done.err
    assert [exchange.method for exchange in server.exchanges] == ["GET"]


async def test_a_list_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is bounded."""
    monkeypatch.setattr(longest, "TIMEOUT_S", 0.01)

    async def never(request: WireRequest) -> WireReply:
        future: asyncio.Future[WireReply] = asyncio.get_running_loop().create_future()
        return await future

    provider = resolve("groq/a", Access(api_key="k")).provider
    assert await longest.longest_listed(provider, "a", never) is None


async def test_work_that_broke_down_counts_with_what_it_may_have_cost(tmp_path: Path) -> None:
    """By HTTP status, or in an error within a reply of success, or in tokens that are all 0."""
    answers = {
        "500": (b'{"error": {"message": "no"}}', 500),
        "502": (b"<html>", 502),
        "error": (b'{"error": {"message": "upstream died", "code": 502}}', 200),
        "zeros": (
            json.dumps({**completion("a"), "usage": {"prompt_tokens": 0, "completion_tokens": 0}})
            .encode(), 200,
        ),
    }  # fmt: skip
    for name, (reply, status) in answers.items():
        billed = 0

        async def answer(exchange: Exchange, reply: bytes = reply, status: int = status) -> None:
            nonlocal billed
            billed += (8 * IN_USD + LIMIT * OUT_USD) * 1_000
            await exchange.reply(reply, status, {"retry-after": "0.01"})

        out = tmp_path / f"{name}.jsonl"
        async with serve(answer) as server:
            done = await run(
                "batch", "-m", "openai/a", *PRICE, "--max-cost", "0.05", "--max-tokens", "200",
                *common(server, out), stdin=jsonl(ROWS[:50]),
            )  # fmt: skip
        assert done.status == 3, (name, done.err)
        assert 0.04 < billed / 1e9 <= 0.05, name
        written = out.read_text().splitlines() if out.exists() else []
        for row in map(json.loads, written):
            assert row["cost"] is None or "maybe_billed" in row, name


@pytest.mark.parametrize(
    "extra", [{"n": "5"}, {"n": 5.0}, {"max_tokens": "1000"}, {"max_tokens": 1e3}]
)
async def test_a_row_that_hides_how_much_it_asks_for(extra: dict[str, Any], tmp_path: Path) -> None:
    """A server may read a number in any spelling."""
    billed = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal billed
        body = json.loads(exchange.body)
        length = int(float(body["max_tokens"])) * int(float(body.get("n", 1)))
        billed += (8 * IN_USD + length * OUT_USD) * 1_000
        usage = {"prompt_tokens": 8, "completion_tokens": length}
        await exchange.reply(json.dumps({**completion("a"), "usage": usage}).encode())

    rows = [{"prompt": "?", "extra_body": extra}] * 50
    async with serve(answer) as server:
        done = await run(
            "batch", "-m", "openai/a", *PRICE, "--max-cost", "0.2", "--max-tokens", "200",
            *common(server, tmp_path / "out.jsonl"), stdin=jsonl(rows),
        )  # fmt: skip
    assert done.status == 3, done.err
    assert 0.16 < billed / 1e9 <= 0.2


@pytest.mark.parametrize(
    "extra",
    [
        {"model": "dearer"},
        {"models": ["dearer"]},
        {"n": "many"},
        {"max_tokens": None, "max_new_tokens": 5},
        {"modalities": ["text", "audio"]},
        {"speed": "fast"},
    ],
)
async def test_what_no_price_is_known_of_is_not_sent(extra: dict[str, Any]) -> None:
    """Another model, another kind of answer, a limit that this server does not know."""
    provider = Provider({})
    rows = [{"prompt": "?", "extra_body": extra}, "?"]
    async with serve(provider.answer) as server:
        done = await run(
            "batch", "-m", "openai/a", "--base-url", f"{server.url}/v1", *PRICE, "-c", "1",
            "--max-cost", "1", "--max-tokens", str(LIMIT), "--ordered",
            stdin=jsonl(rows[::-1]),
        )  # fmt: skip
    assert done.status == 1, done.err
    assert [row["error"] and row["error"]["type"] for row in done.rows] == [None, "rejected"]
    assert "--max-cost needs it" in done.rows[1]["error"]["message"]


async def test_an_own_server_that_says_what_it_costs_is_not_free(tmp_path: Path) -> None:
    """Its price is unknown, so it is refused; with --allow-unpriced its own word counts."""
    config = tmp_path / "config.toml"
    billed = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal billed
        billed += 1
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "cost": 0.01}
        await exchange.reply(json.dumps({**completion("a"), "usage": usage}).encode())

    async with serve(answer) as server:
        config.write_text(f'[hosts.mine]\nbase_url = "{server.url}/v1"\ncost = "cost"\n')
        arguments = ("batch", "-m", "mine/a", "--max-cost", "0.1", "--max-tokens", "9", "-c", "1")
        env = {"LLMBATCH_CONFIG": str(config)}
        done = await run(*arguments, stdin=jsonl(ROWS[:50]), env=env)
        assert (done.status, billed) == (2, 0)
        assert "the price of mine/a is not known" in done.err
        done = await run(*arguments, "--allow-unpriced", stdin=jsonl(ROWS[:50]), env=env)
        assert (done.status, billed) == (3, 10), done.err
        assert sum(row["cost"] for row in done.rows) == pytest.approx(0.1)
        assert "did not count" not in done.err


@pytest.mark.parametrize(
    "more",
    [
        {"service_tier": "priority"},
        {"extra_body": {"service_tier": "priority"}},
    ],
)
async def test_a_row_is_priced_in_the_tier_that_it_asks_for(more: dict[str, Any]) -> None:
    """However it asks."""
    env = {"OPENAI_API_KEY": "k"}
    arguments = ("estimate", "-m", "openai/gpt-5-mini", "--expect-output", "1000", "--json")
    usual = await run(*arguments, stdin=jsonl([{"prompt": "?"}]), env=env)
    asked = await run(*arguments, stdin=jsonl([{"prompt": "?", **more}]), env=env)
    costs = [done.rows[0]["models"][0]["cost_usd"] for done in (usual, asked)]
    assert costs[1] != costs[0], costs
