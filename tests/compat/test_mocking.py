"""Answers and failures that are made up on the spot."""

import time
from typing import Any

import pytest
from compat.loopback import Loopback

from llmbatch_cli import (
    BadRequestError,
    RateLimitError,
    Timeout,
    acompletion,
    batch_completion,
    batch_completion_models,
    completion,
)

HI = [{"role": "user", "content": "hi"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def how(loopback: Loopback, **more: Any) -> dict[str, Any]:
    return {"api_base": loopback.api_base, "api_key": "sk-x", **more}


async def test_a_mocked_timeout_comes_when_the_time_is_up(loopback: Loopback) -> None:
    """Alone or beside an answer, in every form; nothing is sent."""
    asked = how(loopback, mock_timeout=True, timeout=0.1)
    started = time.monotonic()
    for more in ({}, {"mock_response": "x"}, {"stream": True}):
        with pytest.raises(Timeout, match="mock timeout"):
            completion("openai/m", HI, **asked, **more)
    assert time.monotonic() - started >= 0.3
    with pytest.raises(Timeout):
        await acompletion("openai/m", HI, **asked)
    assert [type(one) for one in batch_completion("openai/m", [HI, HI], **asked)] == [Timeout] * 2
    assert loopback.called() == []


@pytest.mark.parametrize(
    ("more", "text"), [({}, "This is a mock request"), ({"mock_response": "x"}, "x")]
)
def test_mocked_tool_calls_are_in_the_answer(
    loopback: Loopback, more: dict[str, Any], text: str
) -> None:
    """Beside litellm's text or one's own; nothing is sent."""
    asked = how(loopback, mock_tool_calls=[CALL], **more)
    for one in (completion("openai/m", HI, **asked), *batch_completion("openai/m", [HI], **asked)):
        assert not isinstance(one, Exception)
        message = one.model_dump()["choices"][0]["message"]
        assert (message["content"], message["tool_calls"]) == (text, [CALL])
    assert loopback.called() == []


def test_a_mocked_exception_stays_as_it_is() -> None:
    """Each raise is of a copy: none is its own cause, and notes do not add up."""
    own = RateLimitError("slow", llm_provider="p", model="m")
    for _ in range(2):
        with pytest.raises(RateLimitError, match="slow") as caught:
            batch_completion_models(models=["a/b", "openai/c"], messages=HI, mock_response=own)
        assert caught.value.causes[0] is not caught.value
        assert caught.value.__notes__ == ["p/m failed too: RateLimitError: slow"]
        assert (caught.value.model, caught.value.status_code) == ("m", 429)
    assert (own.causes, hasattr(own, "__notes__")) == ((), False)
    with pytest.raises(BadRequestError):
        completion("gpt-4o", HI, mock_response=BadRequestError("no"))
