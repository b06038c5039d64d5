"""Our providers as genai-prices names them."""

from collections.abc import Mapping
from typing import Final

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
"""Those that it has no prices of are not here."""
