"""Many races in one run: who wins each, who is dropped, what the rows show."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.attempts import attempting
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import (
    Interrupted,
    Overloaded,
    ProviderError,
    QuotaSpent,
    Rejected,
    RunStopped,
    TimedOut,
    Unauthorized,
    Unreachable,
    UsageError,
)
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.ledger import Attempt, Usage
from llmbatch_cli.core.types import Completion, Outcome, Prompt, Request
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.race_work import DEAD_AFTER, Race, Rules
from llmbatch_cli.engine.streaming import around
from llmbatch_cli.engine.waits import Postponed, Waits

Result = Completion | ProviderError
Step = tuple[float, Result]
"""Seconds until the end of a request, and its end."""


def answer(text: str | None = "fine", **changes: Any) -> Completion:
    return Completion(text, changes.pop("finish_reason", "stop"), **changes)


@dataclass
class Scripted:
    """A model in memory that plays its steps in turn, the last one for ever."""

    name: str
    steps: Sequence[Step]
    params: dict[str, Any] = field(default_factory=dict)
    key_hint: str | None = None
    pieces: Sequence[tuple[float, str]] = ()
    """What it streams, each after so many seconds; the step's end follows."""
    before: Sequence[Attempt] = ()
    """Its failed attempts before that."""
    asked: list[Request] = field(default_factory=list)
    ended: int = 0

    @property
    def model(self) -> Model:
        clock = asyncio.get_running_loop().time
        stream = around(self.stream, lambda call: attempting(call, clock)) if self.pieces else None
        call = attempting(self.call, clock)
        return Model("test", self.name, call, self.params, self.key_hint, stream)

    async def call(self, request: Request) -> Completion:
        seconds, result = self.steps[min(len(self.asked), len(self.steps) - 1)]
        self.asked.append(request)
        request.ledger.attempts.extend(self.before)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.ended += 1
        if isinstance(result, ProviderError):
            raise result
        return result

    async def stream(self, request: Request, on_text: Callable[[str], None]) -> Completion:
        for seconds, text in self.pieces:
            await asyncio.sleep(seconds)
            on_text(text)
        try:
            return await self.call(request)
        except ProviderError:
            request.ledger.partial = "".join(text for _, text in self.pieces)
            raise


@dataclass
class Held:
    """What the races have come to."""

    rows: list[tuple[Outcome, ...] | RunStopped] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    most_in_flight: int = 0

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Those of the last row."""
        last = self.rows[-1]
        assert not isinstance(last, RunStopped), last
        return last

    @property
    def statuses(self) -> list[str]:
        return [racer.status for racer in self.outcomes[0].race]


def hold(
    *models: Scripted,
    rules: Rules | None = None,
    prompts: Sequence[Prompt] | None = None,
    hedge: Hedge | None = None,
    others: Sequence[Scripted] = (),
    at_once: bool = False,
) -> Held:
    """Race the models for every prompt on virtual time, one after the other or all at once."""
    held = Held()
    rows = prompts or [row(0)]

    def observe(event: Event) -> None:
        assert isinstance(event, Notice)
        held.notices.append(event.message)

    async def models_for(prompt: Prompt) -> Sequence[Model]:
        if not prompt.models:
            return [model.model for model in models]
        named = {model.name: model.model for model in others}
        if missing := set(prompt.models) - set(named):
            raise UsageError(f"no model {missing.pop()}")
        return [named[name] for name in prompt.models]

    async def main() -> None:
        race = Race(
            models_for,
            [model.model for model in models],
            rules or Rules(),
            hedge=hedge,
            clock=asyncio.get_running_loop().time,
            observe=observe,
            on_text=lambda prompt, model, text: held.texts.append(text),
        )

        async def one(prompt: Prompt) -> tuple[Outcome, ...] | RunStopped:
            try:
                return await race(prompt)
            except RunStopped as stopped:
                return stopped

        if at_once:
            held.rows = list(await asyncio.gather(*map(one, rows)))
        else:
            held.rows = [await one(prompt) for prompt in rows]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(main())
    return held


def row(index: int, models: Sequence[str] = (), **params: Any) -> Prompt:
    messages = [{"role": "user", "content": f"question {index}"}]
    return Prompt(index, messages, index, models=models, params=params, metadata={"n": index})


def rows(count: int) -> list[Prompt]:
    return [row(index) for index in range(count)]


def steady(name: str, seconds: float, result: Result | None = None) -> Scripted:
    return Scripted(name, [(seconds, answer(name) if result is None else result)])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (answer(""), "empty"),
        (answer(" \n"), "empty"),
        (answer(None), "empty"),
        (answer("half", finish_reason="length"), "cut off by length"),
        (answer("I can", finish_reason="content_filter"), "content filter"),
    ],
)
def test_an_answer_that_is_no_good_cannot_win(bad: Completion, words: str) -> None:
    """Empty, cut off or filtered: faster, and the row is the slower one's all the same."""
    held = hold(steady("quick", 1, bad), steady("good", 5))
    (outcome,) = held.outcomes
    assert (outcome.model, outcome.latency_s) == ("good", 5)
    first = outcome.race[0]
    assert (first.status, first.latency_s) == ("failed", 1)
    assert first.error is not None
    assert first.error.kind == "not_good"
    assert words in first.error.message


@pytest.mark.parametrize(
    "good",
    [
        answer("fine"),
        answer("fine", finish_reason=None),
        answer(None, finish_reason="tool_calls", tool_calls=[{"id": "1", "type": "function"}]),
    ],
)
def test_an_answer_with_text_or_tool_calls_is_good(good: Completion) -> None:
    """What is unknown is not held against an answer, and tool calls need no text."""
    assert hold(steady("first", 1, good), steady("later", 2)).outcomes[0].completion is good


def test_a_cut_off_answer_wins_where_it_is_accepted() -> None:
    """With accept_truncated length is no fault; emptiness stays one."""
    cut, empty = answer("half", finish_reason="length"), answer("", finish_reason="length")
    rules = Rules(accept_truncated=True)
    held = hold(steady("empty", 1, empty), steady("cut", 2, cut), steady("c", 3), rules=rules)
    assert held.statuses == ["failed", "won", "cancelled"]


def test_the_row_tells_how_everybody_fared() -> None:
    """Time, attempts and usage of the winner are the row's; each racer has its own."""
    tries = (Attempt("overloaded", 503, 0.5, maybe_billed=False),) * 2
    won = answer("w", usage=Usage(3, 4, 7))
    winner = Scripted("winner", [(4, won)], before=tries)
    failing = Scripted("failing", [(1, Overloaded("busy", status=503))], before=tries[1:])
    held = hold(steady("slow", 9), winner, failing)
    (outcome,) = held.outcomes
    assert (outcome.index, outcome.id, outcome.metadata) == (0, 0, {"n": 0})
    assert (outcome.provider, outcome.model, outcome.completion) == ("test", "winner", won)
    assert (outcome.latency_s, outcome.attempts, outcome.failed_attempts) == (4, 3, [*tries])
    told = [(one.model, one.status, one.latency_s, one.attempts) for one in outcome.race]
    assert told == [
        ("slow", "cancelled", 4, 1),
        ("winner", "won", 4, 3),
        ("failing", "failed", 1, 2),
    ]
    assert [one.usage for one in outcome.race] == [None, Usage(3, 4, 7), None]


def test_a_bad_key_is_told_once_and_drops_its_model() -> None:
    """Fifty rows at once with one refused key: one notice with its hint, every row answered."""
    locked = Scripted(
        "locked", [(0.01, Unauthorized("no such key", status=401))], key_hint="see KEY"
    )
    opened = steady("open", 1)
    held = hold(locked, opened, prompts=rows(50), at_once=True)
    assert [one[0].model for one in held.rows if isinstance(one, tuple)] == ["open"] * 50
    (notice,) = held.notices
    assert "test/locked was dropped: unauthorized: no such key" in notice
    assert "hint: see KEY" in notice
    after = hold(locked, opened, prompts=rows(5))
    assert len(locked.asked) == 50 + 1
    assert [len(one[0].race) for one in after.rows if isinstance(one, tuple)] == [2, 1, 1, 1, 1]


def test_a_403_after_an_answer_leaves_the_racer_in() -> None:
    """It speaks of one prompt; a 401 speaks of the key at any time."""
    forbidden = (0.0, Unauthorized("this prompt", status=403))
    picky = Scripted("picky", [(0.0, answer("yes")), forbidden, (0.0, answer("yes")), forbidden])
    held = hold(picky, steady("alive", 1), prompts=rows(4))
    assert [one[0].model for one in held.rows if isinstance(one, tuple)] == [
        "picky", "alive", "picky", "alive",
    ]  # fmt: skip
    assert held.notices == []


def test_a_host_that_never_answers_leaves_after_a_few_races() -> None:
    """Unreachable so many times and never anything else: told once, asked no more."""
    dead, alive = steady("dead", 0, Unreachable("refused")), steady("alive", 1)
    held = hold(dead, alive, prompts=rows(10))
    assert len(dead.asked) == DEAD_AFTER
    assert held.outcomes[0].model == "alive"
    assert len(held.notices) == 1
    assert "unreachable: refused" in held.notices[0]


@pytest.mark.parametrize(
    "sign",
    [answer("hello"), answer(""), Overloaded("busy", status=503), Rejected("too long", status=400)],
)
def test_a_host_that_has_answered_once_stays(sign: Result) -> None:
    """Any reply, good or not, shows that somebody is there: what follows is a bad time."""
    down = (0.0, Unreachable("refused"))
    flaky = Scripted("flaky", [down, (0.0, sign), down])
    held = hold(flaky, steady("alive", 1), prompts=rows(30))
    assert len(flaky.asked) == 30
    assert held.notices == []


def test_a_row_that_ran_out_of_time_says_nothing_of_the_host() -> None:
    """Its time may have gone into connecting: it neither saves a model nor drops it."""
    dead = Scripted("dead", [(0.0, TimedOut("over")), (0.0, Unreachable("refused"))])
    hold(dead, steady("alive", 1), prompts=rows(30))
    assert len(dead.asked) == 1 + DEAD_AFTER


def test_with_nobody_left_the_run_stops() -> None:
    """All refused at once, or all dropped before: RunStopped, with a cause and its hint."""
    refused = Unauthorized("no such key", status=401)
    locked = [Scripted(name, [(1, refused)], key_hint="see KEY") for name in "ab"]
    held = hold(*locked, prompts=rows(2))
    for stopped in held.rows:
        assert isinstance(stopped, RunStopped)
        assert "no model is left to race" in stopped.message
        assert "unauthorized (401): no such key" in stopped.message
        assert stopped.hint == "see KEY"
    assert [len(model.asked) for model in locked] == [1, 1]
    assert len(held.notices) == 2


def test_dead_hosts_fail_their_rows_before_they_stop_the_run() -> None:
    """A row whose models were not reached is a failed row; the run stops once none is left."""
    held = hold(steady("a", 0, Unreachable("refused")), prompts=rows(5))
    kinds = [one if isinstance(one, RunStopped) else one[0].error for one in held.rows]
    assert [isinstance(one, RunStopped) for one in kinds] == [False] * DEAD_AFTER + [True] * 2


def test_a_refused_key_beside_an_ordinary_failure_fails_the_row_only() -> None:
    """The other model may answer the next row, so the run goes on."""
    locked = steady("locked", 0, Unauthorized("no such key", status=401))
    other = Scripted("other", [(1, Rejected("too long", status=400)), (1, answer("next"))])
    held = hold(locked, other, prompts=rows(2))
    first, second = held.rows
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert first[0].error is not None
    assert second[0].completion is not None


def test_a_rows_own_models_race_for_it_alone() -> None:
    """They stand in place of the run's; one that is unknown fails its row, unsent."""
    mine = steady("mine", 1)
    prompts = [row(0), row(1, ["mine"]), row(2, ["mine", "nobody"])]
    held = hold(steady("ours", 1), prompts=prompts, others=[mine])
    first, second, third = [one for one in held.rows if isinstance(one, tuple)]
    assert [first[0].model, second[0].model] == ["ours", "mine"]
    assert third[0].error is not None
    assert (third[0].error.kind, third[0].attempts) == ("invalid_row", 0)
    assert "nobody" in third[0].error.message
    assert len(mine.asked) == 1


def test_all_gives_an_outcome_for_every_model() -> None:
    """The answers in the order of preference, then the failures, each with its own time."""
    models = [steady("slow", 9), steady("bad", 1, Overloaded("busy")), steady("fast", 2)]
    outcomes = hold(*models, rules=Rules(wins=None)).outcomes
    told = [(one.model, one.completion is not None, one.latency_s) for one in outcomes]
    assert told == [("slow", True, 9), ("fast", True, 2), ("bad", False, 1)]
    assert {one.index for one in outcomes} == {0}


def test_wins_gives_the_first_good_answers() -> None:
    """Two of four, a failure among them: two outcomes, the last one cancelled."""
    models = [steady("a", 9), steady("b", 2), steady("c", 1, Overloaded("x")), steady("d", 3)]
    held = hold(*models, rules=Rules(wins=2))
    assert [one.model for one in held.outcomes] == ["b", "d"]
    assert held.statuses == ["cancelled", "won", "failed", "won"]


def test_fewer_answers_than_wanted_are_given_all_the_same() -> None:
    """With one good answer for --wins 3 there is one outcome, not a failure."""
    held = hold(steady("a", 1), steady("b", 2, Overloaded("busy")), rules=Rules(wins=3))
    assert [one.model for one in held.outcomes] == ["a"]


def test_when_all_fail_every_cause_is_told() -> None:
    """One outcome with each model's error; its time is the slowest's, its attempts the sum."""
    failing = [
        steady("a", 1, Overloaded("busy", status=503)),
        steady("b", 2, Rejected("too long", status=400)),
        steady("c", 3, answer("")),
    ]
    (outcome,) = hold(*failing).outcomes
    assert (outcome.model, outcome.completion) == (None, None)
    assert (outcome.latency_s, outcome.attempts) == (3, 3)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.status) == ("all_failed", None)
    for words in ("test/a: overloaded: busy", "test/b: rejected: too long", "test/c: not_good"):
        assert words in outcome.error.message


@pytest.mark.parametrize(
    ("errors", "kind", "retryable"),
    [
        ([Overloaded("x"), Overloaded("y")], "overloaded", True),
        ([Overloaded("x"), Rejected("y")], "all_failed", True),
        ([Rejected("x"), Rejected("y")], "rejected", False),
    ],
)
def test_a_lost_race_may_be_run_again_if_any_model_may(
    errors: list[ProviderError], kind: str, retryable: bool
) -> None:
    """One cause common to all keeps its name; one that may pass makes the row retryable."""
    (outcome,) = hold(*(steady(f"m{n}", 1, error) for n, error in enumerate(errors))).outcomes
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.retryable) == (kind, retryable)


def test_the_same_model_twice_is_asked_and_told_twice() -> None:
    """Two requests, two racers, one winner."""
    twice = Scripted("m", [(5, answer("slow")), (1, answer("fast"))])
    held = hold(twice, twice)
    assert held.statuses == ["cancelled", "won"]
    assert (len(twice.asked), twice.ended) == (2, 2)


def test_parameters_stay_with_their_model() -> None:
    """A racer is asked with its own and the row's parameters, never with another's."""
    one = Scripted("one", [(1, answer())], {"temperature": 0.1, "seed": 5})
    two = Scripted("two", [(1, answer())], {"extra_body": {"own": True}})
    hold(one, two, prompts=[row(0, seed=7), row(1)], rules=Rules(wins=None))
    assert [request.params for request in one.asked] == [
        {"temperature": 0.1, "seed": 7}, {"temperature": 0.1, "seed": 5},
    ]  # fmt: skip
    assert [request.params for request in two.asked] == [
        {"extra_body": {"own": True}, "seed": 7}, {"extra_body": {"own": True}},
    ]  # fmt: skip
    assert [request.model for request in (*one.asked, *two.asked)] == ["one"] * 2 + ["two"] * 2


def test_the_first_text_wins_a_streamed_race() -> None:
    """Who speaks first is alone from then on; the row tells when that was, and who was shown."""
    early = Scripted("early", [(1, answer("one two"))], pieces=[(2, "one "), (3, "two")])
    late = Scripted("late", [(0, answer("x"))], pieces=[(2.5, "x")])
    held = hold(late, early, rules=Rules(stream=True))
    (outcome,) = held.outcomes
    assert (outcome.model, outcome.ttft_s, outcome.latency_s) == ("early", 2, 6)
    assert held.statuses == ["cancelled", "won"]
    assert held.texts == ["one ", "two"]


def test_each_racer_of_one_name_has_its_own_first_text() -> None:
    """With every answer wanted, the second request of a model has its own time to it."""
    one = Scripted("m", [(0, answer("x"))], pieces=[(1, "x")])
    two = Scripted("m", [(0, answer("x"))], pieces=[(4, "x")])
    held = hold(one, two, rules=Rules(wins=None, stream=True))
    assert [outcome.ttft_s for outcome in held.outcomes] == [1, 4]


def test_a_model_that_cannot_stream_wins_by_its_whole_answer() -> None:
    """It races on equal terms with those that stream, and is not shown while it comes."""
    streams = Scripted("streams", [(0, answer("x"))], pieces=[(9, "x")])
    held = hold(streams, steady("whole", 1), rules=Rules(stream=True))
    assert (held.outcomes[0].model, held.outcomes[0].ttft_s, held.texts) == ("whole", None, [])


def test_a_leader_that_breaks_off_leaves_its_part() -> None:
    """Its rivals are gone by then, so the row is interrupted and keeps what had come."""
    leader = Scripted("leader", [(1, Interrupted("reset"))], pieces=[(1, "the first")])
    (outcome,) = hold(leader, steady("rival", 9), rules=Rules(stream=True)).outcomes
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.partial) == ("interrupted", "the first")
    assert [racer.status for racer in outcome.race] == ["failed", "cancelled"]


def test_a_hedge_tells_only_those_it_asked() -> None:
    """In time the row has one racer; who was never asked is not in it."""
    in_time = hold(steady("a", 1), steady("b", 1), hedge=Hedge(fixed_s=2))
    assert in_time.statuses == ["won"]
    late = hold(steady("a", 9), steady("b", 1), steady("c", 1), hedge=Hedge(fixed_s=2))
    assert late.statuses == ["cancelled", "won"]
    assert late.outcomes[0].latency_s == 3


steps = st.tuples(
    st.integers(0, 5),
    st.sampled_from(
        [answer(), answer(""), Overloaded("x"), Rejected("x"), Unreachable("x"), Unauthorized("x")]
    ),
)
scripts = st.lists(st.lists(steps, min_size=1, max_size=4), min_size=1, max_size=4)


@given(scripts, st.sampled_from([1, 2, None]), st.booleans(), st.booleans())
def test_every_row_ends_once_whatever_happens(
    script: list[list[Step]], wins: int | None, at_once: bool, hedged: bool
) -> None:
    """For any script each row has its outcomes or stops the run, and no request is left."""
    models = [Scripted(f"m{place}", steps) for place, steps in enumerate(script)]
    held = hold(
        *models,
        rules=Rules(wins=wins),
        prompts=rows(8),
        hedge=Hedge(fixed_s=1) if hedged else None,
        at_once=at_once,
    )
    assert len(held.rows) == 8
    assert all(model.ended == len(model.asked) for model in models)
    leavers = [notice.split(" ", 1)[0] for notice in held.notices]
    assert len(leavers) == len(set(leavers))
    for index, ended in enumerate(held.rows):
        if isinstance(ended, RunStopped):
            assert len(leavers) >= 1
            continue
        assert {outcome.index for outcome in ended} == {index}
        won = [outcome for outcome in ended if outcome.completion is not None]
        racers = ended[0].race
        assert len(won) == sum(racer.status == "won" for racer in racers)
        assert len(won) <= (wins or len(racers))
        if not won:
            assert all(racer.status == "failed" for racer in racers)
        for outcome in ended:
            assert (outcome.completion is None) != (outcome.error is None)


SPENT = QuotaSpent("per day", status=429, retry_after_s=7200, hint="back at 16:00")


def test_a_spent_quota_leaves_the_race_to_the_others() -> None:
    """It is told once; where the others cannot answer a row either, that row stays undone, and
    where no model has a quota the run ends."""
    out, good = Scripted("out", [(0, SPENT)]), Scripted("good", [(1, answer())])
    held = hold(out, good, prompts=[row(0), row(1)])
    assert held.statuses == ["failed", "won"]
    assert held.notices == [
        "test/out: rate_limited (429): per day (hint: back at 16:00): the others race on"
    ]
    with pytest.raises(Postponed):
        hold(out, Scripted("bad", [(1, Rejected("too long"))]))
    held = hold(out, Scripted("out too", [(0, SPENT)]))
    (stopped,) = held.rows
    assert isinstance(stopped, RunStopped)
    assert stopped.hint == "back at 16:00"


def test_a_race_of_which_the_rest_only_waited_stays_undone() -> None:
    """When the run is stopped; what is on the wire still wins."""
    waits = Waits()

    class Waiting(Scripted):
        async def call(self, request: Request) -> Completion:
            with waits.waiting():
                return await super().call(request)

    async def stop() -> None:
        await asyncio.sleep(1)
        waits.end()

    class Stopping(Scripted):
        async def call(self, request: Request) -> Completion:
            ending = asyncio.ensure_future(stop())
            try:
                return await super().call(request)
            finally:
                await ending

    held = hold(Stopping("sent", [(2, answer())]), Waiting("waits", [(9, answer())]))
    assert held.statuses == ["won", "cancelled"]
    waits = Waits()
    with pytest.raises(Postponed):
        hold(Stopping("sent", [(2, Overloaded("busy"))]), Waiting("waits", [(9, answer())]))
