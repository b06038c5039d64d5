"""Which field of a row becomes its prompt, and what becomes of the others."""

import io
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input.media import Media
from llmbatch_cli.rows.input.shape import Shape, Shaper
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.template import Condition, MessagesTemplate, Template, TextTemplate


async def read(*values: object, **shape: Any) -> tuple[list[Row], list[str]]:
    """The rows of JSONL, and the notices."""
    events: list[Event] = []
    data = b"".join(orjson.dumps(value) + b"\n" for value in values)
    inputs = Inputs(["-"], shape=Shape(**shape))
    async with aclosing(inputs.rows(events.append, io.BytesIO(data))) as rows:
        found = [row async for row in rows]
    return found, [event.message for event in events if isinstance(event, Notice)]


def text_of(row: Row) -> Any:
    assert isinstance(row, Prompt), row
    assert len(row.messages) == 1
    return row.messages[0]["content"]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("fields", "text", "said"),
    [
        ({"text": "T", "label": 1}, "T", '"text"'),
        ({"query": "Q", "positive": "p", "negative": "n"}, "Q", '"query"'),
        ({"question": "Q", "answer": "A"}, "Q", '"question"'),
        ({"instruction": "I", "input": "", "output": "O"}, "I", '"instruction" and "input"'),
        ({"instruction": "I", "input": "in"}, "I\n\nin", '"instruction" and "input"'),
        ({"instruction": "I", "output": "O"}, "I", '"instruction"'),
        ({"review": "R", "stars": 3}, "R", '"review"'),
        ({"id": "a", "model": "m", "problem": "P"}, "P", '"problem"'),
        (
            {"instruction": "I", "question": "Q", "query": "", "text": 5},
            "Q",
            '"question", not "instruction", "query" (--prompt-field instruction takes that)',
        ),
        (
            {"conversations": [{"from": "human", "value": "C"}], "text": "T"},
            "T",
            '"text", not "conversations" (--prompt-field conversations takes that)',
        ),
    ],
)
async def test_a_field_that_fits_is_the_prompt(
    fields: dict[str, Any], text: str, said: str
) -> None:
    """By its name, else as the only text; said once, and not carried to the output."""
    rows, notices = await read(fields, fields)
    assert [text_of(row) for row in rows] == [text, text]
    assert notices == [f"<stdin>: the prompt is the field {said}"]
    for name in said.partition(",")[0].replace('"', "").split(" and "):
        assert name not in rows[0].metadata


async def test_what_cannot_be_a_parameter_is_data() -> None:
    """In a row of data; in one with a prompt it is a mistake."""
    fields = {"user": {"name": "a"}, "n": "three", "temperature": 0.5}
    (row,), _ = await read({"question": "Q", **fields})
    assert isinstance(row, Prompt)
    assert row.params == {"temperature": 0.5}
    assert row.metadata == {"user": {"name": "a"}, "n": "three"}
    (bad,), _ = await read({"prompt": "Q", **fields})
    assert isinstance(bad, BadRow)


@pytest.mark.parametrize("fields", [{"prompt": "P", "text": "T"}, {"messages": [user("P")]}])
async def test_prompt_and_messages_go_first(fields: dict[str, Any]) -> None:
    """A row that shows its prompt by itself is as ever, and nothing is said."""
    (row,), notices = await read(fields)
    assert (text_of(row), notices) == ("P", [])


async def test_turns_of_sharegpt_are_messages() -> None:
    """Up to the last that asks, since what follows is the answer."""
    turns = [("system", "S"), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    (row,), _ = await read({"conversations": [{"from": who, "value": text} for who, text in turns]})
    assert isinstance(row, Prompt)
    assert [(one["role"], one["content"]) for one in row.messages] == [
        ("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"),
    ]  # fmt: skip
    bad, _ = await read(*[{"conversations": [{"from": 5, "value": "a"}]}] * 2)
    assert [isinstance(row, BadRow) for row in bad] == [True, True]
    answers: list[Any] = [{"from": "gpt", "value": "b"}]
    for left in (answers, []):
        (row,), _ = await read({"conversations": left})
        assert isinstance(row, BadRow)


async def test_fields_of_data_that_are_sent_as_parameters_are_told() -> None:
    """Once each: they may be data, and n is paid n times."""
    data = {"question": "q", "n": 3, "top_k": 4, "seed": None, "stars": 5}
    rows, notices = await read(data, data)
    assert isinstance(rows[0], Prompt)
    assert notices[1:] == [
        f'<stdin>: the field "{name}" is sent as a parameter (rename it if it is data)'
        for name in ("n", "top_k")
    ]
    _, notices = await read({"prompt": "q", "n": 3}, {"question": "q"})
    assert not [text for text in notices if "is sent" in text]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"body": "B", "later": None}, "may be the prompt: body, later"),
        ({"title": "T", "body": "B", "n": 1}, "may be the prompt: title, body; there are: title"),
        ({"label": 1, "size": 2}, "there are: label, size"),
    ],
)
async def test_what_is_not_clear_is_asked(fields: dict[str, Any], words: str) -> None:
    """Before anything is sent, with the fields and the flag; later it is an error row."""
    with pytest.raises(UsageError, match=words) as caught:
        await read(fields)
    assert "--prompt-field" in (caught.value.hint or "")
    rows, _ = await read({"prompt": "a"}, fields, "b")
    assert [type(row) for row in rows] == [Prompt, BadRow, Prompt]
    assert isinstance(rows[1], BadRow)
    assert 'no "prompt" or "messages"; the row has: ' in rows[1].reason


async def test_the_longest_field_is_the_example() -> None:
    """An id comes first in most tables, and is never the prompt."""
    with pytest.raises(UsageError) as caught:
        await read({"mail": "M1", "body": "The invoice is wrong.", "gold": "billing"})
    assert caught.value.hint == "name it, as in --prompt-field body; or -t makes one of them"


@pytest.mark.parametrize("first", [{"prompt": "a"}, "a", [user("a")], {"prompt": ""}])
async def test_amid_prompts_no_other_field_is_one(first: Any) -> None:
    """What has no prompt there is an error row, and its text is not sent."""
    rows, notices = await read(first, {"text": "T"}, {"question": "Q"}, {"messages": [user("b")]})
    assert [type(row) for row in rows[1:]] == [BadRow, BadRow, Prompt]
    assert notices == []


async def test_the_first_row_decides() -> None:
    """A later one that lacks its field is an error row, unless it shows its prompt by itself."""
    rows, notices = await read({"question": "a"}, {"text": "b"}, {"prompt": "c"}, {"question": "d"})
    assert [type(row) for row in rows] == [Prompt, BadRow, Prompt, Prompt]
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason == 'no "question"; the row has: text'
    assert notices == ['<stdin>: the prompt is the field "question"']
    rows, _ = await read(
        {"prompt": "a", "n": 1}, {"text": "b", "n": 2}, where=Condition("n > 1", "w")
    )
    assert [type(row) for row in rows] == [BadRow]


async def test_every_input_decides_for_itself(tmp_path: Path) -> None:
    """But parts of one table go alike, also where the first row of one lacks some text."""
    (tmp_path / "a.jsonl").write_text('{"question": "a"}\n{"text": "x"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    (tmp_path / "c.csv").write_text("body,n\nc,1\n")
    (tmp_path / "d.csv").write_text("body,n\nd,\n")
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    async with aclosing(Inputs(names).rows()) as rows:
        found = [text_of(row) if isinstance(row, Prompt) else None async for row in rows]
    assert found == ["a", None, "b", "c", "d"]


async def test_an_answer_is_no_row() -> None:
    """An output that is given as the input is refused with what was meant."""
    with pytest.raises(UsageError) as caught:
        await read({"index": 0, "text": "Paris.", "finish_reason": "stop", "error": None})
    assert "it is an answer" in (caught.value.hint or "")


async def test_named_fields_win() -> None:
    """Over those with the usual names, which are carried then."""
    fields = {"prompt": "P", "ask": "A", "id": 1, "key": "k", "model": "car", "by": "gpt-5"}
    (row,), notices = await read(fields, prompt_field="ask", id_field="key", model_field="by")
    assert isinstance(row, Prompt)
    assert (text_of(row), row.id, row.model) == ("A", "k", "gpt-5")
    assert row.metadata == {"prompt": "P", "id": 1, "model": "car"}
    assert notices == []


async def test_a_named_field_may_be_messages() -> None:
    """In OpenAI's form as in ShareGPT's."""
    for value in ([user("A")], [{"from": "human", "value": "A"}]):
        (row,), _ = await read({"chat": value}, prompt_field="chat")
        assert isinstance(row, Prompt)
        assert row.messages == [user("A")]


@pytest.mark.parametrize("option", ["prompt_field", "id_field", "model_field"])
async def test_a_wrong_name_is_refused(option: str) -> None:
    """With the nearest names, before anything is sent; later it is an error row."""
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} pormpt") as caught:
        await read({"prompt": "a"}, **{option: "pormpt"})
    assert caught.value.hint == "did you mean prompt?"
    rows, _ = await read({"ask": "a"}, {"other": "b"}, prompt_field="ask")
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason == 'no "ask"; the row has: other'


async def test_a_table_has_no_parameters() -> None:
    """Its columns are data, but for the prompt, the id and the system message."""
    shaper = Shaper()
    shaper.begin("a.csv")
    record = {"question": "Q", "id": "7", "system": "S", "temperature": "hot", "model": "T"}
    row = shaper.row(record, index=0, line=2, is_table=True)
    assert isinstance(row, Prompt)
    assert [one["content"] for one in row.messages] == ["S", "Q"]
    assert (row.id, row.model, dict(row.params), row.place) == ("7", None, {}, "a.csv:2")
    assert row.metadata == {"temperature": "hot", "model": "T"}


NAMES = st.sampled_from(
    ("prompt", "messages", "text", "instruction", "input", "conversations", "id", "model", "system",
     "custom_id", "body", "role", "from", "value", "content", "temperature", "x")
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
SHAPES = [
    Shape(),
    Shape(prompt_field="x", id_field="id", model_field="model"),
    Shape(asks=TextTemplate("{{ x | default('a') }}", "-t"), system=Template("{{ text }}", "-s")),
    Shape(asks=MessagesTemplate("[{role: user, content: '{{ x }}'}]", "-m")),
    Shape(system=Template("{{ x }}", "-s"), where=Condition("x is defined", "--where")),
    Shape(media=Media(images=["x"], audio=["value"], files=["content"])),
]


@given(st.sampled_from(SHAPES), st.booleans(), st.lists(st.dictionaries(NAMES, VALUES) | VALUES))
def test_any_value_is_a_row_or_refused(shape: Shape, is_table: bool, values: list[Any]) -> None:
    """In every shape: one row, none where it is not wanted, or a usage error; no other end."""
    shaper = Shaper(shape)
    shaper.begin("in.jsonl")
    for index, value in enumerate(values):
        table = is_table and isinstance(value, dict)
        try:
            row = shaper.row(value, index=index, line=1, is_table=table)
        except UsageError:
            continue
        assert row is None or (row.index, row.file) == (index, "in.jsonl")
