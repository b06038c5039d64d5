"""The figures of a run as values of JSON, which add up over shards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from llmbatch_cli.core.quantiles import Quantiles
from llmbatch_cli.ui.bill import Bill
from llmbatch_cli.ui.totals import Totals

_OWN: Final = frozenset(("total", "cut_short", "dropped_in_flight", "dropped"))
"""What belongs to the run as a whole."""

Tally = Mapping[str, Any]


def tally_of(totals: Totals) -> dict[str, Any]:
    """The figures that add up, by the totals' own names."""
    tally: dict[str, Any] = {}
    for name, value in vars(totals).items():
        if name.startswith("_") or name in _OWN:
            continue
        if isinstance(value, Quantiles):
            tally[name] = value.state()
        elif isinstance(value, Bill):
            tally[name] = {inner: _number(one) for inner, one in vars(value).items()}
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            tally[name] = _number(value)
        elif isinstance(value, dict):
            tally[name] = dict(value)
    return tally


def merged(tallies: Sequence[Tally]) -> dict[str, Any]:
    """The sum of all."""
    totals = Totals()
    for tally in tallies:
        add(totals, tally)
    return tally_of(totals)


def add(totals: Totals, tally: Tally) -> None:
    """Add these figures to the totals."""
    for name, value in tally.items():
        own = getattr(totals, name)
        if isinstance(own, Quantiles):
            own.merge(value)
        elif isinstance(own, Counter):
            own.update(value)
        elif isinstance(own, Bill):
            for inner, one in value.items():
                setattr(own, inner, getattr(own, inner) + _value(one))
        elif isinstance(own, dict):
            for kind, said in value.items():
                own.setdefault(kind, said)
        else:
            setattr(totals, name, own + _value(value))


def _number(value: int | Decimal) -> int | str:
    """As JSON, without rounding."""
    return str(value) if isinstance(value, Decimal) else value


def _value(said: int | str) -> int | Decimal:
    return Decimal(said) if isinstance(said, str) else said


def show(totals: Totals, tally: Tally) -> None:
    """Let the totals have these figures, whatever they had."""
    fresh = Totals()
    add(fresh, tally)
    for name in tally:
        setattr(totals, name, getattr(fresh, name))
