"""The names of models on the command line: which -m names one, and which a list."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_plus

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.providers.registry import Setup, family_of, providers_with

NO_SETUP: Final = Setup()

OF_A_FILE: Final = "local/"
"""A path may have commas in it."""


def one_model(named: Sequence[str], setup: Setup = NO_SETUP) -> str | None:
    """The only model. Raises UsageError for several, of which one would be asked silently."""
    names = split_names(named, setup)
    if len(names) > 1:
        raise UsageError(
            f"batch sends each row to one model, but -m names {len(names)}: {', '.join(names)}",
            hint="llmbatch race sends each row to several; --fallback names a model for rows "
            "that fail",
        )
    return names[0] if names else None


def split_names(named: Sequence[str], setup: Setup = NO_SETUP) -> list[str]:
    """Every name, split at the commas between names; one in a parameter's value splits nothing."""
    found: list[str] = []
    for one in named:
        begun = ""
        for piece in one.split(","):
            if begun and not _ends_before(begun, piece, setup):
                begun = f"{begun},{piece}"
                continue
            found.append(begun)
            begun = piece.lstrip()
        found.append(begun)
    return [name.strip() for name in found if name.strip()]


def _ends_before(begun: str, piece: str, setup: Setup) -> bool:
    """Whether a name ends at the comma before this piece."""
    path, mark, query = begun.partition("?")
    if path.startswith(OF_A_FILE) and not mark:
        return _is_model(piece.strip(), setup)
    if not mark:
        return True
    value = unquote_plus(query.rpartition("=")[2])
    return _is_json(value) or _is_model(piece.strip(), setup)


def _is_json(text: str) -> bool:
    """Whether a parameter's value is whole, so that a comma cannot be a part of it."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_model(piece: str, setup: Setup) -> bool:
    """Whether this names a model by itself."""
    name = piece.partition("?")[0]
    provider, slash, _ = name.partition("/")
    is_exact = bool(slash) and provider in providers_with(setup)
    return is_exact or name in setup.aliases or family_of(name) is not None
