"""Keeps prompts and keys out of messages about a run: a provider may repeat what it received."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.types import Message, WireReply

REPETITION_CHARS: Final = 24
"""A message that has so many characters in a row of its prompt repeats it."""
HIDDEN: Final = "the provider's message repeats the prompt; -v --log-prompts shows it"

_PROTOCOL_FIELDS: Final = frozenset(("role", "type"))
"""Fields of messages that hold a word of the protocol, not of the user."""


def without_prompt(text: str, messages: Sequence[Message]) -> str:
    """The text, or HIDDEN where it repeats REPETITION_CHARS characters of the messages.

    Runs of white space count as one character. Takes time linear in the text and the messages.
    """
    collapsed = " ".join(text.split())
    halves = _stretches(collapsed, _HALF)
    wholes = _stretches(collapsed, REPETITION_CHARS)
    if any(_shares(piece, halves, wholes) for piece in _texts(messages)):
        return HIDDEN
    return text


_HALF: Final = REPETITION_CHARS // 2


def _stretches(text: str, length: int) -> set[str]:
    return {text[at : at + length] for at in range(len(text) - length + 1)}


def _shares(piece: str, halves: set[str], wholes: set[str]) -> bool:
    """Whether one of `wholes` stands in the piece, of which any has a half at such a step."""
    piece = " ".join(piece.split())
    for at in range(0, len(piece) - _HALF + 1, _HALF + 1):
        if piece[at : at + _HALF] in halves:
            around = piece[max(0, at - _HALF) : at + REPETITION_CHARS]
            if not wholes.isdisjoint(_stretches(around, REPETITION_CHARS)):
                return True
    return False


def _texts(value: object) -> Iterator[str]:
    """Every text of the user's own in a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _PROTOCOL_FIELDS:
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def prompt_of(messages: Sequence[Message], most_chars: int) -> str:
    """The texts of the messages in one line, for users who have asked to see them."""
    shown = ""
    for piece in _texts(list[Any](messages)):
        shown += f" {piece[:most_chars]}"
        if len(shown) > most_chars:
            break
    return shown.strip()


KEY_HEADERS: Final = frozenset(
    ("authorization", "api-key", "x-api-key", "x-goog-api-key", "x-amz-security-token")
)
_SECRET_NAME: Final = re.compile(r"(?:^|-)(?:auth|key|token|secret|password|cookie)(?:$|-)")
"""What a header of the user's own may be called that holds a secret."""
KEY_SHAPES: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|r8|pplx|nvapi|csk|fw|tgp)[-_][\w*.-]{8,}|\bAIza[\w-]{20,}"
    r"|(?i:bearer) [\w*.~+/=-]{8,}"
)
"""What is a key by its looks, also with stars in it."""
SHORTEST_KEY: Final = 8
"""Shorter values are not keys of any provider, and would be found inside words."""


def _keys(sent: Mapping[str, str]) -> list[str]:
    """The keys in a request's headers, without the `Bearer` before them."""
    values = (value for name, value in sent.items() if _is_secret(name.lower()))
    words = (value.strip().rpartition(" ")[2] for value in values)
    return [word for word in words if len(word) >= SHORTEST_KEY]


def _is_secret(name: str) -> bool:
    return name in KEY_HEADERS or _SECRET_NAME.search(name) is not None


def without_keys(text: str, sent: Mapping[str, str]) -> str:
    """The text, with `[key]` for each key in the headers that were sent."""
    for key in _keys(sent):
        text = text.replace(key, "[key]")
    return text


def reply_without_keys(reply: WireReply, sent: Mapping[str, str]) -> WireReply | None:
    """The reply with `[key]` for each key that it repeats; None where it repeats none."""
    headers = {name: without_keys(value, sent) for name, value in reply.headers.items()}
    body = reply.body
    for key in _keys(sent):
        body = body.replace(key.encode(), b"[key]")
    if body == reply.body and headers == reply.headers:
        return None
    return WireReply(reply.status, headers, body)
