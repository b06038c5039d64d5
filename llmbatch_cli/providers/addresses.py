"""Base URLs as users write them: what is refused, what is kept, and where a key may go."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlsplit

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Request, WireRequest

_ENDPOINT: Final = re.compile(
    r"/(?:chat/completions|completions|responses|embeddings|messages)$"
    r"|/api/(?:chat|generate|tags)$"
    r"|(?:(?<=/v1)|(?<=/v2)|(?<=/v1beta))/(?:chat|models)$"
    r"|/models/[^/]+:(?:streamG|g)enerateContent$"
    r"|/model/[^/]+/converse(?:-stream)?$"
)
"""The end of the URL of a request, which each wire adds to the base URL by itself."""
_LOCAL_NAMES: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_AZURE: Final = re.compile(r"\.azure\.com(?:[:/]|$)|/openai/deployments/")


def split_base_url(name: str, url: str) -> tuple[str, str]:
    """A base URL without its query, and the query, which belongs behind the path.

    Raises UsageError, without any password in it, for what is no base URL; `name` says whose it
    is.
    """
    _check(name, url)
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    base = f"{parts.scheme}://{parts.netloc}{path}"
    if (endpoint := _ENDPOINT.search(path)) is not None:
        right = base[: len(base) - len(path) + endpoint.start()]
        azure = "; for Azure set AZURE_OPENAI_ENDPOINT and use -m azure/DEPLOYMENT"
        raise UsageError(
            f"the base URL for {name} ends in an endpoint, {endpoint[0]}, which is added to it",
            hint=f"write {right}" + (azure if _AZURE.search(base) else ""),
        )
    return base, quote(parts.query, safe="!$&'()*+,;=:@/?%~")


def with_query(
    build: Callable[[Request], WireRequest], query: str
) -> Callable[[Request], WireRequest]:
    """`build`, with a base URL's query behind the path."""

    def built(request: Request) -> WireRequest:
        wire = build(request)
        wire.url = queried(wire.url, query)
        return wire

    return built if query else build


def queried(url: str, query: str) -> str:
    """The URL with a further query, which may be empty."""
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def _check(name: str, url: str) -> None:
    is_valid = _is_valid(url)
    if "@" in (urlsplit(url).netloc if is_valid else url):
        raise UsageError(
            f"the base URL for {name} has a user name or a password, which is not sent",
            hint='remove it, and use --param \'extra_headers={"authorization": "Basic ..."}\'',
        )
    if not is_valid:
        raise UsageError(
            f"{url.partition('?')[0]!r} is not a base URL for {name}",
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
    is_web = parts.scheme in ("http", "https") and has_host
    return is_web and url.isprintable() and " " not in url and "#" not in url


def is_exposed(url: str) -> bool:
    """Whether a key sent there could be read on the way: plain http to another machine."""
    return urlsplit(url).scheme == "http" and not is_loopback(url)


def is_private(url: str) -> bool:
    """Whether it is at this machine or a local network's: a server of one's own."""
    host = urlsplit(url).hostname or ""
    if is_loopback(url) or ("." not in host and ":" not in host):
        return True
    try:
        return ip_address(host.partition("%")[0]).is_private
    except ValueError:
        return host.endswith(_LOCAL_NAMES)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    # 0.0.0.0, as servers say that they listen on, is this machine, too.
    return address.is_loopback or address.is_unspecified
