"""Which models a provider has, as it lists them itself: what to ask, and how to read it. No I/O.

Sources (read 2026-11-22): developers.openai.com/api/reference/resources/models (GET /models),
platform.claude.com/docs/en/api/models/list (after_id, has_more, last_id), ai.google.dev/api/models
(pageToken, supportedGenerationMethods), docs.cohere.com/reference/list-models and cohere 7.3.1,
models/raw_client.py (page_token, endpoint), docs.ollama.com/api/tags, docs.github.com/rest/models/
catalog, docs.together.ai (a bare list).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from llmbatch_cli.core.errors import BadReply, ProviderError, Rejected, UsageError
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.wire.replies import excerpt, mapping, text_or_none

MOST_PAGES: Final = 100
"""A server whose pages have no end is not followed further."""

_PROBE: Final = Request("-", [{"role": "user", "content": "?"}], {})
"""Never sent: it tells which headers the provider wants."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model as its provider lists it."""

    id: str
    """As it stands behind `provider/`."""
    details: Mapping[str, Any]
    """The provider's own object."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list."""

    models: Sequence[Model]
    after: str | None
    """What asks for the next page; None on the last one."""


@dataclass(frozen=True, slots=True)
class Listing:
    """How one kind of provider lists its models."""

    address: Callable[[str], str]
    """The list's URL, from the provider's base URL."""
    items: str = "data"
    """The field that holds the models; a bare list is read, too."""
    ids: Sequence[str] = ("id",)
    """The fields that may hold a model's name; the first that does."""
    query: Mapping[str, str] = field(default_factory=dict)
    cursor: str | None = None
    """The parameter that asks for the next page."""
    after: Callable[[Mapping[str, Any]], object] = lambda body: None
    """Where the reply says what comes next."""
    offered: Callable[[Mapping[str, Any]], bool] = lambda model: True
    """Whether a model can be asked here at all."""


def _chats(model: Mapping[str, Any]) -> bool:
    methods = model.get("supportedGenerationMethods")
    return not isinstance(methods, list) or "generateContent" in methods


def _versioned(url: str) -> str:
    return url if re.search(r"/v\d\w*$", url) else f"{url}/v1beta"


OPENAI: Final = Listing(lambda url: f"{url}/models")
LISTINGS: Final[Mapping[str, Listing]] = {
    "anthropic": Listing(
        lambda url: f"{url.removesuffix('/v1')}/v1/models",
        query={"limit": "1000"},
        cursor="after_id",
        after=lambda body: body.get("last_id") if body.get("has_more") is True else None,
    ),
    "gemini": Listing(
        lambda url: _versioned(url) + "/models",
        items="models",
        ids=("name",),
        query={"pageSize": "1000"},
        cursor="pageToken",
        after=lambda body: body.get("nextPageToken"),
        offered=_chats,
    ),
    "cohere": Listing(
        lambda url: f"{url.removesuffix('/v2').removesuffix('/v1')}/v1/models",
        items="models",
        ids=("name",),
        query={"page_size": "1000", "endpoint": "chat"},
        cursor="page_token",
        after=lambda body: body.get("next_page_token"),
    ),
    "ollama": Listing(lambda url: f"{url}/api/tags", items="models", ids=("model", "name")),
    "github": Listing(
        lambda url: re.sub(r"(/orgs/[^/]+)?/inference$", "", url) + "/catalog/models"
    ),
}
"""Those that list otherwise than OpenAI."""

UNLISTED: Final[Mapping[str, str]] = {
    "azure": "a model is the name of one of your deployments: az cognitiveservices account "
    "deployment list -g GROUP -n RESOURCE",
    "bedrock": "aws bedrock list-foundation-models, and list-inference-profiles",
    "vertex": "https://cloud.google.com/vertex-ai/generative-ai/docs/models",
    "perplexity": "its chat models stand in https://docs.perplexity.ai",
    "local": "it is local/smollm2, or local/PATH.gguf for a model file",
    "fake": "they are fake/echo and fake/lorem",
}
"""Those without a list that a key can ask for, and how their models are found instead."""


def listing_of(name: str) -> Listing:
    """How this provider lists its models. Raises UsageError where it has no list."""
    if name in UNLISTED:
        raise UsageError(f"{name} has no list of models", hint=UNLISTED[name])
    return LISTINGS.get(name, OPENAI)


def request(listing: Listing, provider: Provider, after: str | None = None) -> WireRequest:
    """What asks for the first page, or for the one after `after`; with the provider's own key."""
    query = dict(listing.query)
    if after is not None and listing.cursor is not None:
        query[listing.cursor] = after
    url = listing.address(provider.base_url) + (f"?{urlencode(query)}" if query else "")
    headers = {
        name: value
        for name, value in provider.build(_PROBE).headers.items()
        if name != "content-type"
    }
    return WireRequest("GET", url, headers)


def read(listing: Listing, provider: Provider, reply: WireReply) -> Page:
    """The page in the reply. Raises the ProviderError that the provider's own wire reads there."""
    if reply.status == 404:
        raise Rejected(
            f"{provider.name} has no list of models at this address",
            status=404,
            hint="is the base URL right? Else name the model as its documentation does",
        )
    body = _json(reply)
    found = body if isinstance(body, list) else mapping(body).get(listing.items)
    if reply.status != 200 or not isinstance(found, list):
        raise _error(provider, reply)
    objects = [one for one in found if isinstance(one, dict) and listing.offered(one)]
    named = [(_name(listing, one), one) for one in objects]
    after = text_or_none(listing.after(mapping(body)))
    return Page([Model(name, one) for name, one in named if name], after or None)


def _json(reply: WireReply) -> object:
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None


def _name(listing: Listing, model: Mapping[str, Any]) -> str:
    found = (model.get(field) for field in listing.ids)
    name = next((one for one in found if isinstance(one, str) and one), "")
    return name.removeprefix("models/")


def _error(provider: Provider, reply: WireReply) -> ProviderError:
    """What the reply means where it is no list: the wire knows its own errors."""
    try:
        provider.parse(_PROBE, reply)
    except ProviderError as error:
        if reply.status != 200 or not isinstance(error, BadReply):
            return error
    return BadReply(f"the reply is no list of models: {excerpt(reply.body)}", status=reply.status)
