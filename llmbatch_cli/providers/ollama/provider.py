"""Ollama's own chat, /api/chat: what is asked, and the address.

Sources (read 2026-11-22): docs.ollama.com/api/chat, /capabilities/thinking, /structured-outputs,
/tool-calling, /modelfile (options); ollama/ollama api/types.go; ollama 0.6.3 (Python), _types.py
and `_parse_host` of _client.py.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from llmbatch_cli.core.errors import (
    OutOfQuota,
    UnknownModel,
    UnsupportedParameter,
    UsageError,
)
from llmbatch_cli.core.types import Completion, Message, Request, WireRequest
from llmbatch_cli.providers.base import CARRIED, Settings, is_neutral
from llmbatch_cli.providers.ollama.reply import RULES, OllamaStream, completion
from llmbatch_cli.providers.wire.errors import ErrorBody, ErrorClass
from llmbatch_cli.providers.wire.messages import (
    calls,
    check_fields,
    data_url,
    functions,
    inner,
    json_bytes,
    json_headers,
    merged,
    part_text,
    parts,
    schema_of,
    text_field,
)
from llmbatch_cli.providers.wire.provider import JsonProvider
from llmbatch_cli.providers.wire.replies import clean

Put = Callable[[dict[str, Any], Any, Request, str], None]

PORT: Final = 11434
OPTIONS: Final = frozenset(
    (
        *("num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "tfs_z", "typical_p"),
        *("repeat_last_n", "temperature", "repeat_penalty", "presence_penalty", "stop"),
        *("frequency_penalty", "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline"),
        *("numa", "num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv"),
        *("logits_all", "vocab_only", "use_mmap", "use_mlock", "embedding_only", "num_thread"),
        *("draft_num_predict",),
    )
)
"""What stands under `options`; any other name stands at the body's top level."""
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset(("role", "content")),
    "developer": frozenset(("role", "content")),
    "user": frozenset(("role", "content", "images")),
    "tool": frozenset(("role", "content", "tool_call_id", "name", "tool_name")),
    "assistant": frozenset(
        (
            *("role", "content", "tool_calls", "refusal", "reasoning", "reasoning_content"),
            *("thinking", "annotations"),
        )
    ),
}
"""The fields of a message that are said, by its role; any other is told, not dropped."""
EFFORTS: Final[Mapping[str, bool | str]] = {
    "none": False,
    "low": "low",
    "medium": "medium",
    "high": "high",
}
"""reasoning_effort as `think`; a model that knows no levels takes any as "on"."""


def address(host: str) -> str:
    """OLLAMA_HOST as a base URL, as Ollama's own clients read it.

    Without a scheme it is http, and then without a port 11434; `0.0.0.0`, which tells a
    server to listen everywhere, is this machine. A path of the other APIs (/api, /v1) is
    taken off. What is no address stays as it is, for the caller to refuse.
    """
    host = host.strip()
    bare = "://" not in host
    try:
        parts = urlsplit(f"http://{host}" if bare else host)
        port = parts.port or (PORT if bare else None)
    except ValueError:
        return host
    name = parts.hostname or "127.0.0.1"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104 - not bound to
    name = f"[{name}]" if ":" in name else name
    path = parts.path.rstrip("/").removesuffix("/v1").removesuffix("/api")
    user, at, _ = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{user}{at}{name}{f':{port}' if port else ''}{path}"


class Ollama(JsonProvider):
    """An Ollama server, on this machine or another, or Ollama's cloud."""

    rules = RULES
    stream_reader = OllamaStream

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._headers = json_headers()
        if settings.api_key is not None:
            self._headers["authorization"] = f"Bearer {settings.api_key}"

    def aim(self, base_url: str) -> None:
        super().aim(address(base_url))
        self._url = f"{self.base_url}/api/chat"

    def build(self, request: Request) -> WireRequest:
        headers = {**self._headers, **request.params.get("extra_headers", {})}
        return WireRequest("POST", self._url, headers, json_bytes(body(request, self.name)))

    def read(self, body: dict[str, Any]) -> Completion:
        return completion(body)

    def hint(self, kind: ErrorClass, error: ErrorBody, model: str) -> str | None:
        if kind is UnknownModel:
            return (
                f"`ollama pull {clean(model, 200)}` fetches it; `ollama list` lists what is there"
            )
        if kind is OutOfQuota:
            return "a local model has no such limit; ollama.com/settings shows what is left"
        return None


def body(request: Request, provider: str) -> dict[str, Any]:
    """The body of POST /api/chat. Raises UnsupportedParameter, or UsageError for its messages."""
    names: dict[str, str] = {}
    result: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message, names, provider) for message in request.messages],
        "stream": request.stream,
    }
    for name, value in request.params.items():
        put = PARAMETERS.get(name)
        if put is not None:
            put(result, value, request, provider)
        elif name not in CARRIED and not is_neutral(name, value, NEUTRAL, provider):
            _add(result, {name: value})
    _add(result, request.params.get("extra_body", {}))
    return result


def _add(body: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Ollama's own parameters, each to where it belongs."""
    for name, value in extra.items():
        if name in OPTIONS:
            body.setdefault("options", {})[name] = value
        elif name == "options" and isinstance(value, dict):
            body["options"] = merged(body.get("options", {}), value)
        else:
            body[name] = value


# ---- messages


def _message(message: Message, names: dict[str, str], provider: str) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str) or role not in FIELDS:
        raise UsageError(f"{provider} knows no message of the role {role!r}")
    check_fields(message, FIELDS[role], f"a message of the role {role}", provider)
    texts, images = _content(message, provider)
    said: dict[str, Any] = {"role": "system" if role == "developer" else role}
    said["content"] = "\n".join(texts) or str(message.get("refusal") or "")
    if images:
        said["images"] = images
    if role == "tool":
        said |= _result(message, names)
    if role == "assistant":
        said |= _answer(message, names, provider)
    return said


def _content(message: Message, provider: str) -> tuple[list[str], list[str]]:
    """The texts and the images, in base64, of a message."""
    texts: list[str] = []
    given = message.get("images")
    images = list(given) if isinstance(given, list) else []
    for part in parts(message, provider):
        if part.get("type") == "image_url":
            images.append(_image(inner(part, "image_url", provider), provider))
        else:
            texts.append(part_text(part, provider))
    return texts, images


def _image(image: Mapping[str, Any], provider: str) -> str:
    url = text_field(image, "url", "an image_url", provider)
    if image.get("detail") not in (None, "auto"):
        raise UsageError(f"{provider} takes no 'detail' in an image_url", hint="leave it out")
    if (data := data_url(url)) is None:
        raise UsageError(
            f"{provider} takes images only in the request itself, and fetches no URL",
            hint="download the image and give its path, or a data: URL",
        )
    return data[1]


def _answer(message: Message, names: dict[str, str], provider: str) -> dict[str, Any]:
    """What an assistant's message has beside its text; the names of its calls are kept."""
    said: dict[str, Any] = {}
    thought = next(
        (
            message[key]
            for key in ("thinking", "reasoning", "reasoning_content")
            if message.get(key)
        ),
        None,
    )
    if thought:
        said["thinking"] = thought
    made = []
    for call, name, arguments in calls(message, provider):
        one: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
        if isinstance(call.get("id"), str):
            names[call["id"]] = name
            one = {"id": call["id"], **one}
        made.append(one)
    if made:
        said["tool_calls"] = made
    return said


def _result(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    call_id = message.get("tool_call_id")
    known = names.get(call_id) if isinstance(call_id, str) else None
    name = message.get("tool_name") or message.get("name") or known
    found = {"tool_name": name, "tool_call_id": call_id}
    return {key: value for key, value in found.items() if value}


# ---- parameters


def _option(field: str) -> Put:
    def put(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
        body.setdefault("options", {})[field] = value

    return put


def _stop(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    _option("stop")(body, [value] if isinstance(value, str) else value, request, provider)


def _logprobs(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    """A number, as of old, asks for the log probabilities and says how many alternatives."""
    body["logprobs"] = value is not False
    if not isinstance(value, bool):
        body["top_logprobs"] = value


def _tools(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    """A choice of "none" is said by leaving the tools out."""
    known = frozenset(("name", "description", "parameters"))
    asked = list(functions(value, provider))
    for function in asked:
        check_fields(function, known, "a tool's function", provider)
    if request.params.get("tool_choice") != "none":
        body["tools"] = [
            {"type": "function", "function": {key: one[key] for key in one if key in known}}
            for one in asked
        ]


def _tool_choice(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    """What can be said of it is said by the tools: all of them, or none."""
    if value not in ("auto", "none"):
        raise UnsupportedParameter("tool_choice", provider)


def _response_format(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    kind = value.get("type") if isinstance(value, dict) else value
    if kind == "json_schema":
        body["format"] = schema_of(value, provider)
    elif kind == "json_object":
        body["format"] = "json"
    elif kind != "text":
        raise UnsupportedParameter("response_format", provider, hint=f"it has no form for {kind!r}")


def _effort(body: dict[str, Any], value: Any, request: Request, provider: str) -> None:
    if not isinstance(value, str) or value not in EFFORTS:
        raise UnsupportedParameter(
            "reasoning_effort", provider, hint=f"it knows {', '.join(EFFORTS)}, not {value!r}"
        )
    body["think"] = EFFORTS[value]


PARAMETERS: Final[Mapping[str, Put]] = {
    "stop": _stop,
    "max_tokens": _option("num_predict"),
    "logprobs": _logprobs,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "reasoning_effort": _effort,
}
"""How OpenAI's parameters are said, beside those that are options of the same name."""
NEUTRAL: Final[Mapping[str, Any]] = {
    "n": 1,
    "logit_bias": {},
    "parallel_tool_calls": True,
    "user": "",
}
"""Parameters that Ollama does not have, each with the value that asks for nothing."""
