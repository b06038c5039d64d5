"""A run ends when it no longer makes sense."""

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Finished
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.engine.failure_limit import ALL_FAILED, Breaker, FailureLimit
from llmbatch_cli.engine.run import Stop


def feed(breaker: Breaker, *kinds: str | None) -> None:
    """One finished row for each: None is an answer."""
    for kind in kinds:
        failure = Failure(kind, "why") if kind is not None else None
        completion = Completion("x") if kind is None else None
        breaker(Finished(Outcome(0, 0, "m", "p", completion, failure)))


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        (FailureLimit(rows=3), ["rejected", None, "rejected"], ["rejected"]),
        (FailureLimit(share=0.1), [None] * 18 + ["rejected"] * 1, ["rejected", "rejected"]),
        (FailureLimit(), ["unreachable"] * (ALL_FAILED - 1), ["overloaded"]),
        (FailureLimit(), ["unauthorized"] * (ALL_FAILED - 1), ["unauthorized"]),
    ],
)
def test_the_run_is_drained_at_its_limit(
    limit: FailureLimit, good: list[str | None], bad: list[str | None]
) -> None:
    """Up to the limit nothing happens; the failure that reaches it drains the run, and is told."""
    stop = Stop()
    breaker = Breaker(limit, stop)
    feed(breaker, *good)
    assert (stop.draining, breaker.error) == (False, None)
    feed(breaker, *bad)
    assert stop.draining
    assert breaker.error is not None
    assert "why" in breaker.error.message


def test_an_answer_begins_the_count_anew() -> None:
    """As long as some rows are answered the provider is not dead."""
    stop = Stop()
    feed(Breaker(FailureLimit(), stop), *(["overloaded"] * (ALL_FAILED - 1) + [None]) * 5)
    assert not stop.draining


def test_rows_that_fail_by_their_own_fault_are_no_dead_host() -> None:
    """Rejected and refused rows may be many: that is what --max-errors is for."""
    stop = Stop()
    feed(Breaker(FailureLimit(), stop), *["rejected", "refused", "invalid_row"] * ALL_FAILED)
    assert not stop.draining


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (None, FailureLimit()),
        (20, FailureLimit(rows=20)),
        ("20", FailureLimit(rows=20)),
        ("5%", FailureLimit(share=0.05)),
        ("0%", FailureLimit(share=0.0)),
    ],
)
def test_a_limit_is_a_number_or_a_percentage(value: str | int | None, limit: FailureLimit) -> None:
    """As --max-errors has it, and as Python gives it."""
    assert FailureLimit.parse(value) == limit


@pytest.mark.parametrize("value", ["x", "", "0", "-1", 0, "100%", "-1%", "nan%", "%", "1.5"])
def test_no_other_limit_is_accepted(value: str | int) -> None:
    """What is neither, or no limit at all, is refused with what to write instead."""
    with pytest.raises(UsageError, match="is not a number of rows or a percentage") as caught:
        FailureLimit.parse(value)
    assert caught.value.hint == "as in --max-errors 100 or --max-errors 5%"
