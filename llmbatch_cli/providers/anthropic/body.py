"""A request in the Messages API's form, with its parameters.

Vertex speaks it too. Sources (read 2026-11-22): platform.claude.com/docs/en/api/messages,
/docs/en/build-with-claude/structured-outputs, /docs/en/api/migration-2026-10-21, and the types
of the Python SDK 2.12.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmbatch_cli.core.errors import UnsupportedParameter
from llmbatch_cli.core.types import Params, Request
from llmbatch_cli.providers.anthropic.models import (
    MAX_TOKENS_AT_ONCE,
    Claude,
    claude,
    says_sampling,
    thinking,
)
from llmbatch_cli.providers.anthropic.turns import Block, cached, conversation, short
from llmbatch_cli.providers.base import CARRIED, is_neutral
from llmbatch_cli.providers.wire.messages import check_fields, schema_of
from llmbatch_cli.providers.wire.replies import mapping

_ELSEWHERE: Final = CARRIED | {"max_tokens"}
_MERGED: Final = ("metadata", "output_config")
"""Objects of the body that `extra_body` adds to, where everything else it replaces."""


@dataclass(slots=True)
class _Draft:
    """A body in the making, and what its parameters need to know of each other."""

    provider: str
    model: Claude
    params: Params
    body: dict[str, Any]

    def merge(self, fields: Mapping[str, Any]) -> None:
        """Add fields to the body; those of _MERGED to what is there."""
        for name, value in fields.items():
            there = self.body.get(name)
            if name in _MERGED and isinstance(there, dict) and isinstance(value, Mapping):
                self.body[name] = {**there, **value}
            else:
                self.body[name] = value

    def refuse(self, name: str, hint: str | None = None) -> None:
        """Raise that this wire has no words for the parameter."""
        raise UnsupportedParameter(name, self.provider, hint=hint)


def body(request: Request, provider: str) -> dict[str, Any]:
    """The request's body. Raises UnsupportedParameter, or UsageError for its messages."""
    params = request.params
    model = claude(request.model)
    system, messages = conversation(request.messages, provider)
    most = model.max_output_tokens
    bound = params.get("max_tokens", -1)
    if bound == -1:
        bound = most if request.stream else min(most, MAX_TOKENS_AT_ONCE)
    built: dict[str, Any] = {
        "model": request.model,
        "max_tokens": bound,
        "messages": messages,
    }
    if system:
        built["system"] = short(system)
    if request.stream:
        built["stream"] = True
    if params:
        draft = _Draft(provider, model, params, built)
        for name, value in params.items():
            if name not in _ELSEWHERE:
                _say(draft, name, value)
        draft.merge(params.get("extra_body", {}))
    return built


def _say(draft: _Draft, name: str, value: Any) -> None:
    if name in _SAID:
        _SAID[name](draft, value)
    elif not is_neutral(name, value, _NEUTRAL, draft.provider):
        draft.body[name] = value


def _sampling(name: str) -> Callable[[_Draft, Any], None]:
    def say(draft: _Draft, value: Any) -> None:
        if says_sampling(draft.model, name, draft.params, draft.provider):
            draft.body[name] = value

    return say


def _thinks(draft: _Draft) -> bool:
    return bool(draft.params.get("reasoning_effort", "none") != "none")


def _budgeted(draft: _Draft) -> bool:
    """Whether the request asks for thinking by a budget of tokens."""
    return _thinks(draft) and not draft.model.adaptive


def _stop(draft: _Draft, value: Any) -> None:
    draft.body["stop_sequences"] = [value] if isinstance(value, str) else value


def _effort(draft: _Draft, value: Any) -> None:
    draft.merge(thinking(draft.model, value, draft.body["max_tokens"], draft.provider))


def _user(draft: _Draft, value: Any) -> None:
    draft.merge({"metadata": {"user_id": value}})


def _response_format(draft: _Draft, value: Any) -> None:
    kind = value.get("type")
    if kind == "json_schema":
        # No name is wanted, and strict it always is.
        form = {"type": "json_schema", "schema": schema_of(value, draft.provider)}
        draft.merge({"output_config": {"format": form}})
    elif kind != "text":
        draft.refuse("response_format", "Claude answers in JSON by a schema: use json_schema")


def _tools(draft: _Draft, value: Any) -> None:
    draft.body["tools"] = [_tool(tool, draft.provider) for tool in value]


def _tool(tool: Mapping[str, Any], provider: str) -> Block:
    """One tool in Anthropic's form; what is not OpenAI's function is taken for Anthropic's own."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return dict(tool)
    known = frozenset(("name", "description", "strict", "parameters", "cache_control"))
    check_fields(function, known, "a tool's function", provider)
    check_fields(tool, frozenset(("type", "function", "cache_control")), "a tool", provider)
    block: Block = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    for name in ("description", "strict"):
        if function.get(name) is not None:
            block[name] = function[name]
    return cached(block, {**function, **tool})


def _tool_choice(draft: _Draft, value: Any) -> None:
    choice = _choice(draft, value)
    if choice["type"] in ("any", "tool"):
        if not draft.model.forces_tools:
            draft.refuse("tool_choice", "this model cannot be forced to call a tool; use auto")
        if _budgeted(draft):
            draft.refuse("tool_choice", "while it thinks, Claude cannot be forced to call a tool")
    if draft.params.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    draft.body["tool_choice"] = choice


def _choice(draft: _Draft, value: Any) -> Block:
    if isinstance(value, str):
        kind = {"required": "any"}.get(value, value)
        if kind not in ("auto", "any", "none"):
            draft.refuse("tool_choice", f"it takes auto, none and required, not {value!r}")
        return {"type": kind}
    if value.get("type") == "function":
        return {"type": "tool", "name": mapping(value.get("function")).get("name")}
    if value.get("type") not in ("auto", "any", "none", "tool"):
        draft.refuse("tool_choice", f"there is no choice of the type {value.get('type')!r}")
    return dict(value)


def _parallel(draft: _Draft, value: Any) -> None:
    if value is False and "tool_choice" not in draft.params:
        draft.body["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}


_SAID: Final[Mapping[str, Callable[[_Draft, Any], None]]] = {
    "temperature": _sampling("temperature"),
    "top_p": _sampling("top_p"),
    "stop": _stop,
    "reasoning_effort": _effort,
    "user": _user,
    "response_format": _response_format,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _parallel,
}

_NEUTRAL: Final[Mapping[str, Any]] = {
    "n": 1,
    "seed": None,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
}
"""Parameters that Claude does not have, each with the value that asks for nothing."""
