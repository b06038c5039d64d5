"""Text that is safe to show on a terminal."""

import re
from typing import Final

_SEQUENCES: Final = re.compile(
    # a whole control string (OSC, DCS, SOS, PM, APC), as in window titles and hyperlinks
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*+(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"  # CSI: colours, cursor, clearing
    r"|\x1b[ -/]*+[0-Z\\^-~]"  # two or three characters that open none of the above
    r"|\r(?=\n)"
    r"|[\u202a-\u202e\u2066-\u2069]"  # bidi embeddings, overrides and isolates
)
_VISIBLE: Final = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    0x7F: 0x2421,
}
_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROLS: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ufeff]"
)
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


def clean_for_terminal(text: str) -> str:
    """The text without power over a terminal, for people to read; lines and tabs are kept.

    Whole escape sequences and bidirectional controls are removed; any other control character
    is shown as its picture (U+2400 and on), C1 as U+FFFD. Takes time linear in the text.
    """
    return _SEQUENCES.sub("", text).translate(_VISIBLE)


def clean(text: str, max_chars: int) -> str:
    """The text on one line, without power over a terminal, at most `max_chars` (from 1) long.

    Escape sequences, control characters and bidirectional marks are removed, breaks and tabs
    become one space. A text that is cut ends in an ellipsis.
    """
    text = _BREAKS.sub(" ", _SEQUENCES.sub("", text))
    return shortened(_SURROGATES.sub("\ufffd", without_controls(text)), max_chars)


def shortened(text: str, max_chars: int) -> str:
    """The text, at most so long; one that is cut ends in an ellipsis."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def format_count(n: int, noun: str = "") -> str:
    """1,200; with a noun, 1 row or 1,200 rows."""
    return f"{n:,}" + (f" {noun}" + "s" * (n != 1) if noun else "")


def without_controls(text: str) -> str:
    """The text without control characters and bidirectional marks; lines and tabs are kept.

    For text that arrives in pieces: of an escape sequence only its first character is removed.
    """
    return _CONTROLS.sub("", text)
