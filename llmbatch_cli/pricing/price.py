"""One model's price, and what its tokens cost by it. Exact: Decimal, in US dollars."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Usage

MILLION: Final = Decimal(1_000_000)
_NOTHING: Final = Decimal(0)

Source = Literal["given", "free", "table"]
"""Who says so: the user's --price, nobody (an own server), or the table of genai-prices."""


@frozen
class Rate:
    """US dollars a million tokens, by the length of the whole input."""

    base: Decimal
    steps: Sequence[tuple[int, Decimal]] = ()
    """From an input of more than so many tokens on, another rate for all tokens; ascending."""

    def at(self, input_tokens: int) -> Decimal:
        """The rate with an input of this length."""
        rate = self.base
        for start, above in self.steps:
            if input_tokens > start:
                rate = above
        return rate

    def highest(self, input_tokens: int) -> Decimal:
        """The highest with an input of at most this length."""
        return max([self.base, *(above for start, above in self.steps if input_tokens > start)])


@frozen(kw_only=True)
class Price:
    """What one model's tokens cost. None: as the tokens that they are a part of."""

    input: Rate
    output: Rate
    cached: Rate | None = None
    """Input that was read from the provider's cache."""
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    """Input that was written to the provider's cache for an hour."""
    reasoning: Rate | None = None
    request_usd: Decimal = _NOTHING
    """For each request, whatever its tokens."""
    source: Source = "table"
    model: str = ""
    """As the table names it."""

    @property
    def is_free(self) -> bool:
        """Whether whatever is asked costs nothing."""
        return self.source != "table" and not self.worst_case(1, 1)

    def cost(self, usage: Usage | None) -> Decimal | None:
        """US dollars for these tokens of one request; None where they are not all known.

        Never for a sum of requests: the rates go by the length of one input.
        """
        if self is FREE:
            return _NOTHING
        if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        whole, answer = max(0, usage.prompt_tokens), max(0, usage.completion_tokens)
        cached = min(whole, usage.cached_tokens or 0)
        written = min(whole - cached, usage.cache_write_tokens or 0)
        hour = min(written, usage.cache_write_1h_tokens or 0)
        thought = min(answer, usage.reasoning_tokens or 0) if self.reasoning is not None else 0
        write = self.cache_write or self.input
        parts = (
            (whole - cached - written, self.input),
            (cached, self.cached or self.input),
            (written - hour, write),
            (hour, self.cache_write_1h or write),
            (answer - thought, self.output),
            (thought, self.reasoning or self.output),
        )
        total = sum((rate.at(whole) * tokens for tokens, rate in parts if tokens), _NOTHING)
        return total / MILLION + self.request_usd

    def worst_case(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The most that one request may cost with so many tokens at most, in US dollars."""
        inputs = (self.input, self.cached, self.cache_write, self.cache_write_1h)
        outputs = (self.output, self.reasoning)
        dearest = [
            max(rate.highest(input_tokens) for rate in rates if rate is not None)
            for rates in (inputs, outputs)
        ]
        tokens = dearest[0] * input_tokens + dearest[1] * output_tokens
        return tokens / MILLION + self.request_usd


FREE: Final = Price(input=Rate(_NOTHING), output=Rate(_NOTHING), source="free")
"""Of a server of one's own."""


@frozen
class ModelLimits:
    """How long a model's input and answer may be, in tokens; None is unknown."""

    context_tokens: int | None = None
    """Prompt and answer together."""
    answer_tokens: int | None = None
