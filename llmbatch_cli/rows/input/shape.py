"""How the fields of a row become a prompt."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.events import Notice, Observer, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.batch_line import is_batch_line
from llmbatch_cli.rows.input.fields import OWN_NAMES, candidates, names_of, prompt_of, taken_by
from llmbatch_cli.rows.input.params import API_KEYS
from llmbatch_cli.rows.input.parse import NO_WAY, bad_row, parse_row, way_of

_TABLES_OWN: Final = ("system", "id", "custom_id", *API_KEYS)
"""What means the same in a table as in a row of JSON; its other columns are data."""
_IDS: Final = ("id", "custom_id")
_MODELS: Final = ("model", "models")


@frozen(kw_only=True)
class Shape:
    """What the options say of the fields."""

    prompt_field: str | None = None
    """The field that is the prompt; None finds it."""
    id_field: str | None = None
    """The field that is the row's id; None is `id` or `custom_id`."""
    model_field: str | None = None
    """The field that is the row's model; None is `model`, in a table none."""

    @property
    def named(self) -> Mapping[str, str]:
        """The fields that options name, each with its option."""
        pairs = (
            (self.prompt_field, "--prompt-field"),
            (self.id_field, "--id-field"),
            (self.model_field, "--model-field"),
        )
        return {name: option for name, option in pairs if name is not None}


SHAPELESS: Final = Shape()


class Shaper:
    """Makes rows of values, one input after the other.

    The first row of an input that has fields decides which of them is the prompt. What was taken
    is said once.
    """

    def __init__(self, shape: Shape = SHAPELESS, observe: Observer = ignore) -> None:
        self._shape = shape
        self._observe = observe
        self._is_named = bool(shape.named)
        self._has_rows = False
        """Whether a row could be read, so that something may have been sent."""
        self._file: str | None = None
        self._is_checked = False
        """Whether this input has the fields that options name."""
        self._field: str | None = None
        """The field of this input that was taken for the prompt."""
        self._said: set[str] = set()

    def begin(self, file: str) -> None:
        """Go on with the next input."""
        self._file, self._is_checked, self._field = file, False, None

    def row(self, value: Any, *, index: int, line: int | None, is_table: bool = False) -> Row:
        """The row of a JSON value, or of a table's record.

        Raises UsageError where no row could be read yet and it is not clear which field is meant.
        """
        if not (self._is_named or is_table) and not _needs_a_field(value):
            self._has_rows = True
            return parse_row(value, index=index, file=self._file, line=line)
        if not isinstance(value, Mapping):
            self._has_rows = True
            return parse_row(value, index=index, file=self._file, line=line)
        try:
            taken, data = self._split(value, is_table)
        except InputError as error:
            return bad_row(value, error.message, index=index, file=self._file, line=line)
        self._has_rows = True
        row = parse_row(taken, index=index, file=self._file, line=line)
        if data:
            row.metadata = {**row.metadata, **data}
        return row

    def _split(
        self, fields: Mapping[str, Any], is_table: bool
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The row as `parse_row` reads it, and the fields that are only carried."""
        shape = self._shape
        self._check_named(fields)
        name = shape.prompt_field or self._prompt_field(fields)
        own: dict[str, Any] = {}
        data = dict(fields)
        if name is not None:
            own["prompt"] = prompt_of(name, fields)
            for taken in taken_by(name, fields):
                data.pop(taken, None)
        for new, old in (("id", shape.id_field), ("model", shape.model_field)):
            if old is not None:
                own[new] = fields.get(old)
                data.pop(old, None)
        hidden = {
            *(OWN_NAMES if name is not None else ()),
            *(_IDS if shape.id_field is not None else ()),
            *(_MODELS if shape.model_field is not None else ()),
        }
        meant = (*OWN_NAMES, *_TABLES_OWN) if is_table else tuple(data)
        for other in meant:
            if other in data and other not in hidden:
                own[other] = data.pop(other)
        if is_table and own.get("id") == "":
            del own["id"]  # an empty cell
        return own, data

    def _check_named(self, fields: Mapping[str, Any]) -> None:
        """Raise UsageError where the first row has no field of a name that an option gives."""
        if self._is_checked or not fields:
            return
        self._is_checked = True
        for name, option in self._shape.named.items():
            if name in fields or self._has_rows:
                continue
            near = near_names(name, [str(known) for known in fields])
            raise UsageError(
                f"{option} {name}: the rows of {self._file} have no such field",
                hint=did_you_mean(near) if near else f"there are: {names_of(fields)}",
            )

    def _prompt_field(self, fields: Mapping[str, Any]) -> str | None:
        """The field that is the prompt; None where the row shows it by itself.

        Raises InputError where it does not have that of the first row, and UsageError where
        that has none, or several.
        """
        if not _needs_a_field(fields):
            return None
        if self._field is not None:
            return self._field
        found = candidates(fields)
        if len(found) == 1:
            self._field = found[0]
            self._say(taken_by(found[0], fields))
            return found[0]
        error = _unclear(found, fields, self._file)
        if self._has_rows or not fields:
            raise InputError(f"{error.message} ({error.hint})" if error.hint else error.message)
        raise error

    def _say(self, names: Sequence[str]) -> None:
        what = " and ".join(f'"{name}"' for name in names)
        if what not in self._said:
            self._said.add(what)
            self._observe(Notice(f"{self._file}: the prompt is the field {what}"))


def _needs_a_field(value: Any) -> bool:
    """Whether this is a row that does not show its prompt by itself."""
    if type(value) is dict:  # nearly always
        known = "prompt" in value or "messages" in value
    else:
        known = not isinstance(value, Mapping) or not value.keys().isdisjoint(OWN_NAMES)
    return not (known or is_batch_line(value))


def _unclear(found: Sequence[str], fields: Mapping[str, Any], file: str | None) -> UsageError:
    if not fields:
        return UsageError(f"{file}: the row is empty")
    there = names_of(fields)
    if found:
        return UsageError(
            f"{file}: several fields may be the prompt: {', '.join(found)}; there are: {there}",
            hint=f"name it, as in --prompt-field {found[0]}",
        )
    way = way_of(fields)
    return UsageError(
        f'{file}: no field is "prompt" or "messages", nor can be it; there are: {there}',
        hint="name it by --prompt-field NAME" if way == NO_WAY else way,
    )
