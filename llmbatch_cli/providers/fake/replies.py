"""The replies of the fake provider: bytes in OpenAI's shape.

Error bodies: platform.openai.com/docs/guides/error-codes (read 2026-11-22).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from llmbatch_cli.core.types import Message, WireReply
from llmbatch_cli.providers.fake.options import FakeOptions
from llmbatch_cli.providers.wire.replies import content_text

LOREM: Final = (
    *("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed"),
    *("do", "eiusmod", "tempor", "incididunt", "ut", "labore", "et", "dolore", "magna"),
)
LOREM_TOKENS: Final = 32
"""Words of `fake/lorem` where no `completion_tokens` is given."""
CUT_SHORT: Final = b'{"id": "chatcmpl-fake", "object": "chat.completion", "choices": [{"ind'
REFUSAL: Final = "I'm sorry, I can't help with that."

_QUOTA: Final = "insufficient_quota"
_INVALID: Final = "invalid_request_error"
ERRORS: Final[Mapping[str, tuple[int, str, str, str | None, str | None]]] = {
    "rate_limited": (
        *(429, "Rate limit reached for requests. Please try again later."),
        *("requests", None, "rate_limit_exceeded"),
    ),
    "overloaded": (
        *(503, "The engine is currently overloaded, please try again later."),
        *("server_error", None, None),
    ),
    "out_of_quota": (
        *(429, "You exceeded your current quota, please check your plan and billing."),
        *(_QUOTA, None, _QUOTA),
    ),
    "unauthorized": (401, "Incorrect API key provided.", _INVALID, None, "invalid_api_key"),
    "rejected": (400, "The fake provider rejects this request.", _INVALID, "messages", None),
}
"""The failures that arrive as an error reply: status, and message, type, param, code of `error`."""


def error_reply(failure: str, headers: Mapping[str, str]) -> WireReply:
    """The error reply of one of ERRORS."""
    status, *values = ERRORS[failure]
    error = dict(zip(("message", "type", "param", "code"), values, strict=True))
    return WireReply(status, headers, orjson.dumps({"error": error}))


def answer(body: Mapping[str, Any], options: FakeOptions, failure: str | None) -> bytes:
    """The bytes of a chat completion for the request in `body`, truncated or refused if so."""
    text, finish_reason = _text(body, options), "stop"
    words = text.split()
    most = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
    if failure == "truncated":
        most = min(most, len(words) // 2)
    if failure == "truncated" or most < len(words):
        text, finish_reason = " ".join(words[:most]), "length"
    message = {"role": "assistant", "content": text, "refusal": None}
    if failure == "refused":
        message.update(content=None, refusal=REFUSAL)
    choices = [
        {"index": index, "message": message, "finish_reason": finish_reason, "logprobs": None}
        for index in range(body.get("n") or 1)
    ]
    completion = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": choices,
        "usage": _usage(body, options, min(most, len(words)) * len(choices)),
    }
    return orjson.dumps(completion)


def _text(body: Mapping[str, Any], options: FakeOptions) -> str:
    if body["model"] == "lorem":
        form = body.get("response_format") or {}
        if form.get("type") == "json_schema":
            from llmbatch_cli.providers.fake.instances import instance_of

            return orjson.dumps(instance_of(form["json_schema"]["schema"])).decode()
        tokens = options.completion_tokens
        count = LOREM_TOKENS if tokens is None else tokens
        return " ".join(LOREM[index % len(LOREM)] for index in range(count))
    messages: Sequence[Message] = body["messages"]
    users = (message for message in reversed(messages) if message.get("role") == "user")
    return content_text(next(users, messages[-1]).get("content")) or ""


def _usage(body: Mapping[str, Any], options: FakeOptions, answer_words: int) -> dict[str, int]:
    prompt, completion = options.prompt_tokens, options.completion_tokens
    if prompt is None:
        texts = (content_text(message.get("content")) or "" for message in body["messages"])
        prompt = sum(len(text.split()) for text in texts)
    if completion is None:
        completion = answer_words
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
