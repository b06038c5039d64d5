"""The shape of an answer, held against what litellm gives for the same reply."""

import copy
import json
import pickle
from typing import Any

import pytest
from support.chat import completion as reply

from llmbatch_cli.compat.response import ModelResponse, response_of
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.provider import OpenAI

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

MESSAGE = {"content": "HELLO", "role": "assistant", "tool_calls": None, "function_call": None}
USAGE = {
    "completion_tokens": 2, "prompt_tokens": 3, "total_tokens": 5,
    "completion_tokens_details": None, "prompt_tokens_details": None,
}  # fmt: skip
DETAILS: dict[str, Any] = {
    "completion_tokens_details": {
        "accepted_prediction_tokens": None, "audio_tokens": None,
        "reasoning_tokens": 1, "rejected_prediction_tokens": None,
    },
    "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 1},
}  # fmt: skip


def dump(message: dict[str, Any], finish: str = "stop", **usage: Any) -> dict[str, Any]:
    """litellm's `model_dump()`, in its order."""
    return {
        "id": "chatcmpl-1", "created": 1741569952, "model": "served-model",
        "object": "chat.completion", "system_fingerprint": None,
        "choices": [{"finish_reason": finish, "index": 0, "message": {**MESSAGE, **message}}],
        "usage": {**USAGE, **usage},
    }  # fmt: skip


def choice(finish: str = "stop", **message: Any) -> dict[str, Any]:
    whole = {"role": "assistant", "content": "HELLO", **message}
    return {"index": 0, "message": whole, "logprobs": None, "finish_reason": finish}


DETAILED = {
    "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}  # fmt: skip

RECORDED = [
    ({"choices": [choice()]}, dump({})),
    (
        {"choices": [choice("tool_calls", content=None, tool_calls=[CALL])]},
        dump({"content": None, "tool_calls": [CALL]}, "tool_calls"),
    ),
    ({"choices": [choice(reasoning_content="hm")]}, dump({"reasoning_content": "hm"})),
    ({"choices": [choice()], "usage": DETAILED}, dump({}, **DETAILS)),
]
"""A reply's changes, and what litellm 1.106.2 dumps for it. Left out are four fields that hold
nothing: `provider_specific_fields` in message and choice, `moderation` and `service_tier`."""


def response(changes: dict[str, Any]) -> ModelResponse:
    """What a server's reply becomes."""
    body = json.dumps(reply("HELLO", **changes)).encode()
    provider = OpenAI(Settings("openai", "http://127.0.0.1/v1"))
    request = Request("gpt-4o-mini", [], {})
    completion = provider.parse(request, WireReply(200, {}, body))
    return response_of(completion, provider="openai", model="gpt-4o-mini", seconds=0.25)


@pytest.mark.parametrize(("changes", "recorded"), RECORDED)
def test_the_dump_is_litellms(changes: dict[str, Any], recorded: dict[str, Any]) -> None:
    """The same fields in the same order with the same values; `created` is our own clock's."""
    dumped = response(changes).model_dump()
    dumped["created"] = recorded["created"]
    assert dumped == recorded
    assert list(dumped) == list(recorded)
    assert list(dumped["choices"][0]["message"]) == list(recorded["choices"][0]["message"])


def test_it_is_read_by_attribute_item_and_get() -> None:
    """Three ways to the same value, all the way down; a missing field is missing in each."""
    one = response({"choices": [choice("tool_calls", content="x", tool_calls=[CALL])]})
    assert one.choices[0].message.content == "x"
    assert one["choices"][0]["message"]["content"] == "x"
    assert one.get("choices")[0].get("message").get("content") == "x"
    calls = one.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == calls[0]["function"]["name"] == "f"
    assert ("usage" in one, "logprobs" in one.choices[0]) == (True, False)
    assert one.get("nothing", 1) == 1
    with pytest.raises(AttributeError):
        one.nothing  # type: ignore[attr-defined]  # noqa: B018 - reading it is the test
    with pytest.raises(KeyError):
        one["nothing"]
    one["model"] = "renamed"
    assert one.model == "renamed"


def test_it_can_be_dumped_copied_compared_and_read() -> None:
    """json() is a dict as in litellm; a copy is equal; repr tells the fields and no secrets."""
    one = response({})
    assert one.json() == one.to_dict() == one.dict() == one.model_dump()
    assert json.loads(one.model_dump_json()) == one.model_dump()
    assert one.model_dump_json(indent=2).startswith('{\n  "id": "chatcmpl-1",')
    for brief in (one.model_dump(exclude_none=True, mode="json"),
                  json.loads(one.model_dump_json(exclude_none=True))):  # fmt: skip
        assert "tool_calls" not in brief["choices"][0]["message"]
    assert dict(one)["choices"] is one.choices
    deep = copy.deepcopy(one)
    assert deep == one
    assert deep.choices[0].message is not one.choices[0].message
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != response({"id": "other"})
    assert repr(one).startswith("ModelResponse(id='chatcmpl-1', created=")
    assert "_hidden" not in repr(one)


def test_what_stands_beside_the_answer() -> None:
    """The provider and the time are there and in no dump."""
    one = response({})
    assert one._response_ms == one._hidden_params["_response_ms"] == 250
    assert one._hidden_params["custom_llm_provider"] == "openai"
    assert not [name for name in one.model_dump() if name.startswith("_")]


def test_what_a_provider_reports_natively_is_kept() -> None:
    """The finish reason is OpenAI's; the provider's own stands beside it, as in litellm."""
    one = response({"choices": [choice("eos")]}).choices[0]
    assert one.finish_reason == "stop"
    assert one.get("provider_specific_fields") == {"native_finish_reason": "eos"}


def test_unknown_is_none() -> None:
    """No usage, no finish reason: None, never a guess or 0."""
    one = response({"usage": None, "choices": [{"message": {"content": "x"}}]})
    assert (one.usage.total_tokens, one.choices[0].finish_reason) == (None, None)


def test_every_choice_is_there() -> None:
    """With n = 2 both answers, each with its logprobs."""
    logprobs = {"content": [{"token": "H", "logprob": -0.1}]}
    second = {**choice("length", content="TWO"), "index": 1, "logprobs": logprobs}
    one = response({"choices": [{**choice(), "logprobs": logprobs}, second]})
    assert [each.message.content for each in one.choices] == ["HELLO", "TWO"]
    assert [each.finish_reason for each in one.choices] == ["stop", "length"]
    assert [each.index for each in one.choices] == [0, 1]
    assert all(each.get("logprobs").content[0].logprob == -0.1 for each in one.choices)
