"""--price: what the user says of a model's price."""

from decimal import Decimal

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.pricing.given import given_price, parse_given

GIVEN = [parse_given(text) for text in ("*=1,1", "gpt-4o=2,8,1", "openai/*=3,3", "fake/a=b=0,4")]


@pytest.mark.parametrize(
    ("provider", "model", "usd"),
    [("groq", "m", 2), ("openai", "gpt-4o", 9), ("openai", "other", 6), ("fake", "a=b", 4)],
)
def test_a_model_takes_its_own_price_or_the_last_pattern(
    provider: str, model: str, usd: int
) -> None:
    """A name wins over a pattern, and a later pattern over an earlier one."""
    price = given_price(GIVEN, provider, model)
    assert price is not None
    usage = Usage(1_000_000, 1_000_000, cached_tokens=1_000_000 if model == "gpt-4o" else 0)
    assert price.cost(usage) == Decimal(usd)


def test_a_model_that_no_pattern_fits_has_no_given_price() -> None:
    """The others are looked up."""
    assert given_price(GIVEN[1:2], "openai", "gpt-4o-mini") is None


@pytest.mark.parametrize(
    "text", ["", "m", "m=", "m=1", "m=1,2,3,4", "m=a,b", "m=-1,2", "m=nan,1", "=1,2", "m=inf,1"]
)
def test_what_is_no_price_is_refused_with_the_form(text: str) -> None:
    """The message quotes it, and the hint shows how it is written."""
    with pytest.raises(UsageError, match="is not MODEL=IN,OUT") as failed:
        parse_given(text)
    assert "--price gpt-4o-mini=0.15,0.60" in str(failed.value.hint)
