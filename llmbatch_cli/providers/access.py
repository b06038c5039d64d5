"""How a provider is reached in one run: its address, its key, and whether the key may go there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from llmbatch_cli.core.errors import MissingKey, UsageError
from llmbatch_cli.core.events import Notice, Observer

DEFAULT_MODEL: Final = "local/smollm2"


@dataclass(frozen=True, slots=True)
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
    other_wires: Mapping[str, str] = field(default_factory=dict)
    """The factories of its other APIs, by their names for `--api`; else there is `chat` alone."""


@dataclass(frozen=True, slots=True)
class Access:
    """How providers are reached in one run."""

    base_url: str | None = None
    """Replaces every provider's own address."""
    api_key: str | None = field(default=None, repr=False)
    """Replaces the key in the environment."""
    api: str | None = None
    """Which API, where a provider has several; None leaves it to the model."""
    insecure: bool = False
    """Send keys over plain http to other machines too."""
    may_find: bool = True
    """Whether a provider may look for credentials outside `environ`."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    more_base_urls: Sequence[str] = ()
    """Further addresses of the same model, over which requests are spread."""


def load(path: str) -> Any:
    """What `module:name` names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def base_url_of(name: str, entry: Entry, access: Access) -> str:
    """The provider's address in this run. Raises UsageError for none, and for an invalid one."""
    moved = access.base_url or first_set(access.environ, entry.url_variables)
    base_url = (moved or entry.base_url or "").strip()
    if entry.address is not None:
        base_url = load(entry.address)(base_url)
    if not base_url:
        variables = " or ".join(entry.url_variables)
        raise UsageError(f"{name} has no base URL", hint=f"set {variables}, or use --base-url")
    check_url(name, base_url)
    return base_url


def api_key_of(
    name: str, entry: Entry, access: Access, base_url: str, observe: Observer
) -> str | None:
    """The key to send; None for none. Raises MissingKey, and UsageError for an invalid one."""
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
        raise UsageError(f"the key for {name} has characters that no key has")
    if is_exposed(base_url) and not access.insecure:
        text = f"the key for {name} is withheld: {base_url} is {_EXPOSED.format('it')}"
        observe(Notice(text))
        return None
    return api_key


_EXPOSED: Final = "plain http on another machine (--insecure sends {} anyway)"


def why_withheld(base_url: str, access: Access) -> str | None:
    """Why no credentials may go there; None where they may."""
    if is_exposed(base_url) and not access.insecure:
        return f"it is {_EXPOSED.format('them')}"
    return None if access.may_find else "only a row names this provider, not the run (-m)"


def key_hint_of(name: str, entry: Entry, api_key: str | None) -> str:
    """What to check when the provider rejects the key."""
    variables = " or ".join(entry.key_variables)
    if api_key is None:
        return f"no key was sent; set {variables}"
    return f"check {variables}; keys for {name} are made at {entry.keys_page}"


def first_set(environ: Mapping[str, str], names: Sequence[str]) -> str | None:
    """The value of the first variable that is set and not blank."""
    return next((environ[name] for name in names if environ.get(name, "").strip()), None)


def check_url(name: str, url: str) -> None:
    """Raise UsageError, without any password in it, for an invalid base URL."""
    is_valid = _is_valid(url)
    if "@" in (urlsplit(url).netloc if is_valid else url):
        raise UsageError(
            f"the base URL for {name} has a user name or a password, which is not sent",
            hint='remove it, and use --param \'extra_headers={"authorization": "Basic ..."}\'',
        )
    if not is_valid:
        raise UsageError(
            f"{url!r} is not a base URL for {name}",
            hint="it begins with http:// or https://, as in http://localhost:8000/v1",
        )


def _is_valid(url: str) -> bool:
    """Whether it is an http or https URL that names a host."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # raises for an invalid name, as `port` does
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and has_host and url.isprintable() and " " not in url


def is_exposed(url: str) -> bool:
    """Whether a key sent there could be read on the way: plain http to another machine."""
    return urlsplit(url).scheme == "http" and not is_loopback(url)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
