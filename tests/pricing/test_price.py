"""What tokens cost: exact, each request by its own tokens."""

from decimal import Decimal

import pytest

from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.pricing.price import FREE, Price, Rate

D = Decimal

PRICE = Price(
    input=Rate(D(2), ((1000, D(4)),)),
    output=Rate(D(10), ((1000, D(15)),)),
    cached=Rate(D("0.2"), ((1000, D("0.4")),)),
    cache_write=Rate(D("2.5")),
)


def test_each_kind_of_token_has_its_rate() -> None:
    """Cached and written tokens are parts of the input, and the rest of it is at its own rate."""
    usage = Usage(1000, 10, 1010, cached_tokens=300, cache_write_tokens=100)
    usd = 600 * D(2) + 300 * D("0.2") + 100 * D("2.5") + 10 * D(10)
    assert PRICE.cost(usage) == usd / 1_000_000


def test_a_long_input_makes_all_tokens_dearer() -> None:
    """One token past the step, and every token has the other rate: so rows are never summed."""
    below, above = PRICE.cost(Usage(1000, 100, 1100)), PRICE.cost(Usage(1001, 100, 1101))
    assert below == (1000 * D(2) + 100 * D(10)) / 1_000_000
    assert above == (1001 * D(4) + 100 * D(15)) / 1_000_000


@pytest.mark.parametrize("usage", [None, Usage(), Usage(5, None, 5), Usage(None, 5, 5)])
def test_unknown_tokens_have_no_known_cost(usage: Usage | None) -> None:
    """It is None, never 0, except where everything is free."""
    assert PRICE.cost(usage) is None
    assert FREE.cost(usage) == 0


def test_parts_without_a_rate_of_their_own_cost_as_the_whole() -> None:
    """Thoughts are output, and cached tokens input, where nothing else is said."""
    plain = Price(input=Rate(D(1)), output=Rate(D(3)))
    usage = Usage(100, 50, 150, cached_tokens=40, cache_write_tokens=10, reasoning_tokens=30)
    assert plain.cost(usage) == (100 * D(1) + 50 * D(3)) / 1_000_000


def test_tokens_kept_for_an_hour_cost_more() -> None:
    """They are a part of those that were written."""
    price = Price(
        input=Rate(D(1)),
        output=Rate(D(1)),
        cache_write=Rate(D("1.25")),
        cache_write_1h=Rate(D(2)),
    )
    usage = Usage(100, 0, 100, cache_write_tokens=60, cache_write_1h_tokens=20)
    assert price.cost(usage) == (40 + 40 * D("1.25") + 20 * D(2)) / 1_000_000


@pytest.mark.parametrize("hostile", [10**18, 1001])
def test_parts_greater_than_the_whole_cost_no_more_than_the_whole(hostile: int) -> None:
    """A reply whose counts contradict each other gives neither a negative nor a huge cost."""
    usage = Usage(1000, 10, 1010, cached_tokens=hostile, cache_write_tokens=hostile)
    assert PRICE.cost(usage) == (1000 * D("0.2") + 10 * D(10)) / 1_000_000


def test_the_worst_case_is_above_every_case() -> None:
    """Whatever part of the input is cached or written, and however short it is in the end."""
    worst = PRICE.worst_case(1500, 100)
    for prompt in (0, 999, 1001, 1500):
        for cached in (0, 500):
            for written in (0, 500):
                usage = Usage(prompt, 100, None, cached, written)
                cost = PRICE.cost(usage)
                assert cost is not None
                assert cost <= worst


def test_a_price_of_nothing_is_known_without_any_tokens() -> None:
    """As for a server of one's own at a public address, with --price '*=0,0'."""
    nothing = Price(input=Rate(Decimal(0)), output=Rate(Decimal(0)), source="given")
    assert nothing.is_free
    assert nothing.cost(None) == 0
    above = Price(input=Rate(Decimal(0), ((1_000, Decimal(1)),)), output=Rate(Decimal(0)))
    assert not above.is_free
    assert above.cost(None) is None
