"""Sampling parameters by OpenAI's names: their names and valid values.

Ranges differ between providers: refused is only what no provider supports.
Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11-22).
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.text import shortened
from llmbatch_cli.rows.input.schemas import response_format_of

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SHOWN_CHARS: Final = 60


class Rule(NamedTuple):
    """What a parameter's value must be."""

    test: Callable[[Any], bool]
    words: str
    """The test for people, as in `must be ...`."""
    whole: bool = False
    """Whether 100.0 is sent as 100."""


def _number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: is_number(value) and low <= value <= high


def is_number(value: Any) -> bool:
    """Whether it is finite, and not true or false."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(low: float = -math.inf) -> Callable[[Any], bool]:
    return lambda value: is_whole(value) and value >= low


def is_whole(value: Any) -> bool:
    """Also 100.0, as tables are often exported."""
    return is_number(value) and value % 1 == 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def is_object(value: Any) -> bool:
    """Whether it is a dict that JSON can hold."""
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def is_list(value: Any, test: Callable[[Any], bool]) -> bool:
    """Whether it is a list of items that pass the test."""
    return isinstance(value, list) and all(map(test, value))


_OBJECT: Final = Rule(is_object, "an object")
_NUMBER: Final = Rule(_number(), "a number")
_TOKENS: Final = Rule(
    lambda value: _whole(1)(value) or value == -1,
    "a whole number >= 1 (or -1 for no limit)",
    whole=True,
)

PARAMETERS: Final[Mapping[str, Rule]] = {
    "temperature": Rule(_number(0), "a number >= 0"),
    "top_p": Rule(_number(0, 1), "a number from 0 to 1"),
    "max_tokens": _TOKENS,
    "max_completion_tokens": _TOKENS,
    "stop": Rule(
        lambda value: _is_text(value) or is_list(value, _is_text),
        "a string or a list of strings, none of them empty",
    ),
    "seed": Rule(_whole(), "a whole number", whole=True),
    "n": Rule(_whole(1), "a whole number >= 1", whole=True),
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "logit_bias": Rule(
        lambda value: is_object(value) and all(map(is_number, value.values())),
        "an object of numbers",
    ),
    "logprobs": Rule(
        lambda value: isinstance(value, bool) or _whole(0)(value),
        "true, false or a whole number >= 0",
    ),
    "top_logprobs": Rule(_whole(0), "a whole number >= 0", whole=True),
    "tools": Rule(lambda value: is_list(value, is_object), "a list of objects"),
    "tool_choice": Rule(lambda value: _is_text(value) or is_object(value), "a string or an object"),
    "parallel_tool_calls": Rule(lambda value: isinstance(value, bool), "true or false"),
    "response_format": _OBJECT,
    "reasoning_effort": Rule(_is_text, "a string such as low"),
    "user": Rule(lambda value: isinstance(value, str), "a string"),
    "extra_body": Rule(
        lambda value: is_object(value) and "stream" not in value, "an object without stream"
    ),
    "extra_headers": _OBJECT,
}
"""Every parameter with a meaning of its own."""

LIMITS: Final = frozenset(("max_tokens", "max_completion_tokens"))
"""The two names of one parameter. A server may know only one of them, so a name that was written
is sent as it is; `--max-tokens` has the name that the server is known to take."""

NO_PARAMETERS: Final = frozenset(("model", "messages", "stream", "stream_options"))
"""Fields of a request that are never set as a parameter."""

_SECRET: Final = re.compile(
    r"(?:.*[-_])?api[-_]?key|(?:proxy[-_])?authorization|(?:api|base)[-_](?:base|url)"
    r"|(?:auth|access|bearer)[-_]token",
    re.IGNORECASE,
)
"""Names that are no parameters of any API, but how other libraries are given keys and addresses."""
API_KEYS: Final = frozenset(("api_key", "apikey", "api-key", "x-api-key"))
"""Fields of a row that are not even carried to the output."""

OUR_HEADERS: Final = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "connection", "expect"),
        *("keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade"),
    )
)
"""Headers that describe the request as it is sent: another value would break the connection."""


def check(name: str, value: object, rules: Mapping[str, Rule] = PARAMETERS) -> Any:
    """The value as it is to be sent: a whole number such as 100.0 becomes 100.

    `name` is one of `rules`. Raises InputError for an invalid value.
    """
    rule = rules[name]
    if name == "response_format":
        value = response_format_of(value)
    if not rule.test(value):
        raise InputError(f"{name} must be {rule.words}, not {shown(value)}")
    if name == "extra_headers":
        return _headers(value)
    return int(value) if rule.whole and isinstance(value, float) else value


def check_all(params: Mapping[str, object]) -> dict[str, Any]:
    """Every value checked, null ones dropped.

    The limit of an answer keeps the name it was given; where it has both, `max_tokens`. A name
    outside PARAMETERS goes into `extra_body`. Raises InputError for an invalid value, and where
    both names of the limit are given and differ.
    """
    checked: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in params.items():
        if value is None:
            continue
        if name in NO_PARAMETERS:
            raise InputError(f"{name} cannot be set as a parameter")
        if name not in PARAMETERS:
            refuse_secret(name)
            unknown[name] = value
            continue
        checked[name] = check(name, value)
    for name in checked.get("extra_body", ()):
        refuse_secret(name)
    both = checked.keys() >= LIMITS
    if both and checked.pop("max_completion_tokens") != checked["max_tokens"]:
        raise InputError(
            "max_tokens and max_completion_tokens are the same parameter but have two values"
        )
    if unknown:
        checked["extra_body"] = {**unknown, **checked.get("extra_body", {})}
    return checked


def refuse_secret(name: str) -> None:
    """Raise InputError for the name of a key or an address, which would be sent in the body."""
    if _SECRET.fullmatch(name):
        raise InputError(
            f"{name} is not sent: keys come from the environment (llmbatch providers lists them), "
            "an address from --base-url"
        )


def _headers(headers: Any) -> dict[str, str]:
    """The headers by their names in lower case. Raises InputError, without a header's text,
    which may be a secret."""
    for name, text in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InputError(f"extra_headers: {quoted(name)} is not a valid header name")
        if not isinstance(text, str):
            raise InputError(f"extra_headers: {quoted(name)} must be a string")
        if not _HEADER_VALUE.fullmatch(text):
            raise InputError(
                f"extra_headers: {quoted(name)} has a line break or another invalid character"
            )
    lowered = {name.lower(): text for name, text in headers.items()}
    if ours := lowered.keys() & OUR_HEADERS:
        raise InputError(f"extra_headers must not set {min(ours)}")
    return lowered


def shown(value: object) -> str:
    """The value as JSON has it, safe and short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**20):
        return str(value)
    for kind, words in ((int, "a very large number"), (list, "a list"), (Mapping, "an object")):
        if isinstance(value, kind):
            return words
    return f"a {escaped(type(value).__name__)}"


def quoted(text: str) -> str:
    """The text in double quotes, at most 62 characters."""
    return f'"{escaped(text)}"'


def escaped(text: str, limit: int = _SHOWN_CHARS) -> str:
    """The text with nothing unprintable in it, cut to `limit` characters."""
    return shortened("".join(map(_escaped_char, text[: limit + 1])), limit)


def _escaped_char(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()
