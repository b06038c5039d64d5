"""What the APIs share in building requests: headers, JSON, and media in messages."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import orjson

from llmbatch_cli import __version__
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Request, WireRequest

DEFAULT_TYPE: Final = "application/octet-stream"


def json_headers() -> dict[str, str]:
    """The headers of every request: the type of its body and of the reply, and our name."""
    return {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": f"llmbatch/{__version__}",
    }


def bearer_headers(api_key: str | None) -> dict[str, str]:
    """The same with the key as a bearer token, where there is one."""
    return json_headers() | ({"authorization": f"Bearer {api_key}"} if api_key else {})


def json_bytes(body: object) -> bytes:
    """The body, or a part of it, as JSON. Raises UsageError for what JSON cannot express."""
    try:
        # a copy, as it lives while the row is in flight, and orjson's own bytes hold 4 KiB at
        # least and up to 13 times their length
        return memoryview(orjson.dumps(body)).tobytes()
    except TypeError as error:
        raise UsageError(f"the request cannot be written as JSON: {error}") from error


def post(url: str, headers: Mapping[str, str], request: Request, body: object) -> WireRequest:
    """The POST of a JSON body, with the request's own `extra_headers`."""
    if "extra_headers" in request.params:
        headers = {**headers, **request.params["extra_headers"]}
    return WireRequest("POST", url, headers, json_bytes(body))


def data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a data: URL; None for any other URL.

    Source: RFC 2397. Raises UsageError where it has no data.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise UsageError("a data: URL without a comma has no data")
    kind, *settings = head.split(";")
    if "base64" not in (setting.strip().lower() for setting in settings):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return kind or "text/plain", data


def plain_base64(data: str) -> str:
    """The text itself, if it is base64. Raises UsageError if it is not."""
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("a file's data is neither a data: URL nor base64") from error
    return data


def guessed_type(name: str) -> str | None:
    """The media type that a file's name or a URL's path suggests; None where it does not."""
    import mimetypes

    try:
        path = urlsplit(name).path
    except ValueError:
        return None
    return mimetypes.guess_type(path, strict=False)[0]
