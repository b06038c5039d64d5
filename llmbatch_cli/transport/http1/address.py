"""Where a URL leads, and the beginning of every request to it."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from llmbatch_cli.core.errors import Blocked
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import WireRequest
from llmbatch_cli.transport.packing import offered
from llmbatch_cli.transport.proxies import Proxy

PORTS: Final = {"http": 80, "https": 443}

_UNQUOTED: Final = "/%:?#[]@!$&'()*+,;=~|"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNFIT: Final = re.compile(r"[\r\n\0]")
_OURS: Final = frozenset(("content-length", "transfer-encoding", "expect", "upgrade"))
"""Headers that say how a request is framed, or ask for another protocol."""


@frozen
class Server:
    """Whom connections are made to, and by which way: they are shared by all who ask for it."""

    scheme: str
    host: str
    """A name in ASCII, or an address without brackets."""
    port: int
    proxy: Proxy | None

    @property
    def name(self) -> str:
        """The host, and the port where it is not the scheme's own."""
        return self.authority.removesuffix(f":{PORTS[self.scheme]}")

    @property
    def authority(self) -> str:
        """The host, and the port."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def is_tunnelled(self) -> bool:
        """Whether the proxy only passes on what it cannot read."""
        return self.proxy is not None and self.scheme == "https"


@dataclass(slots=True)
class Address:
    """One URL."""

    server: Server
    target: str
    """What stands in the request's first line."""
    given: Mapping[str, str] = field(repr=False)
    """Headers that come of the URL: the host, and passwords."""
    _known: tuple[str, Mapping[str, str]] | None = field(default=None, repr=False)
    _head: bytes = field(default=b"", repr=False)

    def data(self, request: WireRequest) -> bytes:
        """The whole request as it is written. Raises Blocked for a header that cannot be."""
        if self._known != (request.method, request.headers):
            self._head = self._begin(request)
            self._known = request.method, dict(request.headers)
        body = request.body
        if not body and request.method in ("GET", "HEAD"):
            return self._head + b"\r\n"
        return b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body)

    def _begin(self, request: WireRequest) -> bytes:
        headers = {"accept": "*/*", "accept-encoding": offered(), **self.given}
        for name, text in request.headers.items():
            if not _TOKEN.fullmatch(name) or _UNFIT.search(text) or name.lower() in _OURS:
                raise Blocked(f"{self.server.name}: the header {name!r} cannot be sent")
            headers[name.lower()] = text.strip()
        lines = [f"{request.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in headers.items()]
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")


def address_of(url: str, proxy: Proxy | None) -> Address:
    """Raises ValueError for what is no URL of http or https."""
    parts = urlsplit(url)
    scheme, host = parts.scheme, parts.hostname or ""
    if scheme not in PORTS or not host:
        raise ValueError("it is not a URL of http or https")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if _UNFIT.search(host) or " " in host:
        raise ValueError("the host's name has characters that no name has")
    server = Server(scheme, host, parts.port or PORTS[scheme], proxy)
    given = {"host": server.name}
    target = quote(parts.path or "/", _UNQUOTED)
    if parts.query:
        target += f"?{quote(parts.query, _UNQUOTED)}"
    if parts.username is not None:
        given["authorization"] = basic(parts.username, parts.password)
    if proxy is not None and not server.is_tunnelled:
        target = f"{scheme}://{given['host']}{target}"
        given |= proxy_authorization(proxy)
    return Address(server, target, given)


def proxy_authorization(proxy: Proxy) -> dict[str, str]:
    """The header with the user and the password of the proxy's URL, where it has them."""
    parts = urlsplit(proxy.url)
    if parts.username is None:
        return {}
    return {"proxy-authorization": basic(parts.username, parts.password)}


def basic(user: str, password: str | None) -> str:
    """Both as a URL quotes them, in the form of RFC 7617."""
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return f"Basic {b64encode(pair.encode()).decode('ascii')}"
