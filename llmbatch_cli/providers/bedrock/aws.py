"""Amazon's own formats: signed requests, and replies in frames of an event stream.

Sources (read 2026-11-22): docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
(the frames, as in smithy.io/2.0/aws/amazon-eventstream.html), botocore 1.44.5 (eventstream.py).
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from zlib import crc32

from llmbatch_cli.core.errors import BadReply, UsageError
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.core.types import WireRequest
from llmbatch_cli.providers.access import first_set

_PRELUDE: Final = struct.Struct(">III")
_MAX_FRAME_BYTES: Final = 24 * 2**20
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; types 6 and 7 have their own length."""


class Frame(NamedTuple):
    """One message of an event stream, with those of its headers that are texts."""

    headers: Mapping[str, str]
    payload: bytes


class Frames:
    """Whole frames from bytes in any pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete. Raises BadReply for invalid ones."""
        self._rest += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def rest(self) -> list[Frame]:
        """Nothing: a frame without its end is none."""
        return []

    def _next(self) -> Frame | None:
        if len(self._rest) < _PRELUDE.size:
            return None
        whole, headed, check = _PRELUDE.unpack_from(self._rest)
        if check != crc32(self._rest[:8]) or not headed + 16 <= whole <= _MAX_FRAME_BYTES:
            raise BadReply("the stream is not an AWS event stream", status=200)
        if len(self._rest) < whole:
            return None
        data, self._rest = self._rest[:whole], self._rest[whole:]
        if struct.unpack(">I", data[-4:])[0] != crc32(data[:-4]):
            raise BadReply("a frame of the stream is damaged", status=200)
        start = _PRELUDE.size + headed
        return Frame(_headers(data[_PRELUDE.size : start]), data[start:-4])


def _headers(data: bytes) -> dict[str, str]:
    headers = {}
    place = 0
    try:
        while place < len(data):
            name_end = place + 1 + data[place]
            name = data[place + 1 : name_end].decode("utf-8", "replace")
            kind = data[name_end]
            place = name_end + 1
            if kind in (6, 7):
                size = int.from_bytes(data[place : place + 2])
                place += 2
            else:
                size = _SIZES[kind]
            if kind == 7:
                headers[name] = data[place : place + size].decode("utf-8", "replace")
            place += size
    except (IndexError, KeyError) as error:
        raise BadReply("a frame of the stream has a broken header", status=200) from error
    return headers


def load_credentials(environ: Mapping[str, str]) -> Any:
    """The AWS credentials in force, as botocore finds them; None where there are none.

    Reads files and may use the network, so call it in a thread. Raises UsageError where
    botocore is missing or its settings cannot be read.
    """
    try:
        from botocore.credentials import Credentials
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as error:
        raise UsageError(
            f"AWS credentials need botocore: {error}", hint=install_hint("bedrock")
        ) from error
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    key_id, secret, token = (first_set(environ, (name,)) for name in names)
    if key_id and secret:
        return Credentials(key_id, secret, token)
    try:
        return Session(profile=environ.get("AWS_PROFILE")).get_credentials()
    except BotoCoreError as error:
        raise UsageError(f"the AWS credentials cannot be read: {error}") from error


def frozen(credentials: Any) -> Any:
    """The credentials as they are now, renewed if they end soon, which may use the network.

    Raises UsageError where they cannot be renewed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return credentials.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        raise UsageError(f"the AWS credentials cannot be renewed: {error}") from error


def signed(
    wire: WireRequest, credentials: Any, region: str, *, s3_sha256: str | None = None
) -> WireRequest:
    """The request with its signature (SigV4), valid for five minutes, at S3 for fifteen.

    `s3_sha256` is given for a request to S3: the digest of its body, which may be a file.
    """
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest

    kept = {name: value for name, value in wire.headers.items() if name != "user-agent"}
    request = AWSRequest(method=wire.method, url=wire.url, headers=kept, data=wire.body)
    if s3_sha256 is None:
        auth = SigV4Auth(credentials, "bedrock", region)
    else:
        auth = S3SigV4Auth(credentials, "s3", region)
        auth.payload = lambda request: s3_sha256
    auth.add_auth(request)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    return WireRequest(wire.method, wire.url, {**wire.headers, **headers}, wire.body)
