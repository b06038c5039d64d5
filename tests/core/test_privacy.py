"""A message of a provider that repeats the prompt is named, not shown."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.privacy import HIDDEN, REPETITION_CHARS, prompt_of, without_prompt
from llmbatch_cli.core.types import Message

PROMPT = 'My "account" number is 4711-0815,\nplease translate: ¿Qué tal, Ærøskøbing?'
ASKED: list[Message] = [
    {"role": "system", "content": "Be terse"},
    {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
]


@pytest.mark.parametrize(
    "quoted",
    [
        PROMPT,
        repr(PROMPT),
        json.dumps({"input": PROMPT}, ensure_ascii=False),
        PROMPT[:24],
        PROMPT[-24:],
        PROMPT[20:44].replace(" ", "  \n"),
    ],
)
def test_a_message_that_repeats_the_prompt_is_hidden(quoted: str) -> None:
    """Plain, escaped, cut or with other white space."""
    assert without_prompt(f"Invalid value {quoted} (code 1234567890)", ASKED) == HIDDEN


@pytest.mark.parametrize(
    "message",
    [
        "messages.0.role: 'assistant' is no system or user text; type must be a text",
        f"cannot take {PROMPT[:23]!r}",
        "Be terse",
        "",
    ],
)
def test_other_messages_are_shown_whole(message: str) -> None:
    """Fewer than 24 characters of the prompt in a row are no repetition."""
    assert without_prompt(message, ASKED) == message


def test_a_huge_prompt_and_a_long_message_cost_little() -> None:
    """A line from the middle of ten million characters, and a web page that repeats nothing."""
    text = " ".join(f"patient{n:06} has case{n:06}" for n in range(350_000))
    asked: list[Message] = [{"role": "user", "content": text}]
    began_s = time.process_time()
    assert without_prompt("cannot take 'patient031415 has case031415'", asked) == HIDDEN
    page = "patient has " * 20_000
    assert without_prompt(page, asked) == page
    assert time.process_time() - began_s < 5


@settings(deadline=None)
@given(st.text("ab ", max_size=90), st.text("ab ", max_size=90))
def test_exactly_a_shared_stretch_hides(text: str, prompt: str) -> None:
    """The law by its slow definition, for texts of few letters, that share much."""
    shown, sent = " ".join(text.split()), " ".join(prompt.split())
    repeats = any(
        shown[at : at + REPETITION_CHARS] in sent for at in range(len(shown) - REPETITION_CHARS + 1)
    )
    found = without_prompt(text, [{"role": "user", "content": prompt}])
    assert found == (HIDDEN if repeats else text)


@given(st.text(max_size=40), st.text(min_size=24, max_size=60), st.text(max_size=40))
def test_a_prompt_is_found_wherever_it_stands(before: str, prompt: str, after: str) -> None:
    """Whatever stands around it."""
    asked: list[Message] = [{"role": "user", "content": before + prompt}]
    long = len(" ".join(prompt.split())) >= REPETITION_CHARS
    assert not long or without_prompt(f"{after} {prompt} {after}", asked) == HIDDEN


def test_a_prompt_is_logged_in_short() -> None:
    """The texts of its messages, cut where they are long."""
    assert prompt_of(ASKED, 500) == f"Be terse {PROMPT}"
    assert len(prompt_of([{"role": "user", "content": "x" * 10**6}], 500)) <= 500
