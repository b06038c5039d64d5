"""What an answer says, in whatever it is wrapped: JSON, a choice, a block of code.

Each function takes an answer's text and raises Unfit where it does not say what was asked for.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.calls import UNFORESEEN
from llmbatch_cli.engine.validate import Fit, Unfit

if TYPE_CHECKING:
    import regex

MOST_REPAIRED_BYTES: Final = 64 * 1024
"""A longer text is not repaired, which may take a second."""
MOST_REPAIRED_BRACKETS: Final = 1000
"""Nor is a text with more that open: repairing takes time by the square of these."""
MOST_MATCHING_S: Final = 0.5
"""For a pattern in one answer, since some would go on for ever. The run waits meanwhile."""
MOST_VALUES: Final = 8
"""So many values of a text are looked at, from its end."""
_MOST_REPAIRS: Final = 2

_THOUGHT: Final = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_ONLY_THOUGHT: Final = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_FENCED: Final = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE
)
_MARKS: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_BEGUN: Final = re.compile(r"""[{\[]\s*["'{\[]""")
"""How a value begins that is no prose."""
_BRACKETS: Final = re.compile(r"[{}\[\]]")
_CLOSING: Final = {"}": "{", "]": "["}
_AROUND: Final = " \t\r\n*_`\"'.,;:!()"
"""What stands around a choice without meaning anything."""


@frozen
class Answer:
    """What an answer says."""

    data: Any
    text: str | None = None
    """What is kept of the text; None keeps it whole."""
    repaired: bool = False


def without_thoughts(text: str) -> str:
    """The text behind its last thinking block. Raises Unfit where it never leaves one."""
    ends = [thought.end() for thought in _THOUGHT.finditer(text)]
    if ends:
        return text[ends[-1] :]
    if _ONLY_THOUGHT.match(text):
        raise Unfit("it is a thinking block without an answer")
    return text


def read_json(text: str, fit: Fit, *, opening: str = "{[", repair: bool = True) -> Answer:
    """The JSON value that the text is, or the last one in it.

    Args:
        text: an answer.
        fit: judges a value; what it returns is the data.
        opening: the brackets that the wanted value may begin with.
        repair: whether what is nearly JSON may be mended; `fit` is the judge.
    """
    try:
        return Answer(fit(orjson.loads(text)))
    except orjson.JSONDecodeError:
        text = without_thoughts(text)
    fenced = [block for _, block in _FENCED.findall(text)]
    for plain in (text, *fenced[-1:]):
        try:
            return Answer(fit(orjson.loads(plain)), plain.strip())
        except orjson.JSONDecodeError:
            continue
    return _last_value(text, fit, opening, repair=repair)


def _last_value(text: str, fit: Fit, opening: str, *, repair: bool) -> Answer:
    """The last value in brackets that is JSON, or can be mended to what fits."""
    spans, unclosed = _spans(text)
    if unclosed is None and not spans:
        unclosed = min((place for place in map(text.find, opening) if place >= 0), default=None)
        if unclosed is None:
            raise Unfit("it has no JSON in it")
    if unclosed is not None:
        mended = _repaired(text[unclosed:], fit) if repair else None
        if mended is None:
            raise Unfit("its JSON is broken")
        return mended
    repairs = _MOST_REPAIRS if repair else 0
    fitting = [span for span in spans if text[span[0]] in opening]
    for start, end in reversed(fitting[-MOST_VALUES:]):
        value = text[start:end]
        try:
            return Answer(fit(orjson.loads(value)), value)
        except orjson.JSONDecodeError:
            repairs -= 1
        if repairs >= 0 and (mended := _repaired(value, fit)) is not None:
            return mended
        if _BEGUN.match(value):  # else it is prose, as in {x}
            break
    raise Unfit("its JSON is broken" if fitting else "it has no JSON in it")


def _spans(text: str) -> tuple[list[tuple[int, int]], int | None]:
    """From where to where the outermost balanced brackets go, in their order; and where a value
    begins that is never closed.

    In time that grows with the length of the text only, whatever stands in it.
    """
    opened: list[int] = []
    spans: list[tuple[int, int]] = []
    for start, end, mark in _marks(text, opened):
        if mark in "{[":
            opened.append(start)
        elif text[opened[-1]] != _CLOSING[mark]:
            opened.clear()
        else:
            begin = opened.pop()
            while spans and spans[-1][0] > begin:
                spans.pop()
            spans.append((begin, end))
    return spans, next((place for place in opened if _BEGUN.match(text, place)), None)


def _marks(text: str, opened: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """The brackets of the text; a string stands in brackets only, and has none."""
    place = 0
    while (match := (_MARKS if opened else _BRACKETS).search(text, place)) is not None:
        place, mark = match.end(), match.group()
        if mark[0] != '"' and (mark in "{[" or opened):
            yield match.start(), place, mark


def _repaired(text: str, fit: Fit) -> Answer | None:
    """What the text is once it is mended, if that fits."""
    if len(text.encode(errors="replace")) > MOST_REPAIRED_BYTES:
        return None
    if text.count("{") + text.count("[") > MOST_REPAIRED_BRACKETS:
        return None
    from json_repair import loads

    try:
        return Answer(fit(loads(text, skip_json_loads=True)), text, repaired=True)
    except (Unfit, *UNFORESEEN):
        return None


def read_choice(text: str, choices: Sequence[str]) -> Answer:
    """Which of the choices the answer is, whatever it is dressed in.

    That is its first or last line, behind a colon too, or the only value of a JSON object. A
    choice that is only mentioned in a sentence is none: "not good" is not `good`.
    """
    text = without_thoughts(text)
    exact = dict(zip(choices, choices, strict=True))
    plain: dict[str, str | None] = {"": None}
    for choice in choices:
        name = _plain(choice)
        plain[name] = None if name in plain else choice
    for said in _sayings(text):
        found = exact.get(said) or plain.get(_plain(said))
        if found is not None:
            return Answer(found, found)
    raise Unfit("it is none of the choices")


def _sayings(text: str) -> Iterator[str]:
    """The places of an answer where a choice may stand alone."""
    yield text
    try:
        value = orjson.loads(text.strip().removeprefix("```json").strip("` \n"))
    except orjson.JSONDecodeError:
        pass
    else:
        values = list(value.values()) if isinstance(value, dict) else [value]
        if len(values) == 1:
            yield values[0] if isinstance(values[0], str) else orjson.dumps(values[0]).decode()
    lines = [line for line in text.splitlines() if line.strip()]
    for line in (*lines[-1:], *lines[:1]):
        yield line
        yield line.rpartition(":")[2]


def _plain(text: str) -> str:
    return text.strip(_AROUND).casefold()


def read_code(text: str) -> Answer:
    """The first fenced block of code."""
    match = _FENCED.search(without_thoughts(text))
    if match is None:
        raise Unfit("it has no fenced code block")
    code = match.group(2).removesuffix("\n").removesuffix("\r")
    return Answer(code, code)


def pattern_of(written: str) -> "regex.Pattern[str]":
    """The pattern, for an engine that stops when told to. Raises ValueError for one that is
    invalid."""
    import regex

    try:
        return regex.compile(written)
    except regex.error as error:
        raise ValueError(str(error)) from error


def read_match(text: str, pattern: "regex.Pattern[str]") -> Answer:
    """The first match: its named groups as an object, else its first group, else all of it."""
    try:
        match = pattern.search(without_thoughts(text), timeout=MOST_MATCHING_S)
    except TimeoutError:
        raise Unfit(f"{pattern.pattern} was not found in it within {MOST_MATCHING_S:g} s") from None
    if match is None:
        raise Unfit(f"nothing in it matches {pattern.pattern}")
    if named := match.groupdict():
        return Answer(named, match.group())
    found = match.group(1) if pattern.groups else match.group()
    return Answer(found, found or "")
