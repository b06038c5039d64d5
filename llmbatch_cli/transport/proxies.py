"""Of a URL its host, and the proxy that the environment names for it.

That is HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
"""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from llmbatch_cli.core.errors import Unreachable


def proxy_for(url: str) -> str | None:
    """The proxy's URL, or None for a direct connection, as to every loopback address.

    Raises Unreachable for a proxy of another kind.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme = urlsplit(proxy).scheme if proxy else "http"
    if scheme not in ("http", "https"):
        raise Unreachable(
            f"{host}: the environment names a {scheme} proxy, and only http and https ones are "
            "spoken to",
            hint="set HTTPS_PROXY to such a one, or NO_PROXY to this host",
        )
    return proxy or None


def host_of(url: str) -> str:
    """The host and the port as they stand in the URL, without a user's name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
