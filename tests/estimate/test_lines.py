"""Rows that are added up have the price of rows that are priced one by one."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Prompt
from llmbatch_cli.estimate.asked import Asking
from llmbatch_cli.estimate.lines import Line
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.estimate.requests import REPLY_TOKENS
from llmbatch_cli.estimate.vocabularies import EXACT, Counting
from llmbatch_cli.pricing.price import Price, Rate
from llmbatch_cli.providers.access import Access

D = Decimal
STEPPED = Price(
    input=Rate(D(2), ((100, D(4)), (300, D(7)))),
    output=Rate(D(10), ((200, D(15)),)),
    request_usd=D("0.001"),
)
BATCH = Price(input=Rate(D(1), ((150, D(2)),)), output=Rate(D(5)))
FRAME = 4 + REPLY_TOKENS


def line_of(answer: int) -> Line:
    asked = Asking(access=Access(no_key=True)).of("openai/gpt-4o-mini")
    prices = {None: STEPPED, "batch": BATCH}
    return Line(asked, Counting(len, EXACT, "letters"), prices.get, Range.exactly(answer))


@given(st.lists(st.integers(0, 400), max_size=30), st.integers(0, 50))
def test_every_row_is_priced_by_its_own_length(lengths: Sequence[int], answer: int) -> None:
    """A long input makes its own row dearer, and no other; so do the batch API's steps."""
    line = line_of(answer)
    for index, length in enumerate(lengths):
        prompt = Prompt(index, [{"role": "user", "content": "x" * length}], index)
        line.add(line.asked.request(prompt))
    usages = [Usage(length + FRAME, answer) for length in lengths]
    for price, found in ((STEPPED, line.cost()), (BATCH, line.cost("batch"))):
        total = sum((price.cost(usage) or D(0) for usage in usages), D(0))
        assert found is not None
        assert Fraction(found.likely).limit_denominator(10**9) == Fraction(total)
        assert found.is_exact
