"""The Messages API's request body; Vertex uses it too.

Sources (read 2026-11-22): platform.claude.com/docs/en/api/messages,
/docs/en/build-with-claude/structured-outputs, /docs/en/api/migration-2026-10-21, and the types
of the Python SDK 2.12.0.
"""

from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.anthropic.models import (
    MAX_TOKENS_AT_ONCE,
    claude,
    sampling,
    thinking,
)
from llmbatch_cli.providers.anthropic.turns import Block, cached, conversation, short
from llmbatch_cli.providers.wire.draft import NO_PARAMETERS, Draft
from llmbatch_cli.providers.wire.params import ParamTable, as_list, format_kind, limit_of, limits
from llmbatch_cli.providers.wire.replies import mapping


def body(request: Request, provider: str) -> dict[str, Any]:
    """The request's body. Raises UnsupportedParameter, or UsageError for its messages."""
    draft = Draft(request, provider)
    system, messages = conversation(draft)
    limit = limit_of(request.params)
    if limit == -1:
        most = claude(request.model).max_output_tokens
        limit = most if request.stream else min(most, MAX_TOKENS_AT_ONCE)
    draft.body = {"model": request.model, "max_tokens": limit, "messages": messages}
    if system:
        draft.body["system"] = short(system)
    if request.stream:
        draft.body["stream"] = True
    PARAMETERS.add(draft)
    return draft.body


def _effort(value: Any, draft: Draft) -> Mapping[str, Any]:
    return thinking(value, draft.body["max_tokens"], draft)


def _response_format(value: Any, draft: Draft) -> Mapping[str, Any]:
    if format_kind(value, draft, "json_schema") == "text":
        return {}
    schema = draft.schema_of(value)
    return {"output_config.format": {"type": "json_schema", "schema": schema}}


def _tools(value: Any, draft: Draft) -> Mapping[str, Any]:
    return {"tools": [_tool(tool, draft) for tool in value]}


def _tool(tool: Mapping[str, Any], draft: Draft) -> Block:
    """One tool in Anthropic's form; one that is not OpenAI's function is Anthropic's own."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return dict(tool)
    known = frozenset(("name", "description", "strict", "parameters", "cache_control"))
    draft.check_fields(function, known, "a tool's function")
    draft.check_fields(tool, frozenset(("type", "function", "cache_control")), "a tool")
    kept = {name: function[name] for name in ("description", "strict") if name in function}
    block: Block = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or NO_PARAMETERS,
        **{name: value for name, value in kept.items() if value is not None},
    }
    return cached(block, {**function, **tool})


def _tool_choice(value: Any, draft: Draft) -> Mapping[str, Any]:
    choice = _choice(value, draft)
    if choice["type"] in ("any", "tool"):
        model = claude(draft.request.model)
        if not model.forces_tools:
            raise draft.unsupported(
                "tool_choice", "this model cannot be forced to call a tool; use auto"
            )
        if not model.adaptive and draft.params.get("reasoning_effort", "none") != "none":
            raise draft.unsupported(
                "tool_choice", "Claude cannot be forced to call a tool while it thinks"
            )
    if draft.params.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tool_choice": choice}


def _choice(value: Any, draft: Draft) -> Block:
    if isinstance(value, str):
        value = {"type": {"required": "any"}.get(value, value)}
    elif value.get("type") == "function":
        value = {"type": "tool", "name": mapping(value.get("function")).get("name")}
    if value.get("type") not in ("auto", "any", "none", "tool"):
        raise draft.unsupported(
            "tool_choice", f"use auto, none, required or a function, not {value.get('type')!r}"
        )
    return dict(value)


def _parallel(value: Any, draft: Draft) -> Mapping[str, Any]:
    if value is not False or "tool_choice" in draft.params:
        return {}
    return {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}


UNSUPPORTED: Final[Mapping[str, Any]] = {
    "n": 1,
    "seed": None,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
}
"""Parameters that Claude does not have, each with the value that changes nothing."""

PARAMETERS: Final = ParamTable(
    rules={
        **limits(lambda value, draft: {}),  # the body has it: it is required here
        "temperature": sampling("temperature", "temperature"),
        "top_p": sampling("top_p", "top_p"),
        "stop": as_list("stop_sequences"),
        "reasoning_effort": _effort,
        "user": "metadata.user_id",
        "response_format": _response_format,
        "tools": _tools,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": _parallel,
    },
    neutral=UNSUPPORTED,
    merged=frozenset(("metadata", "output_config")),
)
