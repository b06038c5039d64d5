"""`--format text` and `chat`: lines without ids pair with the rows by their place."""

import asyncio
import signal

import pytest
from support.chat import answer, completion, echo, last_text
from support.program import jsonl, run, start
from support.scripted import Exchange, serve


@pytest.mark.parametrize("form", ["text", "chat"])
async def test_what_has_no_id_is_in_input_order(form: str) -> None:
    """Line N answers row N, however slow the first rows are; a failed one has its line, too."""
    others, mended = 0, asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        nonlocal others
        text = last_text(exchange)
        if text == "slow":
            await mended.wait()
        elif text == "bad":
            await answer(exchange, {"error": {"message": "no"}}, 400)
            return
        else:
            others += 1
            if others == 2:
                mended.set()
        await echo(exchange)

    async with serve(handler) as server:
        done = await run(
            "batch", "-", "-m", "m", "--base-url", server.url, "-f", form, "-c", "4",
            stdin=jsonl(["slow", "bad", "c", "d"]),
        )  # fmt: skip
    if form == "text":
        assert done.out == b"SLOW\n\nC\nD\n"
    else:
        first, second, *_, last = done.rows
        assert first["choices"][0]["message"]["content"] == "SLOW"
        assert second["error"]["message"] == "no"
        assert last["choices"][0]["message"]["content"] == "D"
    assert done.status == 1


async def test_rows_that_were_dropped_keep_their_lines() -> None:
    """After two interrupts, what was answered behind a dropped row stands on its own line."""
    asked = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        if last_text(exchange) == "never":
            await asyncio.sleep(60)
        await echo(exchange)

    async with serve(handler) as server:
        process = await start("batch", "-", "-m", "m", "--base-url", server.url, "-f", "text")
        assert process.stdin is not None
        process.stdin.write(jsonl(["a", "never", "c"]))
        await process.stdin.drain()
        while asked < 3:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)
        out, _ = await process.communicate()
    assert (process.returncode, out) == (130, b"A\n\nC\n")


@pytest.mark.parametrize(
    "arguments", [("--n", "3"), ("-p", "n=3"), ("-m", "m?n=3"), ("--fallback", "m?n=3")]
)
async def test_several_answers_per_row_are_refused(arguments: tuple[str, ...]) -> None:
    """Text has one answer per row, so nothing is sent that could not be written (D4)."""
    model = () if arguments[0] == "-m" else ("-m", "m")
    async with serve(echo) as server:
        done = await run(
            "batch", "-", *model, "--base-url", server.url, *arguments, "-f", "text", stdin=b'"a"\n'
        )
        assert not server.exchanges
    assert (done.status, done.out) == (2, b"")
    assert "n is 3, but --format text writes one answer per row\nhint: use --format" in done.err


async def test_several_answers_of_a_race_are_refused() -> None:
    """--all and --wins need a format that says which model has answered; one prompt is shown."""
    models = ("-m", "fake/echo,fake/lorem", "-f", "text")
    done = await run("race", "-", *models, "--all", stdin=jsonl(["a", "b"]))
    assert done.status == 2
    assert "--format text writes one answer per row" in done.err
    one = await run("race", *models, "--all", "one prompt")
    assert one.status == 0
    assert len(one.out.splitlines()) == 2


async def test_what_text_cannot_show_is_told() -> None:
    """A row's own n is refused for that row; several lines and tool calls are counted."""
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]

    async def handler(exchange: Exchange) -> None:
        reply = completion("two\nlines")
        if last_text(exchange) == "tool":
            reply["choices"][0]["message"] = {"content": None, "tool_calls": calls}
        await answer(exchange, reply)

    rows = jsonl([{"id": "x", "prompt": "a", "n": 2}, "b", "tool"])
    async with serve(handler) as server:
        arguments = ("batch", "-", "-m", "m", "--base-url", server.url, "-f", "text")
        done = await run(*arguments, stdin=rows)
        escaped = await run(*arguments, "--one-line", stdin=rows)
        assert len(server.exchanges) == 4
    assert (done.out, escaped.out) == (b"\ntwo\nlines\n\n", b"\ntwo\\nlines\n\n")
    assert "row x: invalid_row: <stdin>:1: n is 2, but --format text" in done.err
    assert "1 answer has several lines (--one-line writes one line per row)" in done.err
    assert "1 answer has no text but tool calls" in escaped.err
    assert "--one-line" not in escaped.err
