"""The most tokens that one request may count, by what is really sent."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import Unsent
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Request, WireRequest

HIDDEN_TOKENS: Final = 64
"""What a provider puts around a prompt, beyond the bytes of the body's own syntax: the names of
roles, a date, a system prompt of the model's own."""
FORM_TOKENS: Final = 1_000
"""The instruction that a provider adds for tools, or for a form of the answer: up to 804 for
Claude's tools (docs/en/agents-and-tools/tool-use/overview, read 2026-11-26)."""
IMAGE_TOKENS: Final = 50_000
"""More than any provider counts for one picture, however few bytes it has: gpt-4o-mini counts up
to 48,169."""

_ANSWER: Final = (
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens"),
    *("generationConfig.maxOutputTokens", "inferenceConfig.maxTokens", "options.num_predict"),
    *("textGenerationConfig.maxTokenCount", "parameters.max_new_tokens"),
)
"""Where bodies have the limit of an answer."""
_CHAT_LIMITS: Final = frozenset(("max_tokens", "max_completion_tokens"))
"""Names of one limit: who reads the one reads the other."""
_PROBE_TOKENS: Final = 77
_ANSWERS: Final = ("n", "best_of", "num_generations", "generationConfig.candidateCount")
"""Where they have the number of answers."""
_ELSEWHERE: Final = frozenset(
    ("previous_response_id", "conversation", "prompt", "cachedContent", "cached_content")
)
"""Fields by which a provider reads what is not in the body."""
_EXTRAS: Final = frozenset(
    ("web_search_options", "search_parameters", "plugins", "mcp_servers", "prediction")
)
"""Fields by which it does what no count of tokens bounds."""
_OTHER_PRICES: Final = frozenset(("models", "fallbacks", "speed", "inference_geo", "audio"))
"""Fields by which what is answered has the price of another model, or of another kind of token."""
_CLIENT_TOOLS: Final = ("bash_", "text_editor_", "computer_", "memory_")
"""Types of Anthropic's own tools that run on this side."""
_TOOL_FIELDS: Final = frozenset(
    ("functionDeclarations", "function_declarations", "toolSpec", "cachePoint")
)
_TEXTS: Final = frozenset(
    (None, "text", "input_text", "output_text", "refusal", "thinking", "reasoning")
)
_CALLS: Final = frozenset(("tool_use", "tool_result", "tool_call", "redacted_thinking"))
_IMAGES: Final = frozenset(("image_url", "input_image", "image"))


@frozen
class Bounds:
    """The most tokens that one request may count."""

    input_tokens: int
    output_tokens: int | None
    """None where nothing limits the answer."""


def bounds_of(
    request: Request,
    wire: WireRequest,
    context_tokens: int | None,
    answer_tokens: int | None,
    limits: Sequence[str] = _ANSWER,
) -> Bounds:
    """The request's bounds; `context_tokens` and `answer_tokens` are the model's, where known.

    `limits` are the fields by which its server limits an answer. No token is shorter than a byte,
    so the body's bytes bound its text. Raises Unsent for what has no bound: a tool that runs at
    the provider, another model than the request's, and, where the model's context window is not
    known, what is not text.
    """
    body = orjson.loads(wire.body) if wire.body else {}
    if (extra := _unbounded(body) or _other_model(request)) is not None:
        raise Unsent(
            f"what {extra} may cost has no bound, as --max-cost needs it",
            hint="leave it out, or run these rows without --max-cost",
        )
    tokens = _input(request, wire, body)
    if context_tokens is not None:
        tokens = context_tokens if tokens is None else min(tokens, context_tokens)
    if tokens is None:
        raise Unsent(
            "the row has more than text and pictures, and the model's context window is not "
            "known, so what it may cost has no bound, as --max-cost needs it",
            hint="run these rows without --max-cost",
        )
    longest = _longest(body, limits) or answer_tokens or context_tokens
    answers = max([1, *_found(body, _ANSWERS)])
    return Bounds(tokens, None if longest is None else longest * answers)


def limits_of_wire(encode: Callable[[Request], WireRequest], probe: Request) -> Sequence[str]:
    """The fields by which this server limits an answer: it may ignore those of others."""
    limited = Request(probe.model, probe.messages, {"max_tokens": _PROBE_TOKENS})
    try:
        body = orjson.loads(encode(limited).body)
    except (Unsent, orjson.JSONDecodeError):
        return _ANSWER
    found = {path for path in _ANSWER if _PROBE_TOKENS in _found(body, (path,))}
    return tuple(found | _CHAT_LIMITS if found & _CHAT_LIMITS else found)


def _longest(body: Mapping[str, Any], limits: Sequence[str]) -> int | None:
    """The limit of an answer in the body; None where it has none."""
    return max((found for found in _found(body, limits) if found > 0), default=None)


def _other_model(request: Request) -> str | None:
    """What would have the request answered by another model than its own, which is priced."""
    extra = request.params.get("extra_body")
    other = extra.get("model", request.model) if isinstance(extra, Mapping) else request.model
    return None if other == request.model else f"the model {other!r} of extra_body"


def _input(request: Request, wire: WireRequest, body: Mapping[str, Any]) -> int | None:
    """The most tokens of the prompt; None where its bytes do not bound them."""
    tokens = len(wire.body) + HIDDEN_TOKENS
    if request.params.keys() & {"tools", "response_format"} or "tools" in body:
        tokens += FORM_TOKENS
    if not _ELSEWHERE.isdisjoint(body):
        return None
    for kind, data in _parts(request.messages):
        if kind not in _IMAGES:
            return None
        tokens += IMAGE_TOKENS - len(data)
    return tokens


def _parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The kind of each part that is not text, with its base64."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            yield from _inside(content)
        if message.get("audio"):
            yield "audio", ""
        for image in message.get("images") or ():
            yield "image", image if isinstance(image, str) else ""


def _inside(content: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for part in content:
        if not isinstance(part, Mapping):
            continue
        kind = part.get("type")
        if kind in _CALLS:
            inner = part.get("content")
            yield from _inside(inner) if isinstance(inner, list) else ()
        elif kind not in _TEXTS:
            held = part.get("image_url")
            url = held.get("url") if isinstance(held, Mapping) else held
            is_data = isinstance(url, str) and url.startswith("data:")
            yield str(kind), str(url).partition(",")[2] if is_data else ""


def _unbounded(body: Mapping[str, Any]) -> str | None:
    """What in the body may cost more than any tokens that it names."""
    for name in body:
        if name in _EXTRAS or (name in _OTHER_PRICES and body[name]):
            return name
    if (kinds := _answered_in(body)) is not None:
        return kinds
    config = body.get("toolConfig")
    tools = body.get("tools") or (config.get("tools") if isinstance(config, Mapping) else None)
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, Mapping) and not _runs_here(tool):
            return f"the tool {tool.get('type') or ', '.join(map(str, tool))}"
    return None


def _answered_in(body: Mapping[str, Any]) -> str | None:
    """The field that asks for more than a text, whose tokens have a price of their own."""
    config = body.get("generationConfig")
    inner = config.get("responseModalities") if isinstance(config, Mapping) else None
    for name, kinds in (("modalities", body.get("modalities")), ("responseModalities", inner)):
        if isinstance(kinds, list) and any(str(kind).lower() != "text" for kind in kinds):
            return name
    return None


def _runs_here(tool: Mapping[str, Any]) -> bool:
    """Whether a call of the tool comes back to whoever has asked."""
    kind = tool.get("type")
    if isinstance(kind, str):
        return kind in ("function", "custom") or kind.startswith(_CLIENT_TOOLS)
    return "name" in tool or "function" in tool or _TOOL_FIELDS.issuperset(tool)


def _found(body: Mapping[str, Any], paths: Sequence[str]) -> Iterator[int]:
    """The numbers at these paths, rounded up; also as texts, which some servers read.

    Raises Unsent for what is no number there, since a server may make anything of it.
    """
    for path in paths:
        head, _, rest = path.partition(".")
        value = body.get(head)
        if rest:
            value = value.get(rest) if isinstance(value, Mapping) else None
        if value is None or isinstance(value, bool):
            continue
        try:
            yield math.ceil(float(value))
        except (TypeError, ValueError, OverflowError):
            raise Unsent(
                f"{path} is no number, so what the row may cost has no bound, as --max-cost needs "
                "it",
                hint="correct it, or run these rows without --max-cost",
            ) from None
