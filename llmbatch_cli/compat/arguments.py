"""litellm's arguments, translated: names, keys, addresses, time limits, sampling parameters."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.compat.exceptions import BadRequestError
from llmbatch_cli.core.errors import InputError, UnsupportedParameter, UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Message
from llmbatch_cli.engine.retry import RetryPolicy
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.providers.registry import Access, family_of
from llmbatch_cli.rows.input.parse import check_messages

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
"""litellm's names of providers that are named differently here."""

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
"""litellm's environment variables that are named differently here; ours win."""

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
"""Arguments that override an environment variable for one call."""

REFUSED: Final = frozenset(
    ("context_window_fallback_dict", "fallbacks", "guardrails", "model_list", "prompt_id")
)
"""litellm's arguments that change the answer and are unsupported here."""

CONTROLS: Final = re.compile(
    r"api_(key|base)|base_url|(request_)?timeout|(num|max)_retries|headers|extra_headers"
    r"|custom_llm_provider|deployment_id|drop_params|stream|stream_options|max_workers|progress"
)
"""Arguments that control the call and are not sent."""

BOOKKEEPING: Final = re.compile(
    r"acompletion|additional_drop_params|allowed_openai_params|base_model|cache|caching|client"
    r"|cooldown_time|force_timeout|hf_model_name|id|logger_fn|max_parallel_requests|metadata"
    r"|model_config|model_info|no-log|order|region_name|rpm|shared_session|ssl_verify"
    r"|stream_timeout|supports_system_message|tags|tpm|ttl|user_id|verbose|weight"
    r"|(_|aws_|azure_|gcs_|input_cost_|litellm_|mock_|output_cost_|s3_|vertex_).*"
    r"|.*_(api_key|credentials|password|secret|secret_key|token_file)|.*_cost_per_.*"
)
"""litellm's arguments for its own logging, prices, caches and other services' secrets. They are
dropped; every unknown name is sent."""

MESSAGE_FIELDS: Final = (
    "role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal",
)  # fmt: skip
"""What is sent of a message that is an object; an answer's message has more."""


@frozen
class ModelCall:
    """One model and how to call it."""

    name: str
    """As registered here: `provider/model`, or a bare name."""
    options: CallOptions
    include_usage: bool
    """Whether a stream ends with a chunk that holds the usage."""


def named(model: str, params: Mapping[str, Any]) -> str:
    """The model's full name as litellm spells it."""
    if params.get("deployment_id"):
        return f"azure/{params['deployment_id']}"
    provider = params.get("custom_llm_provider")
    if provider and not model.startswith(f"{provider}/"):
        return f"{provider}/{model}"
    return model


def spelled(name: str) -> str:
    """The full name as it is registered here."""
    provider, slash, model = name.partition("/")
    if not slash:
        family = family_of(name)
        return f"{family}/{name}" if family is not None else name
    if provider == "bedrock":
        model = model.removeprefix("converse/")
    return f"{SPELLINGS.get(provider, provider)}/{model}"


def model_call(name: str, params: Mapping[str, Any], environ: Mapping[str, str]) -> ModelCall:
    """The arguments translated; None counts as not given. Raises UsageError."""
    given = {key: value for key, value in params.items() if value is not None}
    for key in given:
        if key in REFUSED:
            raise UnsupportedParameter(key, "llmbatch", hint="leave it out")
    return ModelCall(
        spelled(name),
        CallOptions(
            _access(given, environ),
            sampling(given),
            timeout_s(given),
            _retries(given),
            drop_params=bool(given.get("drop_params")),
        ),
        bool((given.get("stream_options") or {}).get("include_usage")),
    )


def sampling(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are sent to the model."""
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
    """The call's time limit: `request_timeout`, else `timeout`, else ten minutes."""
    for name in ("request_timeout", "timeout"):
        value = params.get(name)
        if value is None:
            continue
        try:
            seconds = float(getattr(value, "read", value))  # httpx.Timeout has several
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name} must be a number of seconds, not {value!r}") from error
        if not seconds > 0:
            raise UsageError(f"{name} must be more than 0 seconds, not {value!r}")
        return seconds
    return TIMEOUT_S


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, with litellm's variables under our names too.

    They are those of ENVIRONMENT, and `X_API_BASE` is `X_BASE_URL`.
    """
    moved = {
        f"{name.removesuffix('_API_BASE')}_BASE_URL": value
        for name, value in environ.items()
        if name.endswith("_API_BASE")
    }
    renamed = {ours: environ[theirs] for theirs, ours in ENVIRONMENT.items() if theirs in environ}
    return {**moved, **renamed, **environ}


def _retries(params: Mapping[str, Any]) -> RetryPolicy:
    """The default, or exactly `num_retries`, rate limits included."""
    for name in ("num_retries", "max_retries"):
        if name in params:
            value = params[name]
            if not isinstance(value, int) or value < 0:
                raise UsageError(f"{name} must be a whole number from 0, not {value!r}")
            return RetryPolicy(max_attempts=value + 1, counts_waits=True)
    return RetryPolicy()


def _access(params: Mapping[str, Any], environ: Mapping[str, str]) -> Access:
    given = {VARIABLES[name]: str(params[name]) for name in VARIABLES if name in params}
    return Access(
        params.get("api_base") or params.get("base_url"),
        params.get("api_key"),
        environ={**environ, **given},
    )


def conversation(messages: object) -> Sequence[Message]:
    """The messages of one conversation; a text is the user's.

    A message is a dict, or has `model_dump`, as the message of an earlier answer. Raises
    BadRequestError.
    """
    if isinstance(messages, str):
        messages = {"role": "user", "content": messages}
    listed = messages if isinstance(messages, list | tuple) else [messages]
    try:
        return check_messages([_message(one) for one in listed], "messages")
    except InputError as error:
        raise BadRequestError(error.message) from error


def _message(message: Any) -> Any:
    """The message as a plain dict, without the fields that a dump of an answer leaves empty."""
    if hasattr(message, "model_dump"):
        dump = message.model_dump()
        message = {name: dump[name] for name in MESSAGE_FIELDS if name in dump}
    if not isinstance(message, Mapping):
        return message
    return {k: v for k, v in message.items() if v is not None or k == "content"}
