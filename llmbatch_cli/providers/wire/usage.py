"""Token counts as every wire reports them, read by one table row a wire."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.providers.wire.replies import count, mapping

Path = tuple[str, str]
"""A field of the usage object, and the field of the object in it that counts; the second is empty
where the first counts."""


def _paths(*dotted: str) -> Sequence[Path]:
    parts = (path.partition(".") for path in dotted)
    return tuple((outer, inner) for outer, _, inner in parts)


@frozen(kw_only=True)
class UsageFields:
    """Where a wire's usage object holds each count: the first path with a count, or their sum."""

    prompt: Sequence[Path]
    completion: Sequence[Path]
    total: Sequence[Path] = ()
    """Where there is none: the sum of prompt and completion."""
    cached: Sequence[Path] = ()
    cache_write: Sequence[Path] = ()
    cache_write_1h: Sequence[Path] = ()
    reasoning: Sequence[Path] = ()
    summed: bool = False
    """Whether prompt and completion are the sums of their paths, not alternatives."""
    details: frozenset[str] = field(init=False)
    """The outer fields of what only some replies count: `cached`, `cache_write`, `reasoning`."""

    def __post_init__(self) -> None:
        paths = (*self.cached, *self.cache_write, *self.reasoning)
        object.__setattr__(self, "details", frozenset(outer for outer, _ in paths))


# The second names are those of the Responses API, which gateways put into chat completions too.
OPENAI: Final = UsageFields(
    prompt=_paths("prompt_tokens", "input_tokens"),
    completion=_paths("completion_tokens", "output_tokens"),
    total=_paths("total_tokens"),
    # The others are DeepSeek's, Moonshot's and Mistral's.
    cached=_paths(
        *("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens"),
        *("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"),
    ),
    cache_write=_paths(
        *("prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens"),
    ),
    reasoning=_paths(
        *("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
    ),
)
# Anthropic and Bedrock count what the cache gave and took beside the input, not within it.
ANTHROPIC: Final = UsageFields(
    prompt=_paths("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    completion=_paths("output_tokens"),
    cached=_paths("cache_read_input_tokens"),
    cache_write=_paths("cache_creation_input_tokens"),
    cache_write_1h=_paths("cache_creation.ephemeral_1h_input_tokens"),
    reasoning=_paths("output_tokens_details.thinking_tokens"),
    summed=True,
)
BEDROCK: Final = UsageFields(
    prompt=_paths("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
    completion=_paths("outputTokens"),
    cached=_paths("cacheReadInputTokens"),
    cache_write=_paths("cacheWriteInputTokens"),
    summed=True,
)
# Gemini counts thoughts beside the answer, and the results of its own tools beside the prompt.
GEMINI: Final = UsageFields(
    prompt=_paths("promptTokenCount", "toolUsePromptTokenCount"),
    completion=_paths("candidatesTokenCount", "thoughtsTokenCount"),
    total=_paths("totalTokenCount"),
    cached=_paths("cachedContentTokenCount"),
    reasoning=_paths("thoughtsTokenCount"),
    summed=True,
)
COHERE: Final = UsageFields(
    prompt=_paths("tokens.input_tokens", "billed_units.input_tokens"),
    completion=_paths("tokens.output_tokens", "billed_units.output_tokens"),
    cached=_paths("cached_tokens"),
)
OLLAMA: Final = UsageFields(
    prompt=_paths("prompt_eval_count"),
    completion=_paths("eval_count"),
)


def read_usage(found: object, fields: UsageFields) -> Usage | None:
    """The counts in a wire's usage object; None where there are none."""
    if not isinstance(found, dict):
        return None
    counted = _sum if fields.summed else _first
    prompt, completion = counted(found, fields.prompt), counted(found, fields.completion)
    total = _first(found, fields.total)
    if total is None and prompt is not None and completion is not None:
        total = prompt + completion
    if not (prompt or completion or total):  # zeros stand for unknown: no prompt has no token
        return None
    usage = Usage(prompt, completion, total)
    if not fields.details.isdisjoint(found):
        usage.cached_tokens = _first(found, fields.cached)
        usage.cache_write_tokens = _first(found, fields.cache_write)
        usage.cache_write_1h_tokens = _first(found, fields.cache_write_1h) or None
        usage.reasoning_tokens = _first(found, fields.reasoning)
        _include_reasoning(usage)
    return usage


def _include_reasoning(usage: Usage) -> None:
    """Count hidden reasoning as a part of the answer where it stands beside it, as with xAI; the
    total tells."""
    prompt, answer, thought = usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens
    if prompt is None or answer is None or not thought:
        return
    if usage.total_tokens == prompt + answer + thought:
        usage.completion_tokens = answer + thought


def _first(found: Mapping[str, Any], paths: Sequence[Path]) -> int | None:
    for outer, inner in paths:
        value = found.get(outer)
        if inner and value is not None:
            value = mapping(value).get(inner)
        if value is None:
            continue
        number = count(value)
        if number is None and isinstance(value, float | str):
            number = _counted(value)
        if number is not None:
            return number
    return None


def _counted(value: float | str) -> int | None:
    """A count as Cohere writes it, 913.0, or as text."""
    try:
        number = float(value)
    except ValueError:
        return None
    return count(int(number)) if number.is_integer() else None


def _sum(found: Mapping[str, Any], paths: Sequence[Path]) -> int | None:
    numbers = [number for path in paths if (number := _first(found, (path,))) is not None]
    return sum(numbers) if numbers else None
