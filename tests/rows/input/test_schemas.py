"""Classes that describe an answer."""

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, Optional, TypedDict, TypeVar

import pytest
from openai.lib._parsing._completions import type_to_response_format_param
from pydantic import BaseModel, Field, RootModel
from pydantic import v1 as pydantic_v1

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.rows.input.params import check, check_all
from llmbatch_cli.rows.input.parse import parse_row

T = TypeVar("T")


class City(BaseModel):
    """A place."""

    name: str
    people: int = 0
    mayor: str | None = None


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Everything(BaseModel):
    capital: City = Field(description="The capital")
    first: Annotated[City, Field(title="First")]
    others: list[City]
    by_name: dict[str, City]
    pair: tuple[int, City]
    colour: Colour = Field(Colour.RED, description="The colour")
    either: City | Cat | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    maybe: Optional[City] = Field(None, description="Perhaps")  # noqa: UP045 - as it is written


class Node(BaseModel):
    label: str
    children: list["Node"]
    parent: Optional["Node"] = None


class Page(BaseModel, Generic[T]):
    items: list[T]


class Cities(RootModel[list[City]]):
    pass


class Old(pydantic_v1.BaseModel):
    place: "OldPlace" = pydantic_v1.Field(description="Where")
    years: list[int] = []


class OldPlace(pydantic_v1.BaseModel):
    name: str


Old.update_forward_refs()


@pytest.mark.parametrize("kind", [City, Everything, Node, Cities])
def test_a_class_is_sent_as_the_package_openai_sends_it(kind: type[BaseModel]) -> None:
    """And litellm, which calls its code (googleapis/python-genai 1307)."""
    assert check("response_format", kind) == type_to_response_format_param(kind)


def test_a_name_that_no_api_takes_is_made_one() -> None:
    """Those of generic classes have brackets."""
    made = check("response_format", Page[City])
    assert made["json_schema"]["name"] == "Page_City_"
    expected: Any = type_to_response_format_param(Page[City])
    assert made["json_schema"]["schema"] == expected["json_schema"]["schema"]


def test_a_class_of_the_first_pydantic() -> None:
    """It has other methods, and puts references into an allOf."""
    made = check("response_format", Old)["json_schema"]
    assert (made["name"], made["strict"]) == ("Old", True)
    schema = made["schema"]
    assert schema["required"] == ["place", "years"]
    assert schema["properties"]["place"]["required"] == ["name"]
    assert schema["properties"]["place"]["additionalProperties"] is False
    assert schema["properties"]["place"]["description"] == "Where"
    assert "allOf" not in json.dumps(schema)


def test_a_class_may_stand_wherever_parameters_do() -> None:
    """In a call, and in a row of a Python list."""
    expected = check("response_format", City)
    assert check_all({"response_format": City}) == {"response_format": expected}
    row = parse_row({"prompt": "hi", "response_format": City}, index=0)
    assert row.params == {"response_format": expected}  # type: ignore[union-attr]


class Plain:
    pass


class Typed(TypedDict):
    name: str


class Uncallable(BaseModel):
    function: Callable[[], int]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Plain, "a pydantic class, not Plain"),
        (Typed, "a pydantic class, not Typed"),
        (Uncallable, "Uncallable has no strict JSON schema"),
        (City(name="x"), "must be an object, not a City"),
    ],
)
def test_what_has_no_schema_is_refused(value: object, words: str) -> None:
    """With its name."""
    with pytest.raises(InputError, match=words):
        check("response_format", value)
