"""Of a URL its host, and the proxy that the environment names for it.

That is HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
"""

import os
from dataclasses import field
from urllib.parse import urlsplit

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen


@frozen
class Proxy:
    """An http or https proxy."""

    url: str = field(repr=False)
    """May hold a password."""
    variable: str
    """Where it was found."""

    def __str__(self) -> str:
        return f"the proxy {host_of(self.url)} ({self.variable})"


def proxy_for(url: str) -> Proxy | None:
    """The URL's proxy, or None for a direct connection, as to every loopback address.

    Raises UsageError for a proxy of another kind, and for what is none.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return None
    from urllib.request import getproxies, proxy_bypass  # with a client of HTTP, mail and more

    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    scheme = parts.scheme if proxies.get(parts.scheme) else "all"
    found = proxies.get(scheme, "").strip(" \t\r\n\"'")
    if not found:
        return None
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    variable = next((name for name in names if os.environ.get(name)), "set in this system")
    return _checked(Proxy(found if "://" in found else f"http://{found}", variable), host)


def _checked(proxy: Proxy, host: str) -> Proxy:
    try:
        parts = urlsplit(proxy.url)
        is_valid = bool(parts.hostname) and parts.port != 0 and " " not in proxy.url
    except ValueError:
        is_valid = False
    if not is_valid:
        raise UsageError(
            f"{proxy.variable} is not the URL of a proxy",
            hint="write it as http://proxy.example:3128",
        )
    if parts.scheme not in ("http", "https"):
        raise UsageError(
            f"{proxy.variable} names a {parts.scheme[:20]} proxy, and only http and https proxies "
            "are spoken to",
            hint=f"set {proxy.variable} to an http proxy, or add {host} to NO_PROXY to go without",
        )
    return proxy


def host_of(url: str) -> str:
    """The host and the port as they stand in the URL, without a user's name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
