"""What the wires share in reading replies: JSON, values, texts to show. All input is hostile."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.privacy import SHORTEST_KEY
from llmbatch_cli.core.types import WireReply

MAX_MESSAGE_CHARS = 2000

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|r8|pplx|nvapi|csk|fw|tgp)[-_][\w*.-]{8,}|\bAIza[\w-]{20,}"
    r"|(?i:bearer) [\w*.~+/=-]{8,}"
)


def json_object(reply: WireReply) -> dict[str, Any]:
    """The reply's body as a JSON object. Raises BadReply that shows how the body begins.

    Google's endpoints may put an error object into a list, so a list of one is read as its item.
    """
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        raise BadReply(_not_json(reply), status=reply.status) from error
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise BadReply(
            f"the reply is JSON but not an object: {excerpt(reply.body)}", status=reply.status
        )
    return value


def _not_json(reply: WireReply) -> str:
    if 300 <= reply.status < 400:
        return (
            f"the server redirects to {clean(reply.headers.get('location', '?'), 200)}, which is "
            "not followed, as the key would go there too (is the base URL right?)"
        )
    if not reply.body:
        return "the reply is empty"
    beginning = excerpt(reply.body)
    if is_page(reply):
        page = "the reply is a web page, not JSON (is a proxy or a wrong base URL in between?)"
        return f"{page}: {beginning}"
    return f"the reply is not valid JSON: {beginning}"


def is_page(reply: WireReply) -> bool:
    """Whether the body is a web page, or the line that Cloudflare sends in place of one."""
    beginning = reply.body[:200].lstrip()
    html = "html" in reply.headers.get("content-type", "").lower() or beginning[:1] == b"<"
    return html or beginning.startswith(b"error code: 10")


def excerpt(body: bytes, max_chars: int = 200) -> str:
    """The beginning of a body, safe to show."""
    return clean(body[: 4 * max_chars].decode("utf-8", "replace"), max_chars)


def clean(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """A provider's text, cut to length, without control characters and anything like a key."""
    # Cut first: the patterns must not run over megabytes.
    text = _CONTROL.sub("", text[: 2 * max_chars])
    text = " ".join(_SECRET.sub("[key]", text).split())
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def without_key(text: str, api_key: str | None) -> str:
    """The text without this key: some servers repeat what they were sent.

    A very short key, as `x` in place of none, is not secret, and is part of many words.
    """
    return text.replace(api_key, "[key]") if api_key and len(api_key) >= SHORTEST_KEY else text


def count(value: object) -> int | None:
    """A token count, or None for anything else."""
    if type(value) is int and 0 <= value < 2**53:
        return value
    return None


def text_or_none(value: object) -> str | None:
    """The value if it is a string."""
    return value if isinstance(value, str) else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: object) -> list[dict[str, Any]]:
    """The objects in the value, if it is a list; else none."""
    return [item for item in listed(value) if isinstance(item, dict)]


def of_type(kind: str, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items whose `type` is this."""
    return [item for item in items if item.get("type") == kind]


def content_text(content: object) -> str | None:
    """A message's content as text: a string as it is, of a list the texts of its parts."""
    if isinstance(content, str) or content is None:
        return content
    return joined(mappings(content), "text") if isinstance(content, list) else None


def joined(items: Sequence[Mapping[str, Any]], name: str, between: str = "") -> str:
    """The texts that the items have under this name, in one."""
    return between.join(text for item in items if isinstance(text := item.get(name), str) and text)
