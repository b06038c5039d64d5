"""Keeps prompts and keys out of what is said about a run: a provider may repeat what it got."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from llmbatch_cli.core.types import Message, WireReply

HIDDEN: Final = "[prompt]"
STRETCH: Final = 8
"""So many letters and digits in a row, in the prompt and in a message, are a repetition."""
SHORTEST: Final = 4
"""Of a prompt shorter than STRETCH, only the whole is looked for, from so many characters on."""

LONG: Final = 20_000
"""Letters of a prompt from which on it is not searched whole for every stretch of a message."""

_NO_LETTERS: Final = re.compile(r"[\W_]+")
_WORD: Final = re.compile(r"[^\W_]+")
_NAMES: Final = frozenset(("role", "type"))
"""Fields of messages that hold a word of the protocol, and nothing of the user's."""


def without_prompt(text: str, messages: Sequence[Message]) -> str:
    """The text, with `[prompt]` for whole words in which it repeats the messages.

    Only letters and digits are compared, so that neither quoting nor escaping hides a repetition.
    """
    letters = [place for place, char in enumerate(text) if char.isalnum()]
    bare = "".join(text[place] for place in letters)
    hidden: set[int] = set()
    for piece in _texts(messages):
        asked = _NO_LETTERS.sub("", piece)
        if len(asked) < STRETCH:
            hidden |= _whole(text, piece.strip())
            continue
        repeated = _finder(asked)
        for start in range(len(bare) - STRETCH + 1):
            if repeated(bare[start : start + STRETCH]):
                hidden.update(letters[start : start + STRETCH])
    return _cut(text, hidden) if hidden else text


def _finder(asked: str) -> Callable[[str], bool]:
    """Whether a stretch stands in a prompt. In a LONG one only each eighth stretch is known, so
    a repetition of 15 letters is sure to be met."""
    if len(asked) <= LONG:
        return asked.__contains__
    known = {asked[at : at + STRETCH] for at in range(0, len(asked) - STRETCH + 1, STRETCH)}
    return known.__contains__


def _texts(value: object) -> Iterator[str]:
    """Every text of the user's own in a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _NAMES:
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _whole(text: str, piece: str) -> set[int]:
    """Where the text has the piece as words of its own."""
    if len(piece) < SHORTEST:
        return set()
    found = re.finditer(rf"(?<!\w){re.escape(piece)}(?!\w)", text)
    return {place for one in found for place in range(*one.span())}


def _cut(text: str, hidden: set[int]) -> str:
    """The text with one mark for each run of words that have a hidden character."""
    told: list[str] = []
    for is_hidden, tokens in groupby(_tokens(text), lambda one: _is_hidden(one, hidden)):
        run = [text[start:end] for start, end in tokens]
        told.append(HIDDEN if is_hidden else "".join(run))
    return _closed_up("".join(told))


def _tokens(text: str) -> Iterator[tuple[int, int]]:
    """The text as words and what stands between them."""
    at = 0
    for word in _WORD.finditer(text):
        if word.start() > at:
            yield at, word.start()
        yield word.span()
        at = word.end()
    if at < len(text):
        yield at, len(text)


def _is_hidden(token: tuple[int, int], hidden: set[int]) -> bool:
    return any(place in hidden for place in range(*token))


def _closed_up(text: str) -> str:
    """One mark where only spaces and signs stood between several."""
    mark = re.escape(HIDDEN)
    return re.sub(rf"{mark}(?:[\W_]+{mark})+", HIDDEN, text)


KEY_HEADERS: Final = frozenset(
    ("authorization", "api-key", "x-api-key", "x-goog-api-key", "x-amz-security-token")
)
SHORTEST_KEY: Final = 8
"""What is shorter is no key of any provider, and would be found inside words."""


def _keys(sent: Mapping[str, str]) -> list[str]:
    """The keys in a request's headers, without the `Bearer` before them."""
    values = (value for name, value in sent.items() if name.lower() in KEY_HEADERS)
    words = (value.strip().rpartition(" ")[2] for value in values)
    return [word for word in words if len(word) >= SHORTEST_KEY]


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


def prompt_of(messages: Sequence[Message], most_chars: int) -> str:
    """The texts of the messages in one line, for who has asked to see them."""
    told = ""
    for piece in _texts(list[Any](messages)):
        told += f" {piece[:most_chars]}"
        if len(told) > most_chars:
            break
    return told.strip()
