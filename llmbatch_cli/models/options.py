"""How the models of a pool are called, from the user's options."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Cache, Limits, Sending
from llmbatch_cli.core.types import Params
from llmbatch_cli.engine.limits.limiter import START_IN_FLIGHT, RateLimits
from llmbatch_cli.engine.retry import RetryPolicy
from llmbatch_cli.pricing.prices import Prices
from llmbatch_cli.providers.access import Access, Setup
from llmbatch_cli.transport import Connection

if TYPE_CHECKING:
    from llmbatch_cli.engine.budget import Budget
    from llmbatch_cli.engine.limits.share import Share
    from llmbatch_cli.engine.shaped import AnswerShape

MOST_IN_FLIGHT: Final = 512
"""The ceiling where the user sets none."""
RACE_IN_FLIGHT: Final = 64
NO_CACHE: Final = Cache()
NO_SETUP: Final = Setup()


def rate_limits(limits: Limits, *, together: bool) -> RateLimits:
    """The limits that the user sets; `together` is for a race. Raises UsageError."""
    concurrency, rpm, tpm = limits.concurrency, limits.rpm, limits.tpm
    if concurrency is not None and concurrency < 1:
        raise UsageError("concurrency must be at least 1")
    if (rpm is not None and not 0 < rpm < math.inf) or (tpm is not None and tpm <= 0):
        raise UsageError("rpm and tpm must be numbers above 0")
    most = concurrency or (RACE_IN_FLIGHT if together else MOST_IN_FLIGHT)
    return RateLimits(most, concurrency or START_IN_FLIGHT, rpm, tpm, together)


def budget_of(max_cost: float | None) -> "Budget | None":
    """A budget of so many US dollars; None for none. Raises UsageError."""
    if max_cost is None:
        return None
    if isinstance(max_cost, bool) or not 0 < max_cost < math.inf:
        raise UsageError("--max-cost must be a number of US dollars above 0")
    from llmbatch_cli.engine.budget import Budget

    return Budget(max_cost)


def longest_answer(model: str) -> int | None:
    """Tokens of the longest answer that a model gives, by its name; None is unknown."""
    if "claude-" not in model:
        return None
    from llmbatch_cli.providers.anthropic.models import claude

    found = claude(model)
    return found.max_output_tokens if found.version is not None else None


def with_own(limits: RateLimits, own: Limits) -> RateLimits:
    """The limits of a run with a provider's own over them."""
    return replace(
        limits,
        most_in_flight=own.concurrency or limits.most_in_flight,
        start_in_flight=own.concurrency or limits.start_in_flight,
        rpm=own.rpm or limits.rpm,
        tpm=own.tpm or limits.tpm,
    )


def prices_of(given: Sequence[str], setup: Setup) -> Prices:
    """The prices of a run; those that its options give win. Raises UsageError."""
    if not (given or setup.prices):
        return Prices(answer_tokens=longest_answer)
    from llmbatch_cli.pricing.given import of_settings, parse_given

    return Prices(
        [parse_given(text) for text in given],
        settled=of_settings(setup.prices),
        answer_tokens=longest_answer,
    )


@frozen
class CallOptions:
    """How the models of one pool are called."""

    access: Access
    params: Params = field(default_factory=dict)
    """For every model; a model's own win over them."""
    timeout_s: float = 600.0
    """A row's whole time, from its first request on."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    limits: RateLimits | None = None
    """None sets none: each request goes out at once."""
    drop_params: bool = False
    """Whether a parameter that a model does not support is dropped, instead of refused."""
    connection: Connection = field(default_factory=Connection)
    shape: "AnswerShape | None" = None
    """What every answer has to be."""
    cache: Cache = NO_CACHE
    budget: "Budget | None" = None
    """What all that is asked may cost; None is no limit."""
    allow_unpriced: bool = False
    """Whether models without a known price may be asked all the same."""
    prices: Prices = field(default_factory=Prices)
    tier: str | None = None
    """How answers are bought, where that is not the usual way."""
    share: "Share | None" = None
    """What part of the limits is this process's; None is all of them."""
    before_send: Callable[[], None] | None = None
    """Is called directly before each request leaves, and may raise Fenced."""

    @classmethod
    def of(
        cls,
        sending: Sending,
        *,
        together: bool = False,
        setup: Setup = NO_SETUP,
    ) -> "CallOptions":
        """The user's options; `together` is for a race. Raises UsageError.

        Keys and addresses are in the network's `environ`, else in the setup's, else in the
        process's.
        """
        retries, network, cache = sending.retries, sending.network, sending.cache
        environ = setup.environ if network.environ is None else network.environ
        urls = [network.base_url] if isinstance(network.base_url, str) else network.base_url
        access = Access(
            base_url=urls[0] if urls else None,
            more_base_urls=urls[1:],
            api=network.api,
            no_key=network.no_key,
            insecure=network.insecure,
            environ=os.environ if environ is None else environ,
            setup=setup,
        )
        return cls(
            access,
            timeout_s=retries.timeout_s,
            policy=RetryPolicy(retries.max_attempts),
            limits=rate_limits(sending.limits, together=together),
            drop_params=retries.drop_params,
            connection=Connection(http=network.http, connect_timeout_s=network.connect_timeout_s),
            cache=replace(cache, dedupe=False) if together else cache,
            budget=budget_of(sending.limits.max_cost),
            allow_unpriced=sending.limits.allow_unpriced,
            prices=prices_of(sending.money.price, setup),
            tier=sending.money.tier,
        )
