"""Answers of a shape: how they are asked for, and asked for again."""

from collections.abc import Callable
from typing import Any

import pytest
from support.attempts import attempting, new

from llmbatch_cli.answer_shapes import shape_of
from llmbatch_cli.core.errors import (
    InvalidOutput,
    ProviderError,
    Rejected,
    UnknownModel,
    UsageError,
)
from llmbatch_cli.core.options import Answers
from llmbatch_cli.core.types import Completion, Request, WireRequest
from llmbatch_cli.engine.shaped import AnswerShape, Shaped, with_text

USER = {"role": "user", "content": "Who?"}
GOOD = '{"name": "Ann"}'


def shape(**options: Any) -> AnswerShape:
    found = shape_of(Answers(**{"schema": "name", **options}))
    assert found is not None
    return found


class Model:
    """A model that answers as told, and remembers what it was asked."""

    def __init__(self, *answers: str | ProviderError | Completion, native: bool = True) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []
        self.told: list[str] = []
        self.native = native

    async def _answer(self, request: Request) -> Completion:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, ProviderError):
            raise answer
        return Completion(answer, "stop", cost_usd=1.0) if isinstance(answer, str) else answer

    def shaped(self, shape: AnswerShape) -> Shaped:
        return Shaped(shape, native=self.native, tell=self.told.append)

    async def ask(self, shape: AnswerShape, **more: Any) -> tuple[Completion, Request]:
        shaped = self.shaped(shape)
        request = new(Request("m", [USER], shaped.params({})))
        call = shaped.around(attempting(self._answer, lambda: 0.0), **more)
        return await call(request), request


async def test_a_provider_with_a_form_of_its_own_is_asked_by_it() -> None:
    """And the messages are as they were."""
    model = Model(GOOD)
    completion, _ = await model.ask(shape())
    assert completion.parsed is not None
    assert completion.parsed.data == {"name": "Ann"}
    (asked,) = model.asked
    form = asked.params["response_format"]
    assert form["json_schema"]["strict"] is True
    assert form["json_schema"]["schema"]["required"] == ["name"]
    assert asked.messages == [USER]
    assert model.told == []


async def test_another_is_asked_by_an_instruction_said_once() -> None:
    """At the end of the user's message."""
    model = Model(GOOD, native=False)
    await model.ask(shape())
    (asked,) = model.asked
    assert dict(asked.params) == {}
    assert asked.messages[0]["content"].startswith("Who?\n\nAnswer with JSON only")
    assert '"name"' in asked.messages[0]["content"]
    assert len(model.told) == 1
    assert "no JSON schema" in model.told[0]


async def test_an_answer_that_does_not_fit_is_asked_for_again_with_the_reason() -> None:
    """Each attempt is in the ledger, with what the provider says of its cost."""
    model = Model("Ann", '{"name": 3}', GOOD)
    completion, request = await model.ask(shape())
    assert completion.cost_usd == 1.0
    assert [one.reported_usd for one in request.ledger.attempts] == [1.0, 1.0, 1.0]
    assert [one.kind for one in request.ledger.attempts] == [*["invalid_output"] * 2, None]
    again = model.asked[2].messages
    assert again[:2] == [USER, {"role": "assistant", "content": '{"name": 3}'}]
    assert '3 is not of type "string" at $.name' in again[2]["content"]
    assert "JSON schema" in again[2]["content"]  # which it may never have seen
    assert len(again) == 3


async def test_it_is_asked_for_so_often_and_no_more() -> None:
    """Then the row fails, with the last answer's text."""
    model = Model("one", "two", "three")
    with pytest.raises(InvalidOutput) as caught:
        await model.ask(shape(schema_retries=1))
    assert (caught.value.text, len(model.asked)) == ("two", 2)
    model = Model("one")
    with pytest.raises(InvalidOutput, match="no JSON"):
        await model.ask(shape(schema_retries=0))
    with pytest.raises(InvalidOutput):  # what was shown as it came is not asked for again
        await Model("one").ask(shape(), once=True)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_an_answer_that_is_cut_off_is_neither_mended_nor_asked_for_again(reason: Any) -> None:
    """It would be cut off again, and be paid again; one that is whole all the same is taken."""
    model = Model(Completion('{"name": "An', reason))
    with pytest.raises(InvalidOutput, match="cut off by"):
        await model.ask(shape())
    assert len(model.asked) == 1
    await Model(Completion(GOOD, reason)).ask(shape())


async def test_an_empty_answer_is_asked_for_again_without_being_sent() -> None:
    """No API takes an empty message."""
    model = Model(" ", Completion(None, "stop"), GOOD)
    await model.ask(shape())
    assert [len(one.messages) for one in model.asked] == [1, 1, 1]


async def test_tool_calls_are_no_answer_yet() -> None:
    """They are passed on as they are."""
    called = Completion(None, "tool_calls", tool_calls=[{"id": "1"}])
    completion, _ = await Model(called).ask(shape())
    assert completion.parsed is None


async def test_a_server_that_refuses_the_form_gets_the_instruction() -> None:
    """From then on; said once."""
    model = Model(Rejected("response_format?", status=400), GOOD, GOOD)
    shaped = model.shaped(shape())
    call = shaped.around(attempting(model._answer, lambda: 0.0))
    for _ in range(2):
        await call(new(Request("m", [USER], shaped.params({}))))
    assert ["response_format" in one.params for one in model.asked] == [True, False, False]
    assert len(model.told) == 1
    assert "response_format?" in model.told[0]


@pytest.mark.parametrize(
    ("before", "errors", "asked"),
    [
        ([], [Rejected("bad image"), Rejected("still bad")], 2),
        ([GOOD], [Rejected("bad image")], 1),
        ([], [UnknownModel("no such model")], 1),
    ],
)
async def test_a_row_that_is_refused_for_another_reason_fails(
    before: list[str], errors: list[ProviderError], asked: int
) -> None:
    """With the first reason; a model that has answered in the form is not asked otherwise."""
    model = Model(*before, *errors)
    shaped = model.shaped(shape())
    call = shaped.around(attempting(model._answer, lambda: 0.0))
    for _ in before:
        await call(new(Request("m", [USER], shaped.params({}))))
    with pytest.raises(type(errors[0]), match=errors[0].message):
        await call(new(Request("m", [USER], shaped.params({}))))
    assert len(model.asked) - len(before) == asked
    assert model.told == []


async def test_a_row_with_a_form_of_its_own_is_left_alone() -> None:
    """The row wins, as with any parameter."""
    model = Model("text")
    call = model.shaped(shape()).around(attempting(model._answer, lambda: 0.0))
    completion = await call(new(Request("m", [USER], {"response_format": {"type": "text"}})))
    assert (completion.text, completion.parsed) == ("text", None)


async def test_choices_make_the_text_the_choice() -> None:
    """Asked for in the provider's own form, too."""
    model = Model('{"answer": "no"}')
    completion, _ = await model.ask(shape(schema=None, choices=("yes", "no")))
    assert completion.parsed is not None
    assert (completion.text, completion.parsed.data) == ("no", "no")
    schema = model.asked[0].params["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == ["yes", "no"]


async def test_an_extract_is_asked_for_in_no_form() -> None:
    """Only again, where it is not there."""
    model = Model("print(1)", "```\nprint(1)\n```")
    completion, _ = await model.ask(shape(schema=None, extract="code"))
    assert completion.text == "print(1)"
    assert model.asked[0].messages == [USER]
    assert "a fenced code block" in model.asked[1].messages[-1]["content"]


async def test_a_check_that_breaks_fails_the_row_only() -> None:
    """As one of a class of the user's own may."""

    def read(text: str, whole: bool) -> Any:
        raise KeyError("oops")

    with pytest.raises(InvalidOutput, match="oops"):
        await Model("x").ask(AnswerShape(read, "nothing", "n", retries=0))


@pytest.mark.parametrize(
    ("params", "native"), [({}, True), ({"response_format": {"type": "text"}}, None)]
)
def test_two_forms_at_once_are_refused(params: dict[str, Any], native: bool | None) -> None:
    """Neither could win."""
    build: Callable[[Request], WireRequest] = lambda request: WireRequest("POST", "", {})  # noqa: E731
    if native is None:
        with pytest.raises(UsageError, match="exclude each other"):
            shape().asked_of("m", params, build, lambda message: None)
    else:
        shaped = shape().asked_of("m", params, build, lambda message: None)
        assert "response_format" in shaped.params({})


@pytest.mark.parametrize(
    ("messages", "last"),
    [
        ([USER], {"role": "user", "content": "Who?\n\nNow."}),
        ([{"role": "user", "content": [{"type": "image_url"}]}],
         {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "Now."}]}),
        ([{"role": "system", "content": "s"}], {"role": "user", "content": "Now."}),
    ],
)  # fmt: skip
def test_a_text_goes_to_the_end_of_what_the_user_said(messages: Any, last: Any) -> None:
    """Beside images, too."""
    assert with_text(messages, "Now.")[-1] == last
