"""Which field of a row is its prompt, where none is called so. No I/O."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.types import Message
from llmbatch_cli.rows.input.params import API_KEYS, quoted, shown

OWN_NAMES: Final = ("prompt", "messages")
"""Fields that are the prompt whatever else there is."""
_TEXTS: Final = ("text", "query", "question", "instruction")
_CONVERSATION: Final = "conversations"
_INPUT: Final = "input"
_NOT_PROMPTS: Final = frozenset(("id", "custom_id", "system", "model", "models", *API_KEYS))
_NOT_ROWS: Final = (
    frozenset(("text", "finish_reason")),  # an answer of ours
    frozenset(("custom_id", "response")),  # an answer of a batch API
    frozenset(("custom_id", "params")),  # a request of Anthropic's batch API
    frozenset(("key", "request")),  # a request of Gemini's
)
"""Fields that together show what is no row of data."""

_NUMBER: Final = re.compile(r"\s*[-+]?[\d.,:/%-]*\d[\d.,:/%-]*\s*")
"""A number, a date or a time, as a table of text has it."""
_NUMBER_CHARS: Final = 40

_ROLES: Final = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "model", "bing", "bard"), "assistant"),
    "system": "system",
}
"""By ShareGPT's names, which have many spellings."""


def usual_fields(fields: Mapping[str, Any]) -> Sequence[str]:
    """The fields with a usual name that may be the prompt, the one that is meant first.

    Also as `Text` or `Prompt`, as people write the heads of columns. One that is empty, or null,
    comes after the others.
    """
    if _is_no_row(fields):
        return ()
    lower: dict[str, str] = {}
    for name in fields:
        if isinstance(name, str):
            lower.setdefault(name.lower(), name)
    found = [lower[name] for name in ("prompt", *_TEXTS) if name in lower]
    found = [name for name in found if fields[name] is None or isinstance(fields[name], str)]
    if isinstance(fields.get(_CONVERSATION), list | tuple):
        found.append(_CONVERSATION)
    return sorted(found, key=lambda name: not fields[name])


def text_fields(fields: Mapping[str, Any]) -> Sequence[str]:
    """The fields of text, of which a single one is the prompt. An empty one, or null, may be text
    in other rows."""
    if _is_no_row(fields):
        return ()
    return [name for name, value in fields.items() if _may_be_only_text(name, value)]


def _is_no_row(fields: Mapping[str, Any]) -> bool:
    return any(names <= fields.keys() for names in _NOT_ROWS)


def _may_be_only_text(name: Any, value: Any) -> bool:
    if not isinstance(name, str) or name.lower() in _NOT_PROMPTS:
        return False
    if isinstance(value, str):
        return not (len(value) < _NUMBER_CHARS and _NUMBER.fullmatch(value))
    return value is None


def may_be_row(fields: Mapping[str, Any]) -> bool:
    """Whether an object with these fields shows by them that it is a row itself."""
    known = any(name in fields for name in (*OWN_NAMES, _CONVERSATION, "custom_id"))
    return known or any(isinstance(fields.get(name), str) for name in _TEXTS)


def taken_by(name: str, fields: Mapping[str, Any]) -> Sequence[str]:
    """The fields that make up the prompt in this one."""
    return (name, _INPUT) if name == "instruction" and _INPUT in fields else (name,)


def prompt_of(name: str, fields: Mapping[str, Any]) -> str | Sequence[Any]:
    """The text or the messages in this field. Raises InputError."""
    value = fields.get(name)
    if value is None:
        raise InputError(f"{quoted(name)} is null" if name in fields else _missing(name, fields))
    if isinstance(value, str):
        added = fields.get(_INPUT) if name == "instruction" else None
        return f"{value}\n\n{added}" if isinstance(added, str) and added.strip() else value
    if not isinstance(value, list | tuple):
        raise InputError(
            f"{quoted(name)} must be a string or a list of messages, not {shown(value)}"
        )
    if not value:
        raise InputError(f"{quoted(name)} is empty")
    if isinstance(value[0], Mapping) and "role" not in value[0]:
        return _conversation(name, value)
    return value


def _missing(name: str, fields: Mapping[str, Any]) -> str:
    return f"no {quoted(name)}; the row has: {names_of(fields)}"


def names_of(fields: Mapping[str, Any]) -> str:
    """The fields that there are, for a message."""
    names = [quoted(str(name))[1:-1] for name in fields]
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


_NAMES_SHOWN: Final = 30


def _conversation(where: str, turns: Sequence[Any]) -> Sequence[Message]:
    """The messages of ShareGPT's turns, up to the last that asks: what follows is its answer."""
    messages = [_message(f"{quoted(where)}[{place}]", turn) for place, turn in enumerate(turns)]
    while len(messages) > 1 and messages[-1]["role"] == "assistant":
        messages.pop()
    if messages[-1]["role"] == "assistant":
        raise InputError(f"{quoted(where)}: nobody asks before the first answer")
    return messages


def _message(where: str, turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise InputError(f"{where}: a turn is an object, not {shown(turn)}")
    role, text = turn.get("from"), turn.get("value")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise InputError(f'{where}: "from" must be human, gpt or system, not {shown(role)}')
    if not isinstance(text, str):
        raise InputError(f'{where}: "value" must be a string, not {shown(text)}')
    return {"role": _ROLES[role.lower()], "content": text}
