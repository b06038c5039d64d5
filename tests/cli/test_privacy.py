"""Neither a key nor a prompt is shown on standard error, unless --log-prompts is given."""

import json

import pytest
from support.chat import answer, error, last_text
from support.program import jsonl, run
from support.scripted import Exchange, Handler, serve

KEY = "sk-proj-0123456789abcdefghijklmnop"
SECRET = "the patient Ærøskøbing 4711 has measles"
CALM = ("--max-attempts", "1", "-m", "openai/gpt-4o-mini", "--system", "Answer as a physician")


def quoting(status: int) -> Handler:
    async def handle(exchange: Exchange) -> None:
        key = (exchange.header("authorization") or "").removeprefix("Bearer ")
        message = f"key {key}: cannot take {last_text(exchange)!r}, {exchange.body.decode()}"
        await answer(exchange, error(message), status)

    return handle


@pytest.mark.parametrize("command", ["batch", "race"])
@pytest.mark.parametrize("status", [400, 401, 500])
async def test_what_a_provider_quotes_is_not_logged(command: str, status: int) -> None:
    """At the highest level, failed rows and the end of a run name the message and show neither."""
    async with serve(quoting(status)) as server:
        done = await run(
            command, *CALM, "--base-url", f"{server.url}/v1", "-vvv", "--max-errors", "1",
            stdin=jsonl([{"prompt": SECRET}]), env={"OPENAI_API_KEY": KEY},
        )  # fmt: skip
    assert server.exchanges
    assert "the provider's message repeats the prompt" in done.err
    for word in ("cannot take", "patient", "4711", "measles", "physician", KEY):
        assert word not in done.err
    assert KEY.encode() not in done.out


async def test_other_messages_are_logged_whole() -> None:
    """A message that does not repeat the prompt is shown in the provider's words."""

    async def refuse(exchange: Exchange) -> None:
        await answer(exchange, error("the patient's file is too large"), 400)

    async with serve(refuse) as server:
        done = await run(
            "batch", *CALM, "--base-url", f"{server.url}/v1", "-v",
            stdin=jsonl([{"prompt": SECRET}]), env={"OPENAI_API_KEY": KEY},
        )  # fmt: skip
    assert "row 0: rejected: the patient's file is too large" in done.err


async def test_prompts_are_logged_on_demand() -> None:
    """With --log-prompts a failed row's line has the prompt; never the key."""
    async with serve(quoting(400)) as server:
        done = await run(
            "batch", *CALM, "--base-url", f"{server.url}/v1", "-v", "--log-prompts",
            stdin=jsonl([{"prompt": SECRET}]), env={"OPENAI_API_KEY": KEY},
        )  # fmt: skip
    assert f"the prompt: Answer as a physician {SECRET}" in done.err
    assert KEY not in done.err
    assert "measles" in json.loads(done.out)["error"]["message"]
