"""OpenAI-compatible hosts and servers as rows of data: a new host is one row here.

Base URLs and key variables were read on 2026-11-22 in each host's own SDK where it has one (groq
1.7.0, together 3.1.1, cerebras-cloud-sdk 1.91.0, sambanova 1.13.0, fireworks-ai 1.2.30,
perplexityai 0.46.1, huggingface_hub 2.4.0, openrouter 1.3.84, xai-sdk 1.21.0, zai-sdk 0.2.3,
baseten 0.13.1), else on the page in its row. What differs has its source beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbatch_cli.core.errors import (
    ContextLength,
    OutOfQuota,
    Overloaded,
    RateLimited,
    Refused,
    Rejected,
    Unauthorized,
    UnknownModel,
)
from llmbatch_cli.providers.wire.errors import ErrorClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host, and how it differs from OpenAI. What a row leaves out is as with OpenAI."""

    name: str
    base_url: str | None
    """None where only the user can know it."""
    docs: str
    key_variables: Sequence[str] = ()
    """The variables that may hold its key; empty: NAME_API_KEY."""
    keys_page: str | None = None
    """Where a key is made; None for a server of one's own."""
    keyless: bool = False
    """Whether it usually runs without a key."""
    url_variables: Sequence[str] = ()
    """Variables that move it, beside NAME_BASE_URL."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Our name of a parameter: the host's."""
    refused: Mapping[str, Any] = field(default_factory=dict)
    """A parameter it does not support: the one value that may be left out for it."""
    no_formats: Sequence[str] = ()
    """Types of response_format that it refuses."""
    efforts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a value of reasoning_effort becomes in the body; other values go as they are."""
    developer: bool = False
    """Whether it supports the role `developer`; otherwise that is sent as `system`."""
    stream_fields: Mapping[str, Any] | None = None
    """The fields that request a stream, where they are not OpenAI's."""
    codes: Mapping[str, ErrorClass] = field(default_factory=dict)
    """Its own `error.code` and `error.type`."""
    statuses: Mapping[int, ErrorClass] = field(default_factory=dict)
    """HTTP statuses that mean something else than usual."""
    words: Sequence[tuple[str, ErrorClass]] = ()
    """Regular expressions for an error's message in lower case: the first that is found decides."""
    waits: frozenset[int] = frozenset()
    """Statuses that are a rate limit if a header says how long to wait."""
    flags: Sequence[str] = ()
    """Fields of `error.metadata` that only a content filter gives."""
    cost: Sequence[str] = ()
    """The path in `usage` to what the answer cost."""
    costs_per_usd: float = 1.0
    """How many of that are one US dollar."""
    extras: Sequence[str] = ()
    """Fields of the body that go to the answer's extras."""
    batch: str | None = None
    """`module:class` of its batch API, see batch_api.py."""

    @property
    def variable(self) -> str:
        """How the names of its variables begin."""
        return self.name.upper().replace("-", "_")

    def __post_init__(self) -> None:
        usual = (f"{self.variable}_API_KEY",)
        object.__setattr__(self, "key_variables", self.key_variables or usual)


OPENAI_BATCH: Final = "llmbatch_cli.providers.openai.batch:OpenAIBatch"
"""Of hosts whose batch API has OpenAI's shape; how they differ is in openai/batch_hosts.py."""
_BALANCE: Final = ("insufficient balance", OutOfQuota)
_NO_LOGITS: Final[Mapping[str, Any]] = {"logit_bias": {}, "logprobs": False, "top_logprobs": 0}
_NO_PENALTIES: Final[Mapping[str, Any]] = {"presence_penalty": 0, "frequency_penalty": 0}

ROWS: Final = (
    Host(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        docs="https://console.groq.com/docs/openai",
        keys_page="https://console.groq.com/keys",
        # The SDK's "not yet supported by any of our models".
        refused={**_NO_LOGITS, **_NO_PENALTIES, "n": 1},
        renamed={"max_tokens": "max_completion_tokens"},
        # 498 is "flex tier capacity exceeded" (docs/errors).
        statuses={498: Overloaded},
        codes={"model_decommissioned": UnknownModel},
        batch=OPENAI_BATCH,
    ),
    Host(
        name="together",
        base_url="https://api.together.ai/v1",
        docs="https://docs.together.ai/docs/openai-api-compatibility",
        keys_page="https://api.together.ai/settings/api-keys",
        # docs/error-codes: 403 is a prompt that is too long.
        words=(("input token count", ContextLength),),
        batch="llmbatch_cli.providers.openai.batch_together:TogetherBatch",
    ),
    Host(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        docs="https://docs.fireworks.ai/tools-sdks/openai-compatibility",
        keys_page="https://app.fireworks.ai/settings/users/api-keys",
        # 412 is an account suspended for its bills (troubleshooting/status_error_codes).
        statuses={412: OutOfQuota},
        batch="llmbatch_cli.providers.fireworks.batch:FireworksBatch",
    ),
    Host(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        docs="https://openrouter.ai/docs/api/reference/errors-and-debugging",
        keys_page="https://openrouter.ai/settings/keys",
        headers={"x-title": "llmbatch"},
        developer=True,
        waits=frozenset((402,)),
        flags=("flagged_input", "reasons"),
        words=(("free-models-per-day", OutOfQuota),),
        cost=("cost",),
        batch="llmbatch_cli.providers.openrouter.batch:OpenRouterBatch",
    ),
    Host(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        docs="https://api-docs.deepseek.com/quick_start/error_codes",
        keys_page="https://platform.deepseek.com/api_keys",
        # guides/thinking_mode
        efforts={"none": {"thinking": {"type": "disabled"}}},
        refused={"logit_bias": {}, "n": 1, "seed": None},
        # guides/json_mode; "This response_format type is unavailable now" (Vane issue 969).
        no_formats=("json_schema",),
    ),
    Host(
        name="xai",
        base_url="https://api.x.ai/v1",
        docs="https://docs.x.ai/docs/api-reference",
        keys_page="https://console.x.ai",
        # A wrong key is a 400 here (openai/codex issue 1352).
        words=(
            ("incorrect api key", Unauthorized),
            ("out of credits", OutOfQuota),
            ("used all available credits", OutOfQuota),
        ),
        cost=("cost_in_usd_ticks",),
        costs_per_usd=1e10,
        extras=("citations",),
        batch="llmbatch_cli.providers.xai.batch:XAIBatch",
    ),
    Host(
        name="perplexity",
        base_url="https://api.perplexity.ai",
        docs="https://docs.perplexity.ai/api-reference/chat-completions-post",
        keys_page="https://www.perplexity.ai/account/api/keys",
        # CompletionCreateParams of the SDK has none of these.
        refused={"logit_bias": {}, "seed": None, "user": ""},
        stream_fields={"stream": True},
        cost=("cost", "total_cost"),
        extras=("citations", "search_results", "images", "related_questions"),
    ),
    Host(
        name="cerebras",
        base_url="https://api.cerebras.ai/v1",
        docs="https://inference-docs.cerebras.ai/resources/openai",
        keys_page="https://cloud.cerebras.ai",
        renamed={"max_tokens": "max_completion_tokens"},
        developer=True,
    ),
    Host(
        name="sambanova",
        base_url="https://api.sambanova.ai/v1",
        docs="https://docs.sambanova.ai/docs/en/features/openai-compatibility",
        keys_page="https://cloud.sambanova.ai/apis",
        refused={"user": ""},
        url_variables=("SAMBA_NOVA_BASE_URL",),
    ),
    Host(
        name="nvidia",
        base_url="https://integrate.api.nvidia.com/v1",
        docs="https://docs.api.nvidia.com/nim/reference/llm-apis",
        key_variables=("NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY"),
        keys_page="https://build.nvidia.com/settings/api-keys",
    ),
    Host(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        docs="https://huggingface.co/docs/inference-providers",
        key_variables=("HF_TOKEN",),
        keys_page="https://huggingface.co/settings/tokens",
    ),
    Host(
        name="github",
        base_url="https://models.github.ai/inference",
        docs="https://docs.github.com/rest/models/inference",
        key_variables=("GITHUB_TOKEN", "GITHUB_API_KEY"),
        keys_page="https://github.com/settings/personal-access-tokens",
        codes={"tokens_limit_reached": ContextLength, "unknown_model": UnknownModel},
        developer=True,
    ),
    Host(
        name="deepinfra",
        base_url="https://api.deepinfra.com/v1/openai",
        docs="https://deepinfra.com/docs/openai_api",
        key_variables=("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        keys_page="https://deepinfra.com/dash/api_keys",
        cost=("estimated_cost",),
        batch=OPENAI_BATCH,
    ),
    Host(
        name="hyperbolic",
        base_url="https://api.hyperbolic.xyz/v1",
        docs="https://docs.hyperbolic.xyz/docs/rest-api",
        keys_page="https://app.hyperbolic.ai/settings",
    ),
    Host(
        name="novita",
        base_url="https://api.novita.ai/openai/v1",
        docs="https://novita.ai/docs/api-reference/basic-error-code",
        keys_page="https://novita.ai/settings/key-management",
        codes={"NOT_ENOUGH_BALANCE": OutOfQuota, "BILLING_BALANCE_NOT_ENOUGH": OutOfQuota},
        words=(("not_enough_balance", OutOfQuota), ("not enough balance", OutOfQuota)),
        batch=OPENAI_BATCH,
    ),
    Host(
        name="nebius",
        base_url="https://api.tokenfactory.nebius.com/v1",
        docs="https://docs.tokenfactory.nebius.com",
        keys_page="https://tokenfactory.nebius.com",
    ),
    Host(
        name="moonshot",
        base_url="https://api.moonshot.ai/v1",
        docs="https://platform.kimi.ai/docs/api/chat",
        keys_page="https://platform.kimi.ai/console/api-keys",
        # kimi.com/help/kimi-api; a suspended account is a 429 there.
        codes={
            "exceeded_current_quota_error": OutOfQuota,
            "rate_limit_reached_error": RateLimited,
            "engine_overloaded_error": Overloaded,
            "resource_not_found_error": UnknownModel,
            "invalid_authentication_error": Unauthorized,
            "content_filter": Refused,
        },
        words=(_BALANCE,),
    ),
    Host(
        name="zai",
        base_url="https://api.z.ai/api/paas/v4",
        docs="https://docs.z.ai/api-reference/api-code",
        keys_page="https://z.ai/manage-apikey/apikey-list",
        codes={
            **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), Unauthorized),
            **dict.fromkeys(("1110", "1111", "1112", "1121", "1220"), Unauthorized),
            **dict.fromkeys(("1113", "1304", "1308", "1309", "1310"), OutOfQuota),
            **dict.fromkeys(("1302", "1303", "1305"), RateLimited),
            **dict.fromkeys(("500", "1120", "1230", "1234", "1312"), Overloaded),
            **dict.fromkeys(("1210", "1212", "1213", "1214", "1215"), Rejected),
            "1211": UnknownModel,
            "1261": ContextLength,
            "1301": Refused,
        },
        efforts={"none": {"thinking": {"type": "disabled"}}},
    ),
    Host(
        name="dashscope",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        docs="https://www.alibabacloud.com/help/en/model-studio/error-code",
        keys_page="https://modelstudio.console.alibabacloud.com/?tab=api#/api-key",
        # insufficient_quota is too many tokens a minute here, not an empty account.
        codes={
            "insufficient_quota": RateLimited,
            "limit_requests": RateLimited,
            "Arrearage": OutOfQuota,
            "AccessDenied.Unpurchased": OutOfQuota,
            "data_inspection_failed": Refused,
            "DataInspectionFailed": Refused,
        },
        batch=OPENAI_BATCH,
    ),
    Host(
        name="minimax",
        base_url="https://api.minimax.io/v1",
        docs="https://platform.minimax.io/docs/api-reference/errorcode",
        keys_page="https://platform.minimax.io/user-center/basic-information/interface-key",
        codes={
            **dict.fromkeys(("1000", "1001"), Overloaded),
            "1002": RateLimited,
            "1004": Unauthorized,
        },
        words=(_BALANCE, ("sensitive", Refused)),
    ),
    Host(
        name="baseten",
        base_url="https://inference.baseten.co/v1",
        docs="https://docs.baseten.co/development/model-apis/overview",
        keys_page="https://app.baseten.co/settings/api_keys",
    ),
    Host(
        name="nscale",
        base_url="https://inference.api.nscale.com/v1",
        docs="https://docs.nscale.com/docs/inference/chat",
        keys_page="https://console.nscale.com",
    ),
    Host(
        name="featherless",
        base_url="https://api.featherless.ai/v1",
        docs="https://featherless.ai/docs",
        keys_page="https://featherless.ai/account/api-keys",
    ),
    Host(
        name="scaleway",
        base_url="https://api.scaleway.ai/v1",
        docs="https://www.scaleway.com/en/docs/generative-apis",
        key_variables=("SCW_SECRET_KEY",),
        keys_page="https://console.scaleway.com/iam/api-keys",
    ),
    Host(
        name="vercel",
        base_url="https://ai-gateway.vercel.sh/v1",
        docs="https://vercel.com/docs/ai-gateway/openai-compat",
        key_variables=("AI_GATEWAY_API_KEY", "VERCEL_AI_GATEWAY_API_KEY"),
        keys_page="https://vercel.com/dashboard/ai-gateway/api-keys",
    ),
    Host(
        name="wandb",
        base_url="https://api.inference.wandb.ai/v1",
        docs="https://docs.wandb.ai/inference/api-reference/errors",
        keys_page="https://wandb.ai/authorize",
    ),
    Host(
        name="vllm",
        base_url="http://localhost:8000/v1",
        docs="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        keyless=True,
    ),
    Host(
        name="sglang",
        base_url="http://localhost:30000/v1",
        docs="https://docs.sglang.ai/basic_usage/openai_api_completions.html",
        keyless=True,
    ),
    Host(
        name="lmstudio",
        base_url="http://localhost:1234/v1",
        docs="https://lmstudio.ai/docs/developer/openai-compat",
        key_variables=("LM_STUDIO_API_KEY", "LM_API_TOKEN"),
        keyless=True,
        url_variables=("LM_STUDIO_API_BASE",),
    ),
    Host(
        name="llamacpp",
        base_url="http://localhost:8080/v1",
        docs="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        key_variables=("LLAMA_API_KEY",),
        keyless=True,
        developer=True,
    ),
    Host(
        name="litellm",
        base_url="http://localhost:4000/v1",
        docs="https://docs.litellm.ai/docs/proxy/user_keys",
        key_variables=("LITELLM_API_KEY", "LITELLM_PROXY_API_KEY"),
        keyless=True,
        url_variables=("LITELLM_PROXY_API_BASE",),
        developer=True,
        codes={"budget_exceeded": OutOfQuota},
        batch=OPENAI_BATCH,
    ),
    Host(
        name="custom",
        base_url=None,
        docs="https://platform.openai.com/docs/api-reference/chat",
        key_variables=("LLMBATCH_API_KEY",),
        keyless=True,
        url_variables=("LLMBATCH_BASE_URL",),
        developer=True,
        batch=OPENAI_BATCH,
    ),
)
HOSTS: Final[Mapping[str, Host]] = {row.name: row for row in ROWS}
