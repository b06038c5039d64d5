"""Fields of a row that look like parameters but are carried: said once for each name."""

from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.near import near_names
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.own_params import LABELS, OWN
from llmbatch_cli.rows.input.params import PARAMETERS, Rule, quoted

_MOST_NAMES: Final = 1_000
"""Rows with ever new fields are data, and not looked at any further."""
_SHORTEST: Final = 5
_TEXT: Final = Rule(lambda value: isinstance(value, str), "a string")
_NAMES: Final[Mapping[str, Rule]] = {
    **PARAMETERS,
    **OWN,
    "system": _TEXT,
    "model": _TEXT,
    "messages": Rule(lambda value: isinstance(value, list), "a list"),
}
_SQUEEZED: Final = {name.replace("_", "").lower(): name for name in reversed([*_NAMES])}
"""By the name without its underscores, in lower case: maxTokens is max_tokens."""
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "systemprompt": "system",
    "systemmessage": "system",
    "temp": "temperature",
    "maxnewtokens": "max_tokens",
    "maxtoken": "max_tokens",
    "maxlength": "max_tokens",
    "numreturnsequences": "n",
    "stopwords": "stop",
    "stopstrings": "stop",
    "jsonschema": "response_format",
}


class Misspelt:
    """Looks at the carried fields of rows."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._seen: set[str] = set()

    def look_at(self, row: Row) -> None:
        """Report what looks like a parameter in the row's metadata, each name once."""
        fields = row.metadata
        if self._seen.issuperset(fields) or len(self._seen) > _MOST_NAMES:
            return
        for name in fields.keys() - self._seen:
            if fields[name] is None:
                continue  # another row may show what it is
            self._seen.add(name)
            if isinstance(name, str) and (words := _notice(name, fields[name])) is not None:
                self._observe(Notice(f"{row.place}: {words}"))


def _notice(name: str, value: Any) -> str | None:
    if name in LABELS:
        return (
            f"{quoted(name)} is carried to the output and not sent: "
            f"as a parameter it must be {LABELS[name].words}"
        )
    meant = meant_by(name, value)
    if meant is None or meant == name:  # equal where an option names another field for it
        return None
    return f"{quoted(name)} is carried to the output and not sent: did you mean {quoted(meant)}?"


def meant_by(name: str, value: Any) -> str | None:
    """The parameter that this name is a misspelling of, and whose value this may be."""
    squeezed = "".join(char for char in name.lower() if char.isalnum())
    meant = _OTHER_NAMES.get(squeezed) or _SQUEEZED.get(squeezed)
    if meant is None and len(squeezed) >= _SHORTEST:
        near = near_names(squeezed, _SQUEEZED, most=1, alike=0.85)
        meant = _SQUEEZED[near[0]] if near and len(near[0]) >= _SHORTEST else None
    if meant is None or not _NAMES[meant].test(value):
        return None
    return meant
