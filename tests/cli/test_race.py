"""`llmbatch race` as its users run it."""

import asyncio
import json
import os
import pty
import time
from collections.abc import Awaitable, Callable

import pytest
from support.chat import answer, completion, echo, error, event, stream
from support.program import PROGRAM, Done, environment, jsonl, run, start
from support.scripted import Exchange, Server, serve


class Models:
    """A server whose models behave as told, and which sees when a connection closes."""

    def __init__(self, **models: Callable[[Exchange], Awaitable[None]]) -> None:
        self.models = models
        self.closed: dict[str, list[float]] = {}
        self.answered: dict[str, list[float]] = {}

    async def __call__(self, exchange: Exchange) -> None:
        model = json.loads(exchange.body)["model"]
        work = asyncio.ensure_future(self.models[model](exchange))
        gone = asyncio.ensure_future(exchange.until_closed())
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            self.answered.setdefault(model, []).append(time.monotonic())
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        else:
            self.closed.setdefault(model, []).append(gone.result())
            work.cancel()


def after(seconds: float, text: str) -> Callable[[Exchange], Awaitable[None]]:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await answer(exchange, completion(text))

    return handle


async def failing(exchange: Exchange) -> None:
    await answer(exchange, error("Unknown parameter: top_q"), 400)


async def cut(exchange: Exchange) -> None:
    body = completion("half an ans")
    body["choices"][0]["finish_reason"] = "length"
    await answer(exchange, body)


async def race(server: Server, *arguments: str, stdin: bytes = b"", **env: str) -> Done:
    return await run("race", "--base-url", f"{server.url}/v1", *arguments, stdin=stdin, env=env)


@pytest.mark.alone
@pytest.mark.parametrize("order", [("fast", "slow"), ("slow", "fast")])
async def test_the_fast_one_wins_and_the_slow_one_is_closed(order: tuple[str, str]) -> None:
    """In either order: the fast answer is the row, the slow socket is closed within 50 ms."""
    models = Models(fast=after(0.1, "quick"), slow=after(5, "late"))
    async with serve(models) as server:
        done = await race(server, "-m", order[0], "-m", order[1], "hello")
    (row,) = done.rows
    assert (done.status, row["text"]) == (0, "quick")
    assert 0.1 <= row["latency"] < 0.5
    assert models.closed["slow"][0] - models.answered["fast"][0] < 0.05
    racers = {racer["model"]: racer["status"] for racer in row["race"]}
    assert racers == {"fast": "won", "slow": "cancelled"}
    assert [racer["model"] for racer in row["race"]] == list(order)
    assert "up to 1 cancelled request may have been billed" in done.err


async def test_only_a_good_answer_wins() -> None:
    """Failing, empty and cut off answers are faster and lose all the same."""
    models = Models(bad=failing, empty=after(0, " "), cut=cut, good=after(0.3, "the answer"))
    names = "bad,empty,cut,good"
    async with serve(models) as server:
        done = await race(server, "-m", names, "hello")
        accepting = await race(server, "-m", names, "--accept-truncated", "hello")
    (row,) = done.rows
    assert row["text"] == "the answer"
    assert [racer["status"] for racer in row["race"]] == ["failed", "failed", "failed", "won"]
    assert row["race"][0]["error"]["type"] == "rejected"
    assert "empty" in row["race"][1]["error"]["message"]
    assert accepting.rows[0]["text"] == "half an ans"


async def test_a_race_fails_only_when_all_have_and_tells_every_cause() -> None:
    """With no good answer the row's error names each model's own."""
    async with serve(Models(bad=failing, cut=cut)) as server:
        done = await race(server, "-m", "bad", "-m", "cut", "hello")
    (row,) = done.rows
    assert (done.status, row["text"]) == (1, None)
    assert "openai/bad: rejected: Unknown parameter: top_q" in row["error"]["message"]
    assert "openai/cut: not_good: the answer is cut off" in row["error"]["message"]


async def test_the_same_model_may_race_against_itself() -> None:
    """Three of one model are three requests, told one by one."""
    async with serve(Models(one=after(0.1, "hi"))) as server:
        done = await race(server, "-m", "one", "-m", "one,one", "hello")
        assert len(server.exchanges) == 3
    assert len(done.rows[0]["race"]) == 3


async def test_all_and_wins_give_a_row_each() -> None:
    """--all: every model's row, failures too; --wins 2: the first two good ones."""
    models = Models(a=after(0.05, "A"), b=after(0.1, "B"), c=after(3, "C"), bad=failing)
    async with serve(models) as server:
        everyone = await race(server, "-m", "a,b,bad", "--all", "hello")
        two = await race(server, "-m", "a,b,c", "--wins", "2", "hello")
    assert [(row["model"], row["text"]) for row in everyone.rows] == [
        ("served-model", "A"), ("served-model", "B"), ("bad", None),
    ]  # fmt: skip
    assert [row["text"] for row in two.rows] == ["A", "B"]
    assert two.rows[0]["race"][2]["status"] == "cancelled"


async def test_a_hedge_sends_the_second_request_only_when_needed() -> None:
    """In time one request is sent; late, the next model gets its chance."""
    models = Models(quick=after(0.05, "Q"), late=after(5, "L"), spare=after(0.05, "S"))
    async with serve(models) as server:
        await race(server, "-m", "quick,spare", "--hedge", "0.5", "hello")
        assert len(server.exchanges) == 1
        done = await race(server, "-m", "late,spare", "--hedge", "200ms", "hello")
    assert done.rows[0]["text"] == "S"


async def test_a_bad_key_drops_its_model_not_the_run() -> None:
    """One refused racer is told once and left out from then on; with none left, exit 3."""

    async def refused(exchange: Exchange) -> None:
        await answer(exchange, error("Incorrect API key", "invalid_api_key"), 401)

    prompts = jsonl([f"prompt {index}" for index in range(20)])
    models = Models(locked=refused, open=after(0.02, "hi"))
    async with serve(models) as server:
        done = await race(server, "-m", "locked,open", "-c", "2", stdin=prompts)
        asked = [json.loads(exchange.body)["model"] for exchange in server.exchanges]
        nobody = await race(server, "-m", "locked,locked?seed=1", stdin=prompts)
    assert (done.status, len(done.rows)) == (0, 20)
    assert asked.count("locked") <= 3
    assert done.err.count("was dropped") == 1
    assert (nobody.status, nobody.out) == (3, b"")
    assert "no model is left" in nobody.err


async def test_keys_and_parameters_stay_with_their_model() -> None:
    """A racer's parameters and its provider's key reach that racer alone."""
    async with serve(echo) as one, serve(echo) as other:
        done = await run(
            "race", "-m", "openai/a?temperature=0.1&seed=5", "-m", "groq/b?temperature=0.9",
            "--all", "--top-p", "0.5", "hello",
            env={
                "OPENAI_API_KEY": "key-of-openai", "OPENAI_BASE_URL": f"{one.url}/v1",
                "GROQ_API_KEY": "key-of-groq", "GROQ_BASE_URL": f"{other.url}/v1",
            },
        )  # fmt: skip
        seen = [one.exchanges[0], other.exchanges[0]]
    assert done.status == 0, done.err
    assert [exchange.header("authorization") for exchange in seen] == [
        "Bearer key-of-openai", "Bearer key-of-groq",
    ]  # fmt: skip
    bodies = [json.loads(exchange.body) for exchange in seen]
    assert [body["temperature"] for body in bodies] == [0.1, 0.9]
    assert [body.get("seed") for body in bodies] == [5, None]
    assert [body["top_p"] for body in bodies] == [0.5, 0.5]


async def test_many_rows_race_at_once_within_the_bound() -> None:
    """-c bounds requests, not rows; every row has its row of output, also a row's own models."""
    in_flight = most = 0

    async def counting(exchange: Exchange) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.02)
        in_flight -= 1
        await answer(exchange, completion("x"))

    rows: list[object] = [{"prompt": str(index)} for index in range(60)]
    rows += [{"prompt": "own", "models": ["c"]}, "broken row"]
    async with serve(Models(a=counting, b=counting, c=counting)) as server:
        done = await race(
            server, "-m", "a,b", "-c", "10", "--all", stdin=jsonl(rows[:-1]) + b"{broken\n"
        )
        models = [json.loads(exchange.body)["model"] for exchange in server.exchanges]
    assert most <= 10
    assert models.count("c") == 1
    assert len(done.rows) == 60 * 2 + 1 + 1
    errors = [row["error"]["type"] for row in done.rows if row["error"]]
    assert (done.status, errors) == (1, ["invalid_row"])


async def test_text_from_a_pipe_is_one_prompt() -> None:
    """Plain text on standard input is one prompt, however many lines it has."""
    async with serve(echo) as server:
        done = await race(server, "-m", "a", stdin=b"two\nlines\n")
        assert json.loads(server.exchanges[0].body)["messages"][0]["content"] == "two\nlines"
    assert len(done.rows) == 1


async def test_a_stream_races_to_the_first_text() -> None:
    """The first model to say something wins, though another would be done sooner."""

    async def early(exchange: Exchange) -> None:
        await stream(exchange, "o", "n", "e", pause_s=0.2)

    async def whole(exchange: Exchange) -> None:
        await asyncio.sleep(0.4)
        await stream(exchange, "two")

    models = Models(early=early, whole=whole)
    async with serve(models) as server:
        done = await race(server, "-m", "whole,early", "--stream", "hello")
        assert all(json.loads(exchange.body)["stream"] is True for exchange in server.exchanges)
    (row,) = done.rows
    assert (row["text"], row["finish_reason"]) == ("one", "stop")
    assert row["ttft"] < row["latency"]
    assert len(models.closed["whole"]) == 1


async def test_a_broken_stream_fails_the_row_with_its_part() -> None:
    """What had come is kept under `partial`; the row is interrupted."""

    async def breaks(exchange: Exchange) -> None:
        await stream(exchange, "the first ", "words", end=False)

    async with serve(Models(a=breaks)) as server:
        done = await race(server, "-m", "a", "--stream", "hello")
    (row,) = done.rows
    assert row["error"]["type"] == "interrupted"
    assert row["partial"] == "the first words"


async def test_a_person_sees_the_answer_as_it_comes() -> None:
    """On a terminal a single prompt's answer is streamed as text, and the winner is named."""
    release = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        await exchange.raw(head + event({"content": "first\x1b[31m "}))
        await release.wait()
        await exchange.raw(event({"content": "second"}) + event({}, "stop") + b"data: [DONE]\n\n")
        exchange.writer.close()

    ours, theirs = pty.openpty()
    async with serve(slow) as server:
        process = await start(
            "race", "-m", "m", "--stream", "--base-url", server.url, "hello", stdout=theirs
        )
        os.close(theirs)
        loop = asyncio.get_running_loop()
        seen = await asyncio.wait_for(loop.run_in_executor(None, os.read, ours, 1000), 20)
        assert seen == b"first[31m "
        release.set()
        _, err = await process.communicate()
        rest = os.read(ours, 1000)
        os.close(ours)
    assert rest.replace(b"\r", b"") == b"second\n"
    assert b"openai/m" in err


async def test_a_terminal_without_a_prompt_is_asked_for_one() -> None:
    """The bare command says what to type, and takes it until the end of the input."""
    ours, theirs = pty.openpty()
    async with serve(echo) as server:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "race", "-m", "a", "-m", "b", "--base-url", server.url,
            env=environment(), stdin=theirs,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        os.close(theirs)
        assert process.stderr is not None
        asked = await asyncio.wait_for(process.stderr.readline(), 20)
        os.write(ours, b"hello there\n\x04")
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        os.close(ours)
    assert b"type the prompt" in asked
    assert json.loads(out)["text"] == "HELLO THERE"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hello",), "needs models"),
        (("-m", "a", "--hedge", "soon", "hello"), "--hedge"),
        (("-m", "a", "--all", "--wins", "2", "hello"), "exclude each other"),
        (("-m", "a", "missing.jsonl"), "missing.jsonl"),
    ],
)
async def test_wrong_usage_is_told(arguments: tuple[str, ...], words: str) -> None:
    """Exit 2, one clear line, nothing sent."""
    async with serve(echo) as server:
        done = await race(server, *arguments)
        assert server.exchanges == []
    assert (done.status, done.out) == (2, b"")
    assert words in done.err


async def test_a_dead_host_is_told_once_and_left_out() -> None:
    """A model whose host refuses connections leaves the run, though others win every race."""
    prompts = jsonl([f"prompt {index}" for index in range(40)])
    async with serve(after(0.3, "hi")) as server:
        done = await run(
            "race", "-m", "groq/dead", "-m", "openai/alive", "-c", "8", stdin=prompts,
            env={
                "GROQ_API_KEY": "x", "GROQ_BASE_URL": "http://127.0.0.1:9/v1",
                "OPENAI_API_KEY": "y", "OPENAI_BASE_URL": f"{server.url}/v1",
            },
        )  # fmt: skip
    assert (done.status, len(done.rows)) == (0, 40)
    assert done.err.count("groq/dead was dropped: unreachable") == 1
    assert len(done.rows[-1]["race"]) == 1
