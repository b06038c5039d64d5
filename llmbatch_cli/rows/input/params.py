"""Sampling parameters by OpenAI's names: which there are, and what their values look like.

Ranges differ between providers, so only types are checked, and what no provider takes.
Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11-22).
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import InputError

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SHOWN_CHARS: Final = 60

Test = Callable[[Any], bool]


def _number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
    )


def _not_negative(value: Any) -> bool:
    return _number(value) and value >= 0


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _whole(value: Any) -> bool:
    return _number(value) and (isinstance(value, int) or value.is_integer())


def _from_0(value: Any) -> bool:
    return _whole(value) and value >= 0


def _from_1(value: Any) -> bool:
    return _whole(value) and value >= 1


def _tokens(value: Any) -> bool:
    return _from_1(value) or (_whole(value) and value == -1)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _object(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _stop(value: object) -> bool:
    return _text(value) or (isinstance(value, list) and all(map(_text, value)))


def _biases(value: Any) -> bool:
    return _object(value) and all(map(_number, value.values()))


def _objects(value: object) -> bool:
    return isinstance(value, list) and all(map(_object, value))


def _headers(value: Any) -> bool:
    return _object(value) and not any(_spoils(name, text) for name, text in value.items())


def _spoils(name: str, text: object) -> str | None:
    """What is wrong with a header, without its text, which may be a secret."""
    if not _HEADER_NAME.fullmatch(name):
        return f"one with {quoted(name)}, which is no header's name"
    if not isinstance(text, str):
        return f"one whose {quoted(name)} is no text"
    if not _HEADER_VALUE.fullmatch(text):
        return f"one whose {quoted(name)} holds a line break or another character no header takes"
    return None


def _body(value: Any) -> bool:
    return _object(value) and "stream" not in value


_TOKENS: Final = (_tokens, "a whole number from 1 (or -1 for no limit)")

PARAMETERS: Final[Mapping[str, tuple[Test, str]]] = {
    "temperature": (_not_negative, "a number from 0"),
    "top_p": (_share, "a number from 0 to 1"),
    "max_tokens": _TOKENS,
    "max_completion_tokens": _TOKENS,
    "stop": (_stop, "a text or a list of texts, none of them empty"),
    "seed": (_whole, "a whole number"),
    "n": (_from_1, "a whole number from 1"),
    "presence_penalty": (_number, "a number"),
    "frequency_penalty": (_number, "a number"),
    "logit_bias": (_biases, "an object of numbers"),
    "logprobs": (lambda value: _flag(value) or _from_0(value), "true or false, or how many"),
    "top_logprobs": (_from_0, "a whole number from 0"),
    "tools": (_objects, "a list of objects"),
    "tool_choice": (lambda value: _text(value) or _object(value), "a text or an object"),
    "parallel_tool_calls": (_flag, "true or false"),
    "response_format": (_object, "an object"),
    "reasoning_effort": (_text, "a text, such as low"),
    "user": (lambda value: isinstance(value, str), "a text"),
    "extra_body": (_body, "an object without stream"),
    "extra_headers": (_headers, "an object of header names and their texts"),
}
"""Every parameter that has a meaning of its own: the test of its value, and that test in words."""

NO_PARAMETERS: Final = frozenset(("model", "messages", "stream", "stream_options"))
"""What says what is asked of whom, and how the reply comes: never set as a parameter."""

OUR_HEADERS: Final = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "connection", "expect"),
        *("keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade"),
    )
)
"""Headers that belong to the request as it is sent: another value would spoil the connection."""

SAME: Final[Mapping[str, str]] = {"max_completion_tokens": "max_tokens"}
"""Two names for one parameter, and the one that is used from here on."""


def check(name: str, value: object) -> Any:
    """The value as it is to be sent: a whole number such as 100.0 becomes 100.

    `name` is one of PARAMETERS. Raises InputError for a value of the wrong type.
    """
    test, words = PARAMETERS[name]
    if not test(value):
        raise InputError(f"{name} must be {words}, not {_wrong_in(value, test)}")
    if name == "extra_headers":
        return _lowered(value)
    wants_whole = test in (_whole, _from_0, _from_1, _tokens)
    return int(value) if wants_whole and isinstance(value, float) else value


def check_all(params: Mapping[str, object]) -> dict[str, Any]:
    """Every value checked, null ones dropped, `max_completion_tokens` as `max_tokens`.

    Raises InputError for a value of the wrong type, and where both names are given and
    differ. A name outside PARAMETERS goes into `extra_body`.
    """
    checked: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in params.items():
        if value is None:
            continue
        if name in NO_PARAMETERS:
            raise InputError(f"{name} is no parameter")
        if name not in PARAMETERS:
            unknown[name] = value
            continue
        kept = SAME.get(name, name)
        value = check(name, value)
        if checked.setdefault(kept, value) != value:
            raise InputError(f"{kept} and {name} are the same parameter, and differ here")
    if unknown:
        checked["extra_body"] = {**unknown, **checked.get("extra_body", {})}
    return checked


def _wrong_in(value: Any, test: Test) -> str:
    if test is _headers and _object(value):
        return next(wrong for name, text in value.items() if (wrong := _spoils(name, text)))
    return shown(value)


def _lowered(headers: Any) -> dict[str, str]:
    """The headers by their names in lower case, as the wires name theirs."""
    lowered = {name.lower(): text for name, text in headers.items()}
    if ours := lowered.keys() & OUR_HEADERS:
        raise InputError(f"extra_headers must not set {min(ours)}")
    return lowered


def shown(value: object) -> str:
    """The value in words of JSON, safe and short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**20):
        return str(value)
    for kind, words in ((int, "so large a number"), (list, "a list"), (Mapping, "an object")):
        if isinstance(value, kind):
            return words
    return f"a {escaped(type(value).__name__)}"


def quoted(text: str) -> str:
    """The text in double quotes, at most 62 characters."""
    return f'"{escaped(text)}"'


def escaped(text: str, limit: int = _SHOWN_CHARS) -> str:
    """The text with nothing unprintable in it, cut to `limit` characters."""
    safe = "".join(map(_escaped_char, text[: limit + 1]))
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


def _escaped_char(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()
