"""The request body of Gemini's generateContent, without its address and key.

Sources (read 2026-11-22): ai.google.dev/api/generate-content (fields, enums), /gemini-api/docs/
function-calling, /docs/openai (reasoning_effort), /docs/thinking, /docs/structured-output;
google-genai 3.4.0, models.py, `_GenerateContentConfig_to_mldev`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.gemini.contents import conversation, thinks_by_level
from llmbatch_cli.providers.wire.draft import Draft
from llmbatch_cli.providers.wire.params import ParamTable, as_list, format_kind, limits, unless

CONFIG_FIELDS: Final = frozenset(
    (
        *("stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema"),
        *("responseModalities", "candidateCount", "maxOutputTokens", "temperature", "topP"),
        *("topK", "seed", "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs"),
        *("enableEnhancedCivicAnswers", "speechConfig", "thinkingConfig", "imageConfig"),
        *("mediaResolution", "audioTranscriptionConfig", "enableAffectiveDialog"),
        *("responseFormat", "translationConfig"),
    )
)
"""The fields of generationConfig; any other name is a field of the body itself."""
BUDGETS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
}
"""Google's own mapping of reasoning_effort for Gemini 2.5; later models have levels instead."""
LEVELS: Final = frozenset(("minimal", "low", "medium", "high", "xhigh"))


def body(request: Request, provider: str) -> dict[str, Any]:
    """The body of generateContent and of streamGenerateContent.

    Raises UnsupportedParameter, or UsageError for an unsupported part or field.
    """
    draft = Draft(request, provider)
    draft.body["contents"], system = conversation(draft)
    if system:
        draft.body["systemInstruction"] = {"parts": system}
    PARAMETERS.add(draft)
    return draft.body


def _logprobs(value: Any, draft: Draft) -> Mapping[str, Any]:
    """A number, as in the older API, gives log probabilities with so many alternatives."""
    if value is False:
        return {}
    alternatives = {} if value is True else {"generationConfig.logprobs": value}
    return {"generationConfig.responseLogprobs": True, **alternatives}


def _tools(value: Any, draft: Draft) -> Mapping[str, Any]:
    """Functions, and Gemini's own tools as they are, such as {"googleSearch": {}}."""
    tools = value if isinstance(value, list | tuple) else [value]
    own = [tool for tool in tools if isinstance(tool, dict) and tool and "type" not in tool]
    declared = list(draft.functions([tool for tool in tools if tool not in own]))
    if declared:
        own = [{"functionDeclarations": [_declaration(one) for one in declared]}, *own]
    is_free = draft.params.get("tool_choice", "auto") == "auto"
    is_strict = is_free and any(function.get("strict") for function in declared)
    return {"tools": own, **(_choice("VALIDATED") if is_strict else {})}


def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    names = (("description", "description"), ("parameters", "parametersJsonSchema"))
    kept = {theirs: function[ours] for ours, theirs in names if function.get(ours)}
    return {"name": function["name"], **kept}


def _choice(mode: str, names: Sequence[str] = ()) -> Mapping[str, Any]:
    allowed = {"allowedFunctionNames": names} if names else {}
    return {"toolConfig.functionCallingConfig": {"mode": mode, **allowed}}


def _tool_choice(value: Any, draft: Draft) -> Mapping[str, Any]:
    if isinstance(value, dict):
        allowed = value.get("allowed_tools")
        mode = "ANY"
        if isinstance(allowed, dict) and value.get("type") != "function":
            mode = "ANY" if allowed.get("mode") == "required" else "VALIDATED"
            value = allowed.get("tools")
        elif value.get("type") != "function":
            raise draft.unsupported("tool_choice", f"{value!r} is not supported")
        return _choice(mode, [function["name"] for function in draft.functions(value)])
    if value not in _MODES:
        raise draft.unsupported("tool_choice", f"{value!r} is not supported")
    # Strict tools have set it already, and mean auto.
    return {} if value == "auto" and "toolConfig" in draft.body else _choice(_MODES[value])


_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def _response_format(value: Any, draft: Draft) -> Mapping[str, Any]:
    kind = format_kind(value, draft, "json_object", "json_schema")
    if kind == "text":
        return {}
    fields: dict[str, Any] = {"generationConfig.responseMimeType": "application/json"}
    if kind == "json_schema":
        fields["generationConfig.responseJsonSchema"] = draft.schema_of(value)
    return fields


def _effort(value: Any, draft: Draft) -> Mapping[str, Any]:
    """Google's own mapping: a level from Gemini 3 on, a budget of tokens before."""
    model = draft.request.model
    by_level, is_pro = thinks_by_level(model), "-pro" in model
    thinking: dict[str, Any]
    if by_level and value in LEVELS:
        thinking = {"thinkingLevel": "LOW" if value == "minimal" and is_pro else value.upper()}
    elif not by_level and value in BUDGETS and not (is_pro and value == "none"):
        thinking = {"thinkingBudget": BUDGETS[value]}
    else:
        raise draft.unsupported("reasoning_effort", f"{model} has no effort {value!r}; remove it")
    return {"generationConfig.thinkingConfig": thinking}


def _spellings(fields: Iterable[str]) -> dict[str, str]:
    """Each field by its name in JSON (topK) and in Google's Python SDK (top_k)."""
    snake = {re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name): name for name in fields}
    return {**snake, **{name: name for name in fields}}


_NESTED: Final = ("generationConfig", "toolConfig")

PARAMETERS: Final = ParamTable(
    rules={
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        **limits(unless(-1, "generationConfig.maxOutputTokens")),
        "stop": as_list("generationConfig.stopSequences"),
        "seed": "generationConfig.seed",
        "n": unless(1, "generationConfig.candidateCount"),
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "logprobs": _logprobs,
        "top_logprobs": "generationConfig.logprobs",
        "tools": _tools,
        "tool_choice": _tool_choice,
        "response_format": _response_format,
        "reasoning_effort": _effort,
    },
    neutral={"logit_bias": {}, "parallel_tool_calls": True, "user": ""},
    own={
        **{name: f"generationConfig.{field}" for name, field in _spellings(CONFIG_FIELDS).items()},
        **_spellings(_NESTED),
    },
    merged=frozenset(_NESTED),
)
