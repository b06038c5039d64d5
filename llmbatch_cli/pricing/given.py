"""Prices that the user gives: --price MODEL=IN,OUT."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.pricing.price import Price, Rate


@frozen
class GivenPrice:
    """A price, and the models that it is for."""

    pattern: str
    """`provider/model` or the model alone; `*`, `?` and `[...]` as in file names."""
    price: Price

    def is_for(self, provider: str, model: str) -> bool:
        """Whether the pattern names this model."""
        return any(fnmatchcase(name, self.pattern) for name in (f"{provider}/{model}", model))


def parse_given(text: str) -> GivenPrice:
    """`MODEL=IN,OUT` or `MODEL=IN,OUT,CACHED`, in US dollars a million tokens.

    Raises UsageError.
    """
    pattern, equals, numbers = text.rpartition("=")
    try:
        rates = [Decimal(number.strip()) for number in numbers.split(",")]
    except InvalidOperation:
        rates = []
    fits = 2 <= len(rates) <= 3 and all(rate.is_finite() and rate >= 0 for rate in rates)
    if not (equals and pattern.strip() and fits):
        raise UsageError(
            f"--price {text!r} is not MODEL=IN,OUT",
            hint="US dollars a million tokens, as in --price gpt-4o-mini=0.15,0.60; a third "
            "number is the price of cached input",
        )
    cached = Rate(rates[2]) if len(rates) == 3 else None
    price = Price(
        input=Rate(rates[0]), output=Rate(rates[1]), cached=cached, source="given", model=pattern
    )
    return GivenPrice(pattern.strip(), price)


def given_price(given: Sequence[GivenPrice], provider: str, model: str) -> Price | None:
    """The model's own, else that of the last pattern which fits; None where none does."""
    fitting = [one for one in given if one.is_for(provider, model)]
    if not fitting:
        return None
    exact = [one for one in fitting if one.pattern in (model, f"{provider}/{model}")]
    return (exact or fitting)[-1].price
