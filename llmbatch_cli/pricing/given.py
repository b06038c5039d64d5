"""Prices that the user gives: --price MODEL=IN,OUT."""

from collections.abc import Mapping, Sequence
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


def of_settings(prices: Mapping[str, tuple[float, float]]) -> list[GivenPrice]:
    """Those of the user's settings: by MODEL or PROVIDER/MODEL, input and output."""
    return [
        GivenPrice(
            pattern,
            Price(
                input=Rate(Decimal(repr(input_))),
                output=Rate(Decimal(repr(output))),
                source="given",
                model=pattern,
            ),
        )
        for pattern, (input_, output) in prices.items()
    ]


def given_price(given: Sequence[GivenPrice], provider: str, model: str) -> Price | None:
    """That of `provider/model`, else of the model's name, else the last whose pattern fits."""
    fitting = [one for one in given if one.is_for(provider, model)]
    for name in (f"{provider}/{model}", model):
        own = [one for one in fitting if one.pattern == name]
        if own:
            return own[-1].price
    return fitting[-1].price if fitting else None
