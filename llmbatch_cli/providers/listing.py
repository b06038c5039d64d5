"""Which models a provider has, by its own list: the request, and how to read the reply. No I/O.

Sources (read 2026-11-22): developers.openai.com/api/reference/resources/models (GET /models),
platform.claude.com/docs/en/api/models/list (after_id, has_more, last_id), ai.google.dev/api/models
(pageToken, supportedGenerationMethods), docs.cohere.com/reference/list-models and cohere 7.3.1,
models/raw_client.py (page_token, endpoint), docs.ollama.com/api/tags, docs.github.com/rest/models/
catalog, docs.together.ai (a bare list).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from llmbatch_cli.core.errors import BadReply, ProviderError, Rejected, UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.addresses import headed, queried
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.wire.replies import excerpt, mapping, text_or_none

MOST_PAGES: Final = 100
"""A list with more pages is taken for one without an end."""

_PROBE: Final = Request("-", [{"role": "user", "content": "?"}], {})
"""Never sent: it shows which headers the provider needs."""


@frozen
class Model:
    """One model as its provider lists it."""

    id: str
    """Its name behind `provider/`."""
    details: Mapping[str, Any]
    """The provider's own object."""


@frozen
class Page:
    """A part of the list."""

    models: Sequence[Model]
    after: str | None
    """The cursor of the next page; None on the last one."""


@frozen
class Listing:
    """How one kind of provider lists its models."""

    address: Callable[[str], str] = "{}/models".format
    """The list's URL, from the provider's base URL."""
    items: str = "data"
    """The field with the models; a bare list is read, too."""
    ids: Sequence[str] = ("id",)
    """The fields that may have a model's name; the first that does."""
    query: Mapping[str, str] = field(default_factory=dict)
    cursor: str | None = None
    """The query parameter for the next page."""
    after: Callable[[Mapping[str, Any]], object] = lambda body: None
    """The next page's cursor in the reply."""
    is_chat: Callable[[Mapping[str, Any]], bool] = lambda model: True
    """Whether a model answers prompts at all."""


def _generates(model: Mapping[str, Any]) -> bool:
    methods = model.get("supportedGenerationMethods")
    return not isinstance(methods, list) or "generateContent" in methods


def _versioned(url: str) -> str:
    return url if re.search(r"/v\d\w*$", url) else f"{url}/v1beta"


OPENAI: Final = Listing()
LISTINGS: Final[Mapping[str, Listing]] = {
    "anthropic": Listing(
        lambda url: f"{url.removesuffix('/v1')}/v1/models",
        query={"limit": "1000"},
        cursor="after_id",
        after=lambda body: body.get("last_id") if body.get("has_more") is True else None,
    ),
    "gemini": Listing(
        lambda url: f"{_versioned(url)}/models",
        items="models",
        ids=("name",),
        query={"pageSize": "1000"},
        cursor="pageToken",
        after=lambda body: body.get("nextPageToken"),
        is_chat=_generates,
    ),
    "cohere": Listing(
        lambda url: f"{url.removesuffix('/v2').removesuffix('/v1')}/v1/models",
        items="models",
        ids=("name",),
        query={"page_size": "1000", "endpoint": "chat"},
        cursor="page_token",
        after=lambda body: body.get("next_page_token"),
    ),
    "ollama": Listing("{}/api/tags".format, items="models", ids=("model", "name")),
    "github": Listing(
        lambda url: re.sub(r"(/orgs/[^/]+)?/inference$", "", url) + "/catalog/models"
    ),
}
"""Those that differ from OpenAI."""

LONGEST_ANSWERS: Final[Mapping[str, str]] = {
    "gemini": "outputTokenLimit",
    "groq": "max_completion_tokens",
}
"""The field of a listed model with the tokens of its longest answer. OpenRouter lists that of one
of the hosts that may answer, which bounds nothing; OpenAI lists none."""

UNLISTED: Final[Mapping[str, str]] = {
    "azure": "a model is the name of one of your deployments: az cognitiveservices account "
    "deployment list -g GROUP -n RESOURCE",
    "bedrock": "use aws bedrock list-foundation-models, and list-inference-profiles",
    "vertex": "see https://cloud.google.com/vertex-ai/generative-ai/docs/models",
    "perplexity": "see its chat models at https://docs.perplexity.ai",
    "local": "use local/smollm2, or local/PATH.gguf for a model file",
    "fake": "use fake/echo or fake/lorem",
}
"""Those without such a list, and how to find their models instead."""


def listing_of(name: str) -> Listing:
    """How this provider lists its models. Raises UsageError where it has no list."""
    if name in UNLISTED:
        raise UsageError(f"{name} has no list of models", hint=UNLISTED[name])
    return LISTINGS.get(name, OPENAI)


def request(listing: Listing, provider: Provider, after: str | None = None) -> WireRequest:
    """The request for the first page, or the one after `after`, with the provider's own key."""
    query = dict(listing.query)
    if after is not None and listing.cursor is not None:
        query[listing.cursor] = after
    url = queried(queried(listing.address(provider.base_url), urlencode(query)), provider.query)
    headers = headed(provider.build(_PROBE).headers, provider.headers)
    headers.pop("content-type", None)
    return WireRequest("GET", url, headers)


def read(listing: Listing, provider: Provider, reply: WireReply) -> Page:
    """The page in the reply. Raises the ProviderError that the provider itself reads in it."""
    if reply.status == 404:
        raise Rejected(
            f"{provider.name} has no list of models at this address",
            status=404,
            hint="check the base URL, or take the model's name from the documentation",
        )
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        body = None
    found = body if isinstance(body, list) else mapping(body).get(listing.items)
    if reply.status != 200 or not isinstance(found, list):
        raise _error(provider, reply)
    objects = [one for one in found if isinstance(one, dict) and listing.is_chat(one)]
    models = [Model(name, one) for one in objects if (name := _name(listing, one))]
    return Page(models, text_or_none(listing.after(mapping(body))) or None)


def _name(listing: Listing, model: Mapping[str, Any]) -> str:
    found = (text_or_none(model.get(name)) for name in listing.ids)
    return next(filter(None, found), "").removeprefix("models/")


def _error(provider: Provider, reply: WireReply) -> ProviderError:
    """The error in a reply that is not a list."""
    try:
        provider.parse(_PROBE, reply)
    except ProviderError as error:
        if reply.status != 200 or not isinstance(error, BadReply):
            return error
    message = f"the reply is not a list of models: {excerpt(reply.body)}"
    return BadReply(message, status=reply.status)
