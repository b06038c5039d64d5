"""Errors of every wire: one reader of error bodies, one way from them to an error's class.

Sources (read 2026-11-22): developers.openai.com/api/docs/guides/error-codes, help.openai.com
article 6614457 (billing codes). xAI rejects a prompt with a 403, as if the key were
wrong: UKGovernmentBEIS/inspect_ai 2267 (read 2026-11-23).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from llmbatch_cli.core import errors
from llmbatch_cli.core.clock import time_after
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.wire.answers import beginning
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.limits import asked_in_words_s, rate_info, retry_after_s
from llmbatch_cli.providers.wire.replies import (
    MAX_MESSAGE_CHARS,
    clean,
    count,
    excerpt,
    is_page,
    json_object,
    mapping,
    without_key,
)

ErrorClass = type[errors.ProviderError]


def by_code(table: Mapping[ErrorClass, str]) -> dict[str, ErrorClass]:
    """The class of each code, from each class's codes with spaces between them."""
    return {code: kind for kind, codes in table.items() for code in codes.split()}


COMMON_CODES: Final = by_code(
    {
        errors.OutOfQuota: "insufficient_quota credit_balance_exhausted billing_hard_limit_reached "
        "organization_spend_limit_exceeded organization_usage_limit_exceeded "
        "project_spend_limit_exceeded billing_not_active",
        errors.Unauthorized: "invalid_api_key unsupported_country_region_territory",
        errors.RateLimited: "rate_limit_exceeded rate_limit_error slow_down",
        errors.Overloaded: "server_is_overloaded server_error service_unavailable_error",
        errors.ContextLength: "context_length_exceeded string_above_max_length "
        "exceed_context_size_error",
        errors.UnknownModel: "model_not_found",
        errors.Refused: "content_filter content_policy_violation invalid_prompt",
    }
)
"""Those of OpenAI, and of the many that follow it, by `error.code` or `error.type`."""


@frozen
class ErrorBody:
    """An error as the server reports it."""

    status: int
    """The reply's; of an error inside a 200 the code that it names, else 500."""
    message: str
    code: str = ""
    """Empty where there is none, as with `type`."""
    type: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """`error` of the body, or the body where it has none."""
    said: bool = False
    """Whether the server says anything in words, so that `message` is not made up."""
    wrapped: bool = False
    """Whether it came in a reply whose HTTP status was 200."""
    page: bool = False
    """Whether it is a web page, and so of something in front of the server."""


@frozen(kw_only=True)
class ErrorRules:
    """How to classify one wire's errors, beyond their HTTP status."""

    words: Sequence[tuple[str, ErrorClass]] = ()
    """Regular expressions for the message in lower case; the first that is found decides."""
    words_of_overload: bool = False
    """Whether `words` also override a code or status that means Overloaded."""
    common_words: bool = True
    """Whether the words that most servers use count, where `words` have none."""
    codes: Mapping[str, ErrorClass] = field(default_factory=lambda: COMMON_CODES)
    """By `code`, or by `type`."""
    statuses: Mapping[int, ErrorClass] = field(default_factory=dict)
    """HTTP statuses that mean something else than usual."""
    hints: Mapping[ErrorClass, str] = field(default_factory=dict)
    """What the user can do about it."""


_SUCCESS: Final = (0, "0", 200, "200")
"""Codes of an error that is none."""
_STATUS: Final = re.compile("[1-5][0-9]{2}")
_PASSING: Final = frozenset((408, 409, 421, 423, 424, 425, 498, 499))
"""Of those below 500. 424 is a failed generation at Hugging Face (TGI), 498 the full flex tier of
Groq, 499 a gateway's word for a connection that broke."""
_FINAL: Final = frozenset((400, 401, 402, 403, 404, 405, 413, 422))
"""Statuses that say more than a code for the server's own trouble."""
_EXACT: Final = _FINAL | {429}
"""Those that say more than a code that is put around anything."""
_VAGUE_CODES: Final = frozenset(("server_error", "api_error"))
_TOO_LARGE: Final = "request too large for"
"""More tokens than the limit per minute: waiting does not help, though the status is 429."""
_NO_MONEY: Final = (
    r"insufficient (?:balance|credits?|funds|quota)|exceeded your current quota|spending limit"
    r"|(?:out of|not enough|no|run out of) credits|credit balance|payment required"
    r"|billing (?:details|hard limit)|out of call volume quota"
)
"""But for what may be tried again in a while: Google's limits of a minute speak of billing, too.
The last is Azure API Management's, in a 403."""
_NONE_AT_ALL: Final = re.compile(r"\blimit: 0\b")
"""A model that the account may not use, in spite of the "retry in 45 s" behind it:
continuedev/continue 9570."""
_WORDS: Final = (
    (CONTEXT_LENGTH, errors.ContextLength),
    (
        r"(?:model|deployment)\b.{0,160}\b(?:does ?n[o']t exist|not exist|not found|not available"
        r"|not support|no access|not have access|decommissioned|(?:is|been) deprecated)"
        r"|no such model|(?:unknown|invalid|unsupported) model\b"
        r"|not a valid model|not have access to (?:the )?model|model[_ ]not[_ ]found"
        r"|no endpoints found (?:for|matching)|no allowed providers are available",
        errors.UnknownModel,
    ),
    (
        r"content (?:filter|management|policy)|data inspection|inappropriate content"
        r"|safety system|usage polic|violates usage guidelines|safety_check_",
        errors.Refused,
    ),
    (
        r"rate[ _-]?limit(?:s|ed|ing)?\b.{0,40}\b(?:reached|exceeded|hit)|too many requests"
        r"|exceed\w*\b.{0,40}\brate[ _-]?limit|quota exceeded|request was throttled",
        errors.RateLimited,
    ),
    (
        r"(?:incorrect|invalid) api[ _-]?key (?:provided|supplied)|api[ _-]?key (?:is )?not valid"
        r"|api[ _-]?key (?:has )?expired|(?:missing|no) api[ _-]?key",
        errors.Unauthorized,
    ),
)
"""Phrases of many servers, for errors whose code and status are vague."""
_NO_PATH: Final = re.compile(
    r"unexpected endpoint|http request (?:was sent )?to (?:an )?https",
)
"""Whatever the status: LM Studio in a 200; Go and nginx for http to a port for https."""
_NOTHING_HERE: Final = re.compile(
    r"(?:404:? )?(?:(?:the requested )?(?:page|file|path|route|endpoint|resource|url)\b.{0,80})?"
    r"not found\W*|(?:405:? )?method not allowed\W*|http 40[45]\b.*"
    r"|.*\b(?:invalid|unknown|unrecognized|no such) (?:request )?(?:url|endpoint|route|path)\b.*"
    r"|.*\bno (?:route|handler)\b.{0,40}\b(?:match|found).*|.*cannot post /.*",
    re.DOTALL,
)
"""The message of a 404 or 405: FastAPI (vLLM, SGLang), llama.cpp, Azure, Go, a body without one;
OpenAI, Groq; Kong, Express."""


def error_class(error: ErrorBody, rules: ErrorRules) -> ErrorClass:
    """The class by code, type or status; or by the message, where that is more specific.

    A status is vague if it is 400 or its like, 403, or 200 around an error.
    """
    if error.page and error.status == 403:
        return errors.Firewalled
    coded = _coded(error, rules)
    found = coded or rules.statuses.get(error.status) or error_for_status(error.status)
    vague = coded is None and (error.wrapped or found is errors.Rejected or error.status == 403)
    words = error.message[:MOST_WORDS].lower()
    own = _match(rules.words, words)
    # "model not found" in a 503 is about the server's state; the same in a 404 is final.
    if own is not None and (vague or found is not errors.Overloaded or rules.words_of_overload):
        return own
    words_of_all = vague and rules.common_words and _match(_WORDS, words)
    if (
        not words_of_all
        and (vague or found is errors.Rejected)
        and _is_of_path(error.status, words)
    ):
        return errors.UnknownPath
    if not rules.common_words:
        return found
    if error.status in (413, 429) and _TOO_LARGE in words:
        return errors.Rejected
    unclear = found in (errors.RateLimited, errors.Unauthorized, errors.Rejected)
    passes = asked_in_words_s(words) is not None and not _NONE_AT_ALL.search(words)
    if unclear and not passes and re.search(_NO_MONEY, words):
        return errors.OutOfQuota
    return words_of_all or found


def _is_of_path(status: int, words: str) -> bool:
    here = status in (404, 405) and _NOTHING_HERE.fullmatch(words)
    return bool(here or _NO_PATH.search(words))


def _coded(error: ErrorBody, rules: ErrorRules) -> ErrorClass | None:
    """The class of the code or type; None where the status is the more exact of the two.

    Servers put `server_error` and its like around anything, also around a wrong key.
    """
    for name in (error.code, error.type):
        found = rules.codes.get(name)
        exact = _EXACT if name in _VAGUE_CODES else _FINAL
        if found is errors.Overloaded and error.status in exact:
            continue
        if found is not None:
            return found
    return None


def _match(table: Sequence[tuple[str, ErrorClass]], words: str) -> ErrorClass | None:
    return next((kind for pattern, kind in table if re.search(pattern, words)), None)


def error_for_status(status: int) -> ErrorClass:
    """The class that an HTTP status alone gives."""
    if status in (401, 403):
        return errors.Unauthorized
    if status == 402:
        return errors.OutOfQuota
    if status == 429:
        return errors.RateLimited
    if status in _PASSING or status >= 500:
        return errors.Overloaded
    if 400 <= status < 500:
        return errors.Rejected
    return errors.BadReply


MOST_WORDS: Final = 20_000
"""Characters of a message by which it is classified."""
STATUS_OF_TYPE: Final[Mapping[str, int]] = {
    **dict.fromkeys(("invalid_request_error", "BadRequestError"), 400),
    **dict.fromkeys(("authentication_error", "AuthenticationError"), 401),
    **dict.fromkeys(("permission_error", "PermissionDeniedError"), 403),
    **dict.fromkeys(("not_found_error", "NotFoundError"), 404),
}
"""The HTTP status of errors that name none, in a stream or a 200: OpenAI's types, and vLLM's."""

WORK_BEGUN: Final = frozenset((408, 500, 502, 504, 520, 524))
"""Statuses of a server that has broken down, or was given up by a gateway, maybe with the work
done; by others it has refused the request."""
QUOTA_HINT: Final = "add credit or raise the limit at the provider, then go on with --resume"
LONG_QUOTA_HINT: Final = "--resume goes on when the quota is back; the provider does not say when"
_LONG_QUOTA: Final = re.compile(
    r"(?i)\b(?:per|a|/)[ -]?(?:day|month)\b|\b(?:daily|monthly) .{0,30}\b(?:limit|quota)"
    r"|\b[rt]pd\b|/ ?month\b|\btomorrow\b"
)
"""In a 429 that asks for no wait: trying again would go on for hours. Cohere's trial keys,
Doriandarko/claude-engineer 104, micz/ThunderAI 902."""
_HINTS: Final[Mapping[ErrorClass, str]] = {
    errors.OutOfQuota: QUOTA_HINT,
    errors.Firewalled: "a firewall in front of the server refuses this prompt or this machine; "
    "it is not about the key",
}


def error_of(
    kind: ErrorClass, message: str, reply: WireReply, api_key: str | None, hint: str | None = None
) -> errors.ProviderError:
    """The error of this class with the server's message, made fit to be shown."""
    wait_s = retry_after_s(reply.headers)
    if wait_s is None and kind.slow:
        wait_s = asked_in_words_s(message[:MAX_MESSAGE_CHARS])
        if wait_s is None and _LONG_QUOTA.search(message[:MAX_MESSAGE_CHARS]):
            kind, hint = errors.OutOfQuota, hint or LONG_QUOTA_HINT
    if wait_s and kind is errors.OutOfQuota:
        hint = f"the quota is back at {time_after(wait_s)}; go on with --resume then"
    error = kind(
        clean(without_key(message, api_key)),
        status=reply.status,
        retry_after_s=wait_s,
        hint=hint or _HINTS.get(kind),
    )
    error.limits = rate_info(reply.headers)
    if 300 <= reply.status < 400:
        error.maybe_billed = False
    elif reply.status in WORK_BEGUN:
        error.maybe_billed = True
    return error


def read_error(reply: WireReply) -> ErrorBody:
    """The error in a reply, whatever its shape."""
    try:
        body = json_object(reply)
    except errors.BadReply as bad:
        wrapped = 200 <= reply.status < 300
        bad.without_frames()  # one of them holds it
        message, page = f"HTTP {reply.status}: {bad.message}", is_page(reply)
        if page and reply.status == 403:
            message = f"HTTP 403 with a web page: {excerpt(reply.body)}"
        elif reply.status >= 400 and reply.body and not page:
            message = f"HTTP {reply.status}: {excerpt(reply.body)}"
        return ErrorBody(500 if wrapped else reply.status, message, wrapped=wrapped, page=page)
    return error_in(body, reply.status)


def error_in(body: Mapping[str, Any], status: int) -> ErrorBody:
    """The error in the body of a reply with this HTTP status."""
    fields = _fields(body)
    codes = [found for found in (fields.get("code"), fields.get("status_code")) if found]
    code = codes[0] if codes else None
    said = _message(fields)
    message = said or f"HTTP {status}: {beginning(body)}"
    # OpenRouter passes on the upstream provider's own error there.
    upstream = mapping(fields.get("metadata")).get("raw")
    if isinstance(upstream, str) and upstream:
        message = f"{message}: {upstream}"
    wrapped = 200 <= status < 300
    kind = fields.get("type") or fields.get("__type")
    if wrapped:
        status = (
            _named_status(fields) or _named_status(body) or STATUS_OF_TYPE.get(_word(kind), 500)
        )
    return ErrorBody(
        status, message, _word(code), _word(kind), fields, said=bool(said), wrapped=wrapped
    )


def holds_error(body: Mapping[str, Any]) -> bool:
    """Whether a body with a status of success reports an error.

    Some servers put an empty error object beside each answer, or one that says "success".
    """
    error = body.get("error")
    if not isinstance(error, dict):
        return bool(error)
    return any(_says(value) for value in error.values()) and error.get("code") not in _SUCCESS


def _says(value: object) -> bool:
    return any(map(_says, value.values())) if isinstance(value, dict) else bool(value)


def _named_status(fields: Mapping[str, Any]) -> int | None:
    """The HTTP status that an error names for itself; None for none."""
    for name in ("code", "status_code", "status", "statusCode", "http_status", "http_code"):
        value = fields.get(name)
        number = int(value) if isinstance(value, str) and _STATUS.fullmatch(value) else count(value)
        if number is not None and 400 <= number < 600:
            return number
    return None


def _fields(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error object; MiniMax calls it base_resp, and Ollama's `error` is its message."""
    error = body.get("error")
    if isinstance(error, str) and error:
        return {**body, "message": error}
    found = error or body.get("base_resp")
    return found if isinstance(found, dict) else body


def _message(fields: Mapping[str, Any]) -> str:
    names = (
        "message",
        "Message",
        "detail",
        "msg",
        "title",
        "error_description",
        "status_msg",
        "errors",
    )
    return next(filter(None, (_text(fields.get(name)) for name in names)), "")


def _text(value: object, depth: int = 4) -> str:
    """A message that is a text, an object with one, or a list of these, as FastAPI's `detail`."""
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
