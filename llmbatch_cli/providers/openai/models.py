"""What OpenAI's own models do not support, and which answer only on the Responses API.

Sources (read 2026-11-22): developers.openai.com/api/docs/guides/latest-model (parameter
compatibility: "when reasoning effort is not none, remove temperature, top_p, and top_logprobs"),
/guides/reasoning, /api-reference/chat (`stop`); `ChatModel` and `ResponsesModel` of the Python SDK
3.54.0; openai-language-model-capabilities.ts of vercel/ai, for where the families begin.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from llmbatch_cli.core.near import did_you_mean, near_names

CURRENT: Final = (
    *("gpt-6.2-astra", "gpt-6.2-sol", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-astra", "gpt-6-sol"),
    *("gpt-6-luna", "gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna", "gpt-5.5", "gpt-5.4"),
    *("gpt-5.4-mini", "gpt-5.4-nano", "gpt-5.2", "gpt-5.1", "gpt-5", "gpt-5-mini", "gpt-5-nano"),
    *("gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "o3", "gpt-audio-mini"),
    *("gpt-5.5-pro", "gpt-5-pro", "o3-pro", "o1-pro", "o3-deep-research", "o4-mini-deep-research"),
)
"""Chat models that the SDK knows and that had not been shut down on the day it was read."""

_SERIES = re.compile(
    r"o(?P<o>\d+)(?:-|$)|gpt-(?P<major>\d+)(?:\.(?P<minor>\d+))?(?:-(?P<kind>.+))?$"
)
_ALWAYS_REASONS = re.compile(r"codex-mini|computer-use")
_RESPONSES_ONLY = re.compile(
    r"-pro(?:-|$)|codex|-deep-research|^computer-use|-cyber(?:-|$)|rosalind|daybreak|-law(?:-|$)"
)
"""`ResponsesModel` less `ChatModel`, and the pro and codex models that the latter lists too."""
_TOOLS_NEED_RESPONSES: Final = (5, 4)
"""From this version on chat completions refuse tools beside a reasoning effort."""
_LEAST_THAT_MAY_NOT_REASON: Final = (5, 1)
_LAST_THAT_DOES_NOT_BY_ITSELF: Final = (5, 4)
"""5.1 to 5.4 reason only on request; later ones always unless the effort is none."""

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_PENALTIES: Final = {"presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}}
_SAMPLING: Final = {"temperature": 1, "top_p": 1, "logprobs": False, "top_logprobs": 0}
_STOP: Final[Mapping[str, Any]] = {"stop": []}


def neutral(model: str, effort: object) -> Mapping[str, Any]:
    """The parameters that this model does not support, each with the value that changes nothing.

    `effort` is the request's reasoning_effort, None where it has none.
    """
    name, found = _base(model), _series(model)
    if found is None:
        return {**_SAMPLING, **_PENALTIES} if _ALWAYS_REASONS.match(name) else NOTHING
    if found["o"] is not None:
        stop = {} if int(found["o"]) < 3 or name.startswith("o3-mini") else _STOP
        return {**_SAMPLING, **_PENALTIES, **stop}
    version = _version(found)
    if version < (5, 0) or (version == (5, 0) and (found["kind"] or "").startswith("chat")):
        return NOTHING
    samples = _samples(version, effort)
    return {**_PENALTIES, **_STOP} if samples else {**_SAMPLING, **_PENALTIES, **_STOP}


def _samples(version: tuple[int, int], effort: object) -> bool:
    """Whether a model of this version supports sampling parameters at this effort."""
    if version < _LEAST_THAT_MAY_NOT_REASON:
        return False
    return effort == "none" or (effort is None and version <= _LAST_THAT_DOES_NOT_BY_ITSELF)


def needs_responses(model: str, params: Mapping[str, Any] = NOTHING) -> bool:
    """Whether OpenAI answers this only on the Responses API.

    That depends on the model, and from gpt-5.4 on also on tools beside a reasoning effort.
    """
    if _answers_only_there(model):
        return True
    found = _series(model) if params.get("tools") else None
    if found is None or found["major"] is None:
        return False
    effort = params.get("reasoning_effort")
    version = _version(found)
    reasons = effort != "none" if effort is not None else version > _LAST_THAT_DOES_NOT_BY_ITSELF
    return reasons and version >= _TOOLS_NEED_RESPONSES


@lru_cache(maxsize=256)
def _answers_only_there(model: str) -> bool:
    return _RESPONSES_ONLY.search(_base(model)) is not None


@lru_cache(maxsize=256)
def _series(model: str) -> re.Match[str] | None:
    return _SERIES.match(_base(model))


def near(model: str) -> str:
    """Current names like this one, as a hint; empty for none."""
    found = near_names(model, CURRENT)
    return f"{did_you_mean(found)} " if found else ""


def _version(found: re.Match[str]) -> tuple[int, int]:
    return int(found["major"]), int(found["minor"] or 0)


def _base(model: str) -> str:
    """The model below a fine-tuned one: `ft:gpt-4o-mini:org::id` is a gpt-4o-mini."""
    return model.split(":")[1] if model.startswith("ft:") else model
