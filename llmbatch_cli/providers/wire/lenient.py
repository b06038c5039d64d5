"""A second, patient reading of JSON that a strict parser refuses, and where it is wrong if it is.

A reply with status 200 is paid for. NaN beside a log probability, half an emoji or a raw tab in
the text must not cost the answer, and then the same again.
"""

import json
import math
import re
import zlib
from typing import Any, Final

import orjson

_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_BEFORE: Final = re.compile(r"(?:[\s\0\ufeff]+|:[^\n]*(?:\n|$))*")
"""White space, NULs, byte order marks, and the comments by which servers keep a connection open."""
_MOST_BYTES: Final = 2**26
_AROUND: Final = 60
"""Characters that a message shows on each side of what is wrong."""


class NotJson(ValueError):
    """Text that is no JSON value: what is wrong, where, and what stands around it."""


def inflated(body: bytes) -> bytes:
    """The body itself, or unpacked where it is gzip that no header tells of."""
    if not body.startswith(b"\x1f\x8b\x08"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, _MOST_BYTES)
    except zlib.error:
        return body


def _text(body: bytes, charset: str) -> str:
    """The body as text, by the character set that its header names where it is not Unicode."""
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        pass
    try:
        return body.decode(charset if charset not in ("", "utf-8", "utf8") else encoding, "replace")
    except LookupError:
        return body.decode(encoding, "replace")


def read_leniently(body: bytes, charset: str = "") -> Any:
    """The JSON value in a body, however the server has spoilt it. Raises NotJson.

    Numbers that are none become null; bytes that are not UTF-8, and halves of surrogate pairs,
    become U+FFFD; control characters in texts stay; whatever stands behind the value is ignored,
    unless it is another object, as in a stream of them.
    """
    text = _text(body, charset)
    begin = _end(_BEFORE, text)
    try:
        value, end = _DECODER.raw_decode(text, begin)
        behind = _end(_BEFORE, text, end)
        if isinstance(value, dict) and text.startswith("{", behind):
            raise json.JSONDecodeError("more than one object", text, behind)
        return orjson.loads(_whole_characters(json.dumps(value, ensure_ascii=False)))
    except RecursionError as error:
        raise NotJson("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise NotJson(_where(error, len(body))) from error


def _end(pattern: re.Pattern[str], text: str, begin: int = 0) -> int:
    found = pattern.match(text, begin)
    return found.end() if found else begin


def _whole_characters(text: str) -> bytes:
    return _SURROGATES.sub("\ufffd", text).encode()


def _number(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _integer(text: str) -> float | None:
    # Python limits the digits of an int that it reads, orjson the size of one that it writes.
    return int(text) if len(text) < 19 else _number(text)


_DECODER: Final = json.JSONDecoder(
    strict=False,
    parse_float=_number,
    parse_int=_integer,
    parse_constant=lambda name: None,
)


def _where(error: json.JSONDecodeError, size: int) -> str:
    """What is wrong, its line and column, its byte, and the text around it."""
    text, place = error.doc, error.pos
    if error.msg.startswith("Unterminated string"):
        place = len(text)
    at = len(text[:place].encode("utf-8", "replace"))
    around = text[max(0, place - _AROUND) : place + _AROUND]
    line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
    wrong = "it is cut off" if place >= len(text.rstrip()) else error.msg[0].lower() + error.msg[1:]
    return f"{wrong} at line {line}, column {column} (byte {at:,} of {size:,}): …{around}"
