"""`estimate` and `batch --dry-run`: what a run would count and cost, before it is paid for."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import splintr
from support.chat import answer, completion, error, last_text
from support.program import PROGRAM, Done, environment, jsonl, run
from support.scripted import Exchange, Server, serve
from ui.screen import Screen

FRAME, OPENING = 4, 3
"""Tokens around a message, and before the answer."""
O200K = splintr.Tokenizer.from_pretrained("o200k_base")
PRICE = ("--price", "openai/a=1000,2000")


def count(text: str) -> int:
    return len(O200K.encode_ordinary(text))


def written(folder: Path, rows: Sequence[object]) -> str:
    (folder / "in.jsonl").write_bytes(jsonl(rows))
    return str(folder / "in.jsonl")


async def estimate(*arguments: str, **options: Any) -> dict[str, Any]:
    done = await run("estimate", *arguments, "--json", **options)
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


async def line(*arguments: str, **options: Any) -> dict[str, Any]:
    """The only model's figures."""
    (found,) = (await estimate(*arguments, **options))["models"]
    assert isinstance(found, dict)
    return found


def exactly(value: float) -> dict[str, float]:
    return {"low": value, "likely": value, "high": value}


def asked(server: Server) -> list[str]:
    return [last_text(exchange) for exchange in server.exchanges]


async def test_tokens_are_those_of_the_model_s_own_vocabulary(tmp_path: Path) -> None:
    """Each message counts its tokens and a frame; the system message where a row has none."""
    texts = ["Über Größe, naïve café 1234567", 'def f(x):\n    return {"a": [x, None]}', "one"]
    own = [{"role": "system", "content": "Own."}, {"role": "user", "content": "Two words"}]
    source = written(tmp_path, [*texts, {"messages": own}])
    found = await line(source, "-m", "openai/gpt-4o-mini", "--system", "Be brief.")
    prompts = [("Be brief.", text) for text in texts] + [("Own.", "Two words")]
    tokens = sum(OPENING + sum(FRAME + count(text) for text in pair) for pair in prompts)
    assert found["input_tokens"] == exactly(tokens)
    assert (found["provider"], found["model"], found["rows"]) == ("openai", "gpt-4o-mini", 4)


async def test_the_cost_is_that_of_the_tokens(tmp_path: Path) -> None:
    """Prices of the table, exact with --expect-output, and the batch API's half price beside it."""
    source = written(tmp_path, ["hello there"] * 1000)
    found = await line(source, "-m", "openai/gpt-4o-mini", "--expect-output", "100")
    tokens = 1000 * (OPENING + FRAME + count("hello there"))
    usd = (tokens * 0.15 + 100_000 * 0.6) / 1e6
    assert found["output_tokens"] == exactly(100_000)
    assert found["cost_usd"] == pytest.approx(exactly(usd))
    assert found["batch_cost_usd"] == pytest.approx(exactly(usd / 2))


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ((), {"low": 128, "likely": 512, "high": 2048}),
        (("--max-tokens", "400"), {"low": 128, "likely": 512, "high": 800}),
        (("--max-tokens", "40"), {"low": 20, "likely": 80, "high": 80}),
        (("--max-tokens", "40", "--n", "3"), {"low": 60, "likely": 240, "high": 240}),
        (("--max-tokens", "40", "--expect-output", "50"), exactly(80)),
        (("--expect-output", "50"), exactly(100)),
        (("--choices", "yes,no"), {"low": 4, "likely": 16, "high": 48}),
        (("--choices", "yes,no", "--max-tokens", "900"), {"low": 4, "likely": 16, "high": 48}),
        (("--choices", "yes,no", "--max-tokens", "3"), {"low": 4, "likely": 6, "high": 6}),
        (("--schema", "mood good|bad, new bool"), {"low": 14, "likely": 22, "high": 42}),
    ],
)
async def test_how_long_answers_are_is_said_or_guessed(
    tmp_path: Path, given: Sequence[str], output: object
) -> None:
    """Never longer than max_tokens; without --expect-output a range, and a note that says so."""
    found = await estimate(written(tmp_path, ["a", "b"]), "-m", "openai/gpt-4o-mini", *given)
    assert found["models"][0]["output_tokens"] == output
    (note,) = (note for note in found["notes"] if note.startswith("output: "))
    assert ("a guess" in note) == ("--expect-output" not in given)


@pytest.mark.parametrize(("cap", "is_told"), [("0.01", True), ("100", False)])
async def test_a_cap_that_ends_the_run_early_is_told(
    tmp_path: Path, cap: str, is_told: bool
) -> None:
    """Before the run, not after the rows that were paid for."""
    words = ("batch", written(tmp_path, ["a"]), "-m", "openai/a", "--price", "openai/a=0,1000")
    done = await run(*words, "--dry-run", "--max-tokens", "20", "--max-cost", cap)
    assert done.status == 0, done.err
    told = b"--max-cost 0.01 covers some 50% of it: the run would stop there" in done.out
    assert told == is_told


async def test_a_row_s_own_parameters_win(tmp_path: Path) -> None:
    """Its max_tokens bounds its answer, its tools count as input."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    rows = [{"prompt": "a", "max_tokens": 5}, {"prompt": "a", "tools": tools}]
    bare, tooled = [
        await line(written(tmp_path, [row]), "-m", "openai/gpt-4o-mini", "--max-tokens", "50")
        for row in rows
    ]
    assert (bare["output_tokens"]["high"], tooled["output_tokens"]["high"]) == (5, 50)
    more = tooled["input_tokens"]["likely"] - bare["input_tokens"]["likely"]
    assert more == count(json.dumps(tools, separators=(",", ":")))


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "deepseek/deepseek-chat"])
async def test_a_schema_counts(tmp_path: Path, model: str) -> None:
    """In the provider's own form, and as an instruction where it has none."""
    source = written(tmp_path, ["hi"])
    plain = await line(source, "-m", model)
    schema = await line(source, "-m", model, "--schema", "name: who it is, age int: in years")
    assert schema["input_tokens"]["likely"] > plain["input_tokens"]["likely"] + 20


async def test_nothing_is_sent_and_no_key_is_needed(tmp_path: Path) -> None:
    """`batch --dry-run` prints what `estimate` does, writes no output, and exits 0."""
    source, out = written(tmp_path, ["one", "two", 3]), tmp_path / "out.jsonl"
    same = (source, "-m", "openai/gpt-4o-mini", "--max-tokens", "9", "--rpm", "4")
    async with serve(lambda exchange: answer(exchange, completion("no"))) as server:
        env = {"OPENAI_BASE_URL": f"{server.url}/v1"}
        dry = await run("batch", *same, "--dry-run", "-o", str(out), env=env)
        plain = await run("estimate", *same, env=env)
        assert server.exchanges == []
    assert (dry.status, dry.err, plain.err) == (0, plain.err, dry.err)
    assert dry.out == plain.out
    assert b"3 rows, 1 of them invalid\n" in dry.out
    assert b"in.jsonl:3: " in dry.out
    assert not out.exists()


async def test_rows_count_as_they_would_be_sent(tmp_path: Path) -> None:
    """Template, --where, --limit, --offset and --repeat apply as in a run."""
    (tmp_path / "in.csv").write_text("word,stars\n" + "".join(f"w{n},{n % 5}\n" for n in range(50)))
    choose = ("--where", "stars == '2'", "--offset", "2", "--limit", "3", "--repeat", "4")
    filled = ("-t", "Say {{ word }}!", *choose)
    found = await line(str(tmp_path / "in.csv"), "-m", "openai/gpt-4o-mini", *filled)
    tokens = 4 * sum(OPENING + FRAME + count(f"Say w{n}!") for n in (12, 17, 22))
    assert (found["rows"], found["input_tokens"]) == (12, exactly(tokens))


async def test_a_row_with_a_model_of_its_own_counts_there(tmp_path: Path) -> None:
    """Once, whatever -m says; the other rows under each -m."""
    rows = ["a", {"prompt": "b", "model": "openai/gpt-4.1"}, "c"]
    found = await estimate(
        written(tmp_path, rows), "-m", "openai/gpt-4o-mini,anthropic/claude-haiku-4-5"
    )
    models = [(one["model"], one["rows"]) for one in found["models"]]
    assert models == [("gpt-4o-mini", 2), ("claude-haiku-4-5", 2), ("gpt-4.1", 1)]
    haiku = found["models"][1]["input_tokens"]
    assert haiku["low"] < haiku["likely"] < haiku["high"], "its vocabulary is not known"


async def test_what_cannot_be_sent_is_invalid(tmp_path: Path) -> None:
    """A row that a model does not take is not counted for it; one that none takes is invalid."""
    rows = ["a", {"prompt": "b", "model": "nobody/x"}, {"prompt": "c", "logit_bias": {"1": 2}}]
    found = await estimate(
        written(tmp_path, rows), "-m", "openai/gpt-4o-mini", "-m", "anthropic/claude-haiku-4-5"
    )
    assert (found["rows"], found["invalid"]) == (3, 1)
    assert [one["rows"] for one in found["models"]] == [2, 1]
    assert any("anthropic/claude-haiku-4-5: 1 row cannot be sent" in one for one in found["notes"])


async def test_an_unknown_price_is_null(tmp_path: Path) -> None:
    """It says so, never 0, and names the way out; the tokens are there."""
    source = written(tmp_path, ["a"])
    done = await run("estimate", source, "-m", "xai/no-such-model", "--json")
    (found,) = json.loads(done.out)["models"]
    assert (done.status, found["cost_usd"], found["batch_cost_usd"]) == (0, None, None)
    assert found["input_tokens"]["likely"] > 0
    assert "hint: --price xai/no-such-model=IN,OUT" in done.err
    text = await run("estimate", source, "-m", "xai/no-such-model")
    assert b" unknown" in text.out


async def test_a_price_of_one_s_own_has_no_batch_price(tmp_path: Path) -> None:
    """The table's is for the table's price only."""
    source = written(tmp_path, ["a"] * 1000)
    same = (source, "-m", "openai/gpt-4o-mini", "--expect-output", "10")
    found = await line(*same, "--price", "gpt-4o-mini=0,50")
    assert (found["cost_usd"], found["batch_cost_usd"]) == (exactly(0.5), None)


async def test_a_tier_has_its_own_price(tmp_path: Path) -> None:
    """--tier flex is priced as it is bought."""
    same = (written(tmp_path, ["a"]), "-m", "openai/gpt-5-mini")
    usual, flex = await line(*same), await line(*same, "--tier", "flex")
    assert (await line(*same, "-p", "service_tier=flex"))["cost_usd"] == flex["cost_usd"]
    assert flex["cost_usd"]["likely"] == pytest.approx(usual["cost_usd"]["likely"] / 2)


async def test_a_dry_run_counts_the_sample_that_would_be_sent(tmp_path: Path) -> None:
    """batch --sample N asks N rows, so that many are counted; what no line counts is said."""
    source = written(tmp_path, ["a"] * 50)
    more = ("--sample", "7", "--dedupe", "--fallback", "fake/lorem", "-m", "fake/echo")
    done = await run("batch", source, *more, "--dry-run")
    assert done.out.startswith(b"7 rows\n"), done.err
    assert b"not counted: fallbacks" in done.out
    assert b"equal rows, are counted as if they were sent" in done.out


async def test_no_rows_cost_nothing() -> None:
    """An empty input is no error, and an API that there is not has no price."""
    found = await line("-m", "fake/lorem", stdin=b"")
    assert (found["rows"], found["cost_usd"], found["batch_cost_usd"]) == (0, exactly(0), None)


async def test_own_servers_cost_nothing(tmp_path: Path) -> None:
    """The embedded model, which is the default, costs 0, and is not asked."""
    found = await line(written(tmp_path, ["a"]))
    assert (found["provider"], found["cost_usd"]) == ("local", exactly(0))


async def test_the_time_is_that_of_the_limits(tmp_path: Path) -> None:
    """The limit that takes longest; None without any."""
    source = written(tmp_path, ["a b c"] * 60)
    same = (source, "-m", "openai/gpt-4o-mini", "--expect-output", "90")
    tokens = 60 * (OPENING + FRAME + count("a b c") + 90)
    assert (await line(*same))["time_s"] is None
    assert (await line(*same, "--rpm", "30"))["time_s"] == exactly(120)
    by_tokens = (await line(*same, "--rpm", "3000", "--tpm", "1000"))["time_s"]
    assert by_tokens == pytest.approx(exactly(tokens * 60 / 1000))
    at_once = (await line(*same, "-c", "10"))["time_s"]
    assert at_once == {"low": 5.4, "likely": 10.8, "high": 21.6}


async def test_pictures_count_by_a_guess(tmp_path: Path) -> None:
    """Their base64 is no text; the note says what each counts."""
    url = {"url": "data:image/png;base64," + "A" * 40_000}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}]
    rows = [{"messages": [{"role": "user", "content": parts}]}]
    found = await estimate(written(tmp_path, rows), "-m", "openai/gpt-4o-mini")
    tokens = found["models"][0]["input_tokens"]
    rest = OPENING + FRAME + count("What is it?")
    assert tokens == {"low": 200 + rest, "likely": 800 + rest, "high": 3200 + rest}
    assert any("800 tokens each (200 to 3200), a guess" in note for note in found["notes"])


async def test_what_is_answered_already_is_left_out(tmp_path: Path) -> None:
    """With --resume the rest is counted, and the output stays as it is, byte for byte."""
    source, out = written(tmp_path, ["one", "two", "one", "three"]), tmp_path / "out.jsonl"
    model = ("-m", "fake/echo", "--system", "Be brief.")
    await run("batch", source, *model, "--limit", "2", "-o", str(out))
    before = out.read_bytes()
    for command in (("estimate",), ("batch", "--dry-run")):
        done = await run(*command, source, *model, "--resume", "-o", str(out))
        assert done.out.startswith(f"4 rows, 2 of them answered in {out}\n".encode()), done.err
        assert out.read_bytes() == before
    other = await line(source, "-m", "fake/lorem", "--resume", "-o", str(out))
    assert other["rows"] == 4, "the answers are another model's"


async def test_without_the_extra_bytes_are_counted(tmp_path: Path) -> None:
    """A fourth of them, with the measured error, and how to count better."""
    (tmp_path / "splintr.py").write_text("raise ImportError('not installed')")
    env = {"PYTHONPATH": str(tmp_path)}
    texts = ["a" * 400, "ü" * 200]
    found = await estimate(written(tmp_path, texts), "-m", "openai/gpt-4o-mini", env=env)
    tokens = found["models"][0]["input_tokens"]
    assert tokens["likely"] == 2 * (OPENING + FRAME + 100)
    assert tokens["low"] < tokens["likely"] < tokens["high"]
    assert any("pip install '.[count]'" in note for note in found["notes"])


# A sample


def words(row: int) -> str:
    """A text of one token a word."""
    return " ".join(["the"] * (1 + row * 7 % 40))


async def metered(exchange: Exchange) -> None:
    """Counts its own way: a frame of eleven, two tokens a word, and an answer of five and one."""
    text = last_text(exchange)
    if text == "fail":
        await answer(exchange, error("no such thing"), 400)
        return
    length = len(text.split())
    usage = {"prompt_tokens": 11 + 2 * length, "completion_tokens": 5 + length}
    await answer(exchange, completion("ok", usage=usage))


async def against(server: Server, *arguments: str) -> Done:
    url = ("-m", "a", "--base-url", f"{server.url}/v1", *PRICE)
    return await run(*arguments, *url, "-q")


async def test_a_sample_s_projection_is_the_true_total(tmp_path: Path) -> None:
    """Where real tokens go with the estimate, a tenth of the rows tells the bill of all."""
    source, out = written(tmp_path, [words(row) for row in range(200)]), tmp_path / "out.jsonl"
    async with serve(metered) as server:
        done = await against(server, "estimate", source, "--sample", "20", "--json")
        assert len(server.exchanges) == 20
        await against(server, "batch", source, "-o", str(out))
    (found,) = json.loads(done.out)["models"]
    rows = [json.loads(one) for one in out.read_bytes().splitlines()]
    totals = {
        "input_tokens": sum(row["usage"]["prompt_tokens"] for row in rows),
        "output_tokens": sum(row["usage"]["completion_tokens"] for row in rows),
        "cost_usd": sum(row["cost"] for row in rows),
    }
    for name, total in totals.items():
        assert found[name] == pytest.approx(exactly(total)), name


async def test_a_sample_of_all_rows_is_the_bill(tmp_path: Path) -> None:
    """Failed rows cost what they cost: nothing."""
    source = written(tmp_path, ["fail" if row % 9 == 0 else words(row) for row in range(30)])
    async with serve(metered) as server:
        done = await against(server, "estimate", source, "--sample", "99", "--json")
    (found,) = json.loads(done.out)["models"]
    lengths = [len(words(row).split()) for row in range(30) if row % 9]
    tokens = sum(11 + 2 * length for length in lengths)
    answers = sum(5 + length for length in lengths)
    assert found["input_tokens"] == exactly(tokens)
    assert found["output_tokens"] == exactly(answers)
    assert found["cost_usd"] == pytest.approx(exactly((tokens * 1000 + answers * 2000) / 1e6))
    spent = pytest.approx(found["cost_usd"]["likely"])
    assert found["sample"] == {"rows": 30, "failed": 4, "cost_usd": spent}


async def test_rows_that_cannot_be_sent_are_no_part_of_a_projection(tmp_path: Path) -> None:
    """A bad row, or one with an unknown model, is sampled as it comes, and counted as invalid."""
    bad: list[object] = [3, {"prompt": "a", "model": "nobody/x"}]
    rows = [*bad, "the the", {"prompt": "the", "model": "fake/echo?completion_tokens=5"}]
    model = ("-m", "fake/echo?completion_tokens=3", "-q")
    found = await estimate(written(tmp_path, rows), *model, "--sample", "9")
    assert (found["rows"], found["invalid"]) == (4, 2)
    assert [one["output_tokens"] for one in found["models"]] == [exactly(3), exactly(5)]
    assert [one["sample"]["rows"] for one in found["models"]] == [1, 1]


async def test_a_sample_s_answers_are_kept_where_asked(tmp_path: Path) -> None:
    """batch --resume goes on with the rest, so that no row is paid for twice."""
    source, out = written(tmp_path, [f"row {n}" for n in range(12)]), tmp_path / "out.jsonl"
    async with serve(metered) as server:
        done = await against(server, "estimate", source, "--sample", "5", "-o", str(out))
        assert len(out.read_bytes().splitlines()) == 5
        assert f"their answers are in {out}".encode() in done.out
        await against(server, "batch", source, "--resume", "-o", str(out))
        assert sorted(asked(server)) == sorted(f"row {n}" for n in range(12))
    rows = [json.loads(one) for one in out.read_bytes().splitlines()]
    assert sorted(row["index"] for row in rows) == list(range(12))


async def test_a_sample_says_that_it_pays(tmp_path: Path) -> None:
    """What was spent, and that the answers are gone."""
    source = written(tmp_path, ["the the"] * 9)
    async with serve(metered) as server:
        done = await against(server, "estimate", source, "--sample", "3")
    assert b"openai/a: projected from 3 rows that were sent for $0.087; " in done.out
    assert b"their answers were thrown away" in done.out


async def test_a_sample_s_time_is_measured(tmp_path: Path) -> None:
    """With -c, from how long the answers took."""
    source = written(tmp_path, [words(row) for row in range(100)])
    model = ("-m", "fake/lorem?latency=0.05")
    found = await line(source, *model, "--sample", "10", "-c", "5", "-q")
    assert 0.9 < found["time_s"]["likely"] < 10
    guessed = await line(source, *model, "-c", "5")
    assert guessed["time_s"]["likely"] == pytest.approx(100 * 256 / 50 / 5)


async def test_a_sample_without_a_key_sends_nothing(tmp_path: Path) -> None:
    """It is an error as in a run: exit 2, no figures."""
    source = written(tmp_path, ["a"])
    done = await run("estimate", source, "-m", "openai/gpt-4o-mini", "--sample", "1")
    assert (done.status, done.out) == (2, b"")
    assert "OPENAI_API_KEY" in done.err


async def test_a_sample_of_standard_input(tmp_path: Path) -> None:
    """It is read once, and counted and sampled all the same."""
    rows = jsonl([words(row) for row in range(40)])
    found = await line("-m", "fake/echo", "--sample", "10", "-q", stdin=rows)
    assert (found["rows"], found["sample"]["rows"]) == (40, 10)


USAGE_ERRORS = {
    ("-o", "out.jsonl"): "-o without --sample has nothing to write",
    ("-o", "out.csv", "--sample", "1"): "--sample writes its answers as JSONL",
    ("-o", "out.jsonl", "--sample", "1", "-m", "fake/lorem"): "-o takes the answers of one model",
    ("--resume",): "--resume continues a file",
    ("-p", 'logit_bias={"1": 2}', "-m", "anthropic/claude-haiku-4-5"): "logit_bias",
}


@pytest.mark.parametrize("words", USAGE_ERRORS)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, words: Sequence[str]) -> None:
    """Exit 2, before anything is read or sent."""
    source = written(tmp_path, ["a"])
    model = () if "openai" in words[-1] or "anthropic" in words[-1] else ("-m", "fake/echo")
    done = await run("estimate", source, *model, *words, cwd=tmp_path)
    assert (done.status, done.out) == (2, b"")
    assert USAGE_ERRORS[tuple(words)] in done.err
    assert "hint: " in done.err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_shows_a_table_of_80_columns(tmp_path: Path) -> None:
    """Nothing folds, with the longest figures that there are; a hostile reason does nothing."""
    import fcntl
    import pty
    import termios

    from support.terminal import all_of

    rows = [{"prompt": "hello " * 400, "max_tokens": 100_000}] * 300 + [{"x\x1b[2J": 1}]
    source = written(tmp_path, rows)
    models = ("openai/gpt-5", "anthropic/claude-sonnet-4-5-20250929", "xai/no-such")
    named = [word for model in models for word in ("-m", model)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [*PROGRAM, "estimate", source, *named, "--rpm", "2"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment({"TERM": "xterm-256color"}),
        cwd=tmp_path,
    )
    os.close(theirs)
    try:
        got = all_of(ours)
    finally:
        os.close(ours)
    assert process.wait(20) == 0
    assert "\x1b[2J" not in got
    lines = Screen(80).feed(got).lines
    table = [one for one in lines if one.startswith(("openai/", "anthropic/", "xai/"))]
    assert len(table) == 3
    assert max(map(len, lines)) <= 80
    assert any("claude-sonnet-4-5-20250929" in one for one in lines), "a name is not cut"
    assert any("unknown" in one for one in table)


async def test_a_sample_whose_replies_count_no_tokens_has_no_projection(tmp_path: Path) -> None:
    """The price is known, and not to blame."""

    async def untold(exchange: Exchange) -> None:
        reply = completion("yes")
        del reply["usage"]
        await exchange.reply(json.dumps(reply).encode())

    source = written(tmp_path, ["a"] * 9)
    async with serve(untold) as server:
        done = await against(server, "estimate", source, "--sample", "3", "--json")
    assert json.loads(done.out)["models"][0]["cost_usd"] is None
    assert "not every sampled row's reply says what it has used" in done.err
    assert "the price of" not in done.err
