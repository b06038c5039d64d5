"""How the fields of a row become a prompt."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import field
from typing import Any, Final, Protocol

from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.events import Observer, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.types import Message, Prompt, Row
from llmbatch_cli.rows.input.decided import Decided, as_row_error, needs_a_field
from llmbatch_cli.rows.input.fields import OWN_NAMES, names_of, prompt_of, taken_by
from llmbatch_cli.rows.input.params import API_KEYS, PARAMETERS, shown
from llmbatch_cli.rows.input.parse import bad_row, parse_row

TEXT: Final = "text"
"""The one field of a row that is text."""
_MARKS: Final = ("{{", "{%", "{#")
_IDS: Final = ("id", "custom_id")
_SYSTEM: Final = ("system", "developer")
_MODELS: Final = ("model", "models")
_MAY_BE_BLANK: Final = (*_IDS, "model")
_TABLES_OWN: Final = frozenset((*OWN_NAMES, "system", *_IDS, *API_KEYS))
"""What means the same in a table as in a row of JSON; its other columns are data."""

Fields = Mapping[str, Any]


def is_template(text: str) -> bool:
    """Whether there is anything to be filled in."""
    return any(mark in text for mark in _MARKS)


class Checked(Protocol):
    """What uses fields: see template.py."""

    @property
    def names(self) -> Set[str]:
        """The fields that it uses."""

    def check(self, fields: Fields, file: str | None) -> None:
        """Raise UsageError where these fields are not what it needs."""


class Asks(Checked, Protocol):
    """Makes the prompt of a row."""

    is_constant: bool
    """Whether it is the same for every row."""

    def prompt(self, fields: Fields) -> str | Sequence[Message]:
        """A text or messages. Raises InputError."""


class Renders(Checked, Protocol):
    """Makes a text of a row."""

    def render(self, fields: Fields) -> str:
        """Raises InputError."""


class Chooses(Checked, Protocol):
    """Says whether a row is wanted."""

    def holds(self, fields: Fields) -> bool:
        """Raises InputError."""


class Adds(Protocol):
    """Adds parts to the messages of a row: see media.py."""

    @property
    def named(self) -> Mapping[str, str]:
        """The fields, each with its option."""

    def added(self, messages: Sequence[Message], fields: Fields) -> Sequence[Message]:
        """Raises InputError."""

    def carried(self, data: Fields) -> dict[str, Any]:
        """The fields that go to the output."""


@frozen(kw_only=True)
class Shape:
    """What the options say of the fields."""

    prompt_field: str | None = None
    """The field that is the prompt; None finds it."""
    id_field: str | None = None
    """The field that is the row's id; None is `id` or `custom_id`."""
    model_field: str | None = None
    """The field that is the row's model; None is `model`, in a table none."""
    asks: Asks | None = None
    """The template of the prompt; None goes by the fields' names."""
    system: Renders | None = None
    """The template of the system message, for rows of tables, and for all where `asks` is given."""
    where: Chooses | None = None
    """Which rows are read."""
    media: Adds | None = None
    """The fields that are images, sounds or documents."""
    named: Mapping[str, str] = field(init=False)
    """The fields that options name, each with its option."""

    def __post_init__(self) -> None:
        pairs = (
            (self.prompt_field, "--prompt-field"),
            (self.id_field, "--id-field"),
            (self.model_field, "--model-field"),
        )
        own = {name: option for name, option in pairs if name is not None}
        media = self.media.named if self.media is not None else {}
        object.__setattr__(self, "named", {**media, **own})

    @property
    def is_plain(self) -> bool:
        """Whether rows that show their prompt by themselves are read as they are."""
        return not (self.named or self.asks or self.where)


SHAPELESS: Final = Shape()


class Shaper:
    """Makes rows of values, one input after the other.

    The first row of an input that has fields decides which of them is the prompt. What was taken
    is said once.
    """

    def __init__(self, shape: Shape = SHAPELESS, observe: Observer = ignore) -> None:
        self._shape = shape
        self.decided = Decided(observe)
        self._is_plain = shape.is_plain
        self._renamed = {
            old: new
            for old, new in ((shape.id_field, "id"), (shape.model_field, "model"))
            if old is not None
        }
        self._data_names = _data_names(shape)
        self._uses = [one for one in (shape.where, shape.asks) if one is not None]
        self.has_rows = False
        """Whether a row could be read, so that something may have been sent."""
        self._file: str | None = None
        self._is_checked = False
        """Whether the options fit the first row of this input."""
        self.fields: Sequence[str] = ()
        """Those of the first row."""

    def look(self) -> None:
        """Look at the fields of rows that need no shape, too."""
        self._is_plain = False

    def begin(self, file: str) -> None:
        """Go on with the next input."""
        self._file, self._is_checked = file, False
        self.decided.begin(file)

    @property
    def is_settled(self) -> bool:
        """Whether no further row can change how those behind it are read, nor end the run."""
        is_named = self._shape.asks is not None or self._shape.prompt_field is not None
        return self.has_rows and (is_named or not self.decided.is_open)

    def go_on(self, state: Fields) -> None:
        """Go on in an input where this was `decided.state()`, and rows before could be read."""
        self.has_rows = True
        self.decided.go_on(state)

    def row(
        self, value: Any, *, index: int, line: int | None, is_table: bool = False
    ) -> Row | None:
        """The row of a JSON value, a line of text, or a table's record; None for one that is not
        wanted.

        Raises UsageError where no row could be read yet and the options do not fit its fields, or
        it is not clear which field is meant.
        """
        if self._is_plain and not is_table and not needs_a_field(value):
            self.has_rows, self.decided.is_open = True, False
            return parse_row(value, index=index, file=self._file, line=line)
        try:
            return self._shaped(self._fields_of(value), value, index, line, is_table)
        except InputError as error:
            return bad_row(value, error.message, index=index, file=self._file, line=line)

    def _fields_of(self, value: Any) -> Fields | None:
        """The row's fields; None where it has none. Raises InputError where they are needed."""
        if type(value) is dict or isinstance(value, Mapping):
            fields: Fields = value
            return fields
        if self._uses or self._shape.named:
            if isinstance(value, str):
                return {TEXT: value}
            raise InputError(f"a template needs a row of fields or a text, not {shown(value)}")
        return None

    def _shaped(
        self, fields: Fields | None, value: Any, index: int, line: int | None, is_table: bool
    ) -> Row | None:
        if fields is None:
            self.has_rows, self.decided.is_open = True, False
            return parse_row(value, index=index, file=self._file, line=line)
        if not self._is_checked and fields:
            self._check(fields, is_table)
        shape = self._shape
        is_prompt = isinstance(value, str) and shape.asks is None and shape.prompt_field is None
        if is_prompt or not needs_a_field(fields):
            self.decided.is_open = False
        if shape.where is not None and not shape.where.holds(fields):
            return None
        own, data = ({"prompt": value}, {}) if is_prompt else self._split(fields, is_table)
        row = parse_row(own, index=index, file=self._file, line=line)
        if shape.media is not None:
            data = shape.media.carried(data)
            if isinstance(row, Prompt):
                row.messages = shape.media.added(row.messages, fields)
        if data:
            row.metadata = {**row.metadata, **data} if row.metadata else data
        self.has_rows = True
        return row

    def _split(self, fields: Fields, is_table: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """The row as `parse_row` reads it, and the fields that are only carried."""
        shape, data_names = self._shape, self._data_names
        taken: Set[str] = self._renamed.keys()
        made: dict[str, Any] = {new: fields.get(old) for old, new in self._renamed.items()}
        if shape.asks is not None:
            prompt = made["prompt"] = shape.asks.prompt(fields)
            if not isinstance(prompt, str) and prompt[0].get("role") in _SYSTEM:
                data_names = data_names | {"system"}
        elif (name := self._prompt_field(fields, is_table)) is not None:
            made["prompt"] = prompt_of(name, fields)
            taken = {*taken, *taken_by(name, fields)}
            data_names = data_names | {*OWN_NAMES}
        rest = {one: value for one, value in fields.items() if one not in taken}
        if is_table:
            own = {one: rest[one] for one in rest if one in _TABLES_OWN and one not in data_names}
        else:
            if "prompt" in made:
                data_names = data_names | _no_parameters(rest)
            own = {one: rest[one] for one in rest if one not in data_names}
            if "prompt" in made:
                self.decided.say_sent(own)
        data = {one: value for one, value in rest.items() if one not in own}
        own.update(made)
        if is_table:
            _drop_blank(own)
        if shape.system is not None and (is_table or shape.asks is not None):
            self._add_system(own, shape.system, fields)
        return own, data

    def _add_system(self, own: dict[str, Any], system: Renders, fields: Fields) -> None:
        """The system message of a row that has none."""
        messages: Any = own.get("messages") or own.get("prompt")
        first = messages[0] if isinstance(messages, list) and messages else None
        role = first.get("role") if isinstance(first, Mapping) else None
        if own.get("system") is None and role not in _SYSTEM:
            own["system"] = text = system.render(fields)
            if self._shape.asks is None and not text.strip():
                raise InputError("--system gives no text")

    def _check(self, fields: Fields, is_table: bool) -> None:
        """Raise UsageError where the first row does not have what the options need."""
        self._is_checked = True
        self.fields = self.fields or [str(name) for name in fields]
        if self.has_rows:
            return
        shape = self._shape
        for name, option in shape.named.items():
            if name not in fields:
                near = near_names(name, self.fields)
                raise UsageError(
                    f"{option} {name}: the rows of {self._file} have no such field",
                    hint=did_you_mean(near) if near else f"there are: {names_of(fields)}",
                )
        for one in self._uses:
            one.check(fields, self._file)
        if shape.system is not None and (is_table or shape.asks is not None):
            shape.system.check(fields, self._file)

    def _prompt_field(self, fields: Fields, is_table: bool) -> str | None:
        """The field that is the prompt; None where the row has to show it by itself.

        Raises UsageError where this is not clear and no row could be read yet, else InputError.
        """
        if self._shape.asks is not None or self._shape.prompt_field is not None:
            return self._shape.prompt_field
        if not needs_a_field(fields):
            return None
        try:
            return self.decided.field_of(fields, self._shape.named, is_table=is_table)
        except UsageError as error:
            if self.has_rows or not fields:
                raise as_row_error(error) from error
            raise


def _drop_blank(own: dict[str, Any]) -> None:
    """Take empty cells for nothing."""
    for name in _MAY_BE_BLANK:
        if own.get(name) == "":
            del own[name]


def _data_names(shape: Shape) -> Set[str]:
    """Fields that are data, though they are called as something else."""
    names: set[str] = set()
    if shape.asks is not None:
        names = {*shape.asks.names, *(shape.system.names if shape.system is not None else ())}
        names -= {*_IDS}
        names.update(OWN_NAMES)
    if shape.id_field is not None:
        names.update(_IDS)
    if shape.model_field is not None:
        names.update(_MODELS)
    names.update(shape.media.named if shape.media is not None else ())
    return names


def _no_parameters(fields: Fields) -> Set[str]:
    """Fields of a row of data that are called as parameters, and hold something else."""
    named = PARAMETERS.keys() & fields.keys()
    held = {name: fields[name] for name in named if fields[name] is not None}
    return {name for name, value in held.items() if not PARAMETERS[name].test(value)}
