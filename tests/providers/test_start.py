"""How many requests a run begins with."""

import asyncio

import pytest

from llmbatch_cli.core.options import Limits, Network, Sending
from llmbatch_cli.models import open_models
from llmbatch_cli.models.options import CallOptions

ENVIRON = {"OPENAI_API_KEY": "k", "AZURE_OPENAI_API_KEY": "k"}
AZURE = {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
OWN = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("model", "base_url", "concurrency", "start"),
    [
        ("openai/gpt-4o", None, None, 16),
        ("azure/gpt-4o", None, None, 16),
        ("openai/gpt-4o", OWN, None, 3),
        ("openai/gpt-4o", "https://llm.example/v1", None, 3),
        ("vllm/m", OWN, None, 3),
        ("ollama/m", None, None, 3),
        ("fake/echo", None, None, 3),
        ("openai/gpt-4o", None, 5, 5),
        ("openai/gpt-4o", OWN, 100, 100),
    ],
)
def test_a_server_of_ones_own_is_asked_for_little_at_first(
    model: str, base_url: str | None, concurrency: int | None, start: int
) -> None:
    """It may answer one at a time, and what waits there for long is lost; a provider's own address
    serves many. The user's number holds from the beginning."""

    async def opened() -> int:
        network = Network(base_url=base_url or (), environ={**ENVIRON, **AZURE})
        sending = Sending(limits=Limits(concurrency=concurrency), network=network)
        options = CallOptions.of(sending)
        async with open_models(options) as pool:
            await pool.model_for(model)
            return pool.window()

    assert asyncio.run(opened()) == start
