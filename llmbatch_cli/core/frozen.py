"""Small values: dataclasses with slots that type checkers hold to be frozen.

`dataclass(frozen=True)` holds them so at run time too, for which an instance takes four times as
long to make. And it compiles six methods for each class, where most are the same for all: that
was a fifth of what the program's start took.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(cls: type[T]) -> type[T]: ...
@overload
def frozen(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, *, kw_only: bool = False) -> Any:
    """A dataclass with slots that is compared and hashed by its fields."""

    def made(cls: type) -> type:
        for name in ("__repr__", "__eq__", "__hash__"):
            if name not in vars(cls):
                setattr(cls, name, vars(_Value)[name])
        return dataclass(slots=True, eq=False, repr=False, kw_only=kw_only)(cls)

    return made if cls is None else made(cls)


class _Value:
    """What `dataclass` would compile for each class."""

    def __repr__(self) -> str:
        shown = (f"{one.name}={getattr(self, one.name)!r}" for one in _fields(self) if one.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _compared(self) == _compared(other)

    def __hash__(self) -> int:
        return hash(_compared(self))


_fields: Callable[[Any], Any] = fields
"""Of what only `made` knows to be a dataclass."""


def _compared(value: object) -> tuple[object, ...]:
    return tuple(getattr(value, one.name) for one in _fields(value) if one.compare)
