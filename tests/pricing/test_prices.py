"""The price of a model: the user's word, then nothing for own servers, then the table's."""

import asyncio
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import calc_price
from genai_prices import types as genai
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.ledger import Lane, Seller, Usage
from llmbatch_cli.pricing.given import parse_given
from llmbatch_cli.pricing.price import FREE
from llmbatch_cli.pricing.prices import Prices
from llmbatch_cli.pricing.table import listed, price_in_table
from llmbatch_cli.providers.registry import Access, resolve, seller_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
OPENAI = Seller("openai", "https://api.openai.com/v1")

MODELS = (
    *(("openai", "openai", name) for name in ("gpt-4o-mini", "gpt-6.1-sol", "o3", "gpt-5.4")),
    *(("anthropic", "anthropic", name) for name in ("claude-haiku-5-5", "claude-sonnet-4-5")),
    *(("gemini", "google", name) for name in ("gemini-2.5-pro", "gemini-2.5-flash")),
    ("xai", "x-ai", "grok-4.3"),
    ("mistral", "mistral", "mistral-large-latest"),
    ("bedrock", "aws", "amazon.nova-pro-v1:0"),
    ("groq", "groq", "openai/gpt-oss-120b"),
    ("deepseek", "deepseek", "deepseek-chat"),
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.sampled_from((None, "batch", "flex", "priority")),
    st.tuples(*[st.integers(0, 400_000)] * 4),
)
def test_the_arithmetic_is_that_of_the_table(
    model: tuple[str, str, str], lane: Lane | None, counts: tuple[int, int, int, int]
) -> None:
    """For any tokens, each model costs to the last digit what genai-prices says; of Amazon's
    batches, which are half the price, it has no rows."""
    provider, table_id, name = model
    price = price_in_table(Seller(provider, "https://x"), name, lane, NOW)
    cached, written, rest, answer = counts
    usage = Usage(cached + written + rest, answer, None, cached, written)
    if price is None:
        assert lane is not None
        return
    key = "processing" if lane == "batch" else "service_tier"
    theirs = calc_price(
        genai.Usage(
            input_tokens=cached + written + rest,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_tokens=answer,
        ),
        name,
        provider_id=table_id,
        price_context={key: lane} if lane else None,
        genai_request_timestamp=NOW,
    )
    share = Decimal("0.5") if (provider, lane) == ("bedrock", "batch") else 1
    assert price.cost(usage) == share * theirs.total_price


@pytest.mark.parametrize(
    ("seller", "model"),
    [
        (Seller("gemini", "https://generativelanguage.googleapis.com"), "models/gemini-2.5-flash"),
        (Seller("xai", "https://api.x.ai/v1"), "grok-4.3"),
        (Seller("openai", "https://api.openai.com/v1"), "gpt-4o-mini-2024-07-18"),
        (Seller("azure", "https://my.openai.azure.com/openai/v1"), "gpt-4o-mini"),
        (
            Seller("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com", moved=True),
            "amazon.nova-pro-v1:0",
        ),
        (Seller("openai", "https://api.groq.com/openai/v1", moved=True), "llama-3.3-70b-versatile"),
        (
            Seller("vertex", "https://us-central1-aiplatform.googleapis.com/v1", moved=True),
            "gemini-2.5-flash",
        ),
        (
            Seller("vertex", "https://us-central1-aiplatform.googleapis.com/v1", moved=True),
            "claude-sonnet-4-5",
        ),
    ],
)
def test_models_are_found_by_our_names_and_addresses(seller: Seller, model: str) -> None:
    """Also where the table has other names for the provider, or only the address says who it is."""
    assert price_in_table(seller, model, None, NOW) is not None


def test_a_lane_without_a_row_of_its_own_has_no_price() -> None:
    """The table would give the full price for it, silently."""
    cohere = Seller("cohere", "https://api.cohere.com")
    assert price_in_table(cohere, "command-a-03-2025", None, NOW) is not None
    assert price_in_table(cohere, "command-a-03-2025", "batch", NOW) is None
    usual = price_in_table(OPENAI, "gpt-4o-mini", None, NOW)
    half = price_in_table(OPENAI, "gpt-4o-mini", "batch", NOW)
    assert usual is not None
    assert half is not None
    assert half.input.base * 2 == usual.input.base


def test_groq_sells_flex_at_its_usual_price() -> None:
    """As its page says; no row of the table does."""
    groq = Seller("groq", "https://api.groq.com/openai/v1")
    usual = price_in_table(groq, "openai/gpt-oss-120b", None, NOW)
    assert usual is not None
    assert price_in_table(groq, "openai/gpt-oss-120b", "flex", NOW) == usual
    assert price_in_table(groq, "openai/gpt-oss-120b", "priority", NOW) is None


def seller(spec: str, base_url: str | None = None) -> Seller:
    """Who bills for a model, as a run finds out."""
    provider = resolve(spec, Access(base_url=base_url, api_key="k", environ={})).provider
    return seller_of(provider)


@pytest.mark.parametrize(
    ("spec", "base_url"),
    [
        ("fake/echo", None),
        ("ollama/m", None),
        ("ollama/m", "https://ollama.example.com"),
        ("vllm/m", None),
        ("vllm/m", "http://gpu-box:8000/v1"),
        ("openai/gpt-4o-mini", "http://127.0.0.1:8000/v1"),
        ("openai/gpt-4o-mini", "http://[::1]:8000/v1"),
        ("openai/gpt-4o-mini", "http://192.168.1.7/v1"),
        ("anthropic/claude-haiku-5-5", "https://claude.internal/v1"),
    ],
)
async def test_own_servers_cost_nothing(spec: str, base_url: str | None) -> None:
    """Those in this process, and those that are not on the public network."""
    assert await Prices().of(seller(spec, base_url), "gpt-4o-mini") is FREE


@pytest.mark.parametrize(
    ("spec", "base_url"),
    [
        ("openai/m", "https://llm.example.com/v1"),
        ("custom/m", "https://llm.example.com/v1"),
        ("ollama/m", "https://ollama.com"),
        ("litellm/m", None),
        ("featherless/m", None),
    ],
)
async def test_who_is_not_known_has_no_price(spec: str, base_url: str | None) -> None:
    """It is None, not 0: somebody bills for it, or may do so behind it."""
    assert await Prices().of(seller(spec, base_url), "gpt-4o-mini") is None


async def test_a_providers_own_address_is_found_under_any_name() -> None:
    """By our name for it, or by its address alone."""
    model = "llama-3.3-70b-versatile"
    own = await Prices().of(seller(f"groq/{model}"), model)
    assert own is not None
    assert own == await Prices().of(seller("openai/m", "https://api.groq.com/openai/v1"), model)


async def test_the_users_price_wins_also_for_an_own_server() -> None:
    """What a machine of one's own costs is for its owner to say."""
    prices = Prices([parse_given("openai/gpt-4o-mini=1,2"), parse_given("fake/*=3,4")])
    for seller, usd in ((OPENAI, 1), (Seller("fake", free=True), 3)):
        price = await prices.of(seller, "gpt-4o-mini", "batch")
        assert price is not None
        assert price.input.base == usd


def test_prices_that_fit_no_model_are_told_once() -> None:
    """Also one that another wins over is of use, and one of a served name."""
    texts = ("*=1,1", "gpt-4o-mini=1,1", "gpt-4o-mimi=1,1", "fake/*=1,1", "gpt-4o-mini-2024*=1,1")
    prices = Prices([parse_given(text) for text in texts])
    prices.given_to(OPENAI, "gpt-4o-mini")
    prices.given_to(OPENAI, "gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    said = prices.unused()
    assert said == ("--price gpt-4o-mimi, fake/* fits no model asked so far: openai/gpt-4o-mini")
    assert prices.unused() is None


async def test_the_served_model_is_priced_and_else_the_one_asked() -> None:
    """A deployment's own name says nothing, a dated name all."""
    azure = Seller("azure", "https://my.openai.azure.com/openai/v1")
    prices = Prices()
    served = await prices.of(azure, "my-deployment", served="gpt-4o-2024-08-06")
    assert served == await prices.of(azure, "gpt-4o-2024-08-06")
    assert served is not None
    asked = await prices.of(OPENAI, "gpt-4o-mini", served="never-heard-of")
    assert asked == await prices.of(OPENAI, "gpt-4o-mini")
    assert asked is not None


async def test_many_ask_and_the_table_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a minute is over: a price may depend on the hour."""
    asked = []

    def count(seller: Seller, model: str, lane: Lane | None, now: datetime) -> None:
        asked.append(now.minute)

    monkeypatch.setattr("llmbatch_cli.pricing.table.price_in_table", count)
    time_s = 0.0
    prices = Prices(clock=lambda: time_s, now=lambda: NOW.replace(minute=int(time_s // 60)))
    await asyncio.gather(*(prices.of(OPENAI, "m") for _ in range(50)))
    assert asked == [0]
    time_s = 61
    await prices.of(OPENAI, "m")
    assert asked == [0, 1]


def test_the_table_is_listed_with_what_is_known() -> None:
    """Every model that is priced by the token, with its batch price and its context."""
    found = {(one.provider, one.model): one for one in listed(NOW)}
    mini = found["openai", "gpt-4o-mini"]
    assert mini.price is not None
    assert mini.price.output.base == Decimal("0.6")
    assert mini.batch is not None
    assert mini.limits.context_tokens == 128_000
    assert found["cohere", "command-a"].batch is None
    assert "genai_prices.data" in sys.modules
