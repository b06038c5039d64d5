"""Whatever a model, file or server sends, a terminal only shows it."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmbatch_cli.core.text import clean, clean_for_terminal, without_controls

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
        ("a\x1b]never ended", "a]never ended"),
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext é 漢 😀", "plain\n\ttext é 漢 😀"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jx", "x"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://h\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP$q\x1b\\x\x1b_a\x9cy", "xy"),
        ("\x1bc\x1b(0x", "x"),
        ("\x1b]0;never closed", "␛]0;never closed"),
        ("\x1b\x1b[2J", "␛"),
        ("a\r\nb\rc\x00\x7f\x85", "a\nb␍c␀␡\ufffd"),
        ("a\u202eb\u2066c", "abc"),
    ],
)
def test_terminal_control_is_taken_out_or_shown(text: str, shown: str) -> None:
    """Escape sequences vanish whole, other control characters become visible."""
    assert clean_for_terminal(text) == shown


STEERING = st.text(st.sampled_from("\x1b[]0;m\x07\\\x9b\x9c\x9d\r\n\u202eaP_(#"))


@given(st.text(st.characters(exclude_categories=())) | STEERING)
def test_no_text_steers_a_terminal(text: str) -> None:
    """What is left has no control character but newline and tab, and no bidi control."""
    shown = clean_for_terminal(text)
    assert not {c for c in shown if unicodedata.category(c) == "Cc"} - {"\n", "\t"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs")) | st.sampled_from("\n\t")))
def test_harmless_text_is_shown_as_it_is(text: str) -> None:
    """Cleaning changes nothing that was clean."""
    assert clean_for_terminal(text) == text


@pytest.mark.parametrize("opening", ["\x1b]", "\x9d", "\x1b[0", "\x1b[" + "0" * 99, "\x1b("])
def test_cleaning_hostile_text_takes_linear_time(opening: str) -> None:
    """A megabyte of unfinished escape sequences is cleaned within the test's time limit."""
    assert "\x1b" not in clean_for_terminal(opening * (2**20 // len(opening)))


def test_a_piece_of_text_loses_its_controls_only() -> None:
    """Of a sequence that is cut between two pieces, only what introduces it is removed."""
    assert without_controls("a\x1b") + without_controls("[31mb\n\tc\r\x9b\u202ed") == "a[31mb\n\tcd"
