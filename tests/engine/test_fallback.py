"""A row that finally fails at one model goes to the next."""

import pytest
from support.attempts import attempting

from llmbatch_cli.core.errors import (
    Overloaded,
    ProviderError,
    QuotaSpent,
    Rejected,
    RunStopped,
    Unauthorized,
)
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.types import Completion, Prompt, Request
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.engine.fallback import WithFallbacks
from llmbatch_cli.engine.quotas import MOST_POSTPONED
from llmbatch_cli.engine.waits import Postponed

PROMPT = Prompt(0, [{"role": "user", "content": "?"}], "q")


class Scripted:
    def __init__(self, name: str, result: str | ProviderError) -> None:
        self.asked = 0
        self.result = result
        self.model = Model("p", name, attempting(self.call))

    async def call(self, request: Request) -> Completion:
        self.asked += 1
        if isinstance(self.result, ProviderError):
            raise self.result
        return Completion(self.result)


def work(first: Scripted, *others: Scripted, events: list[Event] | None = None) -> WithFallbacks:
    async def model_for(own: str) -> Model:
        return first.model

    seen = events if events is not None else []
    return WithFallbacks(first.model, model_for, [one.model for one in others], observe=seen.append)


async def test_what_fails_here_is_answered_there() -> None:
    """The fallback's answer is the row's, and says where it came from and what it took."""
    bad, good = Scripted("bad", Overloaded("busy")), Scripted("good", "yes")
    (outcome,) = await work(bad, good)(PROMPT)
    assert outcome.completion is not None
    assert (outcome.completion.text, outcome.model) == ("yes", "good")
    assert outcome.fallback_from == "p/bad"
    assert (outcome.attempts, [one.kind for one in outcome.failed_attempts]) == (2, ["overloaded"])


async def test_an_answer_needs_no_fallback() -> None:
    """Nobody else is asked where the first model answers."""
    good, spare = Scripted("good", "yes"), Scripted("spare", "no")
    (outcome,) = await work(good, spare)(PROMPT)
    assert (outcome.fallback_from, spare.asked) == (None, 0)


async def test_the_last_failure_is_the_rows() -> None:
    """Where all fail the last model's error is told, and every attempt."""
    (outcome,) = await work(Scripted("a", Overloaded("x")), Scripted("b", Rejected("y")))(PROMPT)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.attempts) == ("rejected", 2)


async def test_a_bad_key_is_told_once_and_its_model_left_out() -> None:
    """With a fallback left the run goes on without the model; without one it stops."""
    locked, good = Scripted("locked", Unauthorized("no")), Scripted("good", "yes")
    events: list[Event] = []
    asking = work(locked, good, events=events)
    for _ in range(3):
        (outcome,) = await asking(PROMPT)
        assert outcome.completion is not None
    assert (locked.asked, good.asked) == (1, 3)
    assert [type(event) for event in events] == [Notice]
    with pytest.raises(RunStopped):
        await work(good_is_not := Scripted("x", Overloaded("busy")), locked)(PROMPT)
    assert good_is_not.asked == 1


async def test_a_403_after_an_answer_leaves_the_model_in() -> None:
    """It speaks of one prompt: that row goes to the fallback, and the next is asked here again."""
    model, spare = Scripted("m", "yes"), Scripted("spare", "other")
    asking = work(model, spare)
    for result in ("yes", Unauthorized("this prompt", status=403), "yes"):
        model.result = result
        (outcome,) = await asking(PROMPT)
        assert (outcome.fallback_from is None) == (result == "yes")
    assert (model.asked, spare.asked) == (3, 1)


def spent(after_s: float) -> QuotaSpent:
    return QuotaSpent("per day", status=429, retry_after_s=after_s, hint=f"back in {after_s:g}")


async def test_a_spent_quota_sends_rows_to_the_fallback() -> None:
    """It is told once, and the model is asked again, as its limiter knows when it may be."""
    first, good, events = Scripted("a", spent(7200)), Scripted("b", "yes"), list[Event]()
    asking = work(first, good, events=events)
    for _ in range(3):
        (outcome,) = await asking(PROMPT)
        assert outcome.fallback_from == "p/a"
    first.result = "back"
    (outcome,) = await asking(PROMPT)
    assert (outcome.fallback_from, first.asked) == (None, 4)
    (notice,) = events
    assert isinstance(notice, Notice)
    assert "per day (hint: back in 7200): its rows go to the fallback" in notice.message


async def test_the_run_ends_where_no_model_has_a_quota() -> None:
    """With the one that is back first."""
    for models in ([spent(7200)], [spent(7200), spent(9000)], [spent(9000), spent(7200)]):
        scripted = [Scripted(f"m{place}", one) for place, one in enumerate(models)]
        with pytest.raises(RunStopped, match="per day") as raised:
            await work(*scripted)(PROMPT)
        assert raised.value.hint == "back in 7200"


async def test_a_row_that_another_quota_may_answer_stays_undone() -> None:
    """The fallback cannot answer this row, but other rows: the run goes on without this one."""
    with pytest.raises(Postponed) as raised:
        await work(Scripted("a", spent(7200)), Scripted("b", Rejected("too long")))(PROMPT)
    assert raised.value.reason is not None


async def test_a_rows_own_model_without_quota_ends_no_run() -> None:
    """Rows of other models go on; but a long input is not read to its end for nothing."""
    asking = work(own := Scripted("own", spent(7200)))
    row = Prompt(0, [{"role": "user", "content": "?"}], "q", model="own")
    for _ in range(MOST_POSTPONED):
        with pytest.raises(Postponed):
            await asking(row)
    own.result = "yes"
    await asking(row)
    own.result = spent(60)
    for _ in range(MOST_POSTPONED):
        with pytest.raises(Postponed):
            await asking(row)
    with pytest.raises(RunStopped):
        await asking(row)
