"""What answers say, in whatever they are wrapped."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.engine import answers
from llmbatch_cli.engine.answers import (
    Answer,
    pattern_of,
    read_choice,
    read_code,
    read_json,
    read_match,
    without_thoughts,
)
from llmbatch_cli.engine.validate import BadSchema, Unfit, fitting

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ANN = {"name": "Ann", "age": 3}
FIT = fitting(PERSON)


def read(text: str, repair: bool = True) -> Answer:
    return read_json(text, FIT, opening="{", repair=repair)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ann", "age": 3}',
        '```json\n{"name": "Ann", "age": 3}\n```',
        'Sure!\n~~~\n{"name": "Ann",\n "age": 3}\n~~~\nAnything else?',
        '<think>maybe {"name": "Bob", "age": 4}</think>\n{"name": "Ann", "age": 3}',
        'no tag before {"name": "Bob", "age": 4}</think> {"name": "Ann", "age": 3}',
        'First {"name": "Bob", "age": 4}, no: {"name": "Ann", "age": 3}. See [1].',
        'A set { or [ of things: {"name": "Ann", "age": 3}',
    ],
)
def test_an_answer_is_read_out_of_what_it_is_wrapped_in(text: str) -> None:
    """Fences, thinking blocks and prose; the last value counts."""
    assert read(text).data == ANN
    assert not read(text).repaired


@pytest.mark.parametrize(
    "text",
    [
        "{'name': 'Ann', 'age': 3}",
        '{"name": "Ann", "age": 3,}',
        '{name: "Ann", age: 3}',
        'Here you are:\n```json\n{"name": "Ann", // a comment\n "age": 3}\n```',
        '{"name": "Ann", "age": 3',
        'Earlier {"name": "Bob", "age": 4}; now {"name": "Ann", "age": 3,}',
    ],
)
def test_what_is_nearly_json_is_mended_and_told(text: str) -> None:
    """Where the result fits the schema."""
    answer = read(text)
    assert (answer.data, answer.repaired) == (ANN, True)
    with pytest.raises(Unfit, match="broken"):
        read(text, repair=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I would rather not.", "no JSON"),
        ("", "no JSON"),
        ('{"name": "Ann"}', r'"age" is a required property at \$'),
        ('{"name": "Ann", "age": "3"}', r'"3" is not of type "integer" at \$.age'),
        ("{'name': 'Ann'}", "broken"),
        ("[[[[[[", "broken"),
        ('{"people": [{"name": "Ann", "age": 3}', "broken"),
        ('<think>{"name": "Ann", "age": 3}', "thinking block"),
        ('{"name": "Ann", "age": NaN}', "broken"),
        ('{"name": "Ann", "age": 3, "more": 1}', "more"),
    ],
)
def test_what_does_not_fit_is_told(text: str, reason: str) -> None:
    """In words that the model can use, and people."""
    with pytest.raises(Unfit, match=reason):
        read(text)


def test_every_fault_is_told_up_to_three() -> None:
    """One after the other, each in at most some hundred letters."""
    with pytest.raises(Unfit) as caught:
        fitting({"items": {"type": "string"}})([1, 2, 3, 4])
    assert caught.value.reason.count(";") == 2
    with pytest.raises(Unfit) as caught:
        FIT("x" * 100_000)
    assert len(caught.value.reason) < 400


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "strin"),
        ({"$ref": "http://x.invalid/"}, "x.invalid"),
        ({"$ref": "file:///etc/passwd"}, "passwd"),
        ({"pattern": "("}, "regex"),
        (3, "not of types"),
    ],
)
def test_a_bad_schema_is_told(schema: Any, words: str) -> None:
    """With what is wrong; nothing is fetched for it."""
    with pytest.raises(BadSchema, match=words):
        fitting(schema)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        *("[" * 60_000, "{" * 60_000, '["' * 30_000, '{"a":' * 12_000, "[" * 60_000 + "]" * 60_000),
        *('{"' + '\\"' * 30_000, "{'" * 30_000, "<think>" * 9_000, "```\n" * 15_000),
        *('{"a":1}' * 9_000 + "{", "\\" * 60_000, '"' * 60_000, "}{" * 30_000, "[{]}" * 15_000),
        *(
            "[{]}" * 500,
            "{'" * 1000,
            '["' * 1000,
            '{"a": ' + '"x" ' * 15_000,
            "{" + "'a' " * 15_000,
        ),
    ],
)
def test_no_answer_stalls_the_run(text: str) -> None:
    """Reading takes time that grows with the text, whatever stands in it."""
    began = time.process_time()
    with pytest.raises(Unfit):
        read(text)
    assert time.process_time() - began < 5


@given(st.text(alphabet=st.sampled_from('{}[]",:\\`\n a1<>/think-'), max_size=60), st.booleans())
def test_any_text_is_read_or_refused(text: str, repair: bool) -> None:
    """A value that fits, or Unfit; never another error."""
    try:
        found = read_json(text, FIT, opening="{", repair=repair).data
    except Unfit:
        return
    assert FIT(found) == found


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
))  # fmt: skip
def test_any_json_behind_prose_is_found(value: Any) -> None:
    """Whatever stands in its strings."""
    text = "The answer:\n" + orjson.dumps([value]).decode()
    assert read_json(text, lambda found: found).data == [value]


@pytest.mark.parametrize(
    "text",
    ["good", " Good.", "**good**", '"good"', "The answer is: good", "Answer:\n\ngood\n",
     "good\n\nbecause it shines", '{"answer": "good"}', '```json\n{"answer": "good"}\n```',
     "<think>bad?</think>good"],
)  # fmt: skip
def test_a_choice_is_known_in_what_it_is_dressed_in(text: str) -> None:
    """As the choice itself, whose letters it then has."""
    answer = read_choice(text, ["good", "bad", "not sure"])
    assert (answer.data, answer.text) == ("good", "good")


@pytest.mark.parametrize("text", ["not good", "good or bad", "It is good to me.", "", "better"])
def test_a_choice_that_is_only_mentioned_is_none(text: str) -> None:
    """It may be said of it that it is not so."""
    with pytest.raises(Unfit, match="none of the choices"):
        read_choice(text, ["good", "bad"])


def test_choices_that_differ_only_in_dress_are_taken_by_the_letter() -> None:
    """Neither stands for the other."""
    assert read_choice("A", ["A", "a"]).data == "A"
    assert read_choice("a", ["A", "a"]).data == "a"
    with pytest.raises(Unfit):
        read_choice("a.", ["A", "a"])


def test_code_is_the_first_block() -> None:
    """Without its fence."""
    text = "Here:\n```python\nprint(1)\n\nprint(2)\n```\nRun it:\n```sh\npython x\n```"
    assert read_code(text).data == "print(1)\n\nprint(2)"
    with pytest.raises(Unfit, match="no fenced code block"):
        read_code("print(1)")
    assert read_code("```py\r\nx\r\ny\r\n```").data == "x\r\ny"


@pytest.mark.parametrize(
    ("pattern", "data", "text"),
    [
        (r"\d+", "12", "12"),
        (r"is (\d+)", "12", "12"),
        (r"(?P<n>\d+) (?P<unit>\w+)", {"n": "12", "unit": "cm"}, "12 cm"),
    ],
)
def test_a_match_is_its_groups(pattern: str, data: object, text: str) -> None:
    """Named ones as an object, else the first, else all."""
    answer = read_match("It is 12 cm long.", pattern_of(pattern))
    assert (answer.data, answer.text) == (data, text)
    with pytest.raises(Unfit, match="matches"):
        read_match("long", pattern_of(pattern))


def test_a_text_without_thoughts_is_itself() -> None:
    """A tag that is only spoken of does no harm."""
    assert without_thoughts("I <think> so") == "I <think> so"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$"])
def test_a_slow_pattern_stalls_no_run(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it would be tried for years, the answer does not fit, and says why."""
    monkeypatch.setattr(answers, "MOST_MATCHING_S", 0.05)
    with pytest.raises(Unfit, match=r"was not found in it within 0\.05 s"):
        read_match("a" * 5000 + "!", pattern_of(pattern))
