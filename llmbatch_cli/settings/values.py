"""Values of the types that options have, as a TOML file writes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.option import option_of

_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a text",
}


class Unfit(ValueError):
    """A value that an option cannot have; says what it must be, and never what it is."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def option_value(value: object, option: Field[Any]) -> Any:
    """The value, as the option has it. Raises Unfit."""
    found = _fitting(value, option.type)
    least = option_of(option.metadata).min
    if least is not None and isinstance(found, int | float) and found < least:
        raise Unfit(f"must be at least {least:g}")
    return found


def _fitting(value: object, kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _of_union(value, inner)
    if origin is Literal:
        return _chosen(value, inner)
    if origin is not None:  # Sequence[str]
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise Unfit("must be a text, or a list of texts")
        return tuple(values)
    if not _is(value, kind):
        raise Unfit(f"must be {_WORDS.get(kind, 'a text')}")
    return Path(str(value)).expanduser() if kind is Path else value


def _of_union(value: object, kinds: Sequence[Any]) -> Any:
    plain = [kind for kind in kinds if kind in _WORDS]
    for kind in sorted(plain, key=lambda one: one is Path):
        if _is(value, kind):
            return _fitting(value, kind)
    others = [kind for kind in kinds if get_origin(kind) is Literal]
    if others:
        return _fitting(value, others[0])
    words = dict.fromkeys(_WORDS[kind] for kind in plain)
    raise Unfit(f"must be {' or '.join(words)}")


def _is(value: object, kind: Any) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str if kind is Path else kind)


def _chosen(value: object, choices: Sequence[Any]) -> Any:
    if value in choices:
        return value
    near = near_names(value, choices) if isinstance(value, str) else ()
    hint = did_you_mean(near) if near else None
    raise Unfit(f"must be one of {', '.join(map(str, choices))}", hint)
