"""The Python API as its users write it: batch, race and Client."""

import asyncio
import json
from typing import Any

import pytest
from support.chat import answer, echo, error
from support.scripted import Exchange, serve

from llmbatch_cli import Client, Limits, Network, RowFailed, RunStopped, UsageError, batch, race
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


@pytest.mark.parametrize("name", ["drop_params", "files", "observe"])
def test_a_clients_argument_is_no_sampling_parameter(name: str) -> None:
    """It is refused, not sent to the provider."""
    arguments: dict[str, Any] = {name: True}
    with pytest.raises(TypeError, match="argument of Client"):
        list(batch(["a"], model="fake/echo", **arguments))


def test_one_model_needs_no_list() -> None:
    """A single name is one model, not its letters."""
    (outcome,) = race(["hi"], models="fake/echo")
    assert outcome.text == "hi"
