"""A row of Gemini's batch mode: as a line of a file, which is also how it is kept, and inline.

A line has the names of the protocol's fields (generation_config), what is inline those of its JSON
(generationConfig). Names that are the user's own, in schemas and arguments, stay as they are.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.providers.gemini.batch_schema import older_form

_USERS: Final = frozenset(
    (
        *("args", "response", "parameters", "properties", "labels"),
        *("responseSchema", "responseJsonSchema", "parametersJsonSchema", "responseFormat"),
        *("response_schema", "response_json_schema", "parameters_json_schema", "response_format"),
    )
)
"""What stands below these names has names that are not the protocol's."""
_CAPITAL: Final = re.compile("(?<=[a-z0-9])([A-Z])")
_UNDERSCORE: Final = re.compile("(?<=[a-z0-9])_([a-z0-9])")


def as_line(custom_id: str, body: bytes) -> bytes:
    """The line of a live request's body."""
    request = orjson.loads(body)
    config = request.get("generationConfig")
    if isinstance(config, dict) and isinstance(config.get("responseJsonSchema"), dict):
        schema = older_form(config["responseJsonSchema"])
        if schema is not None:
            del config["responseJsonSchema"]
            config["responseSchema"] = schema
    return orjson.dumps({"key": custom_id, "request": _renamed(request, _snake)})


def as_inline(lines: Path) -> orjson.Fragment:
    """All rows of a file of lines, as `requests` of a job has them."""
    with lines.open("rb") as file:
        return orjson.Fragment(
            b'{"requests":[' + b",".join([_inline(line) for line in file]) + b"]}"
        )


def _inline(line: bytes) -> bytes:
    row = orjson.loads(line)
    request = _renamed(row["request"], _camel)
    return orjson.dumps({"request": request, "metadata": {"custom_id": row["key"]}})


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, rename) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        rename(name): inner if name in _USERS else _renamed(inner, rename)
        for name, inner in value.items()
    }


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: f"_{found[1].lower()}", name)


def _camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)
