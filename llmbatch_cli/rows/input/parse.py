"""One JSON value to one row: a Prompt, or a BadRow that says what is wrong. No I/O."""

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, TypeGuard

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.types import BadRow, Message, Params, Prompt, Row, RowId
from llmbatch_cli.rows.big_ints import DEEPEST, is_too_deep
from llmbatch_cli.rows.input.batch_line import is_batch_line, read_batch_line
from llmbatch_cli.rows.input.own_params import NAMES as OWN_PARAMETERS
from llmbatch_cli.rows.input.own_params import OWN, is_sent
from llmbatch_cli.rows.input.params import (
    API_KEYS,
    PARAMETERS,
    check,
    check_all,
    escaped,
    is_whole,
    quoted,
    refuse_secret,
    shown,
)

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
"""The roles of messages; `function` is the old name of `tool`."""
ONE_A_LINE: Final = "write one JSON value per line: jq -c '.[]' FILE"

_IDS: Final = ("id", "custom_id")
_IDS_OF_BATCH: Final = ("custom_id", "id")
_OWN: Final = {*PARAMETERS, *API_KEYS, *_IDS, "prompt", "system", "messages", "model", "models"}
_BATCH_OWN: Final = {*API_KEYS, *_IDS_OF_BATCH, "method", "url", "body"}
_KEYS_SHOWN_CHARS: Final = 80
TOO_DEEP: Final = f"nested more than {DEEPEST} levels deep"


def parse_value(value: object, *, index: int) -> Row:
    """The row of a value from Python; see `parse_row`."""
    if isinstance(value, dict | list | tuple) and is_too_deep(value):
        return bad_row(value, TOO_DEEP, index=index)
    return parse_row(value, index=index)


def parse_row(
    value: object, *, index: int, file: str | None = None, line: int | None = None
) -> Row:
    """The row in any of the shapes that the README lists. Never raises.

    `value` is JSON, or anything from Python: unknown fields are carried as they are.
    """
    if type(value) is dict and len(value) == 2:  # {"id", "prompt"}: by far the most frequent
        text, row_id = value.get("prompt"), value.get("id")
        if type(text) is str and _is_id(row_id) and text and not text.isspace():
            return Prompt(index, [{"role": "user", "content": text}], row_id, file, line)
    try:
        return _prompt(value, index, file, line)
    except InputError as error:
        return bad_row(value, error.message, index=index, file=file, line=line)


def bad_row(
    value: object, reason: str, *, index: int, file: str | None = None, line: int | None = None
) -> BadRow:
    """The error row of a value, with as much of it as could be read."""
    bad = BadRow(index, reason, index, file, line)
    if isinstance(value, Mapping):
        own, names = (_BATCH_OWN, _IDS_OF_BATCH) if is_batch_line(value) else (_OWN, _IDS)
        with suppress(InputError):
            bad.id = _id(value, names, index)
        kept = _metadata(value, own, names)
        bad.metadata = {name: kept[name] for name in kept if not is_too_deep(kept[name])}
    return bad


def _prompt(value: object, index: int, file: str | None, line: int | None) -> Prompt:
    if isinstance(value, str):
        return Prompt(index, _of_text(value), index, file, line)
    if isinstance(value, list | tuple):
        return Prompt(index, _of_list(value), index, file, line)
    if not isinstance(value, dict | Mapping):  # the ABC's check alone is slow
        raise InputError(f"a row is text, an object or a list of messages, not {shown(value)}")
    if not API_KEYS.isdisjoint(value):
        refuse_secret(next(name for name in value if name in API_KEYS))
    if is_batch_line(value):
        asked = read_batch_line(value)
        return Prompt(
            index,
            check_messages(asked.messages, asked.where),
            _id(value, _IDS_OF_BATCH, index),
            file,
            line,
            _model(asked.model),
            (),
            check_all(asked.params),
            _metadata(value, _BATCH_OWN, _IDS_OF_BATCH),
        )
    params, kept = _params_and_metadata(value)
    return Prompt(
        index,
        _messages(value),
        _id(value, _IDS, index),
        file,
        line,
        _model(value.get("model")),
        _models(value.get("models")),
        params,
        kept,
    )


def _of_text(text: str) -> list[Message]:
    if not text or text.isspace():
        raise InputError("the prompt is empty")
    return [{"role": "user", "content": text}]


def _of_list(items: Sequence[object]) -> Sequence[Message]:
    """A bare list of messages; often it is a whole file of prompts instead."""
    if items and not is_conversation(items):
        raise InputError(
            f'a list is the messages of one prompt, and its first item has no "role" ({ONE_A_LINE})'
        )
    return check_messages(items, "")


def is_conversation(items: Sequence[object]) -> bool:
    """Whether these are the messages of one prompt, not rows."""
    return bool(items) and isinstance(items[0], Mapping) and "role" in items[0]


def _messages(row: Mapping[str, Any]) -> Sequence[Message]:
    prompt, messages, system = row.get("prompt"), row.get("messages"), row.get("system")
    if prompt is not None and messages is not None:
        raise InputError('both "prompt" and "messages": it is ambiguous which to send')
    if system is not None and not isinstance(system, str):
        raise InputError(f'"system" must be a string, not {shown(system)}')
    if messages is not None:
        return _with_system(system, check_messages(messages, '"messages"'))
    if prompt is None:
        raise InputError(_nothing_to_send(row))
    if isinstance(prompt, list | tuple) and prompt and isinstance(prompt[0], Mapping):
        return _with_system(system, check_messages(prompt, '"prompt"'))
    if not isinstance(prompt, str):
        raise InputError(f'"prompt" must be a string or a list of messages, not {shown(prompt)}')
    return _with_system(system, _of_text(prompt))


def _with_system(system: str | None, messages: Sequence[Message]) -> Sequence[Message]:
    if not system or system.isspace():
        return messages
    if messages[0]["role"] in ("system", "developer"):
        raise InputError('both "system" and a system message: it is ambiguous which to send')
    return [{"role": "system", "content": system}, *messages]


def _nothing_to_send(row: Mapping[str, Any]) -> str:
    for name in ("prompt", "messages"):
        if name in row:
            return f'"{name}" is null'
    if not row:
        return 'no "prompt" or "messages"; the row is empty'
    names = ", ".join(str(name)[:_KEYS_SHOWN_CHARS] for name in islice(row, 20))
    there = escaped(names, _KEYS_SHOWN_CHARS)
    return f'no "prompt" or "messages"; the row has: {there} ({way_of(row)})'


def way_of(row: Mapping[str, Any]) -> str:
    """How such a row becomes one with a prompt."""
    if "finish_reason" in row or ("custom_id" in row and isinstance(row.get("response"), dict)):
        return "it is an answer: name the input of that run; llmbatch errors --rows has failed rows"
    for name, part, way in _REQUESTS:
        inner = row.get(name)
        if isinstance(inner, Mapping) and part in inner:
            return _each(way)
    if isinstance(row.get("instruction"), str) and isinstance(row.get("input"), str):
        return _each(r'.prompt = .instruction + "\n\n" + .input')
    for name, way in _WAYS:
        if isinstance(row.get(name), str | list):
            return _each(way)
    for name, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], str | dict):
            return f"jq -c '.{name}[]' FILE" if str(name).isidentifier() else NO_WAY
    return NO_WAY


def _each(way: str) -> str:
    """The command that changes every row of a file, be it an array or JSONL."""
    return f"jq -c '(arrays[] // .) | {way}' FILE"


NO_WAY: Final = 'rename the field that is the prompt to "prompt"'
_REQUESTS: Final = (
    ("params", "messages", "{id: .custom_id} + .params"),
    ("request", "contents", "{id: .key, prompt: .request.contents[0].parts[0].text}"),
)
"""The lines of Anthropic's and Gemini's batch APIs: the field, what is in it, and the way."""
_WAYS: Final = (
    ("conversations", ".prompt = .conversations[0].value"),
    ("conversation", ".messages = .conversation"),
    *(
        (name, f".prompt = .{name}")
        for name in ("instruction", "question", "query", "text", "input", "content", "problem")
    ),
)
"""By a field that is often the prompt: how to make it so."""


# Messages


def check_messages(messages: object, where: str) -> Sequence[Message]:
    """The messages as they are. Raises InputError for what no chat endpoint supports."""
    if not isinstance(messages, list | tuple):
        raise InputError(f"{where or 'a row'} must be a list of messages, not {shown(messages)}")
    if not messages:
        raise InputError(f"{where or 'the list of messages'} is empty")
    filled = False
    for place, message in enumerate(messages):
        try:
            filled |= _has_content(message)
        except InputError as error:
            raise InputError(f"{where}[{place}]: {error.message}") from error
    if not filled:
        raise InputError("the prompt is empty: no message has any content")
    return messages


def _has_content(message: object) -> bool:
    """Whether a message is not empty. Raises InputError for an invalid one."""
    if not isinstance(message, dict):
        raise InputError(f"a message is an object, not {shown(message)}")
    role, content = message.get("role"), message.get("content")
    if role is None:
        raise InputError('no "role"')
    if not isinstance(role, str):
        raise InputError(f'"role" must be a string, not {shown(role)}')
    if role not in ROLES:
        known = ", ".join(ROLES[:-1])
        raise InputError(f"unknown role {quoted(role)} (known: {known})")
    if isinstance(content, str):
        return bool(content and not content.isspace()) or _acts(message)
    if isinstance(content, list):
        filled = [_part_has_content(part) for part in content]  # all are checked
        return any(filled) or _acts(message)
    if content is not None:
        raise InputError(f'"content" must be a string or a list of parts, not {shown(content)}')
    if role != "assistant":
        raise InputError('no "content"')
    return _acts(message)


def _acts(message: Message) -> bool:
    """Whether an assistant's message is more than its content."""
    return any(map(message.get, ("tool_calls", "function_call", "refusal")))


def _part_has_content(part: object) -> bool:
    if isinstance(part, str):
        return bool(part and not part.isspace())
    if not isinstance(part, dict):
        raise InputError(f'a part of "content" is an object, not {shown(part)}')
    if not isinstance(part.get("type"), str):
        raise InputError('a part of "content" has no "type"')
    text = part.get("text")
    return part["type"] != "text" or not isinstance(text, str) or bool(text and not text.isspace())


# The other fields


def _id(row: Mapping[str, Any], names: Sequence[str], index: int) -> RowId:
    """The first of these names that the row has, else its place."""
    name = names[0] if row.get(names[0]) is not None else names[1]
    value: Any = row.get(name)
    if value is None:
        return index
    if _is_id(value):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)  # 1.0, as pandas writes a column of numbers in which one is missing
    if is_whole(value):
        raise InputError(f'"{name}" has more than 64 bits: write it as a string')
    raise InputError(f'"{name}" must be a string or a whole number, not {shown(value)}')


def _is_id(value: Any) -> TypeGuard[RowId]:
    if type(value) is int:
        return -(2**63) <= value < 2**64  # the range of an output row's integers
    return isinstance(value, str)


def _params_and_metadata(row: Mapping[str, Any]) -> tuple[Params, dict[str, Any]]:
    """The row's parameters, and the fields that are carried."""
    kept = _metadata(row, _OWN, _IDS)
    params = {} if PARAMETERS.keys().isdisjoint(row) else _params(row)
    if not OWN_PARAMETERS.isdisjoint(kept):
        own = {name: kept.pop(name) for name in [*kept] if is_sent(name, kept[name])}
        own = {name: check(name, own[name], OWN) if name in OWN else own[name] for name in own}
        if own:
            params["extra_body"] = {**own, **params.get("extra_body", {})}
    return params, kept


def _params(row: Mapping[str, Any]) -> dict[str, Any]:
    return check_all({name: item for name, item in row.items() if name in PARAMETERS})


def _model(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'"model" must be a model name, not {shown(value)}')
    return value


def _models(value: object) -> Sequence[str]:
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        raise InputError(f'"models" must be a list of model names, not {shown(value)}')
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f'"models" must be a list of model names, and has {shown(name)}')
    return tuple(value)


def _metadata(
    row: Mapping[str, Any], own: Container[str], id_names: Sequence[str]
) -> dict[str, Any]:
    """The unknown fields; the second name of a row that has two is one of them."""
    kept = {name: item for name, item in row.items() if name not in own}
    first, second = id_names
    if second in row and row.get(first) is not None:
        kept[second] = row[second]
    return kept
