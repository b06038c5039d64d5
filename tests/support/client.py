"""Runs of the Python API, with everything collected."""

from collections.abc import Mapping
from typing import Any

from llmbatch_cli.client import Client, Prompts
from llmbatch_cli.core.options import Limits, Network, Retries
from llmbatch_cli.core.types import Outcome


def client(
    url: str | None = None,
    *,
    in_flight: int | None = None,
    retries: Retries | None = None,
    environ: Mapping[str, str] | None = None,
) -> Client:
    """A client whose models are all at this server."""
    return Client(
        limits=Limits(concurrency=in_flight),
        retries=retries or Retries(),
        network=Network(base_url=[f"{url}/v1"] if url else (), environ=environ or {}),
    )


async def race(one: Client, prompts: Prompts, models: list[str], **options: Any) -> list[Outcome]:
    """All outcomes of a race."""
    async with one:
        return [outcome async for outcome in one.race(prompts, models=models, **options)]


async def batch(one: Client, prompts: Prompts, model: str, **options: Any) -> list[Outcome]:
    """All outcomes of a batch."""
    async with one:
        return [outcome async for outcome in one.batch(prompts, model=model, **options)]
