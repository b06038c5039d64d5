"""Rows in a list that stands within an object: `{"version": 1, "data": [{...}, ...]}`. No I/O."""

import json
import re
from collections.abc import Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final

import orjson

from llmbatch_cli.rows.big_ints import read_json
from llmbatch_cli.rows.input.fields import may_be_row

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_ITEM: Final = re.compile(r"\[[ \t\r\n]*\{")


def is_wrapper(value: object) -> bool:
    """Whether this is no row by itself, and has exactly one list, whose items are objects."""
    if not isinstance(value, Mapping) or may_be_row(value):
        return False
    lists = [item for item in value.values() if isinstance(item, list) and item]
    if len(lists) != 1:
        return False
    return all(isinstance(item, Mapping) for item in lists[0]) and _are_rows(lists[0][0])


def list_in(data: bytes) -> int | None:
    """Where the list begins in an object of which these are the first bytes, and that is all of
    its input; None where it has none, or may be a row by itself."""
    text = data.decode("utf-8", "surrogateescape")
    found = _list_in(text)
    return None if found is None else len(text[:found].encode("utf-8", "surrogateescape"))


def read_wrapper(data: bytes) -> bool:
    """Whether all of these bytes are one such object."""
    try:
        return is_wrapper(read_json(data))
    except orjson.JSONDecodeError:
        return False


def _list_in(text: str) -> int | None:
    decoder = json.JSONDecoder()
    at = _after_blank(text, 0) + 1
    before: dict[str, Any] = {}
    try:
        while text[(at := _after_blank(text, at))] == '"':
            name, at = scanstring(text, at + 1, False)
            at = _after_blank(text, _after_blank(text, at) + 1)  # behind the colon
            if _ITEM.match(text, at):
                item, _ = decoder.raw_decode(text, _after_blank(text, at + 1))
                is_row = may_be_row({**before, name: [item]}) or not _are_rows(item)
                return None if is_row else at
            before[name], at = decoder.raw_decode(text, at)
            at = _after_blank(text, at) + 1  # behind the comma
    except (ValueError, IndexError, RecursionError):
        return None
    return None


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _are_rows(first: Any) -> bool:
    """Whether items as this one are no messages or turns."""
    return "role" not in first and "from" not in first
