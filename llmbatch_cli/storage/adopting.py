"""The credentials of stores, taken from another process."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PREFIXES: Final = ("AWS_", "GOOGLE_", "AZURE_")
_OTHERS: Final = re.compile(r"API_KEY|BEARER|OPENAI")
"""Variables of model providers, which are no business of a store's."""
_CREDENTIALS: Final = re.compile(r"KEY|TOKEN|SECRET|CREDENTIAL|ROLE|PROFILE|SERVICE_ACCOUNT")
_FILES: Final = re.compile(r"(FILE|PATH|CREDENTIALS|BUNDLE|SERVICE_ACCOUNT)$")


def adopt(environ: Mapping[str, str]) -> None:
    """Have this process use stores as the one whose variables these are.

    What only the other's machine has is left out: files that are not here, and its own role.
    Credentials of two processes are never mixed.
    """
    for prefix in _PREFIXES:
        given = {
            name: value
            for name, value in environ.items()
            if _is_of(name, prefix) and not _is_elsewhere(name, value)
        }
        if any(map(_CREDENTIALS.search, given)):
            own = [name for name in os.environ if _is_of(name, prefix)]
            for name in filter(_CREDENTIALS.search, own):
                del os.environ[name]
        os.environ.update(given)


def _is_of(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and not _OTHERS.search(name)


def _is_elsewhere(name: str, value: str) -> bool:
    if name.startswith("AWS_CONTAINER_"):
        return True
    return bool(_FILES.search(name)) and not Path(value).exists()
