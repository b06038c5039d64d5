"""The providers as import strings, and the way from a model's name to a provider."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Observer, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Seller
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.types import Params
from llmbatch_cli.providers.access import (
    DEFAULT_MODEL,
    Access,
    Entry,
    Setup,
    api_key_of,
    base_url_of,
    first_set,
    headers_of,
    key_hint_of,
    load,
    why_withheld,
)
from llmbatch_cli.providers.addresses import is_private
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.hosts import OPENAI_BATCH, ROWS, Host

__all__ = (
    "DEFAULT_MODEL",
    "PROVIDERS",
    "Access",
    "Entry",
    "Setup",
    "Target",
    "family_of",
    "resolve",
)

OWN_WIRES: Final[Mapping[str, Entry]] = {
    "openai": Entry(
        "llmbatch_cli.providers.responses.provider:ByRequest",
        base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY",),
        keys_page="https://platform.openai.com/api-keys",
        url_variables=("OPENAI_BASE_URL",),
        other_wires={
            "chat": "llmbatch_cli.providers.openai.provider:OpenAI",
            "responses": "llmbatch_cli.providers.responses.provider:Responses",
        },
        batch=OPENAI_BATCH,
    ),
    "anthropic": Entry(
        "llmbatch_cli.providers.anthropic.provider:Anthropic",
        base_url="https://api.anthropic.com/v1",
        key_variables=("ANTHROPIC_API_KEY",),
        keys_page="https://platform.claude.com/settings/keys",
        url_variables=("ANTHROPIC_BASE_URL",),
        batch="llmbatch_cli.providers.anthropic.batch:AnthropicBatch",
    ),
    "cohere": Entry(
        "llmbatch_cli.providers.cohere.provider:Cohere",
        base_url="https://api.cohere.com/v2",
        key_variables=("COHERE_API_KEY", "CO_API_KEY"),
        keys_page="https://dashboard.cohere.com/api-keys",
        url_variables=("COHERE_BASE_URL", "CO_API_URL"),
    ),
    "gemini": Entry(
        "llmbatch_cli.providers.gemini.provider:Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        keys_page="https://aistudio.google.com/apikey",
        url_variables=("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
        batch="llmbatch_cli.providers.gemini.batch:GeminiBatch",
    ),
    "mistral": Entry(
        "llmbatch_cli.providers.mistral.provider:Mistral",
        base_url="https://api.mistral.ai/v1",
        key_variables=("MISTRAL_API_KEY",),
        keys_page="https://console.mistral.ai/api-keys",
        url_variables=("MISTRAL_BASE_URL",),
        batch="llmbatch_cli.providers.mistral.batch:MistralBatch",
    ),
    "azure": Entry(
        "llmbatch_cli.providers.openai.azure:Azure",
        key_variables=("AZURE_OPENAI_API_KEY",),
        keys_page="https://portal.azure.com",
        url_variables=("AZURE_OPENAI_ENDPOINT", "AZURE_BASE_URL"),
        whole_urls=True,
        batch=OPENAI_BATCH,
    ),
    "ollama": Entry(
        "llmbatch_cli.providers.ollama.provider:Ollama",
        base_url="http://localhost:11434",
        key_variables=("OLLAMA_API_KEY",),
        keys_page="https://ollama.com/settings/keys",
        url_variables=("OLLAMA_BASE_URL", "OLLAMA_HOST"),
        keyless=True,
        address="llmbatch_cli.providers.ollama.provider:address",
    ),
    "bedrock": Entry(
        "llmbatch_cli.providers.bedrock.provider:Bedrock",
        base_url="https://bedrock-runtime.{region}.amazonaws.com",
        key_variables=("AWS_BEARER_TOKEN_BEDROCK",),
        keys_page="https://console.aws.amazon.com/bedrock/home#/api-keys",
        url_variables=("BEDROCK_BASE_URL",),
        keyless=True,
        credentials="AWS credentials",
        batch="llmbatch_cli.providers.bedrock.batch:BedrockBatch",
    ),
    "vertex": Entry(
        "llmbatch_cli.providers.vertex.provider:Vertex",
        base_url="https://aiplatform.googleapis.com/v1",
        key_variables=("GOOGLE_OAUTH_ACCESS_TOKEN",),
        keys_page="https://console.cloud.google.com/iam-admin/serviceaccounts",
        url_variables=("VERTEX_BASE_URL",),
        keyless=True,
        credentials="Google credentials",
        batch="llmbatch_cli.providers.vertex.batch:VertexBatch",
    ),
    "local": Entry("llmbatch_cli.providers.local.provider:Local", in_process=True),
    "fake": Entry(
        "llmbatch_cli.providers.fake.provider:Fake",
        in_process=True,
        batch="llmbatch_cli.providers.fake.batch:FakeBatch",
    ),
}


def entry_of(host: Host) -> Entry:
    return Entry(
        "llmbatch_cli.providers.openai.compatible:Compatible",
        base_url=host.base_url,
        key_variables=host.key_variables,
        keys_page=host.keys_page,
        url_variables=(f"{host.variable}_BASE_URL", *host.url_variables),
        keyless=host.keyless,
        batch=host.batch,
        host=host,
    )


PROVIDERS: Final[Mapping[str, Entry]] = {
    **OWN_WIRES,
    **{host.name: entry_of(host) for host in ROWS},
}

RESELLING: Final = frozenset(("litellm",))
"""Servers of one's own that pass requests on to somebody who bills for them."""

FAMILIES: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (re.compile(r"gpt-|o\d(-|$)|chatgpt-|ft:"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"command(-|$)|c4ai-"), "cohere"),
    (re.compile(r"gemini-"), "gemini"),
    (
        re.compile(r"(open-)?(mistral|mixtral|codestral|ministral|magistral|devstral|pixtral)-"),
        "mistral",
    ),
    (re.compile(r"grok-"), "xai"),
    (re.compile(r"deepseek-"), "deepseek"),
)
"""The provider of a bare model name, by how the name begins."""

WELL_KNOWN: Final = (
    *("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "gpt-5-mini", "o3", "o4-mini"),
    *("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"),
    *("gemini-2.5-flash", "gemini-2.5-pro", "command-a-03-2025"),
)


@frozen
class Target:
    """One model at one provider, ready for requests."""

    provider: Provider
    model: str
    params: Params
    """Parameters in the model's own spec: `openai/gpt-4o?temperature=0`."""
    key_hint: str | None = None
    """What to check when the provider rejects the key."""


def providers_with(setup: Setup) -> Mapping[str, Entry]:
    """Every provider, with those of the user's own behind the others."""
    return {**PROVIDERS, **setup.hosts} if setup.hosts else PROVIDERS


def is_hosted(provider: Provider) -> bool:
    """Whether it is at its company's address, and not a server of the user's own."""
    entry = PROVIDERS.get(provider.name)
    is_own = entry is not None and entry.base_url in (provider.base_url, None)
    return is_own and provider.base_url.startswith("https:")


def seller_of(provider: Provider) -> Seller:
    """Who bills for its models. A server of one's own bills nothing, unless it says what."""
    name, url = provider.name, provider.base_url
    entry = PROVIDERS.get(name)  # None for a host of the user's own
    if entry is not None and entry.in_process:
        return Seller(name, free=True)
    free = not (name in RESELLING or provider.reports_cost) and (
        is_private(url) or (name == "ollama" and not _is_ollamas(url))
    )
    moved = entry is None or entry.base_url not in (None, url)
    return Seller(name, url, moved, free)


def _is_ollamas(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "ollama.com" or host.endswith(".ollama.com")


def resolve(spec: str, access: Access, observe: Observer = ignore) -> Target:
    """The target of `provider/model`, or of a bare name of a known family.

    `?name=value&...` behind the model sets parameters for this model alone; a value is
    read as JSON where it is JSON, else as text. Raises UsageError for an unknown name,
    a missing key, or an invalid option.
    """
    path, _, query = _without_alias(spec, access.setup.aliases).partition("?")
    name, model = _split(path, access)
    entry = providers_with(access.setup)[name]
    factory = load(_factory(name, entry, access.api))
    if entry.in_process:
        target: Target = factory.target(model, query)
        return target
    base_url, url_query = base_url_of(name, entry, access)
    api_key = api_key_of(name, entry, access, base_url, observe)
    withheld = why_withheld(base_url, access)
    headers = headers_of(name, access, base_url, observe)
    provider = factory(
        Settings(name, base_url, api_key, access.environ, withheld, url_query, headers, entry.host)
    )
    return Target(provider, model, parse_query(query), key_hint_of(name, entry, api_key, access))


def _without_alias(spec: str, aliases: Mapping[str, str]) -> str:
    """The model's name in place of an alias; parameters behind the alias win over its own."""
    path, _, query = spec.partition("?")
    if path not in aliases:
        return spec
    named, _, own = aliases[path].partition("?")
    return "?".join(filter(None, (named, "&".join(filter(None, (own, query))))))


def _factory(name: str, entry: Entry, api: str | None) -> str:
    """The factory of this API; of the provider's usual one for None."""
    factories = {"chat": entry.factory, **entry.other_wires}
    if api is None:
        return entry.factory
    if api not in factories:
        raise UsageError(f"{name} has no API {api!r}", hint=f"it has: {', '.join(factories)}")
    return factories[api]


def _split(path: str, access: Access) -> tuple[str, str]:
    """The provider's name and the model's.

    A server of the user's own, by --base-url or OPENAI_BASE_URL, has models of any name; but with
    the variable a name of a known family goes to its provider, where there is a key for it.
    """
    name, slash, model = path.partition("/")
    known = providers_with(access.setup)
    if slash and name in known:
        if not model:
            raise UsageError(f"{path!r} names a provider but no model")
        return name, model
    if access.home == "azure" and path:  # a deployment may have any name, a model's too
        return access.home, path
    if access.base_url is not None and path:
        return "openai", path
    family = family_of(path)
    entry = PROVIDERS[family] if family is not None else None
    if entry is not None and (access.api_key or _is_set_up(entry, access)):
        return str(family), path
    if path and first_set(access.environ, PROVIDERS["openai"].url_variables):
        return "openai", path
    if family is None and access.home is not None and path:
        return access.home, path
    if family is None:
        raise _unknown(path, access.setup)
    return family, path


def home_of(provider: str) -> str | None:
    """The provider, if its models have names of its own: bare names of rows may be such."""
    is_of_family = any(provider == name for _, name in FAMILIES)
    entry = PROVIDERS.get(provider)
    return None if is_of_family or (entry is not None and entry.in_process) else provider


def _is_set_up(entry: Entry, access: Access) -> bool:
    """Whether the environment says how to reach the provider."""
    return first_set(access.environ, (*entry.key_variables, *entry.url_variables)) is not None


def family_of(name: str) -> str | None:
    """The provider of a bare model name; None for another, or one with a `/` in it."""
    if "/" in name:
        return None
    return next((provider for pattern, provider in FAMILIES if pattern.match(name)), None)


def _unknown(path: str, setup: Setup) -> UsageError:
    providers = providers_with(setup)
    name, slash, model = path.partition("/")
    lists = "llmbatch providers lists the providers, and --base-url names your own server"
    if slash and model:
        near = [f"{one}/{model}" for one in near_names(name, providers)]
        hint = f"write it as PROVIDER/{path}; {lists}"
        if near:
            hint = f"{did_you_mean(near)} Or {hint}"
        return UsageError(f"unknown model {path!r}: no provider {name!r}", hint=hint)
    places = (f"{name}/..." for name in providers)
    known = [*setup.aliases, *WELL_KNOWN, *places, DEFAULT_MODEL]
    near = [*near_names(path, known)]
    hint = did_you_mean(near) if near else "write it as PROVIDER/MODEL;"
    return UsageError(f"unknown model {path!r}", hint=f"{hint} {lists}")


def parse_query(query: str) -> dict[str, Any]:
    """`temperature=0&stop=END` as parameters. Raises UsageError where it is malformed."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise UsageError(
            "cannot read the options behind the ? of the model",
            hint="write them as ?name=value&...",
        ) from error
    return {name: json_or_text(value) for name, value in pairs}


def json_or_text(value: str) -> Any:
    """The value as JSON where it is JSON, else as it stands."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
