"""The providers: a registry of import strings, and the way from a model's name to a provider."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson

from llmbatch_cli.core.errors import MissingKey, UsageError
from llmbatch_cli.core.events import Notice, Observer, ignore
from llmbatch_cli.core.types import Params
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.hosts import ROWS, Host

DEFAULT_MODEL: Final = "local/smollm2"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the registry knows of a provider before its file is imported."""

    factory: str
    """`module:class`, imported on first use."""
    base_url: str | None = None
    """The provider's own address; None where only the user can know it."""
    key_variables: Sequence[str] = ()
    """The environment variables that may hold its key; the first that is set wins."""
    keys_page: str | None = None
    """Where a key is made."""
    url_variables: Sequence[str] = ()
    """The environment variables that move its address."""
    keyless: bool = False
    """Whether it may be called without a key, or finds credentials by itself."""
    address: str | None = None
    """`module:function` that completes an address as users write it."""
    in_process: bool = False
    """Whether it has no address: it runs in this process."""
    other_wires: Mapping[str, str] = field(default_factory=dict)
    """Further factories, by the name that `--api` gives them; `chat` is `factory` elsewhere."""


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
    ),
    "anthropic": Entry(
        "llmbatch_cli.providers.anthropic.provider:Anthropic",
        base_url="https://api.anthropic.com/v1",
        key_variables=("ANTHROPIC_API_KEY",),
        keys_page="https://platform.claude.com/settings/keys",
        url_variables=("ANTHROPIC_BASE_URL",),
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
    ),
    "mistral": Entry(
        "llmbatch_cli.providers.mistral.provider:Mistral",
        base_url="https://api.mistral.ai/v1",
        key_variables=("MISTRAL_API_KEY",),
        keys_page="https://console.mistral.ai/api-keys",
        url_variables=("MISTRAL_BASE_URL",),
    ),
    "azure": Entry(
        "llmbatch_cli.providers.openai.azure:Azure",
        key_variables=("AZURE_OPENAI_API_KEY",),
        keys_page="https://portal.azure.com",
        url_variables=("AZURE_OPENAI_ENDPOINT", "AZURE_BASE_URL"),
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
    ),
    "vertex": Entry(
        "llmbatch_cli.providers.vertex.provider:Vertex",
        base_url="https://aiplatform.googleapis.com/v1",
        key_variables=("GOOGLE_OAUTH_ACCESS_TOKEN",),
        keys_page="https://console.cloud.google.com/iam-admin/serviceaccounts",
        url_variables=("VERTEX_BASE_URL",),
        keyless=True,
    ),
    "local": Entry("llmbatch_cli.providers.local.provider:Local", in_process=True),
    "fake": Entry("llmbatch_cli.providers.fake.provider:Fake", in_process=True),
}


def _of_host(host: Host) -> Entry:
    return Entry(
        "llmbatch_cli.providers.openai.compatible:Compatible",
        base_url=host.base_url,
        key_variables=host.key_variables,
        keys_page=host.keys_page,
        url_variables=(f"{host.name.upper()}_BASE_URL", *host.url_variables),
        keyless=host.keyless,
    )


PROVIDERS: Final[Mapping[str, Entry]] = {
    **OWN_WIRES,
    **{host.name: _of_host(host) for host in ROWS},
}

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


@dataclass(frozen=True, slots=True)
class Access:
    """How providers are reached in one run."""

    base_url: str | None = None
    """Takes the place of every provider's own address."""
    api_key: str | None = field(default=None, repr=False)
    """Takes the place of the key in the environment."""
    api: str | None = None
    """The wire, where a provider has several; None leaves it to the model."""
    insecure: bool = False
    """Send keys over plain http to other machines too."""
    may_find: bool = True
    """Whether a provider may look for credentials that `environ` does not hold."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    more_base_urls: Sequence[str] = ()
    """Further addresses of the same model, over which requests are spread."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider, ready to be asked."""

    provider: Provider
    model: str
    params: Params
    """Parameters in the model's own spec: `openai/gpt-4o?temperature=0`."""
    key_hint: str | None = None
    """Where to look when the provider does not take the key."""


def resolve(spec: str, access: Access, observe: Observer = ignore) -> Target:
    """The target that `provider/model`, or a bare name of a known family, means.

    `?name=value&...` behind the model sets parameters for this model alone; a value is
    read as JSON where it is JSON, else as text. Raises UsageError for an unknown name,
    a missing key, or a bad option.
    """
    path, _, query = spec.partition("?")
    name, model = _split(path, moved=access.base_url is not None)
    entry = PROVIDERS[name]
    factory = _load(_wire(name, entry, access.api))
    if entry.in_process:
        target: Target = factory.target(model, query)
        return target
    base_url = _base_url(name, entry, access)
    api_key = _api_key(name, entry, access, base_url, observe)
    provider = factory(
        Settings(name, base_url, api_key, access.environ, _withheld(base_url, access))
    )
    return Target(provider, model, parse_query(query), _key_hint(name, entry, api_key))


def _wire(name: str, entry: Entry, asked: str | None) -> str:
    """The factory of the wire that was asked for."""
    wires = {"chat": entry.factory, **entry.other_wires}
    if asked is None:
        return entry.factory
    if asked not in wires:
        raise UsageError(f"{name} has no wire called {asked!r}", hint=f"it has: {', '.join(wires)}")
    return wires[asked]


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def _split(path: str, *, moved: bool) -> tuple[str, str]:
    """The provider's name and the model's."""
    name, slash, model = path.partition("/")
    if slash and name in PROVIDERS:
        if not model:
            raise UsageError(f"{path!r} names a provider but no model")
        return name, model
    if moved and path:  # a server of one's own, whatever its models are called
        return "openai", path
    family = family_of(path)
    if family is None:
        raise _unknown(path)
    return family, path


def family_of(name: str) -> str | None:
    """The provider of a bare model name; None for one of no known family, or with a `/` in it."""
    if "/" in name:
        return None
    return next((provider for pattern, provider in FAMILIES if pattern.match(name)), None)


def _unknown(path: str) -> UsageError:
    known = [*WELL_KNOWN, *(f"{name}/..." for name in PROVIDERS), DEFAULT_MODEL]
    near = get_close_matches(path, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}" if near else "write it as provider/model"
    return UsageError(
        f"unknown model {path!r}",
        hint=f"{hint}; llmbatch providers lists what there is, and --base-url names a server",
    )


def _base_url(name: str, entry: Entry, access: Access) -> str:
    moved = access.base_url or first_set(access.environ, entry.url_variables)
    base_url = (moved or entry.base_url or "").strip()
    if entry.address is not None:
        base_url = _load(entry.address)(base_url)
    if not base_url:
        variables = " or ".join(entry.url_variables)
        raise UsageError(f"{name} has no address", hint=f"set {variables}, or give --base-url")
    return _checked(name, base_url)


def _checked(name: str, url: str) -> str:
    """The base URL itself. Raises UsageError, without any password, for what is none."""
    is_address = _is_address(url)
    if "@" in (urlsplit(url).netloc if is_address else url):
        raise UsageError(
            f"the base URL for {name} holds a user name or a password, which is not sent",
            hint='leave it out; --param \'extra_headers={"authorization": "Basic ..."}\' says it',
        )
    if not is_address:
        raise UsageError(
            f"{url!r} is no base URL for {name}",
            hint="it begins with http:// or https://, as in http://localhost:8000/v1",
        )
    return url


def _is_address(url: str) -> bool:
    """Whether it is an http or https URL that names a host."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # raises for what is no name, as `port` does
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = url.isprintable() and " " not in url
    return parts.scheme in ("http", "https") and has_host and is_plain


def _api_key(
    name: str, entry: Entry, access: Access, base_url: str, observe: Observer
) -> str | None:
    api_key = access.api_key or first_set(access.environ, entry.key_variables)
    if api_key is None:
        if entry.base_url in (base_url, None) and not entry.keyless:
            raise MissingKey(
                f"no key for {name}: {' or '.join(entry.key_variables)} is not set",
                hint=f"make one at {entry.keys_page} and export it; "
                f"without a key, -m {DEFAULT_MODEL} runs on this machine",
            )
        return None
    api_key = api_key.strip()
    if not api_key.isascii() or not api_key.isprintable():
        raise UsageError(f"the key for {name} holds characters that no key has")
    if _is_open(base_url, access):
        observe(
            Notice(
                f"the key for {name} is withheld: {base_url} is plain http on another machine "
                "(--insecure sends it all the same)"
            )
        )
        return None
    return api_key


def _is_open(base_url: str, access: Access) -> bool:
    """Whether no key may go there: it is plain http on another machine, without --insecure."""
    plain = urlsplit(base_url).scheme == "http" and not is_loopback(base_url)
    return plain and not access.insecure


def _withheld(base_url: str, access: Access) -> str | None:
    """Why no credentials may go there; None where they may."""
    if _is_open(base_url, access):
        return "it is plain http on another machine (--insecure sends them all the same)"
    return None if access.may_find else "a row has asked for it, and the run has not (-m)"


def _key_hint(name: str, entry: Entry, api_key: str | None) -> str:
    variables = " or ".join(entry.key_variables)
    if api_key is None:
        return f"no key was sent; set {variables}"
    return f"look at {variables}; keys for {name} are made at {entry.keys_page}"


def first_set(environ: Mapping[str, str], names: Sequence[str]) -> str | None:
    """The value of the first variable that is set and not blank."""
    return next((environ[name] for name in names if environ.get(name, "").strip()), None)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def parse_query(query: str) -> dict[str, Any]:
    """`temperature=0&stop=END` as parameters. Raises UsageError for what is no such list."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise UsageError(
            f"cannot read the model's options {query!r}", hint="write them as ?name=value&..."
        ) from error
    return {name: json_or_text(value) for name, value in pairs}


def json_or_text(value: str) -> Any:
    """The value as JSON where it is JSON, else as it stands."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
