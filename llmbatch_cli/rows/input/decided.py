"""Which field is the prompt in the rows of one input, as its first row shows it. No I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.rows.input.batch_line import is_batch_line
from llmbatch_cli.rows.input.fields import (
    OWN_NAMES,
    names_of,
    taken_by,
    text_fields,
    usual_fields,
)
from llmbatch_cli.rows.input.own_params import NAMES, is_sent
from llmbatch_cli.rows.input.params import PARAMETERS, quoted
from llmbatch_cli.rows.input.parse import NO_WAY, way_of

Fields = Mapping[str, Any]

_PARAMETERS: Final = frozenset((*PARAMETERS, *NAMES))
_NUMBER: Final = re.compile(r"-?\d+(?:[.,:/-]\d+)*%?")
_YEAR: Final = re.compile(r"(?:19|20)\d\d")
_SENTENCE: Final = re.compile(r"\S+\s.*[.?!]\s*|(?:\S+\s+){7,}\S+|.{61,}", re.DOTALL)
"""What ends as one, or is too long for a name."""


def needs_a_field(value: Any) -> bool:
    """Whether this is a row that does not show its prompt by itself."""
    if type(value) is dict:  # nearly always
        known = "prompt" in value or "messages" in value
    else:
        known = type(value) is str or not isinstance(value, Mapping)
        known = known or not value.keys().isdisjoint(OWN_NAMES)
    return not (known or is_batch_line(value))


class Decided:
    """What the first row of an input has decided for all that follow: no other field of a row
    that lacks this one is ever sent."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._said: set[str] = set()
        self.begin(None)
        self._last: tuple[Set[str], str] | None = None
        """The fields of the row that has decided, and what was taken; of one table in many files
        each goes the same way."""

    def begin(self, file: str | None) -> None:
        """Go on with another input."""
        self._file = file
        self._field: str | None = None
        self.is_open = True
        """Whether nothing is decided yet; false, too, once a row has shown its prompt by itself."""

    def field_of(
        self, fields: Fields, named: Iterable[str], *, is_table: bool = False
    ) -> str | None:
        """The field that is the prompt of a row that needs one; None where all rows have to show it
        by themselves.

        `named` have another meaning. Raises UsageError where nothing is decided yet and none fits,
        or several do.
        """
        if not self.is_open:
            return self._field
        self._field, others = self._decide(fields, named, is_table=is_table)
        self.is_open = False
        self._say(taken_by(self._field, fields), others)
        return self._field

    def _decide(
        self, fields: Fields, named: Iterable[str], *, is_table: bool
    ) -> tuple[str, Sequence[str]]:
        """The field, and others that might be meant."""
        if self._last is not None and self._last[0] == fields.keys():
            return self._last[1], ()
        left = {name: value for name, value in fields.items() if name not in named}
        found = usual_fields(left)
        if not found:
            if is_table and (cell := _cell_in_header(fields)) is not None:
                raise _headless(cell, self._file)
            found = text_fields(left)
            if len(found) != 1:
                raise _unclear(found, fields, self._file)
        self._last = frozenset(fields), found[0]
        return found[0], found[1:]

    def say_sent(self, own: Fields) -> None:
        """Say, once for each, which fields of a row of data are sent as its parameters: they may
        be data that only bears the name."""
        for name in sorted(own.keys() & _PARAMETERS):
            words = f"{self._file}: the field {quoted(name)} is sent as a parameter"
            if words in self._said or own[name] is None:
                continue
            if name in PARAMETERS or is_sent(name, own[name]):
                self._said.add(words)
                self._observe(Notice(f"{words} (rename it if it is data)"))

    def _say(self, names: Sequence[str], others: Sequence[str]) -> None:
        what = " and ".join(f'"{name}"' for name in names)
        if what in self._said:
            return
        self._said.add(what)
        words = f"{self._file}: the prompt is the field {what}"
        if others:
            too = ", ".join(f'"{name}"' for name in others)
            words += f", not {too} (--prompt-field {others[0]} takes that)"
        self._observe(Notice(words))


def _cell_in_header(fields: Fields) -> str | None:
    """A name of a column that looks like data: a sentence, or a number above others."""
    for name, value in fields.items():
        is_number = _NUMBER.fullmatch(name) and not _YEAR.fullmatch(name)
        if _SENTENCE.fullmatch(name) or (is_number and _NUMBER.fullmatch(str(value))):
            return name
    return None


def _headless(cell: str, file: str | None) -> UsageError:
    return UsageError(
        f"{file}: the first line looks like a row, not like the names of columns: {quoted(cell)}",
        hint="--no-header reads it as a row, its columns are column_1, column_2, ...; "
        "--prompt-field NAME takes it for the names",
    )


def _unclear(found: Sequence[str], fields: Fields, file: str | None) -> UsageError:
    if not fields:
        return UsageError(f"{file}: the row is empty")
    there = names_of(fields)
    if found:
        longest = max(found, key=lambda name: len(str(fields[name])))
        return UsageError(
            f"{file}: several fields may be the prompt: {', '.join(found)}; there are: {there}",
            hint=f"name it, as in --prompt-field {longest}; or -t makes one of them",
        )
    way = way_of(fields)
    return UsageError(
        f'{file}: no field is "prompt" or "messages", nor can be it; there are: {there}',
        hint="name it by --prompt-field NAME" if way == NO_WAY else way,
    )


def as_row_error(error: UsageError) -> InputError:
    """The same of one row, where others were read before."""
    return InputError(f"{error.message} ({error.hint})" if error.hint else error.message)
