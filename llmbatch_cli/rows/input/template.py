"""Templates: text and messages made of a row's fields, and conditions on them.

The language is minijinja's, which is Jinja's. It is strict: what a row does not have is an error.
A template is compiled once, and cannot read files or run for ever.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
from minijinja import Environment, TemplateError

from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.types import Message
from llmbatch_cli.rows.input.fields import names_of
from llmbatch_cli.rows.input.params import quoted
from llmbatch_cli.rows.input.shape import Fields, is_template

FUEL: Final = 2_000_000
"""Instructions of one rendering: some 10 ms, and far more than a prompt takes."""
ROW: Final = "row"
"""All fields, for those whose names are no words: {{ row["Full name"] }}."""

_OF_DATA: Final = frozenset(("InvalidOperation", "BadSerialization", "CannotUnpack"))
"""Errors that another row may not have."""
_UNDEFINED: Final = re.compile(r"`([^`]+)` is undefined")
_GUARDED: Final = re.compile(
    r"\b(\w+)(?:\s*\|\s*(?:default|d)\b|\s+is\s+(?:not\s+)?(?:un)?defined\b)"
)
"""Names that a template itself says some rows may lack."""
_CALLED: Final = re.compile(r"\b(\w+)\s*\(")
"""Names that are a function's, though a field may be called so as well: range."""
_COMPARED: Final = re.compile(r"(?<![\w.\"'|])(\w+)\s*(?:[<>]=?|[=!]=)\s*-?\d")


class Template:
    """One text with places for fields."""

    optional = "{{{{ {name} | default('') }}}}"
    """How a field is written that only some rows have."""

    def __init__(self, text: str, option: str) -> None:
        """Raises UsageError for a text that is no template; `option` is where it comes from."""
        self.option = option
        self._environment = environment = Environment(
            undefined_behavior="strict", finalizer=_shown, fuel=FUEL
        )
        environment.add_filter("json", _json)
        try:
            environment.add_template("template", text)
            used = environment.undeclared_variables_in_str(text)
        except TemplateError as error:
            raise UsageError(
                f"{option} is no valid template: {_said(error)} on line {error.line}",
                hint='a field whose name is no word is {{ row["Full name"] }}',
            ) from error
        self._has_row = ROW in used
        called = set(_CALLED.findall(text)).intersection(environment.globals)
        self.names = frozenset(used) - {*called, ROW}
        """The fields that it uses, without what is inside them."""
        self.is_constant = not (self.names or self._has_row)
        """Whether it is the same text for every row."""
        self._needed = self.names - set(_GUARDED.findall(text))

    def check(self, fields: Fields, file: str | None) -> None:
        """Raise UsageError where these fields are not what it needs, nested ones included."""
        for name in sorted(self._needed - fields.keys()):
            raise self._unknown(name, fields, file)
        try:
            self._rendered(fields)
        except TemplateError as error:
            if error.kind == "UndefinedError":
                found = _UNDEFINED.search(error.detail or "")
                raise self._unknown(found[1] if found else _said(error), fields, file) from error
            if error.kind not in _OF_DATA:
                raise UsageError(f"{self.option}: {_said(error)}") from error
        except InputError:
            pass  # another row may do

    def render(self, fields: Fields) -> str:
        """The text for a row. Raises InputError."""
        try:
            return self._rendered(fields)
        except TemplateError as error:
            why = f"{self.option}: {_said(error)}"
            raise InputError(f"{why} (line {error.line})" if error.line else why) from error

    def _rendered(self, fields: Fields) -> str:
        if self._has_row and ROW not in fields:
            fields = {**fields, ROW: fields}
        return self._environment.render_template("template", **fields)

    def _unknown(self, name: str, fields: Fields, file: str | None) -> UsageError:
        """`name` may be a path: `user.name`."""
        known, last = _siblings(name, fields)
        near = near_names(last, known)
        way = did_you_mean(near) if near else f"there are: {names_of(dict.fromkeys(known))}"
        return UsageError(
            f"{self.option}: the rows of {file} have no field {quoted(name)}",
            hint=f"{way}; one that only some rows have: {self.optional.format(name=name)}",
        )


def _siblings(path: str, fields: Fields) -> tuple[Sequence[str], str]:
    """The names beside the last one of a path, and that one."""
    *parents, last = path.split(".")
    held: Any = fields
    for name in parents:
        inner = held.get(name) if isinstance(held, Mapping) else None
        if not isinstance(inner, Mapping):
            return [str(one) for one in fields], path
        held = inner
    return [str(one) for one in held], last


def _said(error: TemplateError) -> str:
    if error.kind == "OutOfFuel":
        return "it takes too long"
    return str(error.detail or error.message or error.kind)


def _shown(value: Any) -> Any:
    return "" if value is None else value


def _json(value: Any, indent: bool = False) -> str:
    """The value as JSON, with no character escaped that JSON does not escape."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:  # an integer over 64 bits, or no value of JSON
        pass
    import json

    try:
        return json.dumps(value, ensure_ascii=False, indent=2 if indent else None)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the filter json: {error}") from error


class TextTemplate(Template):
    """A template whose text is the prompt."""

    def prompt(self, fields: Fields) -> str:
        """The text for a row. Raises InputError."""
        return self.render(fields)


class MessagesTemplate:
    """A list of messages in whose texts are places for fields."""

    def __init__(self, text: str, option: str) -> None:
        """`text`: a list of messages as YAML or JSON. Raises UsageError."""
        self._templates: list[Template] = []
        try:
            self._messages = [
                self._message(message, f"{option}, message {place}")
                for place, message in enumerate(_listed(text, option), 1)
            ]
        except RecursionError as error:  # an anchor of YAML inside itself
            raise UsageError(f"{option} is nested too deep") from error
        self.names = frozenset[str]().union(*(one.names for one in self._templates))
        """The fields that it uses."""
        self.is_constant = all(one.is_constant for one in self._templates)
        """Whether the messages are the same for every row."""

    def check(self, fields: Fields, file: str | None) -> None:
        """As that of Template."""
        for template in self._templates:
            template.check(fields, file)

    def prompt(self, fields: Fields) -> Sequence[Message]:
        """The messages for a row. Raises InputError."""
        return [{name: made(fields) for name, made in one.items()} for one in self._messages]

    def _message(self, message: Any, where: str) -> Mapping[str, Callable[[Fields], Any]]:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise UsageError(f"{where} is not a message", hint="as in {role: user, content: ...}")
        return {str(name): self._value(item, where) for name, item in message.items()}

    def _value(self, value: Any, where: str) -> Callable[[Fields], Any]:
        """What gives the value for a row: all texts inside may be templates."""
        if isinstance(value, str) and is_template(value):
            template = Template(value, where)
            self._templates.append(template)
            return template.render
        if isinstance(value, list):
            items = [self._value(item, where) for item in value]
            return lambda fields: [item(fields) for item in items]
        if isinstance(value, dict):
            held = {name: self._value(item, where) for name, item in value.items()}
            return lambda fields: {name: item(fields) for name, item in held.items()}
        return lambda fields: value


def _listed(text: str, option: str) -> list[Any]:
    """The list in YAML or JSON, which is YAML as well."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        import yaml

        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
            where = f" on line {mark.line + 1}" if mark else ""
            hint = (
                'put a text with {{ }} in quotes: content: "{{ text }}"' if "{{" in text else None
            )
            raise UsageError(
                f"{option} is neither JSON nor YAML: {problem}{where}", hint=hint
            ) from error
    if not isinstance(found, list) or not found:
        raise UsageError(
            f"{option} must be a list of messages",
            hint="as in - {role: user, content: ...}; @FILE reads it from a file",
        )
    return found


class Condition(Template):
    """Whether a row is wanted."""

    optional = "{name} is defined and ..."

    def __init__(self, expression: str, option: str) -> None:
        """Raises UsageError for what is no expression."""
        try:
            Environment(fuel=FUEL).eval_expr(expression)
        except TemplateError as error:
            if error.kind == "SyntaxError":
                raise UsageError(
                    f"{option} is no valid expression: {_said(error)}",
                    hint="as in --where 'stars > 3 and lang == \"en\"'",
                ) from error
        super().__init__(f"{{% if ({expression}) %}}1{{% endif %}}", option)
        self._compared = _COMPARED.findall(expression)

    def check(self, fields: Fields, file: str | None) -> None:
        """As that of Template; and text is not compared with a number, which is never as meant."""
        for name in self._compared:
            if isinstance(fields.get(name), str):
                raise UsageError(
                    f"{self.option}: {quoted(name)} is text in {file}, not a number",
                    hint=f"compare {name}|float, or with a text in quotes",
                )
        super().check(fields, file)

    def holds(self, fields: Fields) -> bool:
        """Whether it is true of a row. Raises InputError."""
        return bool(self.render(fields))
