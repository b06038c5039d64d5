"""A row of a batch on Vertex AI, as a line that is sent and as one that comes back.

Sources (read 2026-11-26): docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/
batch-prediction-from-cloud-storage (`{"request":...}` in; `status`, `processed_time`, `request` and
`response` out, in any order), /partner-models/claude/batch (`custom_id` beside it, in and out),
/multimodal/add-labels-to-api-calls (up to 64 labels a call, [a-z0-9_-]; a key with more than 1,000
values may be dropped). A Gemini row has no id of its own that comes back: BerriAI/litellm 21321 and
pull 25627, and tensorzero/tensorzero 1926, tell it by a label of the request, which comes back.

So the row's number stands in three labels of two digits: no key ever has more than 100 values.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import Overloaded
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.anthropic.batch import error_reply
from llmbatch_cli.providers.batch_api import Result, count
from llmbatch_cli.providers.gemini.errors import http_status
from llmbatch_cli.providers.wire.replies import mapping, text_or_none

LABELS: Final = ("llmbatch-0", "llmbatch-1", "llmbatch-2")
"""Of the row's number in base 100, the last digits first."""
_DIGITS: Final = re.compile("[0-9]{2}")
_CODE: Final = re.compile(r'"code"\s*:\s*(\d+)')
_WORDS: Final = (
    (429, ("too many requests", "resource exhausted", "quota")),
    (400, ("bad request", "invalid", "failed precondition", "out of range")),
    (401, ("unauthenticated", "unauthorized")),
    (403, ("permission denied", "forbidden")),
    (404, ("not found",)),
    (503, ("unavailable",)),
)
"""HTTP statuses of what a row's status begins with; 500 for any other."""


def gemini_line(custom_id: str, body: bytes) -> bytes:
    """The line of a live request's body."""
    labels = labels_of(int(custom_id.rpartition("-")[2]))
    if b'"labels"' in body:  # of the user's own, perhaps
        request = orjson.loads(body)
        own = mapping(request.get("labels"))
        return orjson.dumps({"request": {**request, "labels": {**own, **labels}}})
    return b'{"request":{"labels":%s,%s}' % (orjson.dumps(labels), body.lstrip()[1:])


def claude_line(custom_id: str, body: bytes) -> bytes:
    return b'{"custom_id":%s,"request":%s}' % (orjson.dumps(custom_id), body)


def labels_of(number: int) -> dict[str, str]:
    """The labels of a row with this number."""
    return {name: f"{number // 100**place % 100:02}" for place, name in enumerate(LABELS)}


def number_of(labels: Mapping[str, Any]) -> int | None:
    """The number of the row with these labels; None where they are not ours."""
    number = 0
    for place, name in enumerate(LABELS):
        digits = labels.get(name)
        if not isinstance(digits, str) or not _DIGITS.fullmatch(digits):
            return None
        number += int(digits) * 100**place
    return number


def result_in(line: bytes, intent: str) -> Result:
    """What a line says, of the job with this intent; a custom_id of "" where it is nobody's."""
    try:
        said = mapping(orjson.loads(line))
    except orjson.JSONDecodeError:
        return Result("")
    custom_id = text_or_none(said.get("custom_id"))
    if custom_id is None:
        number = number_of(mapping(mapping(said.get("request")).get("labels")))
        custom_id = "" if number is None else f"{intent}-{number}"
    reply = _reply(said)
    if reply is None:
        error = Overloaded("the row has neither an answer nor an error")
        return Result(custom_id, error=error)
    return Result(custom_id, reply)


def _reply(said: Mapping[str, Any]) -> WireReply | None:
    """What the live call would have got."""
    response = mapping(said.get("response"))
    response = mapping(response.get("body")) or response
    if response.get("type") == "error":
        return error_reply(response)
    if response and "error" not in response:
        return WireReply(200, {}, orjson.dumps(response))
    for error in (response.get("error"), said.get("error"), said.get("status")):
        if isinstance(error, Mapping) and error:
            return _failed(error)
        if isinstance(error, str) and error:
            return _failed(_error_in(error))
    return None


def _failed(error: Mapping[str, Any]) -> WireReply:
    """The reply with an error of google.rpc.Status."""
    status = http_status(count(error.get("code")) or 500)
    return WireReply(status, {}, orjson.dumps({"error": {"status": "", **error}}))


def _error_in(status: str) -> Mapping[str, Any]:
    """The error that a row's status tells: as text, often with the live call's error behind it."""
    begin, brace, rest = status.partition("{")
    try:
        inner = mapping(orjson.loads(brace + rest)) if brace else {}
    except orjson.JSONDecodeError:  # cut off
        inner = {}
    inner = mapping(inner.get("error")) or inner
    if "message" in inner:
        return inner
    if found := _CODE.search(status):
        return {"code": int(found[1]), "message": status}
    head = begin.partition(":")[0][:100].lower().replace("_", " ")
    codes = (code for code, words in _WORDS if any(word in head for word in words))
    return {"code": next(codes, 500), "message": status}
