"""The longest answer of a model, as its provider lists it, for --max-cost."""

import asyncio
from contextlib import suppress
from typing import Final

from llmbatch_cli.core.errors import ProviderError, UsageError
from llmbatch_cli.core.types import Send
from llmbatch_cli.providers.base import Provider

TIMEOUT_S: Final = 5.0


async def longest_listed(provider: Provider, model: str, send: Send) -> int | None:
    """Tokens of the model's longest answer; None where the provider does not tell, or not soon."""
    from llmbatch_cli.providers.listing import LONGEST_ANSWERS, listing_of, read, request

    field = LONGEST_ANSWERS.get(provider.name)
    if field is None:
        return None
    listing = listing_of(provider.name)
    with suppress(ProviderError, UsageError, TimeoutError):
        async with asyncio.timeout(TIMEOUT_S):
            reply = await send(request(listing, provider))
        for listed in read(listing, provider, reply).models:
            most = listed.details.get(field)
            if listed.id == model.removeprefix("models/") and type(most) is int and most > 0:
                return most
    return None
