"""Heads of replies that have their length twice, which llhttp refuses."""

import re
from typing import Final

_BEGIN: Final = b"HTTP/"
_END: Final = re.compile(rb"\r?\n\r?\n")
_LENGTH: Final = re.compile(rb"\r?\ncontent-length:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding[ \t]*:[^\n]*chunked", re.IGNORECASE)


def begins_http(data: bytes) -> bool:
    """Whether it is, or may become, a reply of HTTP at all."""
    begin = data.lstrip(b"\r\n")[: len(_BEGIN)]
    return begin == _BEGIN[: len(begin)]


def with_one_length(data: bytes) -> bytes | None:
    """The reply's begin with one length, as RFC 9112, section 6.3, has it read.

    That is none for one that is chunked, too, and one of several that are the same. Several that
    differ are left as they are. None as long as the head is not whole.
    """
    end = _END.search(data)
    if end is None:
        return None
    head = data[: end.start()]
    values = {value.strip() for line in _LENGTH.findall(head) for value in line.split(b",")}
    chunked = _CHUNKED.search(head)
    if not chunked and len(values) != 1:
        return data
    one = b"" if chunked else b"\r\ncontent-length: %b" % values.pop()
    return b"%b%b%b" % (_LENGTH.sub(b"", head), one, data[end.start() :])
