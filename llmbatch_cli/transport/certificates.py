"""Which certificates are trusted: the system's, and those that the environment names."""

import os
import ssl
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import UsageError

INSTEAD: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""OpenSSL's own variables: in place of the system's certificates."""
BESIDES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Those of requests and curl, each a file or a folder: trusted, too."""


def trusted() -> ssl.SSLContext:
    """The context for https. Raises UsageError for a variable that names no certificates.

    Takes some 20 ms at the first call.
    """
    return _trusted(*(os.environ.get(name, "").strip() for name in (*INSTEAD, *BESIDES)))


@lru_cache(4)
def _trusted(file: str, folders: str, *besides: str) -> ssl.SSLContext:
    _check(INSTEAD[0], [file] if file else [])
    _check(INSTEAD[1], folders.split(os.pathsep) if folders else [])
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if file and not context.cert_store_stats()["x509"] and Path(file).stat().st_size:
        raise _unreadable(INSTEAD[0], file)
    for name, path in zip(BESIDES, besides, strict=True):
        if path:
            _check(name, [path])
            is_folder = Path(path).is_dir()
            try:
                context.load_verify_locations(
                    None if is_folder else path, path if is_folder else None
                )
            except (OSError, ssl.SSLError) as error:
                raise _unreadable(name, path) from error
    return context


def _check(variable: str, paths: Sequence[str]) -> None:
    if paths and not any(Path(path).exists() for path in paths):
        raise UsageError(
            f"{variable} names {os.pathsep.join(paths)}, which does not exist",
            hint="correct it, or unset it to trust the system's certificates",
        )


def _unreadable(variable: str, path: str) -> UsageError:
    return UsageError(
        f"{variable} names {path}, which has no certificates",
        hint="it takes a PEM file, with -----BEGIN CERTIFICATE----- in it",
    )
