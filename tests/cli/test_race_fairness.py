"""What `llmbatch race` does with slots, retries, limits, and with what fails or breaks."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from support.chat import answer, completion, error, event, stream
from support.program import Done, jsonl, run
from support.scripted import Exchange, Server, serve

Handler = Callable[[Exchange], Awaitable[None]]


def after(seconds: float, text: str) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await answer(exchange, completion(text))

    return handle


def fails(status: int, *, times: int = 1_000, then: str = "fine", wait: str = "0.2") -> Handler:
    """Fails so often, then answers."""
    left = [times]

    async def handle(exchange: Exchange) -> None:
        left[0] -= 1
        if left[0] < 0:
            await stream_or_answer(exchange, then)
            return
        body = json.dumps(error("no")).encode()
        headers = {"content-type": "application/json"}
        await exchange.reply(body, status, headers | ({"retry-after": wait} if wait else {}))

    return handle


async def stream_or_answer(exchange: Exchange, text: str) -> None:
    if json.loads(exchange.body).get("stream"):
        await stream(exchange, text)
    else:
        await answer(exchange, completion(text))


def streams(*pieces: str, end: bool = True, hang: bool = False) -> Handler:
    async def handle(exchange: Exchange) -> None:
        if not hang:
            await stream(exchange, *pieces, end=end, pause_s=0.05)
            return
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        await exchange.raw(head + b"".join(event({"content": piece}) for piece in pieces))
        await exchange.until_closed()

    return handle


class Models:
    """A server whose models behave as told, one request a connection or more."""

    def __init__(self, **models: Handler) -> None:
        self.models = models
        self.asked: list[tuple[str, float]] = []

    async def __call__(self, exchange: Exchange) -> None:
        model = json.loads(exchange.body)["model"]
        self.asked.append((model, time.monotonic()))
        await self.models[model](exchange)

    def count(self, model: str) -> int:
        return sum(name == model for name, _ in self.asked)


async def race(server: Server, *arguments: str, rows: int = 1, **env: str) -> Done:
    prompts = jsonl([f"prompt {index}" for index in range(rows)])
    return await run("race", "--base-url", f"{server.url}/v1", *arguments, stdin=prompts, env=env)


async def test_a_racer_that_waits_to_try_again_holds_no_slot() -> None:
    """With one slot, the second model is asked while the first waits out its Retry-After."""
    models = Models(a=fails(429, wait="20"), b=after(0, "B"))
    async with serve(models) as server:
        done = await race(server, "-m", "a,b", "-c", "1")
    (row,) = done.rows
    assert (row["text"], row["latency"] < 5) == ("B", True)
    assert [racer["attempts"] for racer in row["race"]] == [1, 1]
    assert "cancelled request" not in done.err


async def test_racers_that_were_never_sent_may_not_be_billed() -> None:
    """Who waited for a slot when the race was decided has no attempt and costs nothing."""
    models = Models(a=after(0.1, "A"), b=after(0.1, "B"))
    async with serve(models) as server:
        done = await race(server, "-m", "a,b,b", "-c", "1")
        sent = len(server.exchanges)
    attempts = [racer["attempts"] for racer in done.rows[0]["race"]]
    assert (attempts[0], attempts[2], sum(attempts)) == (1, 0, sent)
    assert ("up to 1 cancelled request may have been billed" in done.err) == (sent == 2)


async def test_a_hedge_finds_room_beside_many_slow_rows() -> None:
    """Where all first models are slow, the others get a part of the slots."""
    models = Models(a=after(4, "A"), b=after(0, "B"))
    async with serve(models) as server:
        began = time.monotonic()
        done = await race(server, "-m", "a,b", "-c", "4", "--hedge", "0.2", rows=6)
    assert {row["text"] for row in done.rows} == {"B"}
    assert time.monotonic() - began < 3.5


async def test_a_streamed_racer_is_tried_again_and_keeps_to_the_limits() -> None:
    """A 503 before any text is retried; --rpm holds for streams, too."""
    models = Models(a=fails(503, times=1, then="late"))
    async with serve(models) as server:
        done = await race(server, "--stream", "-m", "a")
        (row,) = done.rows
        assert (row["text"], row["attempts"]) == ("late", 2)
        models.asked.clear()
        done = await race(server, "--stream", "-m", "a", "--rpm", "120", rows=4)
    assert done.status == 0
    times = [at for _, at in models.asked]
    assert times[-1] - times[0] > 1.4


async def test_a_row_that_one_model_has_answered_is_no_failure() -> None:
    """With --all, in whatever order: exit 0, and the answer's row before the failed one."""
    models = Models(a=fails(400), b=after(0.05, "B"))
    async with serve(models) as server:
        for order in ("a,b", "b,a"):
            done = await race(server, "-m", order, "--all")
            assert done.status == 0
            assert [row["text"] for row in done.rows] == ["B", None]
            assert "1 row: 1 answered" in done.err


async def test_every_outcome_of_a_row_is_resumed_together(tmp_path: Path) -> None:
    """Killed between two outcomes of one row, --all begins that row again, and no other."""
    out = tmp_path / "out.jsonl"
    models = Models(a=after(0, "A"), b=fails(400))
    async with serve(models) as server:
        told = ("-m", "a,b", "--all", "--ordered", "-o", str(out))
        await race(server, *told, rows=3)
        lines = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(b"".join(lines[:-1]))
        models.asked.clear()
        done = await race(server, *told, "--resume", rows=3)
    assert [model for model, _ in sorted(models.asked)] == ["a", "b"]
    assert done.status == 0
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert [(row["index"], row["part"]) for row in rows] == [
        (index, [number, 2]) for index in range(3) for number in (1, 2)
    ]


async def test_losers_tokens_are_counted() -> None:
    """What came in too late is paid for, and stands in the summary."""
    async with serve(Models(a=after(0, "A"))) as server:
        done = await race(server, "-m", "a,a,a", "--all")
    assert "15 tokens" in done.err


async def test_a_bad_key_of_a_rows_own_models_fails_that_row() -> None:
    """The run's models are well, so the run goes on."""
    models = Models(a=after(0, "A"), b=after(0, "B"), locked=fails(401, wait=""))
    rows = ["one", {"prompt": "two", "models": ["locked"]}, "three", "four"]
    async with serve(models) as server:
        done = await run(
            "race", "--base-url", f"{server.url}/v1", "-m", "a,b", "-c", "2", "--ordered",
            stdin=jsonl(rows),
        )  # fmt: skip
    assert done.status == 1
    assert [row["error"] and row["error"]["type"] for row in done.rows] == [
        None, "unauthorized", None, None,
    ]  # fmt: skip


async def test_a_missing_key_leaves_its_model_out(tmp_path: Path) -> None:
    """The others race; who is left out is told once; with nobody left it is wrong usage."""
    async with serve(Models(a=after(0, "A"))) as server:
        env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{server.url}/v1"}
        done = await run("race", "-m", "openai/a", "-m", "anthropic/claude-x", "hi", env=env)
        nobody = await run("race", "-m", "cohere/x", "-m", "anthropic/claude-x", "hi")
    assert (done.status, done.rows[0]["text"]) == (0, "A")
    assert done.err.count("anthropic/claude-x is left out: no key for anthropic") == 1
    assert nobody.status == 2
    assert "COHERE_API_KEY" in nobody.err or "CO_API_KEY" in nobody.err


async def test_answers_are_held_against_their_schema() -> None:
    """An answer that is not JSON, or does not fit, loses to one that does."""
    schema = {"type": "object", "required": ["q"], "properties": {"q": {"type": "integer"}}}
    asks = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    models = Models(a=after(0, "plain"), b=after(0, '{"q": "x"}'), c=after(0.2, '{"q": 1}'))
    row = {"prompt": "hi", "response_format": asks}
    async with serve(models) as server:
        done = await run(
            "race", "--base-url", f"{server.url}/v1", "-m", "a,b,c", stdin=jsonl([row])
        )
    assert done.rows[0]["text"] == '{"q": 1}'
    told = [racer["error"]["message"] for racer in done.rows[0]["race"][:2]]
    assert told == ["the answer is not JSON", "the answer does not fit its schema: $.q"]


async def test_the_preferred_model_wins_a_tie_and_starts_first() -> None:
    """--prefer comes before the order of -m; a model that does not race is wrong usage."""
    async with serve(Models(a=after(0, "A"), b=after(0, "B"))) as server:
        done = await race(server, "-m", "a,b", "--prefer", "b", "--hedge", "5")
        wrong = await race(server, "-m", "a,b", "--prefer", "c")
    assert done.rows[0]["text"] == "B"
    assert (wrong.status, "c: not one of the models" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (streams("half ", "an ", end=False), "interrupted"),
        (streams("half ", "an ", hang=True), "timed_out"),
    ],
    ids=["broken", "stalled"],
)
async def test_a_stream_that_ends_early_keeps_its_part(first: Handler, kind: str) -> None:
    """Alone, beside a failed racer, with --all: its kind, its text, and that it may be billed."""
    models = Models(a=first, bad=fails(400))
    async with serve(models) as server:
        for more in (("-m", "a"), ("-m", "a,bad"), ("-m", "a,bad", "--all")):
            done = await race(server, "--stream", "--timeout", "1", *more)
            row = next(row for row in done.rows if row.get("partial"))
            assert (row["error"]["type"], row["partial"]) == (kind, "half an ")
            assert "1 failed attempt may have been billed" in done.err


async def test_a_model_that_was_held_back_takes_over_from_a_broken_leader() -> None:
    """With --hedge the next model starts when the leader's stream breaks."""
    models = Models(a=streams("half ", end=False), b=streams("whole"))
    async with serve(models) as server:
        done = await race(server, "--stream", "--hedge", "5", "-m", "a,b")
    assert done.rows[0]["text"] == "whole"


async def test_blank_text_does_not_lead() -> None:
    """The first model that says something has the race."""
    models = Models(a=streams("\n", "  "), b=streams("words"))
    async with serve(models) as server:
        done = await race(server, "--stream", "-m", "a,b")
    assert done.rows[0]["text"] == "words"


async def test_a_failed_prompt_in_text_tells_why() -> None:
    """Text has no place for causes, so they stand on standard error, every one."""
    async with serve(Models(a=fails(400), b=fails(422))) as server:
        done = await race(server, "-m", "a,b", "-f", "text")
    assert done.out.strip() == b""
    assert "openai/a: rejected: no" in done.err
    assert "openai/b: rejected: no" in done.err


@pytest.mark.parametrize("prompt", ["Summarise README.md", "What is in notes.txt"])
async def test_a_sentence_that_ends_like_a_file_is_a_prompt(prompt: str) -> None:
    """A name has no spaces; an empty prompt is told as such."""
    async with serve(Models(a=after(0, "A"))) as server:
        done = await run("race", "--base-url", f"{server.url}/v1", "-m", "a", prompt)
        empty = await run("race", "--base-url", f"{server.url}/v1", "-m", "a", "")
    assert done.rows[0]["text"] == "A"
    assert (empty.status, "the prompt is empty" in empty.err) == (2, True)
