"""One model for many conversations, and several models for one, all answered."""

import asyncio
import gc
import inspect
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from compat.loopback import Loopback, Model, running
from compat.loopback import texts as texts_of
from support.chat import answer, completion, error, last_text
from support.scripted import Exchange

import llmbatch_cli
from llmbatch_cli import (
    AuthenticationError,
    BadRequestError,
    ModelResponse,
    abatch_completion,
    batch_completion,
    batch_completion_models_all_responses,
)
from llmbatch_cli.compat.arguments import model_call
from llmbatch_cli.compat.models import OpenModel
from llmbatch_cli.core.ledger import Seller, Usage
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.engine.calls import Model as CalledModel

SIGNATURE = """
model messages functions function_call temperature top_p n stream stop max_tokens presence_penalty
frequency_penalty logit_bias user deployment_id request_timeout timeout max_workers kwargs
"""
"""batch_completion's parameters in litellm 1.106.2 and 1.109.1."""


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def how(loopback: Loopback, **more: Any) -> dict[str, Any]:
    return {"api_base": loopback.api_base, "api_key": "sk-x", **more}


class Echo(Loopback):
    """Answers with the last message after a random time; fails for "bad"."""

    async def handle(self, exchange: Exchange) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        await asyncio.sleep(random.Random(last_text(exchange)).uniform(0, 0.05))
        self.in_flight -= 1
        if last_text(exchange) == "bad":
            await answer(exchange, error("this one is bad"), 400)
        else:
            await answer(exchange, completion(last_text(exchange)))


@pytest.fixture
def echo() -> Iterator[Loopback]:
    with running(Echo()) as known:
        yield known


def texts(results: list[Any]) -> list[str]:
    return [result.choices[0].message.content for result in results]


@pytest.mark.parametrize("name", ["batch_completion", "abatch_completion"])
def test_the_signature_is_litellms(name: str) -> None:
    """All its named parameters in its order, with its defaults."""
    signature = inspect.signature(getattr(llmbatch_cli, name))
    assert list(signature.parameters) == SIGNATURE.split()
    defaults = {n: p.default for n, p in signature.parameters.items() if n != "kwargs"}
    assert defaults.pop("model") is inspect.Parameter.empty
    assert list(defaults.pop("messages")) == []
    assert (defaults.pop("timeout"), defaults.pop("max_workers")) == (600, 100)
    assert set(defaults.values()) == {None}


@pytest.mark.parametrize("workers", [1, 7, None])
def test_results_stand_in_the_order_of_the_conversations(echo: Loopback, workers: int) -> None:
    """Whatever the order of the answers; max_workers is the most in flight."""
    asked = [f"question {number}" for number in range(40)]
    results = batch_completion(
        "openai/m", [user(text) for text in asked], max_workers=workers, **how(echo)
    )
    assert texts(results) == asked
    assert echo.most_in_flight <= (workers or 100)
    assert echo.most_in_flight == 1 or workers != 1


def test_a_conversation_that_fails_has_its_exception_in_its_place(echo: Loopback) -> None:
    """Nothing is raised; the others are answered."""
    results = batch_completion(
        "openai/m", [user("a"), user("bad"), [{"role": "user"}], user("b")], **how(echo)
    )
    assert texts([results[0], results[3]]) == ["a", "b"]
    assert isinstance(results[1], BadRequestError)
    assert (results[1].status_code, results[1].model) == (400, "m")
    assert isinstance(results[2], BadRequestError)
    assert "content" in results[2].message


def test_a_model_that_cannot_be_called_fails_every_conversation() -> None:
    """An unknown name and a missing key stand in every place."""
    results = batch_completion("nobody-knows", [user("a"), user("b")])
    assert [type(result) for result in results] == [BadRequestError] * 2
    (result,) = batch_completion("gpt-4o-mini", [user("a")])
    assert isinstance(result, AuthenticationError)
    assert (result.status_code, result.model) == (401, "gpt-4o-mini")
    assert "OPENAI_API_KEY" in result.message


def test_messages_may_be_a_flat_list_or_texts(echo: Loopback) -> None:
    """A flat list of messages is one conversation; a text is what the user says, also alone."""
    flat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert texts(batch_completion("openai/m", flat, **how(echo))) == ["hi"]
    assert len(echo.bodies()[0]["messages"]) == 2
    assert texts(batch_completion("openai/m", ["one", user("two")], **how(echo))) == ["one", "two"]
    some = (text for text in ("one", "two"))
    assert texts(batch_completion("openai/m", some, **how(echo))) == ["one", "two"]
    assert texts(batch_completion("openai/m", "one", **how(echo))) == ["one"]


def test_progress_shows_a_batch(echo: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with a summary at the end; the argument is not sent."""
    batch_completion("openai/m", ["a", user("bad"), "b"], progress=True, **how(echo))
    shown = capsys.readouterr().err
    assert "llmbatch: 3 rows: 2 answered, 1 failed (1 rejected)" in shown
    assert ", 10 tokens" in shown
    assert not any("progress" in body for body in echo.bodies())


def test_nothing_in_nothing_out() -> None:
    """`[]` gives `[]`, with any model."""
    assert batch_completion("openai/m", []) == []
    assert batch_completion("openai/m") == []


def test_wrong_use_is_told() -> None:
    """max_workers is at least 1."""
    with pytest.raises(ValueError, match="max_workers"):
        batch_completion("openai/m", [user("a")], max_workers=0)


def streamed(loopback: Loopback, count: int, **more: Any) -> list[Any]:
    options = how(loopback, stream=True, **more)
    return batch_completion("openai/m", [user(str(place)) for place in range(count)], **options)


def test_many_streams_are_read_in_any_order(loopback: Loopback) -> None:
    """`stream=True` gives a stream for each conversation; each is whole, whoever is read first."""
    streams = streamed(loopback, 4, max_workers=2)
    for stream in reversed(streams):
        contents = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert "".join(contents) == "HELLO"
        assert list(stream) == []


def test_a_stream_that_cannot_begin_has_its_exception_in_its_place(loopback: Loopback) -> None:
    """As whole answers do; nothing is left running when there is no stream at all."""
    loopback.models = {"m": Model(status=401)}
    before = threading.active_count()
    found = streamed(loopback, 3)
    assert [type(one) for one in found] == [AuthenticationError] * 3
    assert threading.active_count() == before


def test_one_stream_of_many_can_be_left(loopback: Loopback) -> None:
    """Closed or forgotten, its socket is closed at once and its thread ends; the others go on."""
    loopback.models = {"m": Model(chunks=("a", "b"), between_s=1.0)}
    before = threading.active_count()
    left, kept, forgotten = streamed(loopback, 3)
    next(left)
    left.close()
    loopback.wait_closed("m")
    del forgotten
    gc.collect()
    assert threading.active_count() == before + 1
    assert [chunk.choices[0].delta.content for chunk in kept] == ["a", "b", None]
    assert threading.active_count() == before


async def test_many_async_streams(loopback: Loopback) -> None:
    """abatch_completion gives async iterators."""
    conversations = [user("a"), user("b")]
    options = how(loopback, stream=True)
    streams: list[Any] = await abatch_completion("openai/m", conversations, **options)
    assert ["".join(await texts_of(aiter(stream))) for stream in streams] == ["HELLO", "HELLO"]


def test_what_is_given_is_sent_and_nothing_else(echo: Loopback) -> None:
    """Named parameters, unknown names; no None, no bookkeeping, no secret."""
    batch_completion(
        "openai/m", [user("a")], temperature=0.5, stop=["x"], functions=[{"name": "f"}],
        top_k=3, seed=7, metadata={"run": 1}, aws_secret_access_key="s", langfuse_secret_key="s",
        input_cost_per_token=1, caching=True, extra_headers={"x-team": "blue"}, **how(echo),
    )  # fmt: skip
    (body,) = echo.bodies()
    assert body == {
        "model": "m", "messages": user("a"), "temperature": 0.5, "stop": ["x"],
        "functions": [{"name": "f"}], "top_k": 3, "seed": 7,
    }  # fmt: skip
    assert echo.server.exchanges[0].header("x-team") == "blue"


async def test_it_works_inside_a_running_loop(echo: Loopback) -> None:
    """As in a notebook: the blocking form runs in a loop, and leaves that loop alone."""
    before = asyncio.all_tasks()
    assert texts(batch_completion("openai/m", [user("a"), user("b")], **how(echo))) == ["a", "b"]
    assert asyncio.all_tasks() == before
    assert texts(await abatch_completion("openai/m", [user("c")], **how(echo))) == ["c"]


def test_an_earlier_answers_message_can_stand_in_the_next_call(echo: Loopback) -> None:
    """Appended as it is, or as its dump; what it leaves empty is not sent."""
    first = llmbatch_cli.completion("openai/m", user("one"), **how(echo))
    assert isinstance(first, ModelResponse)
    message = first.choices[0].message
    for kept in (message, message.model_dump()):
        llmbatch_cli.completion("openai/m", [*user("one"), kept, *user("two")], **how(echo))
        assert echo.bodies()[-1]["messages"][1] == {"role": "assistant", "content": "one"}


# All responses


def test_all_responses_come_in_the_models_order(loopback: Loopback) -> None:
    """A model that fails is left out, or has its exception in its place."""
    loopback.models = {"a": Model(0.2), "bad": Model(status=400), "c": Model()}
    asked = {"models": ["openai/a", "openai/bad", "openai/c"], "messages": user("hi")}
    answered = batch_completion_models_all_responses(**asked, **how(loopback, model="x"))
    assert [response.model for response in answered] == ["a", "c"]
    options = how(loopback, return_exceptions=True)
    kept = batch_completion_models_all_responses(**asked, **options)
    assert [type(one) for one in kept] == [ModelResponse, BadRequestError, ModelResponse]


def test_all_responses_needs_models() -> None:
    """Without `models`, or with no names, an exception; an empty list gives an empty list."""
    with pytest.raises(Exception, match="'models' param not in kwargs"):
        batch_completion_models_all_responses(messages=user("hi"))
    with pytest.raises(TypeError, match="'models' must be a string or list of strings"):
        batch_completion_models_all_responses(models=3, messages=user("hi"))
    assert batch_completion_models_all_responses(models=[], messages=user("hi")) == []
    one = batch_completion_models_all_responses(
        models="openai/m", messages=user("hi"), mock_response="made up"
    )
    assert texts(one) == ["made up"]


@pytest.mark.parametrize(
    ("name", "cost"),
    [("gpt-4o-mini", pytest.approx(3 * 0.15e-6 + 2 * 0.60e-6)), ("nobody-knows", None)],
)
async def test_the_response_has_its_cost(name: str, cost: float | None) -> None:
    """By the model's price, as in litellm; None where that is not known, never 0."""
    usage = Usage(3, 2)

    async def call(request: Request) -> Completion:
        request.ledger.begin(0.0)
        request.ledger.end(1.0, None, 200, usage=usage)
        return Completion("hi", "stop", usage=usage)

    seller = Seller("openai", "https://api.openai.com/v1")
    how_called = model_call(f"openai/{name}", {"api_key": "k"}, {})
    opened = OpenModel(CalledModel("openai", name, call, seller=seller), how_called)
    response = await opened.answer(user("hi"))
    assert response._hidden_params["response_cost"] == cost


def test_a_server_of_ones_own_costs_nothing(echo: Loopback) -> None:
    """Its cost is known: 0."""
    (one,) = batch_completion("openai/gpt-4o-mini", ["hi"], **how(echo))
    assert one._hidden_params["response_cost"] == 0
