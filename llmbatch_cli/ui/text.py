"""Text that is safe on a terminal and as wide as it should be, and a stream that never fails."""

import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Final, TextIO

_SEQUENCES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC ...
    r"|\x1b[ -/]*[0-~]?"
)
_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROLS: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ufeff]"
)
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


def clean(text: str, max_chars: int) -> str:
    """The text on one line, without power over a terminal, at most `max_chars` (from 1) long.

    Escape sequences, control characters and bidirectional overrides are taken out, breaks
    and tabs become one space. A text that is cut ends in an ellipsis.
    """
    text = _BREAKS.sub(" ", _SEQUENCES.sub("", text))
    text = _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def columns(text: str) -> int:
    """How many columns a clean text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def fit(text: str, most: int) -> str:
    """A clean text, cut with an ellipsis where it is wider than `most` columns (from 1)."""
    if columns(text) <= most:
        return text
    used = 0
    for place, char in enumerate(text):
        used += _columns_of(char)
        if used > most - 1:
            return text[:place] + "…"
    return text


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def terminal_size(stream: TextIO | None, environ: Mapping[str, str]) -> os.terminal_size:
    """The terminal behind the stream; otherwise COLUMNS wide, or 80, and 24 lines high."""
    try:
        size = os.get_terminal_size(stream.fileno() if stream is not None else -1)
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    told = environ.get("COLUMNS", "")
    width = size.columns or (int(told) if told.isdecimal() else 0) or 80
    return os.terminal_size((width, size.lines or 24))


class Stderr:
    """Standard error that swallows its own failures: a run goes on with nobody to tell."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> None:
        """Write at once; after the first failure nothing more is tried."""
        if self.stream is None:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except BlockingIOError:  # a full pipe that does not block: these lines are lost
            pass
        except (OSError, ValueError):
            self.stream = None
