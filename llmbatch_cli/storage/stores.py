"""The library's stores, made from addresses and the environment."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.storage.address import Address
from llmbatch_cli.storage.faults import told

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_RETRIES: Final = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
_CLIENT: Final = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "1h"}
_ENDPOINTS: Final = ("AWS_ENDPOINT", "AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
_OURS: Final = ("AWS_", "GOOGLE_", "AZURE_", "HOME", "SSL_CERT_", *_ENDPOINTS)
"""How the variables begin that a store depends on."""
_BUNDLES: Final = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Files of certificates that are trusted besides the system's."""
_stores: "dict[tuple[Any, ...], ObjectStore]" = {}


def store_of(where: Address) -> "ObjectStore":
    """The store of a bucket; the same one while the environment stays as it is.

    Raises UsageError.
    """
    names = sorted(name for name in os.environ if name.startswith(_OURS) or name in _BUNDLES)
    key = (where.kind, where.bucket, tuple((name, os.environ[name]) for name in names))
    if key not in _stores:
        _stores[key] = _made(where, os.environ)
    return _stores[key]


def _made(where: Address, environ: Mapping[str, str]) -> "ObjectStore":
    try:
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise UsageError(
            f"{where.kind}:// needs a library that is not installed: obstore",
            hint=install_hint("cloud"),
        ) from error
    settings: dict[str, Any] = {}
    if where.kind == "s3":
        from llmbatch_cli.storage.aws import s3_settings

        settings = s3_settings(environ, where)
    client = {**_CLIENT, **_trusted(environ)}
    if any(
        name.startswith(_ENDPOINTS) and value.startswith("http://")
        for name, value in environ.items()
    ):
        client["allow_http"] = True
    try:
        try:
            return _opened(where, settings, client)
        except BaseError as error:
            if "No CA certificates" not in str(error):
                raise
        import certifi  # comes with httpx; a small container has no others

        client["root_certificate"] = Path(certifi.where()).read_bytes()
        return _opened(where, settings, client)
    except (BaseError, ValueError) as error:
        fault = told(error, str(where))
        hint = getattr(fault, "hint", None)
        raise UsageError(f"{where}: {fault.strerror}", hint=hint) from None


def _opened(where: Address, settings: Mapping[str, Any], client: Any) -> "ObjectStore":
    from obstore.store import AzureStore, GCSStore, S3Store

    shared: Any = {**settings, "retry_config": _RETRIES, "client_options": client}
    if where.kind == "s3":
        return S3Store(where.bucket, **shared)
    if where.kind == "gs":
        return GCSStore(where.bucket, **shared)
    return AzureStore(where.bucket, **shared)


def _trusted(environ: Mapping[str, str]) -> dict[str, Any]:
    for name in _BUNDLES:
        if path := environ.get(name):
            try:
                return {"root_certificate": Path(path).read_bytes()}
            except IsADirectoryError:
                continue
            except OSError as error:
                raise UsageError(
                    f"{name} names {path}, which cannot be read", hint="correct or unset it"
                ) from error
    return {}
