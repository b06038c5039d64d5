"""What the wires share in reading replies: JSON, values, texts to show. All input is hostile."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.privacy import KEY_SHAPES, SHORTEST_KEY
from llmbatch_cli.core.text import shortened, without_controls
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.wire.lenient import NotJson, inflated, read_leniently

MAX_MESSAGE_CHARS = 2000

_CHARSET = re.compile(r"charset=[\"']?([\w.:-]{1,40})")


def json_object(reply: WireReply) -> dict[str, Any]:
    """The reply's body as a JSON object. Raises BadReply that shows where it is none.

    What is not quite JSON is read all the same (lenient.py). Google's endpoints may put an error
    object into a list, so a list of one is read as its item; a text that holds JSON is what some
    gateways make of it.
    """
    value = _json(reply, reply.body)
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    elif isinstance(value, str) and value.lstrip().startswith("{"):
        value = _json(reply, value.encode())
    if not isinstance(value, dict):
        raise BadReply(
            f"the reply is not a JSON object: {excerpt(reply.body)}", status=reply.status
        )
    return value


def _json(reply: WireReply, body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return read_leniently(inflated(body), _charset(reply))
        except NotJson as error:
            raise _bad(reply, error) from error  # no variable holds it, which would be a cycle


def _charset(reply: WireReply) -> str:
    """The character set that the headers name; empty where they name none."""
    found = _CHARSET.search(reply.headers.get("content-type", "").lower())
    return found[1] if found else ""


def _bad(reply: WireReply, error: NotJson) -> BadReply:
    bad = BadReply(_not_json(reply, error), status=reply.status)
    bad.hopeless = is_page(reply)  # of another server than the one that was meant
    return bad


def _not_json(reply: WireReply, error: NotJson) -> str:
    if 300 <= reply.status < 400:
        return (
            f"the server redirects to {clean(reply.headers.get('location', '?'), 200)}, which is "
            "not followed, as the key would go there too (is the base URL right?)"
        )
    if not reply.body:
        return "the reply is empty"
    if is_page(reply):
        page = "the reply is a web page, not JSON (is a proxy or a wrong base URL in between?)"
        return f"{page}: {excerpt(reply.body)}"
    return f"the reply is not valid JSON: {clean(str(error), 400)}"


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
    text = KEY_SHAPES.sub("[key]", without_controls(text[: 2 * max_chars]))
    return shortened(" ".join(text.split()), max_chars)


def without_key(text: str, api_key: str | None) -> str:
    """The text without this key: some servers repeat what they were sent.

    A very short key, as `x` in place of none, is not secret, and is part of many words.
    """
    return text.replace(api_key, "[key]") if api_key and len(api_key) >= SHORTEST_KEY else text


def count(value: object) -> int | None:
    """A whole number that is not negative, or None for anything else."""
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
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, dict)]


def of_type(kind: str, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items whose `type` is this."""
    return [item for item in items if item.get("type") == kind]


def content_text(content: object) -> str | None:
    """A message's content as text: a string as it is, of parts their texts.

    Some servers give the answer's own JSON in place of its text; that is written again.
    """
    if isinstance(content, str) or content is None:
        return content
    parts = content if isinstance(content, list) else [content]
    parts = [part for part in parts if part is not None]
    if all(isinstance(part, str) or (isinstance(part, dict) and _is_part(part)) for part in parts):
        return "".join([_part_text(part) for part in parts])
    try:
        return orjson.dumps(content).decode() if content else ""
    except TypeError as error:
        raise BadReply("the answer is nested too deeply", status=200) from error


def blocks_of(content: object) -> list[dict[str, Any]]:
    """A message's content as blocks, also where it came as a text or as one block."""
    if isinstance(content, list):
        texts = (_text_part(part) if isinstance(part, str) else part for part in content)
        return mappings(list(texts))
    if isinstance(content, dict) and _is_part(content):
        return [{"type": "text", **content}]
    text = content_text(content)
    return [_text_part(text)] if text else []


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _is_part(part: Mapping[str, Any]) -> bool:
    return isinstance(part.get("type"), str) or isinstance(part.get("text"), str)


def _part_text(part: Any) -> str:
    text = part if isinstance(part, str) else part.get("text")
    # Assistants have their texts one level deeper.
    return text_or_none(text) or text_or_none(mapping(text).get("value")) or ""


def joined(items: Sequence[Mapping[str, Any]], name: str, between: str = "") -> str:
    """The texts that the items have under this name, in one."""
    return between.join(text for item in items if isinstance(text := item.get(name), str) and text)
