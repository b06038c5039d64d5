"""A prompt is not shown again, however a provider quotes it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.privacy import HIDDEN, prompt_of, without_prompt
from llmbatch_cli.core.types import Message

PROMPT = 'My "account" number is 4711-0815,\nplease translate: ¿Qué tal, Ærøskøbing?'
ASKED: list[Message] = [
    {"role": "system", "content": "Be terse"},
    {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
]


@pytest.mark.parametrize(
    "quoted", [PROMPT, repr(PROMPT), json.dumps({"input": PROMPT}, ensure_ascii=False), PROMPT[:40]]
)
def test_a_quoted_prompt_is_hidden(quoted: str) -> None:
    """Plain, escaped or cut: what the provider says around it stays."""
    shown = without_prompt(f"Invalid value {quoted} (code 1234567890)", ASKED)
    assert shown.startswith("Invalid value ")
    assert shown.endswith(" (code 1234567890)")
    assert HIDDEN in shown
    assert "account" not in shown
    assert "4711" not in shown


def test_other_words_stay() -> None:
    """A message that repeats nothing is shown as it is, though it has the protocol's words."""
    message = "messages.0.role: 'assistant' is no system or user text; type must be a text"
    assert without_prompt(message, ASKED) == message


def test_a_short_prompt_is_hidden_whole() -> None:
    """Where it stands as a word of its own, and not within others."""
    asked: list[Message] = [{"role": "user", "content": "test"}]
    assert without_prompt("bad 'test' at the latest", asked) == f"bad '{HIDDEN}' at the latest"


def test_a_long_prompt_is_hidden_where_it_is_quoted() -> None:
    """A line from the middle of a million letters."""
    asked: list[Message] = [
        {
            "role": "user",
            "content": " ".join(f"patient{n:06} has case{n:06}" for n in range(50_000)),
        }
    ]
    shown = without_prompt("cannot take 'patient031415 has case031415'", asked)
    assert "031415" not in shown
    assert shown.startswith("cannot take '")


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_no_stretch_of_the_prompt_is_left(before: str, prompt: str, after: str) -> None:
    """Whatever stands around the prompt, no eight of its letters are shown in a row."""
    asked: list[Message] = [{"role": "user", "content": prompt}]
    letters = "".join(filter(str.isalnum, prompt))
    for shown in without_prompt(before + prompt + after, asked).split(HIDDEN):
        bare = "".join(filter(str.isalnum, shown))
        assert not any(bare[at : at + 8] in letters for at in range(len(bare) - 7))


def test_a_prompt_is_told_in_short() -> None:
    """The texts of its messages, cut where they are long."""
    assert prompt_of(ASKED, 500) == f"Be terse {PROMPT}"
    assert len(prompt_of([{"role": "user", "content": "x" * 10**6}], 500)) <= 500
