"""How a provider is reached in one run: its address, its key, and whether the key may go there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from importlib import import_module
from typing import Any, Final

from llmbatch_cli.core.environment import source_of, stand_in_of
from llmbatch_cli.core.errors import MissingKey, UsageError
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Limits
from llmbatch_cli.providers.addresses import is_exposed, split_base_url

DEFAULT_MODEL: Final = "local/smollm2"


@frozen
class Entry:
    """What is known of a provider before its file is imported."""

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
    credentials: str | None = None
    """What it finds by itself where no key is set."""
    address: str | None = None
    """`module:function` that makes a base URL of an address as users write it."""
    in_process: bool = False
    """Whether it has no address: it runs in this process."""
    whole_urls: bool = False
    """Whether its base URL may be that of a whole request, which it takes apart by itself."""
    other_wires: Mapping[str, str] = field(default_factory=dict)
    """The factories of its other APIs, by their names for `--api`; else there is `chat` alone."""
    batch: str | None = None
    """`module:class` of its batch API, see batch_api.py; None where it has none that is spoken."""
    host: Any = None
    """The hosts.Host of a provider that is in no table of ours."""


@frozen
class Setup:
    """What users have set once for all their runs, see settings/; from Python it is nothing."""

    environ: Mapping[str, str] | None = field(default=None, repr=False)
    """Keys and base URLs; None is the process's environment."""
    hosts: Mapping[str, Entry] = field(default_factory=dict)
    """Providers of the user's own, by name."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short names of models."""
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Sent with each request to a provider. They may hold secrets, so they go where its key may."""
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """By provider, over those of a run."""
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By model, as MODEL or PROVIDER/MODEL: US dollars for a million tokens in, and out."""


@frozen
class Access:
    """How providers are reached in one run."""

    base_url: str | None = None
    """Replaces every provider's own address."""
    api_key: str | None = field(default=None, repr=False)
    """Replaces the key in the environment."""
    no_key: bool = False
    """Send no key, whatever the environment has."""
    api: str | None = None
    """Which API, where a provider has several; None leaves it to the model."""
    insecure: bool = False
    """Send keys over plain http to other machines too."""
    may_find: bool = True
    """Whether a provider may look for credentials outside `environ`."""
    home: str | None = None
    """The provider of names that are of no family, as in the rows of a run of azure/NAME."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    more_base_urls: Sequence[str] = ()
    """Further addresses of the same model, over which requests are spread."""
    setup: Setup = field(default_factory=Setup)


def load(path: str) -> Any:
    """What `module:name` names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def base_url_of(name: str, entry: Entry, access: Access) -> tuple[str, str]:
    """The provider's address in this run, and the query for each request there.

    Raises UsageError for none, and for an invalid one.
    """
    variable, moved = first_named(access.environ, entry.url_variables)
    if access.base_url is not None:
        variable, moved = None, bare(access.base_url)
        if not moved:  # to go on would send the prompts to the provider itself
            raise UsageError(
                f"the base URL for {name} is empty",
                hint="is the variable in --base-url set? Without the option, the provider's "
                "own address is used",
            )
    base_url = moved or entry.base_url or ""
    if entry.address is not None:
        base_url = load(entry.address)(base_url)
    if not base_url:
        variables = " or ".join(entry.url_variables)
        raise UsageError(f"{name} has no base URL", hint=f"set {variables}, or use --base-url")
    if not moved:
        return base_url, ""
    whose = f"{name} ({source_of(access.environ, variable)})" if variable else name
    if entry.whole_urls and "/openai/" in base_url:
        split_base_url(whose, base_url.partition("/openai/")[0])
        return base_url, ""
    base, query = split_base_url(whose, base_url)
    return (f"{base}?{query}", "") if entry.whole_urls and query else (base, query)


def api_key_of(
    name: str, entry: Entry, access: Access, base_url: str, observe: Observer
) -> str | None:
    """The key to send; None for none. Raises MissingKey, and UsageError for an invalid one."""
    if access.no_key:
        return None
    variable, api_key = first_named(access.environ, entry.key_variables)
    if access.api_key and bare(access.api_key):
        variable, api_key = None, bare(access.api_key)
    if api_key is None:
        if entry.base_url in (base_url, None) and not entry.keyless:
            make = f"make one at {entry.keys_page}, then" if entry.keys_page else "have one?"
            error = MissingKey(
                f"no key for {name}: {' or '.join(entry.key_variables)} is not set",
                hint=f"{make} export it or run llmbatch keys set {name}; "
                f"without a key, -m {DEFAULT_MODEL} runs on this machine",
            )
            error.provider = name
            raise error
        return None
    source = source_of(access.environ, variable) if variable else "api_key"
    checked_key(name, api_key, source)
    if is_exposed(base_url) and not access.insecure:
        text = f"the key for {name} is withheld: {base_url} is {_EXPOSED.format('it')}"
        observe(Notice(text))
        return None
    return api_key


def checked_key(name: str, api_key: str, source: str) -> str:
    """The key, if it can be one. Raises UsageError, which does not show it."""
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise UsageError(
            f"the key for {name} has characters that no key has: {source}",
            hint="look for spaces, line breaks and invisible characters in it",
        )
    return api_key


_EXPOSED: Final = "plain http on another machine (--insecure sends {} anyway)"


def headers_of(name: str, access: Access, base_url: str, observe: Observer) -> Mapping[str, str]:
    """The headers of the user's settings that may go there: where the key may."""
    headers = access.setup.headers.get(name, {})
    if not headers or access.no_key:
        return {}
    if is_exposed(base_url) and not access.insecure:
        where = _EXPOSED.format("them")
        observe(Notice(f"the headers set for {name} are withheld: {base_url} is {where}"))
        return {}
    return headers


def why_withheld(base_url: str, access: Access) -> str | None:
    """Why no credentials may go there; None where they may."""
    if access.no_key:
        return "--no-key"
    if is_exposed(base_url) and not access.insecure:
        return f"it is {_EXPOSED.format('them')}"
    return None if access.may_find else "only a row names this provider, not the run (-m)"


def key_hint_of(name: str, entry: Entry, api_key: str | None, access: Access) -> str:
    """What to check when the provider rejects the key."""
    variables = " or ".join(entry.key_variables)
    if access.no_key:
        return "no key was sent, as --no-key says"
    if api_key is None:
        return f"no key was sent; set {variables}"
    variable = next((one for one in entry.key_variables if stand_in_of(access.environ, one)), None)
    checked = variables if variable is None else source_of(access.environ, variable)
    page = f"; keys for {name} are made at {entry.keys_page}" if entry.keys_page else ""
    return f"check {checked}{page}"


def first_set(environ: Mapping[str, str], names: Sequence[str]) -> str | None:
    """The value of the first variable that is set and not blank, bare."""
    return first_named(environ, names)[1]


def first_named(
    environ: Mapping[str, str], names: Sequence[str]
) -> tuple[str, str] | tuple[None, None]:
    """The first variable that is set and not blank, with its value, bare."""
    for name in names:
        if value := bare(environ.get(name, "")):
            return name, value
    return None, None


_AROUND: Final = " \t\r\n\xa0\u200b\ufeff\"'`\u2018\u2019\u201a\u201c\u201d\u201e\xab\xbb"
_BEARER: Final = re.compile(r"(?:authorization:\s*)?bearer(?:\s*:\s*|\s+|$)", re.IGNORECASE)


def bare(value: str) -> str:
    """A key or an address without what is copied along with it: white space, quotes, `Bearer`."""
    value = value.strip(_AROUND)
    return _BEARER.sub("", value, count=1).strip(_AROUND) if _BEARER.match(value) else value
