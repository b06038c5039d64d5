"""What each Claude model supports, by its name: the longest answer, thinking, sampling, tools.

One place for the three APIs that reach Claude: the Messages API, Bedrock and Vertex.

Sources (read 2026-11-22): platform.claude.com/docs/en/about-claude/models/overview (maximum
output), /docs/en/build-with-claude/thinking-troubleshooting (thinking by model), /effort,
/extended-thinking (budgets; what thinking excludes), /docs/en/about-claude/model-deprecations,
/docs/en/models/opus-5-5/migration-guide, /docs/en/models/sonnet-5-5/whats-new-sonnet-5-5. That
temperature beside top_p is refused from 4.1 on: the API's own words in opencommit issue 520 and
open-webui/functions pull request 9 (read 2026-11-23).
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from llmbatch_cli.core.errors import UnsupportedParameter
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.providers.wire.draft import Draft
from llmbatch_cli.providers.wire.params import Convert

CURRENT: Final = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")

_MAX_OUTPUT_TOKENS: Final = (
    ((4, 6), None, 128_000),
    ((4, 5), None, 64_000),
    ((4, 0), "opus", 32_000),
    ((3, 7), None, 64_000),
    ((3, 5), None, 8_192),
    ((0, 0), None, 4_096),
)
"""From this version on, for this family or for all: the documented most. The first that fits."""

_UNKNOWN_MAX_OUTPUT_TOKENS: Final = 8_192

MAX_TOKENS_AT_ONCE: Final = 21_333
"""What can be answered in ten minutes on one silent connection. The provider's own SDK asks for a
stream above it (`_calculate_nonstreaming_timeout` of anthropic 2.12.0)."""

_BUDGET_TOKENS: Final = {"minimal": 1_024, "low": 4_096, "medium": 10_000, "high": 32_000}
"""Thinking budgets of models from before adaptive thinking; 1,024 is the least there is, and
above 32,000 the provider advises against waiting on an open connection."""

_LEAST_BUDGET_TOKENS: Final = 1_024

_NAME: Final = re.compile(
    r"claude-(?:(opus|sonnet|haiku|fable|mythos)-)?(\d+)(?:[-.](\d{1,2})(?!\d))?"
    r"(?!\d)(?:-(opus|sonnet|haiku))?"
)
_RETIRED: Final = re.compile(
    r"claude-(?:instant\b|v?[12]\b|3\b|(?:opus|sonnet)-4-(?:0\b|2025)|mythos-preview\b)"
)


@frozen
class Claude:
    """One model by family and version; both are None for a name that shows neither."""

    family: str | None
    version: tuple[int, int] | None

    def since(self, major: int, minor: int) -> bool:
        """Whether the version is known and not older than this one."""
        return self.version is not None and self.version >= (major, minor)

    @property
    def max_output_tokens(self) -> int:
        """The documented most that one answer may hold, thinking included."""
        for version, family, most in _MAX_OUTPUT_TOKENS:
            if self.since(*version) and family in (None, self.family):
                return most
        return _UNKNOWN_MAX_OUTPUT_TOKENS

    @property
    def adaptive(self) -> bool:
        """Whether it thinks by effort (4.6 and later), not by a budget of tokens."""
        return self.version is None or self.since(4, 6)

    @property
    def always_thinks(self) -> bool:
        """Whether its thinking cannot be switched off."""
        return self.family in ("fable", "mythos") or (self.family == "opus" and self.since(5, 5))

    @property
    def takes_sampling(self) -> bool:
        """Whether temperature and top_p may differ from their defaults: up to 4.6."""
        return not self.since(4, 7)

    @property
    def takes_one_sampling(self) -> bool:
        """Whether temperature and top_p exclude each other: from 4.1 on."""
        return self.since(4, 1)

    @property
    def forces_tools(self) -> bool:
        """Whether tool_choice may demand a call."""
        if self.family in ("fable", "mythos"):
            return not self.since(5, 1)
        return not (self.family in ("opus", "sonnet") and self.since(5, 5))


@lru_cache(maxsize=256)
def claude(model: str) -> Claude:
    """The model that a name means, with or without a host's own prefix and suffix."""
    if "claude-instant" in model:
        return Claude(None, (1, 0))
    if "claude-mythos-preview" in model:
        return Claude("mythos", (5, 0))
    found = _NAME.search(model)
    if found is None:
        return Claude(None, None)
    family, major, minor, family_behind = found.groups()
    return Claude(family or family_behind, (int(major), int(minor or 0)))


def is_retired(model: str) -> bool:
    """Whether the provider has taken the model out of service."""
    return _RETIRED.search(model) is not None


def sampling(name: str, path: str) -> Convert:
    """How `temperature` or `top_p` goes to Claude; of two that exclude each other, 1 is left out.

    Raises UnsupportedParameter for one that the model refuses; of two that exclude each other,
    for top_p.
    """

    def rule(value: Any, draft: Draft) -> Mapping[str, Any]:
        model, params = claude(draft.request.model), draft.params
        both = model.takes_one_sampling and {"temperature", "top_p"} <= params.keys()
        if value == 1:
            return {} if both else {path: value}
        if not model.takes_sampling:
            hint = "Claude 4.7 and later have none; remove it, or use --drop-params"
            raise draft.unsupported(name, hint)
        if params.get("reasoning_effort", "none") != "none":
            if name == "temperature":
                raise draft.unsupported(name, "Claude's temperature is 1 while it thinks")
            if value < 0.95:
                raise draft.unsupported(name, "top_p must be from 0.95 to 1 while Claude thinks")
        if name == "top_p" and both and params["temperature"] != 1:
            hint = "this model takes temperature or top_p, not both; or use --drop-params"
            raise draft.unsupported(name, hint)
        return {path: value}

    return rule


def thinking(effort: object, max_tokens: int, draft: Draft) -> dict[str, Any]:
    """`reasoning_effort` as fields by their paths: `thinking`, and `output_config.effort`.

    Raises UnsupportedParameter for an effort that the model does not have.
    """
    model = claude(draft.request.model)
    if effort == "none":
        return _no_thinking(model, draft)
    if model.adaptive:
        return _adaptive(model, effort, draft)
    if not model.since(3, 7):
        raise draft.unsupported("reasoning_effort", "Claude thinks since version 3.7")
    if effort not in _BUDGET_TOKENS:
        raise _unknown_effort(effort, ("none", *_BUDGET_TOKENS), draft)
    if max_tokens <= _LEAST_BUDGET_TOKENS:
        hint = f"thinking needs max_tokens over {_LEAST_BUDGET_TOKENS:,}"
        raise draft.unsupported("reasoning_effort", hint)
    most = max(_LEAST_BUDGET_TOKENS, max_tokens // 2)
    budget = min(_BUDGET_TOKENS[str(effort)], most)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _no_thinking(model: Claude, draft: Draft) -> dict[str, Any]:
    if model.always_thinks:
        hint = "this model always thinks; its lowest effort is low"
        raise draft.unsupported("reasoning_effort", hint)
    if model.family == "sonnet" and model.since(5, 5):
        return {"thinking": {"type": "between_tools"}}
    return {"thinking": {"type": "disabled"}} if model.adaptive else {}


def _adaptive(model: Claude, effort: object, draft: Draft) -> dict[str, Any]:
    efforts = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": "max"}
    if model.version is None or model.since(4, 7):
        efforts["xhigh"] = "xhigh"
    if effort not in efforts:
        raise _unknown_effort(effort, ("none", *efforts), draft)
    # Without "summarized" models from 4.7 on think in silence, at the same price.
    return {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config.effort": efforts[str(effort)],
    }


def _unknown_effort(effort: object, known: Iterable[str], draft: Draft) -> UnsupportedParameter:
    hint = f"{effort!r} is not one of this model's efforts: {', '.join(known)}"
    return draft.unsupported("reasoning_effort", hint)
