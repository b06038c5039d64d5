"""Tool calls of every wire in OpenAI's shape: id, type, function{name, arguments as JSON text}."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.providers.wire.answers import writable
from llmbatch_cli.providers.wire.replies import count, mapping, mappings, text_or_none

Call = TypeVar("Call", bound=Mapping[str, Any])

MOST_CALLS = 1024
"""A tool call with a higher index is none."""


def function_call(call_id: object, name: object, arguments: object, place: int) -> dict[str, Any]:
    """One call of a function; the `place`-th of its answer, where it has no id."""
    return {
        "id": text_or_none(call_id) or f"call_{place}",
        "type": "function",
        "function": {"name": text_or_none(name) or "", "arguments": arguments_json(arguments)},
    }


def arguments_json(given: object) -> str:
    """A tool call's arguments as JSON; a string is JSON already, and stays as it came.

    Raises BadReply for what is nested deeper than JSON can be written.
    """
    if isinstance(given, str):
        return given
    return orjson.dumps({} if given is None else writable(given)).decode()


def tool_calls(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The calls of a message in OpenAI's shape, with an id and arguments in every one."""
    given = message.get("tool_calls")
    if not given and message.get("function_call"):
        given = [{"function": message["function_call"]}]
    calls = [_completed(call, place) for place, call in enumerate(mappings(given))]
    return writable(named(calls))


def named(calls: Iterable[Call]) -> list[Call]:
    """Without those calls of functions that name none: some servers leave such fields empty."""
    return [call for call in calls if "function" not in call or call["function"]["name"]]


def _completed(call: dict[str, Any], place: int) -> Mapping[str, Any]:
    call_id = text_or_none(call.get("id")) or f"call_{place}"
    if call.get("type") not in (None, "function") and "function" not in call:
        return {**call, "id": call_id}
    function = mapping(call.get("function"))
    made = function_call(call_id, function.get("name"), function.get("arguments"), place)
    return {**call, **made, "function": {**function, **made["function"]}}


def tool_input(text: str) -> Any:
    """The input of a tool from its streamed pieces; the text itself where it broke off."""
    try:
        return orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return text


class ToolCallPieces:
    """The tool calls of one streamed answer in OpenAI's shape, as far as they have come."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}

    def add(self, given: Mapping[str, Any]) -> None:
        """A part of a call; without an index it goes on the last one, unless it is new."""
        place = count(given.get("index"))
        if place is None:
            # Only a new call has an id; a piece without one belongs to the last call.
            place = max(len(self._calls) - (not given.get("id")), 0)
        if place >= MOST_CALLS:
            raise BadReply("the stream holds too many tool calls", status=200)
        self._calls.setdefault(place, _Call()).add(given)

    def whole(self) -> list[dict[str, Any]]:
        """The calls as a reply that is not streamed has them."""
        return [call.whole() for _, call in sorted(self._calls.items())]


class _Call:
    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._name: list[str] = []
        self._arguments: list[str] = []
        self._input: Any = None

    def add(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name not in ("index", "function") and value:
                self._fields[name] = value
        function = mapping(given.get("function"))
        named, arguments = function.get("name"), function.get("arguments")
        # Some hosts repeat the whole name with every piece.
        if isinstance(named, str) and [named] != self._name:
            self._name.append(named)
        if isinstance(arguments, str):
            self._arguments.append(arguments)
        elif arguments is not None:
            self._input = arguments

    def whole(self) -> dict[str, Any]:
        arguments = "".join(self._arguments) if self._input is None else self._input
        function = {"name": "".join(self._name), "arguments": arguments}
        return {"type": "function", **self._fields, "function": function}
