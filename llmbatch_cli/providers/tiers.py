"""Which provider sells answers in other tiers than the usual one, and how it is asked for them.

Read on 2026-11-26: developers.openai.com/api/docs/guides/priority-processing and /flex-processing;
learn.microsoft.com/azure/foundry/openai/concepts/priority-processing;
console.groq.com/docs/flex-processing; openrouter.ai/docs/guides/features/service-tiers;
docs.x.ai/developers/advanced-api-usage/priority-processing;
docs.fireworks.ai/serverless/priority-and-fast;
vercel.com/docs/ai-gateway/capabilities/service-tiers;
ai.google.dev/gemini-api/docs/flex-inference and /priority-inference;
docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo and /flex-paygo (Gemini only);
docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ServiceTier.html. Anthropic sells its
priority tier no more (platform.claude.com/docs/en/api/service-tiers), the other providers none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Params

BOTH: Final = ("flex", "priority")
Ask = Callable[[str], Mapping[str, Any]]

_VERTEX_HEADER: Final = "X-Vertex-AI-LLM-Shared-Request-Type"


def _by_name(tier: str) -> Mapping[str, Any]:
    return {"service_tier": tier}


def _as_gemini(tier: str) -> Mapping[str, Any]:
    return {"extra_body": {"serviceTier": tier}}


def _as_bedrock(tier: str) -> Mapping[str, Any]:
    return {"extra_body": {"serviceTier": {"type": tier}}}


def _as_vertex(tier: str) -> Mapping[str, Any]:
    return {"extra_headers": {_VERTEX_HEADER: tier}}


SOLD: Final[Mapping[str, tuple[Sequence[str], Ask]]] = {
    "openai": (BOTH, _by_name),
    "azure": (("priority",), _by_name),
    "groq": (("flex",), _by_name),
    "openrouter": (BOTH, _by_name),
    "xai": (("priority",), _by_name),
    "fireworks": (("priority",), _by_name),
    "vercel": (BOTH, _by_name),
    "gemini": (BOTH, _as_gemini),
    "vertex": (BOTH, _as_vertex),
    "bedrock": (BOTH, _as_bedrock),
    "fake": (BOTH, _by_name),
}
"""The tiers of each provider, and the parameters that ask for one."""


def tier_params(provider: str, model: str, tier: str | None) -> Params:
    """The parameters that buy the model's answers in this tier; none for the usual one.

    Raises UsageError where it is not sold.
    """
    if tier is None:
        return {}
    tiers, ask = SOLD.get(provider, ((), _by_name))
    if provider == "vertex" and "gemini" not in model:
        tiers = ()
    if tier not in tiers:
        sellers = ", ".join(
            name for name, (sold, _) in SOLD.items() if tier in sold and name != "fake"
        )
        raise UsageError(
            f"{provider}/{model} is not sold as --tier {tier}",
            hint=f"leave --tier out; {tier} is sold by {sellers}",
        )
    return ask(tier)
