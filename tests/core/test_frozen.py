"""Values: what `core.frozen` makes of a class."""

import pickle
from dataclasses import field, replace

import pytest

from llmbatch_cli.core.frozen import frozen


@frozen
class Point:
    """A value."""

    x: int
    y: int = 0
    secret: str = field(default="", repr=False)
    found_at: float = field(default=0.0, compare=False)


@frozen
class Other:
    """Another value with the same fields."""

    x: int
    y: int = 0


@frozen(kw_only=True)
class Named:
    """One that shows itself."""

    x: int

    def __repr__(self) -> str:
        return "own words"


def test_values_are_equal_by_their_fields_and_class() -> None:
    """Equal fields make equal values, but for those that are not compared."""
    assert Point(1) == Point(1, found_at=2.0)
    assert hash(Point(1)) == hash(Point(1, found_at=2.0))
    assert Point(1) != Point(2)
    others: list[object] = [Other(1), (1, 0)]
    assert Point(1) not in others


def test_a_value_shows_its_fields() -> None:
    """The repr is a dataclass's, without the fields that are kept out of it."""
    assert repr(Point(1, secret="s3cret")) == "Point(x=1, y=0, found_at=0.0)"
    assert repr(Named(x=1)) == "own words"


def test_a_value_is_a_dataclass_with_slots() -> None:
    """It can be replaced, matched, and pickled, and takes no other attributes."""
    point = replace(Point(1), y=2)
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert pickle.loads(pickle.dumps(point)) == point
    with pytest.raises(AttributeError):
        point.z = 3  # type: ignore[attr-defined]


def test_fields_can_be_named_only() -> None:
    """With `kw_only` no field goes by its place."""
    with pytest.raises(TypeError):
        Named(1)  # type: ignore[call-arg]
