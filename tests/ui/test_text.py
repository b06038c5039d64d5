"""Whatever a model, file or server sends, a terminal only shows it."""

import io
import unicodedata
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmbatch_cli.ui.text import Stderr, clean, columns, fit, terminal_size

HARMFUL = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} | set(
    "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
PIECES = st.sampled_from(["\x1b", "\x1b[", "\x1b]", "\x9b", "\x07", "\x1b\\", "31", ";", "m", "\r"])
TEXTS = st.lists(st.one_of(st.text(), PIECES)).map("".join)


@given(TEXTS, st.integers(1, 50))
@example("\ud800", 9)
def test_nothing_with_power_over_a_terminal_is_left(text: str, most: int) -> None:
    """A clean text has no control, no bidi override and no surrogate, and keeps its bound."""
    cleaned = clean(text, most)
    assert not HARMFUL & set(cleaned)
    assert len(cleaned) <= most
    cleaned.encode()
    assert clean(cleaned, most) == cleaned


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x1bc\x1b(0\x1b=gone", "gone"),
        ("a\x1b]never ended", "anever ended"),
        ("one\r\ntwo\tthree\u2028four", "one two three four"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("bell\x07 back\x08 del\x7f nel\x85.", "bell back del nel ."),
        ("[bold]markup[/bold] :smile:", "[bold]markup[/bold] :smile:"),
        ("naïve 東京 🎉", "naïve 東京 🎉"),
    ],
)
def test_what_is_shown_is_the_text(text: str, left: str) -> None:
    """Sequences go as a whole, breaks become one space, everything else stays."""
    assert clean(text, 100) == left


def test_a_long_hostile_text_takes_no_long_time() -> None:
    """Sequences that never end are not searched again and again."""
    for piece in ("\x1b]", "\x9d", "\x1b[", "\x1b[0", "\x1b ", "\x9b;"):
        assert len(clean(piece * 200_000, 20)) <= 20


@given(st.text().map(lambda text: clean(text, 1_000)), st.integers(1, 40))
def test_a_text_is_cut_to_columns(text: str, most: int) -> None:
    """A text that fits stays, any other is cut to the columns with an ellipsis."""
    fitted = fit(text, most)
    assert columns(fitted) <= most
    assert fitted == text if columns(text) <= most else fitted.endswith("…")


def test_wide_and_combining_characters_count_as_shown() -> None:
    """East Asian characters and emoji take two columns, combining marks none."""
    assert [columns(text) for text in ("abc", "東京", "🎉", unicodedata.normalize("NFD", "é"))] == [
        3, 4, 2, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(("told", "width"), [("72", 72), ("", 80), ("0", 80), ("wide", 80)])
def test_without_a_terminal_the_environment_sets_the_width(told: str, width: int) -> None:
    """COLUMNS where it is a number, otherwise 80."""
    assert terminal_size(io.StringIO(), {"COLUMNS": told}) == (width, 24)
    assert terminal_size(None, {"COLUMNS": told}).columns == width


class Broken(io.StringIO):
    """A stream whose reader is gone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "tries"),
    [(BrokenPipeError(), 1), (OSError(5, "I/O error"), 1), (ValueError("closed"), 1),
     (BlockingIOError(), 3)],
)  # fmt: skip
def test_a_closed_standard_error_is_no_error(error: Exception, tries: int) -> None:
    """Writing never raises; only a pipe that is full for now is tried again."""
    stream = Broken(error)
    err = Stderr(stream)
    for _ in range(3):
        err.write("text")
    assert stream.tries == tries
    Stderr(None).write("nobody")
    assert Stderr(cast("io.StringIO", None)).encoding == "utf-8"
