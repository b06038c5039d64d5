"""Templates of prompts, of whole conversations, and conditions on rows."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input.shape import Shape, Shaper
from llmbatch_cli.rows.input.template import Condition, MessagesTemplate, Template, TextTemplate

FIELDS: dict[str, Any] = {
    "name": "Kettle <2>",
    "n": None,
    "user": {"first": "Ada", "tags": ["a", "ü"]},
    "Full name": "x",
    "stars": 4,
    "template_name": "t",
}


def shaped(fields: Any, **shape: Any) -> Row | None:
    """The row of a shape that has read one row before, so that errors are the row's own."""
    shaper = Shaper(Shape(**shape))
    shaper.begin("in.jsonl")
    return shaper.row(fields, index=0, line=1)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{ name }}", "Kettle <2>"),
        ("[{{ n }}]", "[]"),
        ("{{ user.first }} {{ user.tags[1] }}", "Ada ü"),
        ("{{ user | json }}", '{"first":"Ada","tags":["a","ü"]}'),
        ("{{ name | json }}", '"Kettle <2>"'),
        ("{{ user.tags | json(true) }}", '[\n  "a",\n  "ü"\n]'),
        ("{{ row['Full name'] }}", "x"),
        ("{{ template_name }}{{ stars + 1 }}", "t5"),
        ("{% for tag in user.tags %}{{ loop.index }}{{ tag }}{% endfor %}", "1a2ü"),
        ("{{ missing | default('-') }}{% if other is defined %}!{% endif %}", "-"),
        ("{# a comment #}no fields", "no fields"),
    ],
)
def test_what_a_template_makes_of_a_row(text: str, made: str) -> None:
    """Nothing is escaped, null is empty, and what only some rows have may be missing."""
    template = Template(text, "--template")
    template.check(FIELDS, "in.jsonl")
    assert template.render(FIELDS) == made


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("{{ nmae }}", 'the rows of in.jsonl have no field "nmae"', "did you mean name?"),
        ("{{ user.frist }}", 'no field "user.frist"', "did you mean first?"),
        ("{{ zzz }}", 'no field "zzz"', "there are: name, n, user"),
        ("{% if stars > 9 %}{{ nmae }}{% endif %}", 'no field "nmae"', "did you mean name?"),
        ("{{ name | shout }}", "filter shout is unknown", ""),
        ("{{ now() }}", 'no field "now"', ""),
        ("{% include 'etc/passwd' %}", "etc/passwd", ""),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "long",
            "",
        ),
    ],
)
def test_a_template_that_does_not_fit_is_refused(text: str, words: str, hint: str) -> None:
    """Before anything is sent, with the nearest names; endless ones are stopped."""
    with pytest.raises(UsageError) as caught:
        Template(text, "--template").check(FIELDS, "in.jsonl")
    assert words in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["range", "dict", "debug", "namespace"])
def test_a_field_may_be_called_as_a_function(name: str) -> None:
    """It is the field, and one that is not there is told."""
    template = Template(f"{{{{ {name} }}}}", "--template")
    template.check({name: "1-2"}, "in.jsonl")
    assert (template.is_constant, template.render({name: "1-2"})) == (False, "1-2")
    with pytest.raises(UsageError, match=f'no field "{name}"'):
        template.check({"text": "a"}, "in.jsonl")
    assert Template("{% for n in range(2) %}{{ n }}{% endfor %}", "--template").is_constant


@pytest.mark.parametrize("text", ["{{ name", "{% if %}", "{{ a b }}", "{% nope %}"])
def test_what_is_no_template_is_refused(text: str) -> None:
    """With the line and what is wrong there."""
    with pytest.raises(UsageError, match=r"is no valid template: .* on line 2"):
        Template(f"first\n{text}", "--template")


def test_a_later_row_without_a_field_is_an_error_row() -> None:
    """It says which; the others go on."""
    template = TextTemplate("{{ name }} {{ user.first }}", "--template")
    with pytest.raises(InputError, match=r"--template: .*`user.first` is undefined.*\(line 1\)"):
        template.render({"name": "a", "user": {}})
    shaper = Shaper(Shape(asks=TextTemplate("{{ name | int }}", "--template")))
    rows = [shaper.row({"name": name}, index=0, line=1) for name in ("1", "x", "")]
    assert [type(row) for row in rows] == [Prompt, BadRow, BadRow]


def test_all_fields_are_carried_and_used_ones_are_no_parameters() -> None:
    """A field that the template names is data, whatever it is called; the id stays one."""
    asks = TextTemplate("{{ prompt }} {{ temperature }} {{ id }} {{ model }}", "--template")
    row = shaped(
        {"id": 7, "prompt": "p", "temperature": "hot", "model": "T", "top_p": 1}, asks=asks
    )
    assert isinstance(row, Prompt)
    assert row.messages == [{"role": "user", "content": "p hot 7 T"}]
    assert (row.id, row.model, dict(row.params)) == (7, None, {"top_p": 1})
    assert row.metadata == {"prompt": "p", "temperature": "hot", "model": "T"}


def test_a_line_of_text_is_one_field() -> None:
    """`text`; a list has no fields."""
    asks = TextTemplate("Say: {{ text }}", "--template")
    row = shaped("hi", asks=asks)
    assert isinstance(row, Prompt)
    assert row.messages == [{"role": "user", "content": "Say: hi"}]
    bad = shaped([{"role": "user", "content": "a"}], asks=asks)
    assert isinstance(bad, BadRow)
    assert "needs a row of fields" in bad.reason


def test_the_system_message_is_a_template_beside_one() -> None:
    """And in a table; in plain rows of JSON it is sent as it stands, by the run itself."""
    system, asks = Template("For {{ who }}.", "--system"), TextTemplate("{{ q }}", "--template")
    fields = {"q": "Q", "who": "Ada"}
    row = shaped(fields, asks=asks, system=system)
    assert isinstance(row, Prompt)
    assert [one["content"] for one in row.messages] == ["For Ada.", "Q"]
    row = shaped({**fields, "system": "own"}, asks=asks, system=system)
    assert isinstance(row, Prompt)
    assert [one["content"] for one in row.messages] == ["own", "Q"]
    row = shaped({"prompt": "P", "who": "Ada"}, system=system)
    assert isinstance(row, Prompt)
    assert [one["content"] for one in row.messages] == ["P"]
    row = Shaper(Shape(system=system)).row(
        {"text": "T", "who": "Ada"}, index=0, line=2, is_table=True
    )
    assert isinstance(row, Prompt)
    assert [one["content"] for one in row.messages] == ["For Ada.", "T"]


def test_messages_in_yaml_or_json() -> None:
    """Each text in them is a template, in parts as well; what is no list of messages is refused."""
    yaml = "- {role: system, content: Be brief.}\n- role: user\n  content: 'Name {{ name }}'\n"
    made = MessagesTemplate(yaml, "--messages-template").prompt(FIELDS)
    assert made == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name Kettle <2>"},
    ]
    json = '[{"role": "user", "content": [{"type": "text", "text": "{{ stars }}"}]}]'
    template = MessagesTemplate(json, "--messages-template")
    assert template.prompt(FIELDS)[0]["content"] == [{"type": "text", "text": "4"}]
    assert template.names == {"stars"}
    with pytest.raises(UsageError, match="message 1"):
        MessagesTemplate("[{role: user, content: '{{ x'}]", "--messages-template")
    for wrong in (
        "role: user",
        "[]",
        "[1]",
        "- {content: a}",
        "a: [b",
        "- &a [*a]",
        "- {role: user, content: &a [*a]}",
    ):
        with pytest.raises(UsageError, match="--messages-template"):
            MessagesTemplate(wrong, "--messages-template")


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("stars > 3", True),
        ("stars > 3 and 'a' in user.tags", True),
        ("n is none", True),
        ("user.first == 'Bob' or not name", False),
        ("name.startswith('Kettle')", True),
        ("0", False),
        ("'%}' in name", False),
    ],
)
def test_conditions(expression: str, holds: bool) -> None:
    """In the template's language."""
    condition = Condition(expression, "--where")
    condition.check(FIELDS, "in.jsonl")
    assert condition.holds(FIELDS) is holds


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("stars >", "no valid expression"),
        ("stars) %}x{% if (n", "no valid expression"),
        ("strs > 3", 'no field "strs"'),
        ("name > 3", '"name" is text in in.csv, not a number'),
    ],
)
def test_conditions_that_cannot_be_meant_are_refused(expression: str, words: str) -> None:
    """A text is never compared with a number, which every text would be above."""
    with pytest.raises(UsageError, match=words):
        Condition(expression, "--where").check(FIELDS, "in.csv")


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3))
def test_any_text_is_a_template_or_refused(text: str, fields: dict[str, str]) -> None:
    """No other error, whatever it is."""
    for marked in (text, f"{{{{ {text} }}}}", f"{{% {text} %}}"):
        with suppress(UsageError, InputError):
            template = Template(marked, "--template")
            template.check(fields, "in.jsonl")
            assert isinstance(template.render(fields), str)
    with suppress(UsageError, InputError):
        Condition(text, "--where").holds(fields)


@given(
    st.dictionaries(
        st.text(max_size=9),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_any_fields_are_one_row(fields: dict[str, Any]) -> None:
    """Whatever they are called and hold."""
    asks = TextTemplate("{{ row | json }}", "--template")
    row = shaped(fields, asks=asks)
    assert isinstance(row, Prompt | BadRow)
