"""What a run is told of settings and keys."""

from pathlib import Path

from llmbatch_cli.core.environment import source_of
from llmbatch_cli.core.ledger import Seller, Usage
from llmbatch_cli.models.options import prices_of
from llmbatch_cli.settings.read import read
from llmbatch_cli.settings.setup import setup_of
from llmbatch_cli.settings.source import Source

TEXT = """
[prices]
m = [1, 2.5]
"groq/m" = [0, 0]

[providers.groq]
base_url = "https://a/v1"
"""


def test_a_price_of_the_provider_wins_over_that_of_the_name() -> None:
    """In US dollars for a million tokens in, and out; unknown is None, never 0."""
    setup = setup_of(read(Source(Path("c.toml"), TEXT), {}), None, {})
    usage = Usage(1_000_000, 1_000_000)

    def cost(provider: str, model: str, *given: str) -> float | None:
        price = prices_of(given, setup).given_to(Seller(provider), model)
        return None if price is None else float(price.cost(usage) or 0)

    assert cost("groq", "m") == 0.0
    assert cost("openai", "m") == 3.5
    assert cost("openai", "other") is None
    assert cost("groq", "m", "*=1,1") == 2.0, "what a run is given wins"


def test_the_environment_is_as_it_was_but_for_what_is_not_set() -> None:
    """A blank variable counts as not set; each value knows where it is from."""
    settings = read(Source(Path("c.toml"), TEXT), {})
    environ = setup_of(settings, None, {"A": "1", "GROQ_BASE_URL": " "}).environ
    assert environ is not None
    assert dict(environ) == {"A": "1", "GROQ_BASE_URL": "https://a/v1"}
    assert len(environ) == 2
    assert source_of(environ, "GROQ_BASE_URL") == "base_url, c.toml:7"
    moved = setup_of(settings, None, {"GROQ_BASE_URL": "https://b"}).environ
    assert moved is not None
    assert (moved["GROQ_BASE_URL"], source_of(moved, "GROQ_BASE_URL")) == (
        "https://b", "GROQ_BASE_URL",
    )  # fmt: skip
