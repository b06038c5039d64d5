"""What errors mean on OpenAI's wire, and on the many that follow it in their own words.

Sources (read 2026-11-22): developers.openai.com/api/docs/guides/error-codes, help.openai.com
article 6614457 (billing codes). A host's own codes stand in its row of hosts.py. What xAI says of a
prompt under a 403, as if of the key: UKGovernmentBEIS/inspect_ai 2267 (read 2026-11-23).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Unauthorized,
    UnknownModel,
)
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.wire.replies import (
    count,
    error_for_status,
    excerpt,
    json_object,
    mapping,
)

Meaning = type[ProviderError]

ERROR_CODES: Final[Mapping[str, Meaning]] = {
    "insufficient_quota": OutOfQuota,
    "credit_balance_exhausted": OutOfQuota,
    "organization_spend_limit_exceeded": OutOfQuota,
    "organization_usage_limit_exceeded": OutOfQuota,
    "project_spend_limit_exceeded": OutOfQuota,
    "billing_hard_limit_reached": OutOfQuota,
    "billing_not_active": OutOfQuota,
    "invalid_api_key": Unauthorized,
    "unsupported_country_region_territory": Unauthorized,
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "slow_down": RateLimited,
    "server_is_overloaded": Overloaded,
    "server_error": Overloaded,
    "service_unavailable_error": Overloaded,
    "context_length_exceeded": ContextLength,
    "string_above_max_length": ContextLength,
    "exceed_context_size_error": ContextLength,
    "model_not_found": UnknownModel,
    "content_filter": Refused,
    "content_policy_violation": Refused,
    "invalid_prompt": Refused,
}
"""`error.code` or `error.type` where it says more than the status."""

NOT_FOR_CHAT: Final = re.compile(r"v1/responses|not a chat model", re.IGNORECASE)

_TOO_LARGE: Final = re.compile(r"request too large for", re.IGNORECASE)
"""More tokens than a minute allows: no waiting mends it, though it comes as a rate limit."""
_WORDS: Final[tuple[tuple[re.Pattern[str], Meaning], ...]] = (
    (
        re.compile(
            r"(?:maximum|model's|max|the) context|context[ _](?:length|window|size)"
            r"|(?:prompt|input|messages?) (?:is|are) too long|exceeds? .{0,40}max_?model_?len"
            r"|too many (?:input )?tokens"
        ),
        ContextLength,
    ),
    (
        re.compile(
            r"model\b.{0,160}\b(?:does ?n[o']t exist|not exist|not found|not available|not support"
            r"|no access|not have access)|no such model|(?:unknown|invalid|unsupported) model\b"
            r"|not a valid model|not have access to (?:the )?model|model[_ ]not[_ ]found"
            r"|no endpoints found for"
        ),
        UnknownModel,
    ),
    (
        re.compile(
            r"content (?:filter|management|policy)|data inspection|inappropriate content"
            r"|safety system|usage polic|violates usage guidelines|safety_check_"
        ),
        Refused,
    ),
)
"""What an error means by its words, where neither code nor status tell."""
_NO_MONEY: Final = re.compile(
    r"insufficient (?:balance|credits?|funds|quota)|exceeded your current quota|spending limit"
    r"|(?:out of|not enough|no|run out of) credits|credit balance|payment required"
    r"|billing (?:details|hard limit)"
)


@dataclass(frozen=True, slots=True)
class Said:
    """An error in the server's own words."""

    status: int
    """The reply's; of an error inside a 200 the code that it names, else 500."""
    message: str
    code: str
    """Empty where there is none, as with `type`."""
    type: str
    fields: Mapping[str, Any]
    """`error` of the body, or the body where it has none."""
    wrapped: bool = False
    """Whether it came in a reply whose HTTP status was 200."""


def read_error(reply: WireReply) -> Said:
    """The error in a reply, whatever its shape."""
    fields = _fields(reply)
    code, kind = fields.get("code"), fields.get("type")
    status = reply.status
    if status == 200:
        named = count(code)
        status = named if named is not None and 400 <= named < 600 else 500
    message = _message(fields, reply)
    upstream = mapping(fields.get("metadata")).get("raw")
    if isinstance(upstream, str) and upstream:
        message = f"{message}: {upstream}"
    return Said(status, message, _word(code), _word(kind), fields, reply.status == 200)


def meaning(said: Said, codes: Mapping[str, Meaning] = ERROR_CODES) -> Meaning:
    """The class of an error by code, type, status, and where these say little by its words.

    A status says little if it is 400 or its like, 403, or 200 around an error.
    """
    if said.status in (413, 429) and _TOO_LARGE.search(said.message):
        return Rejected
    by_code = codes.get(said.code) or codes.get(said.type)
    found = by_code or error_for_status(said.status)
    words = said.message.lower()
    if found in (RateLimited, Unauthorized, Rejected) and _NO_MONEY.search(words):
        return OutOfQuota
    if by_code is None and (found is Rejected or said.status == 403 or said.wrapped):
        return next((meant for pattern, meant in _WORDS if pattern.search(words)), found)
    return found


def _fields(reply: WireReply) -> dict[str, Any]:
    try:
        body = json_object(_first(reply))
    except BadReply as bad:
        return {"message": f"HTTP {reply.status}: {bad.message}"}
    error = body.get("error")
    if isinstance(error, dict):
        return dict(error)
    return {**body, "message": error} if isinstance(error, str) and error else body


def _first(reply: WireReply) -> WireReply:
    """Google's compatible endpoint puts its error object into a list."""
    if reply.body[:1] != b"[":
        return reply
    try:
        items = orjson.loads(reply.body)
        inner = orjson.dumps(items[0] if items else None)
    except (orjson.JSONDecodeError, TypeError):
        return reply
    return WireReply(reply.status, reply.headers, inner)


def _message(fields: Mapping[str, Any], reply: WireReply) -> str:
    for name in ("message", "detail", "msg", "title", "error_description"):
        found = _text(fields.get(name))
        if found:
            return found
    return f"HTTP {reply.status}: {excerpt(reply.body)}"


def _text(value: object, depth: int = 4) -> str:
    """A message that is a text, an object with one, or a list of such, as FastAPI's `detail`."""
    if depth == 0:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, [_text(item, depth - 1) for item in value[:20]]))
    if isinstance(value, dict):
        words = _text(value.get("message") or value.get("msg") or value.get("detail"), depth - 1)
        place = value.get("loc")
        if words and isinstance(place, list):
            steps = (str(step) for step in place[:10] if isinstance(step, str | int))
            return f"{'.'.join(steps)}: {words}"
        return words
    return value if isinstance(value, str) else ""


def _word(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else ""
