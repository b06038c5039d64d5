"""Capacity that several models share: never more at once, nothing sent once a race is won."""

import json
from collections import Counter

import pytest
from support import chat
from support.client import client, race
from support.scripted import Exchange, serve

from llmbatch_cli.engine.race_work import Rules

ROWS = 40


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hedge", [None, 1e-9], ids=["at once", "hedged"])
@pytest.mark.parametrize("in_flight", [1, 2])
async def test_a_racer_that_waits_for_room_is_not_sent_once_its_race_is_won(
    in_flight: int, hedge: float | None, stream: bool
) -> None:
    """The winner's place is free in the moment of its answer, and the next request, which may be
    billed, is another row's: with room for one at a time there are as many requests as rows."""
    asked: Counter[str] = Counter()
    at_once = most = 0

    async def count(exchange: Exchange) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        asked[json.loads(exchange.body)["model"]] += 1
        await chat.echo(exchange)
        at_once -= 1

    async with serve(count) as server:
        outcomes = await race(
            client(server.url, in_flight=in_flight),
            [f"row {number}" for number in range(ROWS)],
            ["openai/a", "openai/b", "openai/c"],
            hedge=hedge,
            rules=Rules(stream=stream),
        )
    answers = [outcome.completion for outcome in outcomes]
    assert len(answers) == ROWS
    assert None not in answers
    assert most <= in_flight
    if in_flight == 1:
        assert asked == {"a": ROWS}
