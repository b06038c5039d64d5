"""The prices of genai-prices, whose import takes a third of a second: use it in a thread."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Lane, Seller
from llmbatch_cli.pricing.price import ModelLimits, Price, Rate
from llmbatch_cli.pricing.sellers import TABLE_IDS

_CONTEXTS: Final = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
_SAME_PRICE: Final = frozenset((("groq", "flex"),))
"""Lanes at the usual price: console.groq.com/docs/flex-processing, read 2026-11-26."""
_HALF: Final = frozenset((("aws", "batch"),))
"""Lanes at half the usual price, of which the table has no rows:
docs.aws.amazon.com/bedrock/latest/userguide/capacity-limits-cost-optimization.html, 2026-11-26."""


@frozen
class Listed:
    """One model of the table."""

    provider: str
    """As the table names it."""
    model: str
    price: Price | None
    batch: Price | None
    limits: ModelLimits = field(default_factory=ModelLimits)


def price_in_table(seller: Seller, model: str, lane: Lane | None, now: datetime) -> Price | None:
    """What the model costs in this lane at this time; None where the table does not know."""
    found = _find(seller, model)
    if found is None:
        return None
    provider, info = found
    return _price(provider, info, lane, now)


def context_in_table(seller: Seller, model: str) -> int | None:
    """The model's context window, where the table has it."""
    found = _find(seller, model)
    window: int | None = None if found is None else found[1].context_window
    return window


def listed(now: datetime | None = None) -> Iterator[Listed]:
    """Every model of the table that is priced by the token."""
    now = now or datetime.now(UTC)
    for provider in _snapshot().providers:
        for info in provider.models:
            price = _price(provider, info, None, now)
            if price is not None:
                batch = _price(provider, info, "batch", now)
                yield Listed(provider.id, info.id, price, batch, ModelLimits(info.context_window))


def version() -> str:
    """The version of the table, which is as old as its release."""
    from importlib.metadata import version as version_of

    return version_of("genai-prices")


def newest(today: date | None = None) -> date:
    """The day of the newest price that the table has, up to today."""
    today = today or datetime.now(UTC).date()
    found = (
        start
        for provider in _snapshot().providers
        for info in provider.models
        for one in (*_dated(info.prices), *(info.price_variants or ()))
        if (start := getattr(one.constraint, "start_date", today)) < today
    )
    return max(found, default=today)


def _dated(prices: Any) -> Sequence[Any]:
    return prices if isinstance(prices, list) else ()


@cache
def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


def load() -> None:
    """Import the table, which every other function here does by itself."""
    _snapshot()


def _find(seller: Seller, model: str) -> tuple[Any, Any] | None:
    """The table's provider and model."""
    table_id = None if seller.moved else TABLE_IDS.get(seller.provider)
    url = None if table_id else seller.base_url
    if not (table_id or url):
        return None
    for name in _names(model):
        try:
            found: tuple[Any, Any] = _snapshot().find_provider_model(name, None, table_id, url)
        except LookupError:
            continue
        return found
    return None


def _names(model: str) -> Iterator[str]:
    """The model's name as the table may have it."""
    yield model
    last = model.rpartition("/")[2]  # models/gemini-..., publishers/google/models/..., accounts/...
    if last != model:
        yield last


def _price(provider: Any, info: Any, lane: Lane | None, now: datetime) -> Price | None:
    share = Decimal("0.5") if (provider.id, lane) in _HALF else Decimal(1)
    if lane is None or (provider.id, lane) in _SAME_PRICE | _HALF:
        rates = info.get_prices(now)
    else:
        context = _CONTEXTS.get(lane)
        if context is None or not _is_sold(provider, info, context, now):
            return None
        rates = info.get_prices(now, context)

    def rate(price: Any) -> Rate | None:
        return _rate(price, share)

    input_, output = rate(rates.input_mtok), rate(rates.output_mtok)
    if input_ is None and output is None:
        return None
    return Price(
        input=input_ or Rate(Decimal(0)),
        output=output or Rate(Decimal(0)),
        cached=rate(rates.cache_read_mtok),
        cache_write=rate(rates.cache_write_mtok),
        cache_write_1h=rate(rates.cache_write_1h_mtok),
        reasoning=rate(rates.output_reasoning_mtok),
        request_usd=share * (rates.requests_kcount or Decimal(0)) / 1000,
        model=f"{provider.id}/{info.id}",
    )


def _is_sold(provider: Any, info: Any, context: Mapping[str, str], now: datetime) -> bool:
    """Whether the table has a row for it; where it has none, it gives the usual price."""
    if not any(info is one for one in provider.models):  # it is another provider's
        return False
    active = (one.constraint is None or one.constraint.active(now) for one in _rows(info, context))
    return any(active)


def _rows(info: Any, context: Mapping[str, str]) -> Sequence[Any]:
    return [one for one in info.price_variants or () if one.when == context]


def _rate(price: Any, share: Decimal) -> Rate | None:
    """This share of a rate of the table: a number, or numbers by the input's length."""
    if price is None or isinstance(price, Decimal):
        return None if price is None else Rate(share * price)
    return Rate(share * price.base, tuple((tier.start, share * tier.price) for tier in price.tiers))
