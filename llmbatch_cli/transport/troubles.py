"""What stands in the way of a connection, in words, whatever HTTP client has met it."""

import ssl
from collections.abc import Iterator
from typing import Final

from llmbatch_cli.core.errors import BadReply, Blocked, ProviderError, Unreachable, Unreadable
from llmbatch_cli.transport.proxies import Proxy, host_of, proxy_for

_NO_TLS: Final = frozenset(
    ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
)
"""OpenSSL's reasons for a reply that is no TLS."""
_EXPIRED: Final = (9, 10)
_OTHER_HOST: Final = (62, 64)
"""X509_V_ERR_...: not yet valid and expired; mismatch of the host's name and of its address."""
_ASKS_PASSWORD: Final = 407
_AUTHORITY_HINT: Final = (
    "set SSL_CERT_FILE to the PEM file of the authority that signed it, such as your company's"
)


def place_of(url: str, proxy: Proxy | None) -> str:
    """The host, and the proxy on the way to it."""
    return host_of(url) + (f" through {proxy}" if proxy is not None else "")


def tls_trouble(error: BaseException, host: str) -> Blocked | None:
    """The error of a handshake that would fail again; None for any other error."""
    for cause in _causes(error):
        if words := getattr(cause, "verify_message", ""):
            return Blocked(
                f"{host}: its certificate is not trusted: {words}",
                hint=_certificate_hint(getattr(cause, "verify_code", 0)),
            )
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", "") in _NO_TLS:
            return Blocked(
                f"{host}: it does not speak TLS there: {cause.reason}",
                hint="does the base URL begin with http:// in place of https://?",
            )
    return None


def _certificate_hint(code: int) -> str:
    if code in _EXPIRED:
        return "is the clock of this machine right?"
    if code in _OTHER_HOST:
        return "is the host in the base URL right?"
    return _AUTHORITY_HINT


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def unparsed(place: str, words: str, *, other: str, is_http: bool) -> BadReply:
    """The error of a reply that a client's parser refuses, by its words without the reply's bytes.

    What is HTTP is a reply, and may be an answer that the `other` client reads.
    """
    if is_http:
        hint = f"--http {other} reads some replies that this client refuses"
        return Unreadable(f"{place}: the reply cannot be read: {words}", hint=hint)
    bad = BadReply(
        f"{place}: it does not speak HTTP",
        hint="is the port in the base URL right, and its http:// or https://?",
    )
    bad.hopeless, bad.maybe_billed = True, False
    return bad


def check_proxy(status: int, url: str) -> None:
    """Raise Blocked for a proxy's own reply to a request over plain http."""
    if status == _ASKS_PASSWORD and (proxy := proxy_for(url)) is not None:
        raise refused_by(proxy, status, url)


def refused_by(proxy: Proxy, status: int, url: str) -> ProviderError:
    """The error for a proxy that does not connect: 407 and the like last, 5xx may pass."""
    from http.client import responses  # with a client of HTTP, for what is seldom

    words = responses.get(status, "refused")
    if status == _ASKS_PASSWORD:
        return Blocked(
            f"{proxy} requires a password: {status} {words}",
            status=status,
            hint=f"write {proxy.variable} as http://USER:PASSWORD@{host_of(proxy.url)}",
        )
    kind = Unreachable if status >= 500 else Blocked
    return kind(f"{proxy} does not connect to {host_of(url)}: {status} {words}", status=status)
