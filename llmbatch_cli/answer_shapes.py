"""From the user's options to the shape of answers: a schema, choices, or a part of the text."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.core.at_file import text_of
from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.near import did_you_mean, near_file
from llmbatch_cli.core.options import Answers
from llmbatch_cli.engine.answers import Answer, read_choice, read_code, read_json, read_match
from llmbatch_cli.engine.shaped import AnswerShape
from llmbatch_cli.engine.validate import BadSchema, Fit, Unfit, fitting
from llmbatch_cli.rows.input.schemas import all_required, is_strict, response_format_of
from llmbatch_cli.rows.input.short_schema import schema_of_fields

NAME: Final = "answer"
"""Of a schema that has none, and of the only field where a choice is asked for."""
_SUFFIXES: Final = (".json", ".yaml", ".yml", ".txt", ".schema")


def shape_of(options: Answers) -> AnswerShape | None:
    """The shape that these options ask for; None for none. Raises UsageError for a bad one."""
    asked = [
        name
        for name, value in (
            ("--schema", options.schema),
            ("--choices", options.choices),
            ("--extract", options.extract),
        )
        if value not in (None, (), [])
    ]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} exclude each other", hint="leave one out")
    if not asked:
        return None
    if asked == ["--schema"]:
        return _schema_shape(options.schema, options.schema_retries)
    if asked == ["--choices"]:
        return _choice_shape(choices_of(options.choices), options.schema_retries)
    return _part_shape(str(options.extract), options.schema_retries)


# A schema


def _schema_shape(given: object, retries: int) -> AnswerShape:
    if isinstance(given, type):
        try:
            form: Any = response_format_of(given)
        except InputError as error:
            raise UsageError(error.message.replace("response_format", "schema")) from error
        return _json_shape(form["json_schema"]["schema"], form, _instances(given), retries)
    schema, sent = _schema_and_sent(given)
    try:
        fit = fitting(schema)
    except BadSchema as error:
        raise UsageError(f"--schema: {error}", hint="correct the schema") from error
    form = {"name": NAME, "schema": sent}
    if is_strict(sent):
        form["strict"] = True
    return _json_shape(schema, {"type": "json_schema", "json_schema": form}, fit, retries)


def _json_shape(schema: Any, form: Mapping[str, Any], fit: Fit, retries: int) -> AnswerShape:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    opening = {"object": "{", "array": "["}.get(kind if isinstance(kind, str) else "", "{[")

    def read(text: str, whole: bool) -> Answer:
        return read_json(text, fit, opening=opening, repair=whole)

    written = orjson.dumps(schema).decode()
    return AnswerShape(
        read,
        "JSON only, of the form that was asked for",
        f"schema {written}",
        form,
        "Answer with JSON only: no other text, no code fence. It must be valid against this "
        f"JSON schema:\n{written}",
        retries=retries,
    )


def _schema_and_sent(given: object) -> tuple[Any, Any]:
    """The schema that answers must fit, and what is sent, which may ask for more. UsageError."""
    if not isinstance(given, str):
        if not isinstance(given, Mapping):
            what = type(given).__name__
            raise UsageError(f"schema must be an object, a pydantic class or a text, not {what}")
        return given, given
    text = _text_of(given.strip())
    if given.endswith((".yaml", ".yml")):
        raise UsageError("--schema: YAML is not read", hint="convert the schema to JSON")
    if text[:1] != "{":
        schema = schema_of_fields(text)
        return schema, all_required(schema)
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--schema is not JSON: {error}", hint="correct the schema") from error
    return schema, schema


def _text_of(given: str) -> str:
    """The text of the file that is named, or what was given itself."""
    if given.startswith("@"):
        return text_of(given, "--schema").strip()
    if given[:1] == "{" or "\n" in given:
        return given
    with suppress(OSError, ValueError):  # too long for a name, or not one at all
        if Path(given).is_file():
            return text_of(f"@{given}", "--schema").strip()
    one_word = not any(map(str.isspace, given)) and "," not in given
    if one_word and (given.endswith(_SUFFIXES) or "/" in given):
        near = near_file(given)
        hint = did_you_mean([near]) if near else "or name the fields: 'name, age int'"
        raise UsageError(f"--schema: no such file: {given}", hint=hint)
    return given


def _instances(kind: type) -> Fit:
    """Makes an instance of the pydantic class of a value; its own checks judge it."""
    make: Callable[[Any], Any] = getattr(kind, "model_validate", None) or kind.parse_obj  # type: ignore[attr-defined]

    def fit(value: Any) -> Any:
        try:
            return make(value)
        except ValueError as error:  # as pydantic's own are
            raise Unfit(" ".join(str(error).split())) from None

    return fit


# Choices


def choices_of(given: str | Sequence[str]) -> list[str]:
    """What there is to choose from, split at commas or at newlines. Raises UsageError."""
    choices: list[str] = []
    for one in [given] if isinstance(given, str) else given:
        text = text_of(one, "--choices")
        choices += filter(None, map(str.strip, text.split("\n" if "\n" in text else ",")))
    if len(choices) < 2:
        raise UsageError("--choices has fewer than two", hint="as in --choices yes,no,unclear")
    if twice := next((one for one in choices if choices.count(one) > 1), None):
        raise UsageError(f"--choices has {twice!r} twice", hint="leave one out")
    return choices


def _choice_shape(choices: Sequence[str], retries: int) -> AnswerShape:
    schema = {
        "type": "object",
        "properties": {NAME: {"type": "string", "enum": list(choices)}},
        "required": [NAME],
        "additionalProperties": False,
    }
    named = {"name": NAME, "schema": schema, "strict": True}
    listed = orjson.dumps(choices).decode()[1:-1].replace('","', '", "')
    return AnswerShape(
        lambda text, whole: read_choice(text, choices),
        "one of the choices and nothing else",
        f"choices {listed}",
        {"type": "json_schema", "json_schema": named},
        f"Answer with exactly one of these and nothing else: {listed}.",
        keeps_part=True,
        retries=retries,
    )


# A part


def _as_it_is(value: Any) -> Any:
    return value


def _part_shape(part: str, retries: int) -> AnswerShape:
    if part == "json":
        wanted = "JSON only"

        def read(text: str, whole: bool) -> Answer:
            return read_json(text, _as_it_is, repair=False)

    elif part == "code":
        wanted = "a fenced code block"

        def read(text: str, whole: bool) -> Answer:
            return read_code(text)

    else:
        try:
            pattern = re.compile(part)
        except re.error as error:
            hint = "it is json, code or a regular expression"
            raise UsageError(f"--extract {part}: {error}", hint=hint) from error
        wanted = f"something that matches the regular expression {part}"

        def read(text: str, whole: bool) -> Answer:
            return read_match(text, pattern)

    return AnswerShape(read, wanted, f"extract {part}", keeps_part=True, retries=retries)
