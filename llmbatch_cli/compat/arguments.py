"""What litellm's arguments mean here: names, keys, addresses, time, and what goes to the model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.engine.retry import RetryPolicy
from llmbatch_cli.models import CallOptions
from llmbatch_cli.providers.registry import PROVIDERS, Access, family_of

TIMEOUT_S: Final = 600.0

SPELLINGS: Final[Mapping[str, str]] = {
    "anthropic_text": "anthropic",
    "cohere_chat": "cohere",
    "custom_openai": "custom",
    "featherless_ai": "featherless",
    "fireworks_ai": "fireworks",
    "hosted_vllm": "vllm",
    "litellm_proxy": "litellm",
    "llamafile": "llamacpp",
    "lm_studio": "lmstudio",
    "nvidia_nim": "nvidia",
    "ollama_chat": "ollama",
    "openai_like": "custom",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vercel_ai_gateway": "vercel",
    "vertex_ai": "vertex",
}
"""litellm's names of providers that have another name here; used where ours is registered."""

ENVIRONMENT: Final[Mapping[str, str]] = {
    "AZURE_API_BASE": "AZURE_OPENAI_ENDPOINT",
    "AZURE_API_KEY": "AZURE_OPENAI_API_KEY",
    "AZURE_API_VERSION": "AZURE_OPENAI_API_VERSION",
    "FIREWORKS_AI_API_KEY": "FIREWORKS_API_KEY",
    "HOSTED_VLLM_API_BASE": "VLLM_BASE_URL",
    "HOSTED_VLLM_API_KEY": "VLLM_API_KEY",
    "HUGGINGFACE_API_KEY": "HF_TOKEN",
    "OPENAI_LIKE_API_BASE": "CUSTOM_BASE_URL",
    "OPENAI_LIKE_API_KEY": "LLMBATCH_API_KEY",
    "PERPLEXITYAI_API_KEY": "PERPLEXITY_API_KEY",
    "TOGETHERAI_API_KEY": "TOGETHER_API_KEY",
    "VERTEXAI_LOCATION": "GOOGLE_CLOUD_LOCATION",
    "VERTEXAI_PROJECT": "GOOGLE_CLOUD_PROJECT",
}
"""litellm's environment variables that have another name here; ours wins where both are set."""

VARIABLES: Final[Mapping[str, str]] = {
    "api_version": "AZURE_OPENAI_API_VERSION",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_profile_name": "AWS_PROFILE",
    "aws_region_name": "AWS_REGION",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "vertex_location": "GOOGLE_CLOUD_LOCATION",
    "vertex_project": "GOOGLE_CLOUD_PROJECT",
}
"""Arguments that take an environment variable's place, for one call."""

REFUSED: Final = frozenset(
    ("context_window_fallback_dict", "fallbacks", "guardrails", "model_list", "prompt_id")
)
"""litellm's arguments that change what is answered, and that nothing here can stand in for."""

CONTROLS: Final = re.compile(
    r"api_(key|base)|base_url|(request_)?timeout|(num|max)_retries|headers|extra_headers"
    r"|custom_llm_provider|deployment_id|drop_params|stream|stream_options|max_workers"
)
"""Arguments that say how to ask."""

BOOKKEEPING: Final = re.compile(
    r"acompletion|additional_drop_params|allowed_openai_params|base_model|cache|caching|client"
    r"|cooldown_time|force_timeout|hf_model_name|id|logger_fn|max_parallel_requests|metadata"
    r"|model_config|model_info|no-log|order|region_name|rpm|shared_session|ssl_verify"
    r"|stream_timeout|supports_system_message|tags|tpm|ttl|user_id|verbose|weight"
    r"|(_|aws_|azure_|gcs_|input_cost_|litellm_|mock_|output_cost_|s3_|vertex_).*"
    r"|.*_(api_key|credentials|password|secret|secret_key|token_file)|.*_cost_per_.*"
)
"""litellm's arguments that say nothing to a model: its logs, prices and state, other services'
secrets. They are left out of the request; every name that is not known goes into it."""


COMPLETION_ORDER: Final = (
    "timeout", "temperature", "top_p", "n", "stream", "stream_options", "stop",
    "max_completion_tokens", "max_tokens", "modalities", "prediction", "audio",
    "presence_penalty", "frequency_penalty", "logit_bias", "user", "reasoning_effort",
)  # fmt: skip
"""What may follow `model` and `messages` without its name in litellm 1.106.2's `completion`."""

ACOMPLETION_ORDER: Final = (
    "functions", "function_call", "timeout", "temperature", "top_p", "n", "stream",
    "stream_options", "stop", "max_tokens", "max_completion_tokens", "modalities", "prediction",
    "audio", "presence_penalty", "frequency_penalty", "logit_bias", "user",
)  # fmt: skip
"""The same for its `acompletion`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One model, by litellm's arguments."""

    spec: str
    """In our spelling: `provider/model`, or the bare name."""
    calling: CallOptions
    include_usage: bool
    """Whether a stream ends with a chunk that holds the usage."""


def named(model: str, params: Mapping[str, Any]) -> str:
    """The model's whole name in litellm's spelling, with the provider where one is told."""
    if params.get("deployment_id"):
        return f"azure/{params['deployment_id']}"
    provider = params.get("custom_llm_provider")
    if provider and not model.startswith(f"{provider}/"):
        return f"{provider}/{model}"
    return model


def spelled(name: str) -> str:
    """The whole name in our spelling."""
    head, slash, rest = name.partition("/")
    if slash and head not in PROVIDERS and SPELLINGS.get(head) in PROVIDERS:
        return f"{SPELLINGS[head]}/{rest}"
    if not slash and (family := family_of(name)) is not None:
        return f"{family}/{name}"
    if head == "bedrock":
        return f"bedrock/{rest.removeprefix('converse/')}"
    return name


def understood(name: str, params: Mapping[str, Any], environ: Mapping[str, str]) -> Asked:
    """What the arguments ask for; None counts as not given. Raises UsageError."""
    given = {key: value for key, value in params.items() if value is not None}
    for key in given:
        if key in REFUSED:
            raise UnsupportedParameter(key, "llmbatch", hint="leave it out")
    return Asked(
        spelled(name),
        CallOptions(
            _access(given, environ),
            sampling(given),
            timeout_s(given),
            _patience(given),
            drop_params=bool(given.get("drop_params")),
        ),
        bool((given.get("stream_options") or {}).get("include_usage")),
    )


def sampling(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that go into the request, by our names."""
    sent = {
        name: value
        for name, value in params.items()
        if name not in VARIABLES and not (CONTROLS.fullmatch(name) or BOOKKEEPING.fullmatch(name))
    }
    headers = {**(params.get("headers") or {}), **(params.get("extra_headers") or {})}
    if organization := sent.pop("organization", None):
        headers["openai-organization"] = organization
    return {**sent, "extra_headers": headers} if headers else sent


def timeout_s(params: Mapping[str, Any]) -> float:
    """The row's whole time: `request_timeout`, else `timeout`, else ten minutes."""
    for name in ("request_timeout", "timeout"):
        value = params.get(name)
        if value is None:
            continue
        try:
            seconds = float(getattr(value, "read", value))  # httpx.Timeout has several
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name} is a number of seconds, not {value!r}") from error
        if not seconds > 0:
            raise UsageError(f"{name} is more than 0 seconds, not {value!r}")
        return seconds
    return TIMEOUT_S


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with litellm's variables under our names too: those of ENVIRONMENT, and
    `X_API_BASE` as `X_BASE_URL`."""
    named_so = {
        f"{name.removesuffix('_API_BASE')}_BASE_URL": value
        for name, value in environ.items()
        if name.endswith("_API_BASE")
    }
    renamed = {ours: environ[theirs] for theirs, ours in ENVIRONMENT.items() if theirs in environ}
    return {**named_so, **renamed, **environ}


def _patience(params: Mapping[str, Any]) -> RetryPolicy:
    """Ours, or exactly as many retries as are asked for, whatever fails."""
    for name in ("num_retries", "max_retries"):
        if name in params:
            value = params[name]
            if not isinstance(value, int) or value < 0:
                raise UsageError(f"{name} is a whole number from 0, not {value!r}")
            return RetryPolicy(max_attempts=value + 1, counts_waits=True)
    return RetryPolicy()


def _access(params: Mapping[str, Any], environ: Mapping[str, str]) -> Access:
    told = {VARIABLES[name]: str(params[name]) for name in VARIABLES if name in params}
    return Access(
        params.get("api_base") or params.get("base_url"),
        params.get("api_key"),
        environ={**environ, **told},
    )


def with_names(
    order: Sequence[str], placed: Sequence[Any], params: Mapping[str, Any]
) -> dict[str, Any]:
    """The params, together with those that were given by their places. Raises TypeError."""
    if len(placed) > len(order):
        raise TypeError(f"after {order[-1]!r} arguments are named")
    given = dict(zip(order, placed, strict=False))
    if twice := given.keys() & params.keys():
        raise TypeError(f"got multiple values for argument {min(twice)!r}")
    return {**given, **params}
