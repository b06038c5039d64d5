"""What rows cost: rows, summary and display agree, whatever happened to a row."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, echo, error, last_text
from support.program import Done, jsonl, run
from support.scripted import Exchange, Server, serve
from support.terminal import on_terminal

from llmbatch_cli.cli.compare_command import comparison_of
from llmbatch_cli.report.figures import figures_of
from llmbatch_cli.report.row import row_of

PRICES = ("--price", "openai/a=1000,2000", "--price", "openai/b=30000,40000")
ONE = {"a": Decimal("0.007"), "b": Decimal("0.17")}
"""What an answer of 3 and 2 tokens costs."""


async def batch(server: Server, *arguments: str, rows: Sequence[object]) -> Done:
    url = ("--base-url", f"{server.url}/v1")
    return await run(*arguments, *url, *PRICES, "--progress", "json", stdin=jsonl(rows))


def final(done: Done) -> dict[str, Any]:
    objects = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    (last,) = [one for one in objects if one.get("final")]
    assert isinstance(last, dict)
    return last


def total(rows: Sequence[Any]) -> Decimal:
    return sum((Decimal(repr(row["cost"])) for row in rows), Decimal(0))


def reported(done: Done) -> Any:
    """What `llmbatch report` says that these rows have cost."""
    rows = (row_of(row, place) for place, row in enumerate(done.rows))
    return figures_of(rows).as_json()["cost"]


def compared(done: Done, folder: Path) -> Any:
    """What `llmbatch compare` says of these rows."""
    (folder / "out.jsonl").write_bytes(done.out)
    figures = comparison_of(*[str(folder / "out.jsonl")] * 2)
    assert figures["first"] == figures["second"]
    return figures["first"]


class Provider:
    """A server that counts what it bills for."""

    def __init__(self) -> None:
        self.billed = Decimal(0)
        self.asked: Counter[str] = Counter()

    async def __call__(self, exchange: Exchange) -> None:
        model, text = json.loads(exchange.body)["model"], last_text(exchange)
        word = text.split()[0]
        self.asked[f"{model} {word}"] += 1
        nth = self.asked[f"{model} {word}"]
        if word == "busy" and nth == 1:
            await answer(exchange, error("overloaded"), 503)
        elif word == "hopeless" and model == "a":
            await answer(exchange, error("no such thing"), 400)
        elif word == "refused":
            refused = completion("")
            refused["choices"] = [{"index": 0, "finish_reason": "content_filter"}]
            self.billed += ONE[model]
            await answer(exchange, refused)
        elif word == "slow" and model == "b":
            self.billed += ONE[model]
            await asyncio.sleep(0.05)
            await answer(exchange, completion("slow", model=model))
        else:
            self.billed += ONE[model]
            text = "perhaps" if word == "unfit" else "yes"
            await answer(exchange, completion(text, model=model))


WORDS = ("plain", "busy", "hopeless", "unfit", "refused", "plain")


async def test_rows_and_summary_agree_with_the_provider_s_bill(tmp_path: Path) -> None:
    """Retries, schema retries, fallbacks, refusals: each attempt with tokens counts, once."""
    provider, path = Provider(), tmp_path / "summary.json"
    options = ("--fallback", "b", "--choices", "yes,no", "--detail", "--summary", str(path))
    async with serve(provider) as server:
        done = await batch(server, "batch", "-m", "a", *options, rows=WORDS)
    assert done.status == 1, done.err
    rows = {row["id"]: row for row in done.rows}
    assert total(done.rows) == provider.billed
    assert final(done)["cost"] == pytest.approx(float(provider.billed), abs=1e-12)
    assert final(done)["cost_unknown_rows"] == 0
    assert reported(done)["usd"] == pytest.approx(float(provider.billed), abs=1e-9)
    assert json.loads(path.read_text())["cost"] == final(done)["cost"]
    assert compared(done, tmp_path)["usd"] == pytest.approx(float(provider.billed), abs=1e-9)
    costs = {word: Decimal(repr(rows[place]["cost"])) for place, word in enumerate(WORDS)}
    assert costs["plain"] == costs["busy"] == ONE["a"]
    assert costs["hopeless"] == ONE["b"]
    assert costs["unfit"] == 2 * ONE["a"]
    for row in done.rows:  # the detail adds up to the row
        assert total(row["costs"]) == Decimal(repr(row["cost"]))
    unfit = rows[WORDS.index("unfit")]["costs"]
    assert [one["type"] for one in unfit] == ["invalid_output", None]
    assert all(one["model"] == "openai/a" for one in unfit)


async def test_a_thousand_rows_add_up_to_the_last_digit(tmp_path: Path) -> None:
    """Prices that no binary number holds, and rows of any length: nothing drifts."""

    async def reply(exchange: Exchange) -> None:
        words = int(last_text(exchange))
        usage = {"prompt_tokens": words, "completion_tokens": 7 * words + 1}
        await answer(exchange, completion("yes", usage=usage))

    path = tmp_path / "summary.json"
    prices = ("--price", "openai/c=0.1,0.7", "--summary", str(path))
    async with serve(reply) as server:
        rows = [str(n % 997 + 1) for n in range(1_000)]
        done = await batch(server, "batch", "-m", "c", *prices, rows=rows)
    expected = sum(
        Decimal(int(row)) * Decimal("0.1") + (7 * int(row) + 1) * Decimal("0.7") for row in rows
    ) / Decimal(1_000_000)
    assert total(done.rows) == expected
    assert final(done)["cost"] == json.loads(path.read_text())["cost"] == float(expected)


@pytest.mark.parametrize("more", [(), ("--all",), ("--wins", "2")])
async def test_the_rows_of_a_race_add_up_to_its_bill(more: tuple[str, ...]) -> None:
    """Winners and losers that have answered count once, over all rows of the race."""
    provider = Provider()
    async with serve(provider) as server:
        done = await batch(server, "race", "-m", "a,b", *more, rows=["plain", "hopeless", "slow"])
    assert total(done.rows) == Decimal(repr(final(done)["cost"]))
    assert reported(done)["usd"] == pytest.approx(final(done)["cost"], abs=1e-9)
    unseen = [row["maybe_billed"]["attempts"] for row in done.rows if "maybe_billed" in row]
    if more:
        assert total(done.rows) == provider.billed
        assert unseen == []
    else:
        assert total(done.rows) <= provider.billed


async def test_a_loser_that_was_cancelled_is_a_figure_of_its_own(tmp_path: Path) -> None:
    """Its bill is unseen: up to its input, counted upward, and its longest answer."""

    async def reply(exchange: Exchange) -> None:
        if json.loads(exchange.body)["model"] == "b":
            await asyncio.sleep(30)
        await answer(exchange, completion("yes"))

    async with serve(reply) as server:
        done = await batch(server, "race", "-m", "a,b", "--max-tokens", "10", rows=["hello"])
    (row,) = done.rows
    assert Decimal(repr(row["cost"])) == ONE["a"]
    unseen = row["maybe_billed"]
    assert unseen["attempts"] == 1
    assert unseen["up_to"] == pytest.approx(10 * 0.03 + 10 * 0.04)  # 5 tokens, doubled
    assert final(done)["maybe_billed"] == unseen["up_to"]
    assert reported(done)["maybe_billed"] == {**unseen, "unknown_attempts": 0}
    assert compared(done, tmp_path)["maybe_billed"] == {**unseen, "unknown_attempts": 0}


async def test_cached_answers_and_own_servers_cost_nothing(tmp_path: Path) -> None:
    """And so do rows that cannot be sent."""
    provider = Provider()
    async with serve(provider) as server:
        cache = ("batch", "-m", "a", f"--cache={tmp_path / 'c.db'}")
        first = await batch(server, *cache, rows=["plain"])
        again = await batch(server, *cache, rows=["plain", {"prompt": 3}])
        own = await run(
            *("batch", "-m", "a", "--base-url", f"{server.url}/v1"), stdin=jsonl(["plain"])
        )
    assert [row["cost"] for row in first.rows] == [0.007]
    assert sorted(row["cost"] for row in again.rows) == [0.0, 0.0]
    assert final(again)["cost"] == 0
    assert [row["cost"] for row in own.rows] == [0.0]
    assert "$" not in own.err


async def test_an_unknown_price_is_null_and_counted() -> None:
    """A proxy of one's own passes requests on, and what that costs is not known."""

    async def reply(exchange: Exchange) -> None:
        await answer(exchange, completion("yes"))

    async with serve(reply) as server:
        done = await run(
            *("batch", "-m", "litellm/some-alias", "--base-url", f"{server.url}/v1"),
            stdin=jsonl(["a", "b"]),
        )
    assert [row["cost"] for row in done.rows] == [None, None]
    assert "cost unknown for 2 rows" in done.err
    assert "$" not in done.err


@pytest.mark.parametrize(
    ("host", "usage", "usd"),
    [
        ("openrouter", {"cost": 0.0123}, 0.0123),
        ("xai", {"cost_in_usd_ticks": 123_000_000}, 0.0123),
    ],
)
async def test_the_providers_own_word_comes_before_the_table(
    host: str, usage: dict[str, Any], usd: float
) -> None:
    """And the user's before both."""

    async def reply(exchange: Exchange) -> None:
        counted = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, **usage}
        await answer(exchange, completion("yes", usage=counted))

    async with serve(reply) as server:
        for more, cost in (((), usd), (("--price", f"{host}/*=1,1"), 0.000005)):
            done = await run(
                *("batch", "-m", f"{host}/m", "--base-url", f"{server.url}/v1", *more),
                stdin=jsonl(["a"]),
                env={f"{host.upper()}_API_KEY": "k"},
            )
            assert [row["cost"] for row in done.rows] == [cost], done.err


async def test_a_tier_is_asked_for_and_resuming_in_another_sends_nothing_again(
    tmp_path: Path,
) -> None:
    """How an answer is bought is no part of what is asked."""
    out, bodies = tmp_path / "out.jsonl", []

    async def reply(exchange: Exchange) -> None:
        bodies.append(json.loads(exchange.body))
        await answer(exchange, completion("yes"))

    async with serve(reply) as server:
        options = ("batch", "-m", "openai/m", "--base-url", f"{server.url}/v1", "-o", str(out))
        rows = tmp_path / "rows.jsonl"
        rows.write_bytes(jsonl(["a"]))
        first = await run(*options, str(rows), "--tier", "flex")
        again = await run(*options, str(rows), "--tier", "priority", "--resume")
    assert (first.status, again.status) == (0, 0), first.err + again.err
    assert [body.get("service_tier") for body in bodies] == ["flex"]


@pytest.mark.parametrize(
    "more", [("-p", "service_tier=flex"), ("-m", "openai/m?service_tier=flex")]
)
async def test_a_tier_by_a_parameter_is_a_tier(more: tuple[str, ...]) -> None:
    """The price is that of the tier; a row's own wins."""
    async with serve(echo) as server:
        rows = ["a", {"prompt": "b", "service_tier": "priority"}]
        model = () if "-m" in more else ("-m", "openai/m")
        done = await batch(server, "batch", *model, *more, "--detail", "--ordered", rows=rows)
    assert [row["costs"][0]["tier"] for row in done.rows] == ["flex", "priority"], done.err
    sent = [json.loads(exchange.body)["service_tier"] for exchange in server.exchanges]
    assert sorted(sent) == ["flex", "priority"]


async def test_a_tier_that_is_not_sold_is_refused_before_anything_is_sent() -> None:
    """With those who sell it."""
    env = {"ANTHROPIC_API_KEY": "k"}
    done = await run(
        *("batch", "-m", "anthropic/claude-haiku-5-5", "--tier", "flex"),
        stdin=jsonl(["a"]),
        env=env,
    )
    assert done.status == 2
    assert "anthropic/claude-haiku-5-5 is not sold as --tier flex" in done.err
    assert "openai, groq" in done.err


async def test_a_bad_price_is_refused() -> None:
    """With its form."""
    done = await run("batch", "-m", "fake/echo", "--price", "fake/echo=1", stdin=b'"a"\n')
    assert done.status == 2
    assert "'fake/echo=1' is not MODEL=IN,OUT" in done.err


async def test_the_prices_command_shows_what_is_known() -> None:
    """As a table, and as JSON with the date of its data; nothing found is status 1."""
    shown = await run("prices", "openai/GPT-4o", "mini")
    assert shown.status == 0
    (line,) = [
        one for one in shown.out.decode().splitlines() if one.startswith("openai/gpt-4o-mini ")
    ]
    assert line.split() == [
        *("openai/gpt-4o-mini", "0.15", "0.075", "-", "0.6", "0.075", "0.3", "128,000", "-"),
    ]
    assert "in US dollars a million tokens, by genai-prices" in shown.err
    assert "whose newest price is of 2" in shown.err
    found = await run("prices", "anthropic/claude-haiku-5-5", "--json")
    (haiku,) = found.rows
    assert haiku["batch"]["input"] == haiku["input"] / 2
    assert haiku["longest_answer"] == 128_000
    assert haiku["with_input_above"]["100000"]["output"] > haiku["output"]
    assert haiku["data"]["newest"] > "2026"
    assert (await run("prices", "no-such-model")).status == 1


async def test_the_prices_of_long_inputs_have_lines_of_their_own() -> None:
    """As the table has them, in each lane."""
    lines = (await run("prices", "openai/gpt-6.1-sol")).out.decode().splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("openai/gpt-6.1-sol "))
    main, step = lines[place].split(), lines[place + 1].split()
    assert step[:3] == ["input", "above", "272,000"]
    cheap, dear = main[1:7], step[3:9]
    assert all(float(a) < float(b) for a, b in zip(cheap, dear, strict=True))


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_the_prices_fit_the_terminal(columns: int) -> None:
    """No number is cut, and no line is longer than the terminal unless a name alone is."""
    text, status = await on_terminal(columns, "prices", "gpt-6.1", whole=True)
    assert status == 0
    lines = text.splitlines()
    numbers = [line for line in lines if line.endswith("-") or line[-1:].isdigit()]
    assert numbers
    assert max(map(len, numbers[:-1])) <= columns
    assert ("context" in lines[0]) is (columns == 200)
    assert "\x1b" not in text


async def test_a_price_that_fits_no_model_is_told(tmp_path: Path) -> None:
    """Before anything is sent where a model is sold; once all is read where rows may name it."""
    wrong = ("--price", "gpt-4o-mimi=1,2")
    note = "--price gpt-4o-mimi fits no model asked so far: "
    done = await run("estimate", "-m", "openai/gpt-4o-mini", *wrong, stdin=jsonl(["?"]))
    assert done.err.count(f"{note}openai/gpt-4o-mini\n") == 1
    done = await run("batch", "-m", "fake/echo", *wrong, stdin=jsonl(["?"]))
    assert done.status == 0
    assert done.err.count(f"{note}fake/echo\n") == 1
    async with serve(Provider()) as server:
        rows = [{"prompt": "plain", "model": "openai/b"}]
        done = await batch(server, "batch", "-m", "a", rows=rows)
        assert "fits no model" not in done.err
        done = await batch(server, "batch", "-m", "a", *wrong, rows=["plain"])
    (said,) = [json.loads(line) for line in done.err.splitlines() if "fits no model" in line]
    assert said["notice"] == "--price gpt-4o-mimi, openai/b fits no model asked so far: openai/a"
