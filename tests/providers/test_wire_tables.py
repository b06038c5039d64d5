"""The tables that every wire is read by: usage, errors, tool calls, finish reasons, limits."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import BadReply, ProviderError
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.hosts import HOSTS
from llmbatch_cli.providers.wire import usage
from llmbatch_cli.providers.wire.answers import finish_reason
from llmbatch_cli.providers.wire.errors import ErrorRules, error_class, read_error
from llmbatch_cli.providers.wire.replies import json_object
from llmbatch_cli.providers.wire.tools import ToolCallPieces, tool_calls


@pytest.mark.parametrize(
    ("found", "fields", "counted"),
    [
        ({"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2},
         usage.ANTHROPIC, Usage(12, 2, 14, cached_tokens=7)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 8},
         usage.GEMINI, Usage(5, 3, 8, reasoning_tokens=3)),
        ({"tokens": {"input_tokens": 913.0}, "billed_units": {"input_tokens": 9,
          "output_tokens": 4}}, usage.COHERE, Usage(913, 4, 917)),
        ({"prompt_tokens": 1, "prompt_cache_hit_tokens": 0}, usage.OPENAI,
         Usage(1, cached_tokens=0)),
        ({"prompt_tokens": -1, "completion_tokens": True, "total_tokens": 2**60}, usage.OPENAI,
         None),
        ({"prompt_tokens": 204, "completion_tokens": 1, "total_tokens": 287,
          "completion_tokens_details": {"reasoning_tokens": 82}}, usage.OPENAI,  # as xAI counts
         Usage(204, 83, 287, reasoning_tokens=82)),
        ({"prompt_tokens": 9, "completion_tokens": 90, "total_tokens": 99,
          "completion_tokens_details": {"reasoning_tokens": 82}}, usage.OPENAI,
         Usage(9, 90, 99, reasoning_tokens=82)),
        ({}, usage.OLLAMA, None),
        ([1], usage.OPENAI, None),
    ],
)  # fmt: skip
def test_usage(found: object, fields: usage.UsageFields, counted: Usage | None) -> None:
    """Counts are summed where a wire counts apart, else the first wins; nonsense is unknown."""
    assert usage.read_usage(found, fields) == counted


RULES = ErrorRules(words=(("odd phrase", errors.Refused),), statuses={418: errors.RateLimited})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "an Odd phrase", "code": "model_not_found"}}, errors.Refused),
        (503, {"error": {"message": "an odd phrase"}}, errors.Overloaded),
        (200, {"error": {"message": "an odd phrase"}}, errors.Refused),
        (418, {"error": "short and stout"}, errors.RateLimited),
        (500, {"error": {"type": "insufficient_quota"}}, errors.OutOfQuota),
        (200, {"error": {"code": 429}}, errors.RateLimited),
        (400, {"detail": [{"msg": "too long: context length", "loc": ["body", 1]}]},
         errors.ContextLength),
        (401, {"message": "insufficient credits"}, errors.OutOfQuota),
    ],
)  # fmt: skip
def test_error_class(status: int, body: Mapping[str, Any], kind: type[ProviderError]) -> None:
    """A wire's own phrase decides unless the server is overloaded; then code, status, phrases."""
    reply = WireReply(status, {}, orjson.dumps(body))
    assert error_class(read_error(reply), RULES) is kind


CODES_OF_TROUBLE = ("server_error", "server_is_overloaded", "service_unavailable_error")
EXACT_CODES = {
    "rate_limit_exceeded": errors.RateLimited,
    "insufficient_quota": errors.OutOfQuota,
    "invalid_api_key": errors.Unauthorized,
    "model_not_found": errors.UnknownModel,
    "context_length_exceeded": errors.ContextLength,
}
STATUSES = {
    400: errors.Rejected,
    401: errors.Unauthorized,
    402: errors.OutOfQuota,
    403: errors.Unauthorized,
    413: errors.Rejected,
    422: errors.Rejected,
    500: errors.Overloaded,
    502: errors.Overloaded,
    503: errors.Overloaded,
    529: errors.Overloaded,
}


@pytest.mark.parametrize(("field", "inside"), [("code", False), ("type", False), ("type", True)])
def test_status_and_code_are_weighed(field: str, inside: bool) -> None:
    """A code for the server's own trouble makes no refusal a passing one; an exact code decides
    under any status; with neither the status does. So also for an error inside of a 200."""

    def found(status: int, code: str) -> type[ProviderError]:
        error = {"message": "sorry", field: code, **({"code": status} if inside else {})}
        body = orjson.dumps({"error": error})
        return error_class(read_error(WireReply(200 if inside else status, {}, body)), RULES)

    codes = (*CODES_OF_TROUBLE, "made_up", "")
    assert all(found(status, code) is STATUSES[status] for status in STATUSES for code in codes)
    assert found(429, "server_error") is errors.RateLimited
    for code, kind in EXACT_CODES.items():
        assert all(found(status, code) is kind for status in STATUSES)


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind"),
    [
        (403, {"content-type": "text/html"}, b"<!DOCTYPE html><html>blocked", errors.Firewalled),
        (403, {}, b" \n<html><title>403 Forbidden", errors.Firewalled),
        (403, {"content-type": "text/plain"}, b"error code: 1020", errors.Firewalled),
        (403, {}, b'{"error": "no access"}', errors.Unauthorized),
        (403, {}, b"", errors.Unauthorized),
        (401, {"content-type": "text/html"}, b"<html>", errors.Unauthorized),
        (429, {"content-type": "text/html"}, b"<html>", errors.RateLimited),
        (503, {"content-type": "text/html"}, b"<html>", errors.Overloaded),
    ],
)
def test_a_firewalls_page_is_not_about_the_key(
    status: int, headers: Mapping[str, str], body: bytes, kind: type[ProviderError]
) -> None:
    """A 403 with a web page comes from something in front of the server: OpenHands/OpenHands
    4480, run-llama/llama_index 16796."""
    assert error_class(read_error(WireReply(status, headers, body)), ErrorRules()) is kind


@pytest.mark.parametrize(
    ("status", "body", "is_path"),
    [
        (404, b'{"detail": "Not Found"}', True),  # FastAPI: vLLM, SGLang
        (405, b'{"detail": "Method Not Allowed"}', True),
        (404, b'{"error": {"code": 404, "message": "File Not Found"}}', True),  # llama.cpp
        (404, b'{"error": {"code": "404", "message": "Resource not found"}}', True),  # Azure
        (404, b'{"status": 404, "error": "Not Found", "path": "/x"}', True),  # Spring
        (404, b'{"message": "no Route matched with those values"}', True),  # Kong
        (404, b'{"error": {"message": "Unknown request URL: POST /v1/x."}}', True),  # Groq
        (404, b"404 page not found", True),  # Go: Ollama
        (404, b"<html><h1>404 Not Found</h1>", True),
        (404, b"", True),
        (301, b"<html>Moved", False),  # tried again, as it may be a gateway's
        (400, b"Client sent an HTTP request to an HTTPS server.", True),  # Go
        (200, b'{"error": "Unexpected endpoint or method. (POST /chat/completions)"}', True),
        (404, b'{"error": {"message": "No such File object: file-1"}}', False),
        (404, b'{"error": {"message": "The model `m` does not exist"}}', False),
        (400, b'{"error": {"message": "Invalid URL (image_url of message 1)"}}', False),
        (400, b'{"error": {"message": "not found"}}', False),
        (503, b'{"error": {"message": "no route found"}}', False),
        (500, b'{"error": {"message": "Not Found"}}', False),
    ],
)
def test_a_path_that_the_server_does_not_have(status: int, body: bytes, is_path: bool) -> None:
    """Each server has its own words for it (lmstudio-ai/lmstudio-bug-tracker 618)."""
    reply = WireReply(status, {}, body)
    kind = error_class(read_error(reply), ErrorRules())
    assert (kind is errors.UnknownPath) == is_path, kind


def test_a_list_of_one_is_its_item() -> None:
    """Google puts an error object into a list; any other list is no reply."""
    assert json_object(WireReply(400, {}, b'[{"a": 1}]')) == {"a": 1}
    for body in (b"[]", b"[1]", b'[{"a": 1}, {"b": 2}]', b"[[{}]]"):
        with pytest.raises(BadReply, match="not a JSON object"):
            json_object(WireReply(400, {}, body))


def test_streamed_tool_calls_are_the_whole_ones() -> None:
    """Pieces with an index, without one, and with the name repeated make the same calls."""
    pieces = ToolCallPieces()
    for piece in (
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
        {"index": 0, "function": {"name": "f", "arguments": ": 1}"}},
        {"id": "b", "function": {"name": "g", "arguments": {"y": 2}}},
    ):
        pieces.add(piece)
    assert list(tool_calls({"tool_calls": pieces.whole()})) == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y":2}'}},
    ]
    with pytest.raises(BadReply):
        pieces.add({"index": 10**6})


def test_an_unknown_finish_reason_is_not_guessed() -> None:
    """What no wire is known to send is None, as anything that is not a text."""
    assert finish_reason("MAX_TOKENS") == "length"
    assert [finish_reason(native) for native in ("pause_turn", "", None, 5, ["stop"])] == [None] * 5


def test_a_key_variable_goes_by_the_name() -> None:
    """A host's key is in NAME_API_KEY, unless its row names other variables."""
    assert HOSTS["groq"].key_variables == ("GROQ_API_KEY",)
    assert HOSTS["huggingface"].key_variables == ("HF_TOKEN",)
