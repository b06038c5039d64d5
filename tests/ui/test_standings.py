"""How the models of a run have fared, as a table."""

from decimal import Decimal

import pytest

from llmbatch_cli.core.events import Finished, Racing
from llmbatch_cli.core.ledger import Attempt, Ledger, Usage
from llmbatch_cli.core.types import Outcome, Racer
from llmbatch_cli.ui.standings import Standings, as_lines


def standings(*races: list[Racer]) -> Standings:
    told = Standings()
    for index, race in enumerate(races):
        told(Finished(Outcome(index, index, None, None, race=race)))
    return told


FAST = Racer("fast", "a", "won", 0.5, usage=Usage(10, 20, 30))
SLOW = Racer("a-model-with-a-long-name", "b", "cancelled", 0.5, cancelled_in_flight=True)
FAILED = Racer("a-model-with-a-long-name", "b", "failed", 0.1)


def test_every_column_counts_what_it_says() -> None:
    """Wins, races, times of whole answers, failures, cancellations, tokens, winners first."""
    head, first, second = as_lines(standings([SLOW, FAST], [FAST, FAILED]))
    assert head.split() == [
        "model", "wins", "races", "median", "p95", "failed", "cancelled", "tokens",
    ]  # fmt: skip
    assert first.split() == ["a/fast", "2", "2", "0.50", "s", "0.50", "s", "0", "0", "60"]
    assert second.split() == ["b/a-model-with-a-long-name", "0", "2", "-", "-", "1", "1", "0"]


def priced(model: str, *costs: Decimal | None) -> Racer:
    attempts = [Attempt(None, 200, 0.1, maybe_billed=True, cost_usd=cost) for cost in costs]
    return Racer(model, "a", "won", 0.5, ledger=Ledger(attempts=attempts))


def test_what_each_model_has_cost_is_a_column_where_any_has() -> None:
    """With all its attempts; an unknown cost is no 0."""
    told = standings(
        [priced("dear", Decimal("0.25"), Decimal("0.5")), priced("mixed", None, Decimal("0.1"))],
        [priced("dear", Decimal("0.25")), priced("unknown", None)],
    )
    costs = {line.split()[0]: line.split()[-1] for line in as_lines(told)}
    assert costs == {
        "model": "cost", "a/dear": "$1.00", "a/mixed": "$0.10+", "a/unknown": "unknown",
    }  # fmt: skip
    assert all("cost" not in line for line in as_lines(standings([FAST])))
    for columns in (60, 45, 40):
        lines = as_lines(told, columns)
        assert lines[0].endswith("cost")
        assert max(map(len, lines)) <= columns


def test_a_model_that_races_against_itself_has_two_lines() -> None:
    """Paid twice, told twice."""
    told = standings([SLOW, SLOW, FAST])
    assert list(told.models) == [
        "b/a-model-with-a-long-name", "b/a-model-with-a-long-name (2)", "a/fast",
    ]  # fmt: skip
    assert told.cut == 2


def test_the_further_winners_of_a_race_are_not_counted_again() -> None:
    """With --all each row of a race carries the same race; it is one."""
    told = Standings()
    race = [FAST, FAILED]
    for _ in race:
        told(Finished(Outcome(0, 0, None, None, race=race)))
    assert told.models["a/fast"].races == {"won": 1}


def test_a_narrow_terminal_has_a_narrower_table() -> None:
    """It never breaks a line: columns are spared first, then the ends of names."""
    told = standings([SLOW, FAST])
    wide = as_lines(told, 100)
    assert [line.split()[0] for line in wide] == [
        "model", "-" * len(wide[0]), "a/fast", "b/a-model-with-a-long-name",
    ]  # fmt: skip
    for columns in (80, 70, 60, 50, 45):
        lines = as_lines(told, columns)
        assert max(map(len, lines)) <= columns
        assert {"wins", "median", "p95", "failed"} <= set(lines[0].split())
    assert "b/a-mod" in as_lines(told, 45)[3]
    assert "…" in as_lines(told, 45)[3]


def test_a_model_that_never_started_has_its_line() -> None:
    """With --hedge the second model may never be asked: the table says so."""
    told = Standings()
    told(Racing(["a/fast", "b/spare", "b/spare"]))
    told(Finished(Outcome(0, 0, "fast", "a", race=[FAST])))
    lines = as_lines(told)
    assert [line.split()[0] for line in lines] == ["model", "a/fast", "b/spare", "b/spare"]
    assert lines[2].split()[1:3] == ["0", "0"]


@pytest.mark.parametrize(
    "names",
    [
        ("gpt-4o-mini", "gpt-4.1-mini"),
        ("c-haiku-20240307", "c-sonnet-20240307"),
        ("gpt-5", "gpt-5.1"),
    ],
)
def test_names_that_are_cut_stay_apart(names: tuple[str, str]) -> None:
    """Two racers do not look alike at 40 columns."""
    told = standings([Racer(name, "openai", "won", 0.1) for name in names])
    _, _, *rows = as_lines(told, 40)
    assert len({row.split()[0] for row in rows}) == 2


def test_a_models_name_has_no_power_over_the_terminal() -> None:
    """A name may come from a row of a stranger's file."""
    told = standings([Racer("x\x1b[31m\n", "a", "failed", 0.1)])
    assert "\x1b" not in "".join(as_lines(told))
    assert len(as_lines(told)) == 2
