"""The short form of a schema: `name, age int, tags str[]: all that fit`.

The rules are those of `schema_dsl` in simonw/llm (llm/utils.py, read 2026-11-26), so that what is
written for it means the same here. Enumerations, lists and optional fields are added; a type that
is unknown is refused, where it is a string there.
"""

import re
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import did_you_mean, near_names

TYPES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_ALIKE: Final = {
    "string": "str",
    "text": "str",
    "date": "str",
    "integer": "int",
    "number": "float",
    "double": "float",
    "boolean": "bool",
    "list": "str[]",
    "array": "str[]",
}
"""Words of other languages, and what is meant."""
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,15}")
_NO_NAME: Final = re.compile(r"""["'{}\[\]()<>]""")
RULES: Final = "as in 'name, age int, mood good|bad, tags str[]: all that fit, note str?'"

_Schema = dict[str, Any]


def schema_of_fields(text: str) -> _Schema:
    """The JSON schema of the fields in `text`: one a line, or all on one line between commas.

    A field is `NAME [TYPE][: DESCRIPTION]`. TYPE is str (also where there is none), int, float,
    bool, or one of several words, `a|b|c`; then `[]` for a list of them, and `?` where it may be
    missing or null. Raises UsageError.
    """
    separator = "\n" if "\n" in text else ","
    properties: dict[str, _Schema] = {}
    required: list[str] = []
    for field in filter(None, map(str.strip, text.split(separator))):
        declared, _, description = field.partition(":")
        name, _, kind = declared.strip().partition(" ")
        kind = kind.strip()
        optional = name.endswith("?") or kind.endswith("?")
        name, kind = name.removesuffix("?"), kind.removesuffix("?").strip()
        if not name or name in properties or _NO_NAME.search(name):
            what = "is there twice" if name in properties else "has no valid name"
            raise UsageError(f"--schema: the field {field!r} {what}", hint=RULES)
        schema = _typed(name, kind, optional=optional)
        if description.strip():
            schema["description"] = description.strip()
        properties[name] = schema
        if not optional:
            required.append(name)
    if not properties:
        raise UsageError("--schema has no field", hint=RULES)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _typed(name: str, kind: str, *, optional: bool) -> _Schema:
    listed = kind.endswith("[]")
    schema = _one(name, kind.removesuffix("[]").strip())
    if listed:
        schema = {"type": "array", "items": schema}
    if optional:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _one(name: str, kind: str) -> _Schema:
    """The schema of one value, neither listed nor optional."""
    if "|" in kind:
        return _choice(name, [one.strip() for one in kind.strip("()").split("|")])
    if kind in TYPES or not kind:
        return {"type": TYPES[kind or "str"]}
    meant = [_ALIKE[kind.lower()]] if kind.lower() in _ALIKE else near_names(kind, TYPES, most=1)
    hint = did_you_mean(meant) if meant else f"types are {', '.join(TYPES)}; {RULES}"
    raise UsageError(f"--schema: {kind!r}, of the field {name!r}, is not a type", hint=hint)


def _choice(name: str, words: list[str]) -> _Schema:
    """One of these words, which are numbers where all are."""
    if "" in words or len(set(words)) < len(words):
        what = "an empty word" if "" in words else "a word twice"
        raise UsageError(f"--schema: the choice of the field {name!r} has {what}", hint=RULES)
    if types := [word for word in words if word in TYPES or word == "null"]:
        hint = f"one type and ? for optional, {RULES}; anything else in a JSON schema"
        raise UsageError(
            f"--schema: the field {name!r} mixes types: {types[0]!r} is no word to choose",
            hint=hint,
        )
    if all(map(_WHOLE.fullmatch, words)):
        return {"type": "integer", "enum": [int(word) for word in words]}
    return {"type": "string", "enum": words}
