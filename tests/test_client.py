"""The Python API as its users write it: batch, race and Client."""

import asyncio
import inspect
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, field_validator
from support.chat import answer, completion, echo, error
from support.scripted import Exchange, serve

import llmbatch_cli
from llmbatch_cli import (
    Answers,
    Client,
    Limits,
    Money,
    Network,
    RowFailed,
    Rules,
    RunStopped,
    UsageError,
    batch,
    race,
)
from llmbatch_cli.core.options import Retries


def at(url: str) -> Network:
    return Network(base_url=[f"{url}/v1"])


async def test_a_batch_yields_an_outcome_for_each_prompt() -> None:
    """Texts, messages and row objects; parameters are sent by OpenAI's names."""
    prompts: list[Any] = [
        "one",
        [{"role": "user", "content": "two"}],
        {"id": "q3", "prompt": "three", "temperature": 0.5},
    ]
    async with serve(echo) as server, Client(network=at(server.url)) as client:
        found = client.batch(prompts, model="m", temperature=0, ordered=True)
        outcomes = [outcome async for outcome in found]
        bodies = [json.loads(exchange.body) for exchange in server.exchanges]
    assert [outcome.text for outcome in outcomes] == ["ONE", "TWO", "THREE"]
    assert [outcome.id for outcome in outcomes] == [0, 1, "q3"]
    assert sorted(body["temperature"] for body in bodies) == [0, 0, 0.5]
    assert all(outcome.raise_for_error() is outcome for outcome in outcomes)


async def test_ask_answers_one_prompt() -> None:
    """With a system message, over the client's own connections."""
    async with serve(echo) as server, Client(network=at(server.url)) as client:
        outcome = await client.ask("why?", model="m", system="Be short.")
        (seen,) = server.exchanges
    assert outcome.text == "WHY?"
    assert json.loads(seen.body)["messages"][0] == {"role": "system", "content": "Be short."}


async def test_a_failed_row_has_an_error_and_can_raise_it() -> None:
    """A row's failure is data; `raise_for_error` makes an exception of it."""

    async def refuse(exchange: Exchange) -> None:
        await answer(exchange, error("no such tool"), 422)

    async with serve(refuse) as server, Client(network=at(server.url)) as client:
        outcome = await client.ask("hi", model="m")
    assert outcome.text is None
    assert outcome.error is not None
    assert outcome.error.kind == "rejected"
    with pytest.raises(RowFailed, match="no such tool") as caught:
        outcome.raise_for_error()
    assert (caught.value.kind, caught.value.status) == ("rejected", 422)


async def test_a_bad_key_stops_the_call() -> None:
    """What fails for every row is an exception, not a million outcomes."""

    async def refuse(exchange: Exchange) -> None:
        await answer(exchange, error("bad key"), 401)

    async with serve(refuse) as server, Client(network=at(server.url)) as client:
        with pytest.raises(RunStopped, match="bad key"):
            await client.ask("hi", model="m")


async def test_the_limits_hold_for_all_calls_of_a_client() -> None:
    """Two batches of one client together have no more in flight than `concurrency`."""
    at_once = most = 0

    async def count(exchange: Exchange) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        await echo(exchange)

    async def run(client: Client) -> int:
        prompts = [f"row {number}" for number in range(30)]
        return len([outcome async for outcome in client.batch(prompts, model="m")])

    async with serve(count) as server:
        limits = Limits(concurrency=4)
        async with Client(limits=limits, network=at(server.url)) as client:
            counts = await asyncio.gather(run(client), run(client))
    assert sum(counts) == 60
    assert most <= 4


async def test_a_race_yields_the_first_good_answer() -> None:
    """The slow model's request is cancelled."""

    async def by_model(exchange: Exchange) -> None:
        if json.loads(exchange.body)["model"] == "slow":
            await exchange.until_closed()
            return
        await echo(exchange)

    async with serve(by_model) as server, Client(network=at(server.url)) as client:
        found = client.race(["hi"], models=["openai/slow", "openai/fast"])
        (outcome,) = [outcome async for outcome in found]
    assert (outcome.text, outcome.model) == ("HI", "fast")
    assert [racer.status for racer in outcome.race] == ["cancelled", "won"]


async def test_a_closed_client_refuses() -> None:
    """Without `async with` there are no connections; the error says how."""
    with pytest.raises(UsageError, match="not open"):
        await Client().ask("hi", model="fake/echo")


@pytest.mark.parametrize("bad", [{"concurrency": 0}, {"rpm": -1.0}, {"tpm": 0}])
async def test_limits_are_checked(bad: dict[str, Any]) -> None:
    """A limit that is none is refused before anything is sent."""
    async with Client(limits=Limits(**bad)) as client:
        with pytest.raises(UsageError, match="must be"):
            await client.ask("hi", model="fake/echo")


def test_the_sync_functions_iterate() -> None:
    """Plain `for` loops, outside of any event loop."""
    texts = [outcome.text for outcome in batch(["a", "b"], model="fake/echo", ordered=True)]
    assert texts == ["a", "b"]
    (won,) = race(["hi"], models=["fake/echo", "fake/echo?latency=5"])
    assert won.text == "hi"


async def test_the_sync_functions_work_inside_a_running_loop() -> None:
    """As in a notebook's cell."""
    assert [outcome.text for outcome in batch(["a"], model="fake/echo")] == ["a"]


async def test_a_sync_batch_is_bounded_and_stops_when_left() -> None:
    """An endless input is read a little ahead only; leaving the loop ends the requests."""
    pulled = 0

    def prompts() -> Any:
        nonlocal pulled
        while True:
            pulled += 1
            yield f"row {pulled}"

    def take() -> int:
        for count, _ in enumerate(batch(prompts(), model="fake/echo?latency=0.01"), 1):
            if count == 5:
                return count
        return 0

    assert await asyncio.to_thread(take) == 5
    await asyncio.sleep(0.1)
    before = pulled
    await asyncio.sleep(0.2)
    assert pulled == before < 5_000


async def test_retries_are_the_users() -> None:
    """`max_attempts` of Retries is what a failing server sees."""

    async def busy(exchange: Exchange) -> None:
        await answer(exchange, error("busy"), 503)

    async with serve(busy) as server:
        retries = Retries(max_attempts=2)
        async with Client(retries=retries, network=at(server.url)) as client:
            outcome = await client.ask("hi", model="m")
        assert len(server.exchanges) == 2
    assert (outcome.attempts, outcome.error and outcome.error.kind) == (2, "overloaded")


async def test_stop_is_the_sampling_parameter() -> None:
    """By OpenAI's name, as on the command line."""
    async with serve(echo) as server, Client(network=at(server.url)) as client:
        await client.ask("hi", model="m", stop=["END"])
        (seen,) = server.exchanges
    assert json.loads(seen.body)["stop"] == ["END"]


async def test_closing_a_client_drops_what_is_in_flight() -> None:
    """The batch that runs meanwhile ends at once, with what it has."""

    async def hold(exchange: Exchange) -> None:
        await exchange.until_closed()

    async with serve(hold) as server:
        client = await Client(network=at(server.url)).__aenter__()

        async def run() -> int:
            return len([one async for one in client.batch(["a", "b"], model="m")])

        running = asyncio.ensure_future(run())
        while len(server.exchanges) < 2:
            await asyncio.sleep(0.01)
        await client.aclose()
        async with asyncio.timeout(20):
            assert await running == 0


async def test_prices_and_the_tier_are_the_users() -> None:
    """Money(price=...) prices what the table does not know; the tier is asked for."""

    async def counted(exchange: Exchange) -> None:
        usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
        await answer(exchange, completion("x", usage=usage))

    async with serve(counted) as server:
        money = Money(price=["mine=2,30"], tier="flex")
        async with Client(network=at(server.url), money=money) as client:
            outcome = await client.ask("a", model="openai/mine")
    assert outcome.cost == pytest.approx(0.0023)
    assert json.loads(server.exchanges[0].body)["service_tier"] == "flex"


async def test_the_environment_is_the_networks() -> None:
    """Keys are taken from it alone, and repr does not show them."""
    async with serve(echo) as server:
        network = Network(base_url=[f"{server.url}/v1"], environ={"OPENAI_API_KEY": "sk-own"})
        assert "sk-own" not in repr(network)
        async with Client(network=network) as client:
            await client.ask("a", model="openai/m")
    assert server.exchanges[0].header("authorization") == "Bearer sk-own"


@pytest.mark.parametrize("name", inspect.signature(Client).parameters)
def test_a_clients_argument_is_no_sampling_parameter(name: str) -> None:
    """It is refused at the call, not sent to the provider; the error says where it is given."""
    arguments: dict[str, Any] = {name: True}
    for call in (partial(batch, model="fake/echo"), partial(race, models=["fake/echo"])):
        with pytest.raises(TypeError, match=rf"{name} is not .*client=Client\({name}="):
            call(["a"], **arguments)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("drop_params", "Retries(drop_params=True)"),
        ("environ", "Network(environ="),
        ("price", "Money(price="),
        ("tier", "Money(tier="),
        ("max_cost", "Limits(max_cost="),
        ("answers", "schema=Answers("),
        ("stopper", "batch(..., stopper="),
    ],
)
def test_what_is_given_elsewhere_is_no_sampling_parameter(name: str, instead: str) -> None:
    """The error says where."""
    arguments: dict[str, Any] = {name: True}
    with pytest.raises(TypeError, match=rf"{name} is not .*{re.escape(instead)}"):
        batch(["a"], model="fake/echo", **arguments)


@pytest.mark.parametrize("name", ["batch", "race"])
def test_the_functions_take_the_methods_arguments(name: str) -> None:
    """With the same defaults and types; `client` takes the place of `self` and `stopper`."""
    ours = dict(inspect.signature(getattr(llmbatch_cli, name)).parameters)
    methods = dict(inspect.signature(getattr(Client, name)).parameters)
    del ours["client"], methods["self"], methods["stopper"]
    assert ours == methods


async def test_an_unsupported_parameter_is_dropped_if_asked() -> None:
    """By Retries, as it says what is done about a request that is refused."""
    biased: dict[str, Any] = {"model": "groq/m", "logit_bias": {"1": 2}}
    async with serve(echo) as server:
        network = at(server.url)
        async with Client(network=network) as client:
            with pytest.raises(UsageError, match="logit_bias"):
                await client.ask("hi", **biased)
        async with Client(network=network, retries=Retries(drop_params=True)) as client:
            assert (await client.ask("hi", **biased)).text == "HI"
        (seen,) = server.exchanges
    assert "logit_bias" not in json.loads(seen.body)


def test_a_client_may_be_given_again() -> None:
    """It is opened for each call, in a loop of its own, and closed at its end."""
    client = Client(limits=Limits(concurrency=2))
    for _ in range(2):
        texts = [one.text or "" for one in batch([*"abc"], model="fake/echo", client=client)]
        assert sorted(texts) == ["a", "b", "c"]


async def test_an_open_client_is_not_opened_again() -> None:
    """Neither by `async with`, nor by the plain functions, which would take its connections."""
    async with Client() as client:
        with pytest.raises(UsageError, match="already open"):
            list(batch(["a"], model="fake/echo", client=client))
        with pytest.raises(UsageError, match="already open"):
            await client.__aenter__()
        assert (await client.ask("still", model="fake/echo")).text == "still"


def test_a_race_by_function_has_rules() -> None:
    """As the method's: here every model's answer is wanted."""
    every = race(["hi"], models=["fake/echo", "fake/echo?latency=0.01"], rules=Rules(wins=None))
    assert len([outcome.text for outcome in every]) == 2


def test_one_model_needs_no_list() -> None:
    """A single name is one model, not its letters."""
    (outcome,) = race(["hi"], models="fake/echo")
    assert outcome.text == "hi"


class Quota:
    """Answers three rows; then the account has nothing left."""

    def __init__(self) -> None:
        self.seen = 0

    async def __call__(self, exchange: Exchange) -> None:
        self.seen += 1
        if self.seen > 3:
            await answer(exchange, error("You exceeded your quota", "insufficient_quota"), 429)
        else:
            await echo(exchange)


@pytest.mark.parametrize("racing", [False, True])
@pytest.mark.parametrize("collected", ["sync list", "async list", "loop"])
async def test_a_stopped_run_keeps_what_was_paid_for(collected: str, racing: bool) -> None:
    """RunStopped comes after every answer, and holds them, as a list that is being made is lost."""
    got: list[Any] = []
    rows, one = [f"row {n}" for n in range(9)], Limits(concurrency=1)

    def run_it(url: str) -> Any:
        if racing:
            return race(rows, models=["openai/m"], client=Client(network=at(url), limits=one))
        return batch(rows, model="m", client=Client(network=at(url), limits=one))

    async with serve(Quota()) as server:
        with pytest.raises(RunStopped, match="quota") as caught:
            if collected == "async list":
                async with Client(network=at(server.url), limits=one) as client:
                    way = client.race(rows, models="m") if racing else client.batch(rows, model="m")
                    got = [outcome async for outcome in way]
            elif collected == "sync list":
                await asyncio.to_thread(lambda: list(run_it(server.url)))
            else:
                await asyncio.to_thread(lambda: got.extend(run_it(server.url)))
    texts = [outcome.text for outcome in caught.value.outcomes]
    assert texts[:3] == ["ROW 0", "ROW 1", "ROW 2"]
    if collected == "loop":  # extend keeps what came before the error
        assert got == list(caught.value.outcomes)


async def test_prompts_that_fail_cost_no_answer() -> None:
    """Rows in flight are answered before the error of a broken cursor is raised."""

    def broken() -> Iterator[str]:
        yield from ("a", "b")
        raise ValueError("the cursor is closed")

    got = []
    with pytest.raises(ValueError, match="cursor"):
        for outcome in batch(broken(), model="fake/echo?latency=0.1"):
            got.append(outcome.text)
    assert got == ["a", "b"]


async def test_prompts_that_block_hold_up_no_answer() -> None:
    """The first row is answered while the generator sleeps before its second."""
    answered = threading.Event()

    def slow() -> Iterator[str]:
        yield "a"
        assert answered.wait(20)
        yield "b"

    async with Client() as client:
        texts = []
        async for outcome in client.batch(slow(), model="fake/echo"):
            answered.set()
            texts.append(outcome.text)
    assert texts == ["a", "b"]


def test_what_a_class_refuses_is_told_as_a_schemas_checker_tells_it() -> None:
    """The model is sent no links and no names of classes."""

    class Person(BaseModel):
        names: list[str]
        age: int

    said = '{"names": ["Ann", 3], "age": "old"}'
    once = Answers(schema=Person, schema_retries=0)
    (outcome,) = batch([said], model="fake/echo", schema=once)
    assert outcome.error is not None
    assert outcome.error.message == (
        "the answer does not fit: Input should be a valid string at $.names[1]; Input should be "
        "a valid integer, unable to parse string as an integer at $.age"
    )


def test_an_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint stands in what a traceback shows."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="hint: ") as caught:
        list(batch(["a"], model="gpt-4o-mini"))
    assert "OPENAI_API_KEY" in str(caught.value)


def test_an_http_client_that_is_not_there_is_refused() -> None:
    """Whoever asks for one that is gone reads which there are, not a KeyError."""
    gone: Any = "aiohttp"
    network = Network(base_url=["http://127.0.0.1:9/v1"], http=gone)
    with pytest.raises(UsageError, match=r"no HTTP client 'aiohttp'\nhint: .*llhttp, httpx"):
        list(batch(["a"], model="m", client=Client(network=network)))


@pytest.mark.parametrize("racing", [False, True])
def test_progress_shows_a_run_on_standard_error(
    capsys: pytest.CaptureFixture[str], racing: bool
) -> None:
    """The command's display and summary; nothing without it, nor for a single prompt."""
    prompts = ["a", "b", {"prompt": 5}]
    ways: Any = [race, {"models": ["fake/echo"]}] if racing else [batch, {"model": "fake/echo"}]
    assert len(list(ways[0](prompts, **ways[1]))) == 3
    assert capsys.readouterr().err == ""
    assert len(list(ways[0](prompts, client=Client(progress=True), **ways[1]))) == 3
    assert "llmbatch: 3 rows: 2 answered, 1 failed (1 invalid_row)" in capsys.readouterr().err
    for _ in ways[0](iter(["a"] * 900), client=Client(progress=True), **ways[1]):
        break
    assert "the run ended before its input" in capsys.readouterr().err


class City(BaseModel):
    name: str
    people: int

    @field_validator("people")
    @classmethod
    def _check(cls, value: int) -> int:
        if value < 0:
            raise ValueError("fewer than nobody")
        return value


async def test_a_pydantic_class_is_a_schema_and_its_instances_are_the_data() -> None:
    """Its own checks decide, too; an answer that fails them is asked for again."""
    replies = iter(['{"name": "Ulm", "people": -1}', '{"name": "Ulm", "people": 130000}'])

    async def reply(exchange: Exchange) -> None:
        await answer(exchange, completion(next(replies)))

    async with serve(reply) as server, Client(network=at(server.url)) as client:
        outcome = await client.ask("Name a city.", model="m", schema=City)
        first, second = [json.loads(exchange.body) for exchange in server.exchanges]
    assert outcome.data == City(name="Ulm", people=130_000)
    assert first["response_format"]["json_schema"]["name"] == "City"
    assert "fewer than nobody" in second["messages"][-1]["content"]


@pytest.mark.parametrize(
    "schema", [{"type": "object", "required": ["a"]}, "a int", '{"type": "object"}']
)
def test_an_object_or_a_text_is_a_schema(schema: Any) -> None:
    """The data is an object then; in a race as well."""
    for outcome in batch(['{"a": 1}'], model="fake/echo", schema=schema):
        assert outcome.data == {"a": 1}
    for outcome in race(['{"a": 1}'], models=["fake/echo"], schema=schema):
        assert outcome.data == {"a": 1}


def test_what_does_not_fit_is_a_failure_with_the_text() -> None:
    """As any other failure is data."""
    yes_or_no = Answers(choices=["yes", "no"], schema_retries=0)
    (good, bad) = batch(["Yes!", "perhaps"], model="fake/echo", schema=yes_or_no, ordered=True)
    assert (good.data, good.text, bad.data, bad.text) == ("yes", "yes", None, None)
    assert bad.error is not None
    assert (bad.error.kind, bad.error.text) == ("invalid_output", "perhaps")


@pytest.mark.parametrize("schema", [City, City.model_json_schema()])
def test_retries_of_a_schema_of_python(schema: Any) -> None:
    """A class or an object may stand in Answers, with a number of retries."""
    once = Answers(schema=schema, schema_retries=0)
    (bad,) = batch(['{"name": "Ulm"}'], model="fake/echo", schema=once)
    assert bad.error is not None
    assert (bad.error.kind, bad.attempts) == ("invalid_output", 1)


@pytest.mark.parametrize("schema", [3, ["a"], int, {"type": "strin"}, "a inte"])
def test_what_is_no_schema_is_refused_at_once(schema: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError):
        list(batch(["hi"], model="fake/echo", schema=schema))
