"""What a request is called in Gemini's words; where it is sent to and with which key is not here.

Sources (read 2026-11-22): ai.google.dev/api/generate-content (fields, enums), /gemini-api/docs/
function-calling, /docs/openai (reasoning_effort), /docs/thinking, /docs/structured-output;
google-genai 3.4.0, models.py, `_GenerateContentConfig_to_mldev`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import UnsupportedParameter
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.base import CARRIED, is_neutral
from llmbatch_cli.providers.gemini.contents import conversation, thinks_by_level
from llmbatch_cli.providers.wire.messages import check_fields, functions, merged, schema_of

Put = Callable[[dict[str, Any], Any, Request, str], None]

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
"""The fields of generationConfig; any other name stands at the body's top level."""
NESTED: Final = frozenset(("generationConfig", "toolConfig"))
"""Objects of the body that `extra_body` is merged into, instead of taking their place."""
BUDGETS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
}
"""Google's own mapping of reasoning_effort for Gemini 2.5; later ones take the level's name."""
LEVELS: Final = frozenset(("minimal", "low", "medium", "high", "xhigh"))


def body(request: Request, provider: str) -> dict[str, Any]:
    """The body of generateContent and of streamGenerateContent.

    Raises UnsupportedParameter for a parameter that Gemini lacks, UsageError for a part or field.
    """
    contents, system = conversation(request, provider)
    result: dict[str, Any] = {"contents": contents}
    if system:
        result["systemInstruction"] = {"parts": system}
    for name, value in request.params.items():
        put = PARAMETERS.get(name)
        if put is not None:
            put(result, value, request, provider)
        elif name not in CARRIED and not is_neutral(name, value, NEUTRAL, provider):
            _add(result, {name: value})
    _add(result, request.params.get("extra_body", {}))
    return result


def _add(body: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Provider's own parameters, by either spelling (topK, top_k), each to where it belongs."""
    for name, value in extra.items():
        field = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
        if field in CONFIG_FIELDS:
            body["generationConfig"] = merged(body.get("generationConfig", {}), {field: value})
        elif field in NESTED and isinstance(value, dict):
            body[field] = merged(body.get(field, {}), value)
        else:
            body[name] = value


def _config(field: str) -> Put:
    def put(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
        body.setdefault("generationConfig", {})[field] = value

    return put


def _max_tokens(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    """-1 is no bound, which is what an absent one means."""
    if value != -1:
        _config("maxOutputTokens")(body, value, request, provider)


def _stop(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    texts = [value] if isinstance(value, str) else value
    _config("stopSequences")(body, texts, request, provider)


def _n(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    if value != 1:
        _config("candidateCount")(body, value, request, provider)


def _logprobs(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    """A number, as of old, asks for the log probabilities and says how many alternatives."""
    if value is False:
        return
    _config("responseLogprobs")(body, True, request, provider)
    if value is not True:
        _config("logprobs")(body, value, request, provider)


def _tools(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    """Functions, and Gemini's own tools as they stand, such as {"googleSearch": {}}."""
    tools = value if isinstance(value, list | tuple) else [value]
    own = [tool for tool in tools if isinstance(tool, dict) and tool and "type" not in tool]
    asked = list(functions([tool for tool in tools if tool not in own], provider))
    if asked:
        own = [{"functionDeclarations": [_declaration(tool, provider) for tool in asked]}, *own]
    body["tools"] = own
    free = request.params.get("tool_choice", "auto") == "auto"
    if free and any(function.get("strict") for function in asked):
        _choose(body, "VALIDATED")


def _declaration(function: Mapping[str, Any], provider: str) -> dict[str, Any]:
    known = frozenset(("name", "description", "parameters", "strict"))
    check_fields(function, known, "a tool's function", provider)
    declared = {"name": function["name"]}
    if function.get("description"):
        declared["description"] = function["description"]
    if function.get("parameters"):
        declared["parametersJsonSchema"] = function["parameters"]
    return declared


def _choose(body: dict[str, Any], mode: str, names: Sequence[str] = ()) -> None:
    config: dict[str, Any] = {"mode": mode}
    if names:
        config["allowedFunctionNames"] = list(names)
    body.setdefault("toolConfig", {})["functionCallingConfig"] = config


def _tool_choice(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    if isinstance(value, str) and value in modes:
        if value != "auto" or "functionCallingConfig" not in body.get("toolConfig", {}):
            _choose(body, modes[value])
    elif isinstance(value, dict) and value.get("type") == "function":
        _choose(body, "ANY", [function["name"] for function in functions([value], provider)])
    elif isinstance(value, dict) and isinstance(value.get("allowed_tools"), dict):
        allowed = value["allowed_tools"]
        names = [function["name"] for function in functions(allowed.get("tools"), provider)]
        _choose(body, "ANY" if allowed.get("mode") == "required" else "VALIDATED", names)
    else:
        raise UnsupportedParameter("tool_choice", provider, hint=f"it has no form for {value!r}")


def _response_format(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    kind = value.get("type") if isinstance(value, dict) else value
    if kind == "text":
        return
    if kind not in ("json_object", "json_schema"):
        raise UnsupportedParameter("response_format", provider, hint=f"it has no form for {kind!r}")
    config = body.setdefault("generationConfig", {})
    config["responseMimeType"] = "application/json"
    if kind == "json_schema":
        config["responseJsonSchema"] = schema_of(value, provider)


def _effort(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    """Google's own mapping: a level from Gemini 3 on, a budget of tokens before."""
    model = request.model
    pro = "-pro" in model
    value = value if isinstance(value, str) else ""
    thinking: dict[str, Any]
    if thinks_by_level(model) and value in LEVELS:
        thinking = {"thinkingLevel": "LOW" if value == "minimal" and pro else value.upper()}
    elif not thinks_by_level(model) and value in BUDGETS and not (pro and value == "none"):
        thinking = {"thinkingBudget": BUDGETS[value]}
    else:
        raise UnsupportedParameter(
            "reasoning_effort", provider, hint=f"{model} has no effort {value!r}; leave it out"
        )
    body.setdefault("generationConfig", {})["thinkingConfig"] = thinking


PARAMETERS: Final[Mapping[str, Put]] = {
    "temperature": _config("temperature"),
    "top_p": _config("topP"),
    "max_tokens": _max_tokens,
    "stop": _stop,
    "seed": _config("seed"),
    "n": _n,
    "presence_penalty": _config("presencePenalty"),
    "frequency_penalty": _config("frequencyPenalty"),
    "logprobs": _logprobs,
    "top_logprobs": _config("logprobs"),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "reasoning_effort": _effort,
}
"""How each of OpenAI's parameters is said."""
NEUTRAL: Final[Mapping[str, Any]] = {"logit_bias": {}, "parallel_tool_calls": True, "user": ""}
"""Parameters that Gemini does not have, each with the value that asks for nothing."""
