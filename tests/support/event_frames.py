"""Frames of AWS's event stream, made by the book and apart from the code that reads them."""

import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import orjson


def event_frame(headers: Mapping[str, str], payload: Any) -> bytes:
    """One frame with these headers, all texts, and the payload as JSON.

    Source: smithy.io/2.0/aws/amazon-eventstream.html (read 2026-11-22).
    """
    head = b"".join(
        bytes([len(name)])
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    body = orjson.dumps(payload)
    prelude = struct.pack(">II", 16 + len(head) + len(body), len(head))
    frame = prelude + struct.pack(">I", crc32(prelude)) + head + body
    return frame + struct.pack(">I", crc32(frame))
