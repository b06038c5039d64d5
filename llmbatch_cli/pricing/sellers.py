"""Who bills for an answer: the provider at its address, somebody else, or nobody."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from llmbatch_cli.core.ledger import Seller

TABLE_IDS: Final[Mapping[str, str]] = {
    "xai": "x-ai",
    "gemini": "google",
    "vertex": "google",
    "bedrock": "aws",
    "moonshot": "moonshotai",
    **{
        name: name
        for name in (
            *("openai", "anthropic", "cohere", "mistral", "azure", "groq", "together"),
            *("fireworks", "openrouter", "deepseek", "perplexity", "cerebras", "novita"),
            *("zai", "minimax", "baseten"),
        )
    },
}
"""Our providers as genai-prices names them. Those that it has no prices of are not here."""

RESELLING: Final = frozenset(("litellm",))
"""Servers of one's own that may pass requests on to somebody who bills for them."""
_OLLAMA: Final = "ollama.com"


def bills_nothing(seller: Seller) -> bool:
    """Whether it is a server of one's own: in this process, or not on the public network."""
    if seller.provider in RESELLING:
        return False
    if not seller.base_url:
        return True
    host = urlsplit(seller.base_url).hostname or ""
    if seller.provider == "ollama":
        return host != _OLLAMA and not host.endswith(f".{_OLLAMA}")
    return is_private(host)


def is_private(host: str) -> bool:
    """Whether the name or address is of this machine or of a local network."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        ends = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
        return "." not in host or host.endswith(ends)
    return address.is_private or address.is_loopback or address.is_link_local
