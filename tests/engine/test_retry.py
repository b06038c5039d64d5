"""Trying again, with the time and the dice in the test's hand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.attempts import attempting, new

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    OutOfQuota,
    Overloaded,
    ProviderError,
    QuotaSpent,
    RateLimited,
    Refused,
    Rejected,
    Unauthorized,
    Unreachable,
)
from llmbatch_cli.core.ledger import Attempt
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.engine.retry import Patience, RetryPolicy, retried

REQUEST = Request("m", [{"role": "user", "content": "?"}], {})


class Trial:
    """A call that fails as told, then answers; a clock that only sleeping moves."""

    def __init__(
        self,
        *errors: ProviderError,
        policy: RetryPolicy | None = None,
        patience: Patience | None = None,
        dice: float = 1,
    ):
        self.errors = list(errors)
        self.tries = 0
        self.waits: list[float] = []
        self.now_s = 0.0
        self.request = new(REQUEST)
        self._retried = retried(
            attempting(self._answer, lambda: self.now_s), policy or RetryPolicy(),
            patience=patience, sleep=self._sleep, chance=lambda: dice,
        )  # fmt: skip

    @property
    def attempts(self) -> list[Attempt]:
        return self.request.ledger.attempts

    async def call(self) -> Completion:
        return await self._retried(self.request)

    async def _answer(self, request: Request) -> Completion:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return Completion("done")

    async def _sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self.now_s += wait_s


async def test_a_passing_trouble_is_tried_through() -> None:
    """What may succeed later is tried again; the ledger has every attempt."""
    trial = Trial(Overloaded("busy", status=503), Unreachable("down"), Interrupted("cut"))
    completion = await trial.call()
    assert completion.text == "done"
    assert [(one.kind, one.status, one.maybe_billed) for one in trial.attempts] == [
        ("overloaded", 503, False),
        ("unreachable", None, False),
        ("interrupted", None, True),
        (None, 200, True),
    ]


@pytest.mark.parametrize("kind", [Rejected, Refused, OutOfQuota, Unauthorized])
async def test_what_cannot_succeed_is_not_tried_again(kind: type[ProviderError]) -> None:
    """A request that will fail the same way again costs one try."""
    trial = Trial(kind("no"))
    with pytest.raises(kind):
        await trial.call()
    assert (trial.tries, len(trial.attempts)) == (1, 1)


@given(st.integers(1, 12), st.floats(0, 1))
async def test_tries_end_at_max_attempts(most: int, dice: float) -> None:
    """A trouble that stays is given up after max_attempts tries, with every cause."""
    trial = Trial(*[Overloaded("busy")] * 99, policy=RetryPolicy(max_attempts=most), dice=dice)
    with pytest.raises(Overloaded):
        await trial.call()
    assert (trial.tries, len(trial.attempts)) == (most, most)
    bounds = [min(60, 0.5 * 2**k) for k in range(most - 1)]
    assert trial.waits == pytest.approx([dice * bound for bound in bounds])


async def test_a_bad_reply_is_tried_again_once() -> None:
    """An unreadable reply may have been paid for, so it gets one more try."""
    trial = Trial(*[BadReply("html")] * 9)
    with pytest.raises(BadReply):
        await trial.call()
    assert trial.tries == 2


async def test_being_told_to_wait_uses_up_no_tries() -> None:
    """Rate limits have no end of tries, and leave the tries of other failures alone."""
    limited = [RateLimited("slow", status=429)] * 50
    trial = Trial(*limited, *[Overloaded("busy")] * 5, policy=RetryPolicy(max_attempts=6))
    assert (await trial.call()).text == "done"
    assert trial.tries == 56


@given(st.floats(0, 3600), st.floats(0, 1))
async def test_the_servers_wait_wins(asked_s: float, dice: float) -> None:
    """With Retry-After we wait that long and at most a tenth more, so not all wake at once."""
    trial = Trial(RateLimited("slow", retry_after_s=asked_s), dice=dice)
    await trial.call()
    (waited_s,) = trial.waits
    assert asked_s <= waited_s <= asked_s * 1.1 + 1e-9


async def test_the_wait_never_passes_the_cap() -> None:
    """However often, the wait of our own is at most a minute."""
    trial = Trial(*[RateLimited("slow")] * 2000)
    await trial.call()
    assert max(trial.waits) == 60


@pytest.mark.parametrize(
    ("answered", "refusals", "waits"),
    [(True, 2, [1.1, 3.3]), (True, 3, [1.1, 3.3]), (False, 1, []), (True, 0, [])],
)
async def test_a_key_that_has_answered_is_tried_again_twice(
    answered: bool, refusals: int, waits: list[float]
) -> None:
    """A stray 401 ends no run: esengine/DeepSeek-Reasonix PR 4106, Comfy-Org/ComfyUI 15856.
    A key that has never answered is refused at once."""
    patience = Patience(answered=answered)
    trial = Trial(*[Unauthorized("bad key", status=401)] * refusals, patience=patience)
    if refusals > len(waits):
        with pytest.raises(Unauthorized):
            await trial.call()
    else:
        await trial.call()
        assert patience.answered
    assert trial.waits == pytest.approx(waits)


async def test_a_stray_401_counts_as_a_try_and_a_403_is_none() -> None:
    """--max-attempts holds for it; what a good key may not do stays forbidden."""
    for error, most in ((Unauthorized("no", status=401), 1), (Unauthorized("no", status=403), 9)):
        trial = Trial(error, policy=RetryPolicy(most), patience=Patience(answered=True))
        with pytest.raises(Unauthorized):
            await trial.call()
        assert trial.tries == 1


@pytest.mark.parametrize("kind", [RateLimited, Overloaded])
async def test_a_wait_past_the_rows_time_is_not_begun(kind: type[ProviderError]) -> None:
    """The row fails at once as what it is, with the provider's words and when the wait ends."""
    trial = Trial(kind("per hour", retry_after_s=301), patience=Patience(600, lambda: 300.0))
    with pytest.raises(kind) as raised:
        await trial.call()
    told = r"per hour \(asks to wait until [0-9:]+, past the row's time limit\)"
    assert re.fullmatch(told, raised.value.message)
    assert (trial.tries, trial.waits) == (1, [])


async def test_a_quota_of_hours_is_spent_for_every_row() -> None:
    """A limit that no row can wait for stops them all; it says when it ends."""
    error = RateLimited("tokens per day", status=429, retry_after_s=25_923)
    trial = Trial(error, patience=Patience(2.0, lambda: 2.0))
    with pytest.raises(QuotaSpent, match="tokens per day") as raised:
        await trial.call()
    spent = raised.value
    assert (spent.kind, spent.status, spent.fatal, spent.retry) == ("rate_limited", 429, True, True)
    assert "the quota is back at " in (spent.hint or "")
    # A limit of a minute is not one of a day, however short a row's own time is.
    trial = Trial(RateLimited("rpm", retry_after_s=60), patience=Patience(2.0, lambda: 2.0))
    with pytest.raises(RateLimited) as limited:
        await trial.call()
    assert type(limited.value) is RateLimited
