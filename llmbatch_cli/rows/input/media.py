"""Images, sounds and documents that fields name, as parts of the last message. No I/O."""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Message
from llmbatch_cli.rows.input.attachments import AUDIO_FORMATS, type_of
from llmbatch_cli.rows.input.params import quoted, shown

_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]{60,}={0,2}\s*")
"""What is too long for most names, and has no dot."""
_HEAD_CHARS: Final = 64
_DATA_URL: Final = re.compile(r"data:([\w/.+-]+);base64,", re.IGNORECASE)


@frozen(kw_only=True)
class Media:
    """The fields that name media."""

    images: Sequence[str] = ()
    audio: Sequence[str] = ()
    files: Sequence[str] = ()

    @property
    def named(self) -> Mapping[str, str]:
        """The fields, each with its option."""
        return {
            **dict.fromkeys(self.images, "--image"),
            **dict.fromkeys(self.audio, "--audio"),
            **dict.fromkeys(self.files, "--file"),
        }

    def added(self, messages: Sequence[Message], fields: Mapping[str, Any]) -> Sequence[Message]:
        """The messages with the media of a row in the last one. Raises InputError.

        An empty field adds nothing. What names a file is read later, below --files.
        """
        parts = [*self._parts(fields)]
        if not parts:
            return messages
        *before, last = messages
        content = last.get("content")
        texts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        return [*before, {**last, "content": [*parts, *texts]}]

    def carried(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The fields without those that hold bytes, which the output need not repeat."""
        held = {name for name in self.named if any(map(_has_bytes, _values(data.get(name))))}
        return {name: value for name, value in data.items() if name not in held}

    def _parts(self, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for names, part in ((self.images, _image), (self.audio, _audio), (self.files, _file)):
            for name in names:
                for value in _values(fields.get(name)):
                    if not isinstance(value, str):
                        raise InputError(
                            f"{quoted(name)} must be a path, a URL or base64, not {shown(value)}"
                        )
                    yield part(value, name)


def _values(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _has_bytes(value: Any) -> bool:
    return isinstance(value, str) and (value[:5] == "data:" or _media_of(value) is not None)


def _media_of(value: str) -> str | None:
    """The type of what is base64 and begins as a known file; None for a path or a URL."""
    if not _BASE64.fullmatch(value):
        return None
    try:
        return type_of(b64decode("".join(value[: 2 * _HEAD_CHARS].split())[:_HEAD_CHARS]))
    except NotBase64:
        return None


def _image(value: str, name: str) -> dict[str, Any]:
    media = _media_of(value)
    if media is not None and not media.startswith("image/"):
        raise InputError(f"{quoted(name)} is no image, but {media}")
    return {"type": "image_url", "image_url": {"url": _as_url(value, media)}}


def _audio(value: str, name: str) -> dict[str, Any]:
    media, data = _media_of(value), value
    if found := _DATA_URL.match(value):
        media, data = found[1].lower().replace("x-wav", "wav"), value[found.end() :]
    if media is None:
        if re.match(r"https?:", value, re.IGNORECASE):
            raise InputError(f"{quoted(name)} is a URL; audio is sent as a file or as base64")
        return {"type": "input_audio", "input_audio": {"path": value}}
    if media not in AUDIO_FORMATS:
        raise InputError(f"{quoted(name)} is not wav or mp3, but {media}")
    return {"type": "input_audio", "input_audio": {"data": data, "format": AUDIO_FORMATS[media]}}


def _file(value: str, name: str) -> dict[str, Any]:
    media = _media_of(value)
    if media is not None or re.match(r"[A-Za-z][\w+.-]+:", value):
        held = {"filename": _file_name(value, name), "file_data": _as_url(value, media)}
    else:
        held = {"path": value}
    return {"type": "file", "file": held}


def _as_url(value: str, media: str | None) -> str:
    return value if media is None else f"data:{media};base64,{''.join(value.split())}"


def _file_name(value: str, name: str) -> str:
    return value.rpartition("/")[2] if value[:4].lower() == "http" else name
