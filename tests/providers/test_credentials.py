"""Credentials that a provider finds by itself go nowhere where a key does not go."""

import asyncio

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import ignore
from llmbatch_cli.models import open_models
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.providers.registry import Access, resolve

ENVIRON = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "id-of-this-test",
    "AWS_SECRET_ACCESS_KEY": "secret-of-this-test",
    "GOOGLE_CLOUD_PROJECT": "project",
}
KEYS = {"AWS_BEARER_TOKEN_BEDROCK": "key-of-test", "GOOGLE_OAUTH_ACCESS_TOKEN": "token-of-test"}
MODELS = ("bedrock/anthropic.claude-sonnet-4-6", "vertex/gemini-3-pro")


async def served(model: str, access: Access) -> None:
    async with resolve(model, access).provider.serving(ignore):
        pass


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("keys", [{}, KEYS], ids=["no key", "withheld key"])
def test_no_better_credentials_take_the_place_of_a_withheld_key(
    model: str, keys: dict[str, str]
) -> None:
    """Over plain http to another machine nothing is looked for, and nothing sent."""
    access = Access("http://192.0.2.1:8000", environ={**ENVIRON, **keys})
    with pytest.raises(UsageError, match="plain http on another machine"):
        asyncio.run(served(model, access))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://192.0.2.1", "http://192.0.2.1"])
def test_a_key_is_sent_where_it_may_go(model: str, url: str) -> None:
    """To this machine, over https, and with --insecure anywhere."""
    access = Access(url, environ={**ENVIRON, **KEYS}, insecure=url == "http://192.0.2.1")
    asyncio.run(served(model, access))


@pytest.mark.parametrize("model", MODELS)
def test_a_row_sends_no_credentials_to_the_base_url(model: str) -> None:
    """A model that only a row names gets none of the user's credentials for the moved address."""

    async def opened() -> None:
        access = Access("https://example.com", environ={**ENVIRON, **KEYS})
        async with open_models(CallOptions(access, {})) as lanes:
            await lanes.model_for(model, of_row=True)

    with pytest.raises(UsageError, match="only a row names this provider"):
        asyncio.run(opened())
