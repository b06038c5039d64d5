"""Ollama's own chat, /api/chat: the request and the address.

Sources (read 2026-11-22): docs.ollama.com/api/chat, /capabilities/thinking, /structured-outputs,
/tool-calling, /modelfile (options); ollama/ollama api/types.go; ollama 0.6.3 (Python), _types.py
and `_parse_host` of _client.py.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from llmbatch_cli.core.errors import (
    OutOfQuota,
    UnknownModel,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Message, Request, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.ollama.reply import RULES, OllamaStream, completion
from llmbatch_cli.providers.wire.draft import Draft, message_fields, reasoning_of
from llmbatch_cli.providers.wire.errors import ErrorBody, ErrorClass
from llmbatch_cli.providers.wire.messages import bearer_headers, data_url, post
from llmbatch_cli.providers.wire.params import ParamTable, as_list, format_kind, limits
from llmbatch_cli.providers.wire.provider import JsonProvider
from llmbatch_cli.providers.wire.replies import clean
from llmbatch_cli.providers.wire.usage import OLLAMA, read_usage

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
"""The fields of `options`; any other name is a field of the body itself."""
FIELDS: Final = message_fields(
    user=("images",),
    tool=("name", "tool_name"),
    assistant=("refusal", "reasoning", "reasoning_content", "thinking", "annotations"),
)
EFFORTS: Final[Mapping[str, bool | str]] = {
    "none": False,
    "low": "low",
    "medium": "medium",
    "high": "high",
}
"""reasoning_effort as `think`; a model without levels takes any of them as "on"."""


def address(host: str) -> str:
    """OLLAMA_HOST as a base URL, read as Ollama's own clients do.

    Without a scheme it is http, and the port is 11434 if none is given; `0.0.0.0`, by which a
    server listens everywhere, is this machine. A path of the other APIs (/api, /v1) is
    removed. An invalid address stays as it is, for the caller to refuse.
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
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{user}{at}{name}{f':{port}' if port else ''}{path}{query}"


class Ollama(JsonProvider):
    """An Ollama server, on this machine or another, or Ollama's cloud."""

    rules = RULES
    stream_reader = OllamaStream
    usage_fields = OLLAMA

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._headers = bearer_headers(settings.api_key)

    def aim(self, base_url: str) -> None:
        super().aim(address(base_url))
        self._url = f"{self.base_url}/api/chat"

    def build(self, request: Request) -> WireRequest:
        body = PARAMETERS.body(request, self.name, _message)
        return post(self._url, self._headers, request, body)

    def read(self, body: dict[str, Any]) -> Completion:
        return completion(body)

    def usage_in(self, body: Mapping[str, Any]) -> Usage | None:
        return read_usage(body, self.usage_fields)

    def hint(self, kind: ErrorClass, error: ErrorBody, model: str) -> str | None:
        if kind is UnknownModel:
            return (
                f"`ollama pull {clean(model, 200)}` fetches it; `ollama list` lists what is there"
            )
        if kind is OutOfQuota:
            return "a local model has no such limit; ollama.com/settings shows what is left"
        return None


# ---- messages


def _message(message: Message, draft: Draft) -> dict[str, Any]:
    role = draft.role_of(message, FIELDS)
    texts, images = _content(message, draft)
    built: dict[str, Any] = {"role": "system" if role == "developer" else role}
    built["content"] = "\n".join(texts) or str(message.get("refusal") or "")
    more: dict[str, Any] = {"images": images}
    if role == "tool":
        name = message.get("tool_name") or message.get("name") or draft.called(message)
        more |= {"tool_name": name, "tool_call_id": message.get("tool_call_id")}
    if role == "assistant":
        more["thinking"] = message.get("thinking") or reasoning_of(message)
        more["tool_calls"] = _calls(message, draft)
    return {**built, **{name: value for name, value in more.items() if value}}


def _content(message: Message, draft: Draft) -> tuple[list[str], list[str]]:
    """The texts and the images, in base64, of a message."""
    texts: list[str] = []
    given = message.get("images")
    images = list(given) if isinstance(given, list) else []
    for part in draft.parts(message):
        if part.get("type") == "image_url":
            images.append(_image(draft.image_url(part), draft))
        else:
            texts.append(draft.part_text(part))
    return texts, images


def _image(url: str, draft: Draft) -> str:
    if (data := data_url(url)) is None:
        hint = "download the image and give its path, or a data: URL"
        raise draft.refused("the URL of an image, only the image itself", hint)
    return data[1]


def _calls(message: Message, draft: Draft) -> list[dict[str, Any]]:
    made = []
    for call, name, arguments in draft.calls(message):
        one: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
        if isinstance(call.get("id"), str):
            one = {"id": call["id"], **one}
        made.append(one)
    return made


# ---- parameters


def _logprobs(value: Any, draft: Draft) -> Mapping[str, Any]:
    """A number, as in the older API, gives log probabilities with so many alternatives."""
    alternatives = {} if isinstance(value, bool) else {"top_logprobs": value}
    return {"logprobs": value is not False, **alternatives}


def _tools(value: Any, draft: Draft) -> Mapping[str, Any]:
    declared = list(draft.functions(value, strict=False))
    if draft.params.get("tool_choice") == "none":
        return {}
    names = ("name", "description", "parameters")
    kept = [{name: one[name] for name in names if name in one} for one in declared]
    return {"tools": [{"type": "function", "function": function} for function in kept]}


def _tool_choice(value: Any, draft: Draft) -> Mapping[str, Any]:
    """There is no such field: tools mean auto, and none is to leave them out."""
    if value not in ("auto", "none"):
        raise draft.unsupported("tool_choice")
    return {}


def _response_format(value: Any, draft: Draft) -> Mapping[str, Any]:
    kind = format_kind(value, draft, "json_object", "json_schema")
    if kind == "text":
        return {}
    return {"format": "json" if kind == "json_object" else draft.schema_of(value)}


def _effort(value: Any, draft: Draft) -> Mapping[str, Any]:
    if value not in EFFORTS:
        hint = f"use {', '.join(EFFORTS)}, not {value!r}"
        raise draft.unsupported("reasoning_effort", hint)
    return {"think": EFFORTS[value]}


_IN_OPTIONS: Final = {name: f"options.{name}" for name in OPTIONS}

PARAMETERS: Final = ParamTable(
    rules={
        **_IN_OPTIONS,
        "stop": as_list("options.stop"),
        **limits("options.num_predict"),
        "logprobs": _logprobs,
        "tools": _tools,
        "tool_choice": _tool_choice,
        "response_format": _response_format,
        "reasoning_effort": _effort,
    },
    neutral={"n": 1, "logit_bias": {}, "parallel_tool_calls": True, "user": ""},
    own=_IN_OPTIONS,
    merged=frozenset(("options",)),
)
