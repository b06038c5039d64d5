"""Files that parts of messages name, read and put in the place of their names.

Rows may come from strangers, so a file is read only below the folder that the user has named
with `--files`, and only if its first bytes are those of a supported type.

    image_url.url                a path, or file:... ; any other scheme is left to the provider
    input_audio.path, file.path  a path
    input_audio.data,            a path where it has a dot, which no base64 has, and is not a
    file.file_data               data: URL

Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11-22).
"""

import asyncio
import os
import re
import stat
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.types import BadRow, Message, Prompt, Row
from llmbatch_cli.rows.input.params import escaped

MAX_FILE_BYTES: Final = 20 * 2**20
"""Of one file; base64 makes a third more of it."""
MAX_ROW_BYTES: Final = 64 * 2**20
"""Of all files of one row together, which is more than any provider supports."""
MAX_PATH_CHARS: Final = 4096

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # one letter is a drive of Windows
_MAGIC: Final = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF.{4}WEBP", "image/webp"),
    (rb"RIFF.{4}WAVE", "audio/wav"),
    (rb"%PDF-", "application/pdf"),
    # An MPEG frame of layer III with a bitrate and a sampling rate, or a tag before the first.
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef][^\x0c-\x0f]", "audio/mpeg"),
)
AUDIO_FORMATS: Final = {"audio/wav": "wav", "audio/mpeg": "mp3"}
_FLAGS: Final = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
"""Against a file that becomes a link or a pipe after it was checked."""

_DATA_FIELDS: Final = {"image_url": "url", "input_audio": "data", "file": "file_data"}
"""The parts that may name a file, and the field of each that takes its bytes."""

Part = dict[str, Any]


def names_files(messages: Sequence[Message]) -> bool:
    """Whether any part names a file, so that `inline` would read one. Costs no I/O."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list) and any(_path(part) is not None for part in content):
            return True
    return False


def inline(messages: Sequence[Message], root: Path | None) -> Sequence[Message]:
    """The messages with the content of every file in the place of its name.

    Returns the same object where there is nothing to read, and never changes it. Reads up to
    MAX_FILE_BYTES a file and MAX_ROW_BYTES in all, and blocks meanwhile. None for `root` reads
    nothing. Raises InputError for a file that cannot be read, is not allowed, or is of an
    unknown type.
    """
    if not names_files(messages):
        return messages
    files = _Files(root)
    return [_with_files(message, files) for message in messages]


def _with_files(message: Message, files: "_Files") -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_filled(part, files) for part in content]}


def _filled(part: Part, files: "_Files") -> Part:
    name = _path(part)
    if name is None:
        return part
    kind = part["type"]
    media, data = files.read(name)
    held = part[kind] if isinstance(part[kind], dict) else {}
    held = {field: value for field, value in held.items() if field != "path"}
    encoded = b64encode(data).decode()
    if kind == "input_audio":
        if media not in AUDIO_FORMATS:
            raise InputError(f"{_shown(name)} is not wav or mp3, but {media}")
        return {**part, kind: {**held, "data": encoded, "format": AUDIO_FORMATS[media]}}
    if kind == "file":
        held = {"filename": re.split(r"[/\\]", name)[-1], **held}
    elif not media.startswith("image/"):
        raise InputError(f"{_shown(name)} is not an image, but {media}; send it in a 'file' part")
    return {**part, kind: {**held, _DATA_FIELDS[kind]: f"data:{media};base64,{encoded}"}}


# Which file a part names


def _path(part: object) -> str | None:
    """The path that a part names; None where it names none."""
    kind = part.get("type") if isinstance(part, dict) else None
    field = _DATA_FIELDS.get(kind) if isinstance(kind, str) else None
    if not isinstance(part, dict) or field is None:
        return None
    held = part.get(kind)
    if isinstance(held, str):
        return _path_in_url(held) if kind == "image_url" else None
    if not isinstance(held, dict):
        return None
    if kind != "image_url" and held.get("path") is not None:
        return str(held["path"])
    found = held.get(field)
    if not isinstance(found, str):
        return None
    if kind != "image_url" and ("." not in found or len(found) > MAX_PATH_CHARS):
        return None
    return _path_in_url(found)


def _path_in_url(url: str) -> str | None:
    """Source: RFC 8089. A host other than this machine is kept, so that no file is found."""
    if url[:5].lower() != "file:":
        return None if _SCHEME.match(url) else url
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    here = parts.netloc.lower() in ("", "localhost")
    return unquote(parts.path) if here else f"//{parts.netloc}{unquote(parts.path)}"


# Reading


class _Files:
    """What one row may read, and how much more."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._left_bytes = MAX_ROW_BYTES

    def read(self, name: str) -> tuple[str, bytes]:
        """The file's media type and bytes. Raises InputError."""
        if self._root is None:
            raise InputError(
                f"{_shown(name)} is a file, and rows may not read files; "
                "--files DIR allows those below a folder"
            )
        try:
            data = _bytes(_allowed(name, self._root), name)
        except OSError as error:
            raise InputError(f"cannot read {_shown(name)}: {error.strerror or error}") from error
        except ValueError as error:  # a zero byte, or a lone surrogate
            raise InputError(f"{_shown(name)} is not a valid file name") from error
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            most = MAX_ROW_BYTES // 2**20
            raise InputError(f"the files of the row are larger than {most} MiB together")
        media = type_of(data)
        if media is None:
            raise InputError(
                f"{_shown(name)} is not of a known type (png, jpeg, gif, webp, pdf, wav, mp3), "
                "judged by its first bytes"
            )
        return media, data


def type_of(data: bytes) -> str | None:
    """The media type by the first bytes; None for any other."""
    return next((media for magic, media in _MAGIC if re.match(magic, data, re.DOTALL)), None)


def _allowed(name: str, root: Path) -> str:
    """The file's real path, below the folder's real one. Raises InputError.

    A path outside is refused before the file system is asked, which would tell what exists.
    """
    if not name or len(name) > MAX_PATH_CHARS:
        raise InputError("a file name is empty or too long")
    if ".." in re.split(r"[/\\]", name):
        raise InputError(f"{_shown(name)} has '..' in it; name it from the --files folder down")
    folder = os.path.realpath(root)
    real = os.path.realpath(root / name)
    if os.path.commonpath((folder, real)) != folder:
        raise InputError(f"{_shown(name)} is outside the --files folder")
    return real


def _bytes(real: str, name: str) -> bytes:
    """The regular file's bytes; nothing else is even opened. Raises InputError, OSError."""
    if not stat.S_ISREG(os.lstat(real).st_mode):
        raise InputError(f"{_shown(name)} is not a regular file")
    with os.fdopen(os.open(real, _FLAGS), "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{_shown(name)} is larger than {MAX_FILE_BYTES // 2**20} MiB")
    return data


def _shown(name: str) -> str:
    return f"'{escaped(name, 200)}'"


async def with_attachments(
    rows: AsyncGenerator[Row, None], root: Path | None
) -> AsyncGenerator[Row, None]:
    """Every row with the files that its messages name; where one may not be read, a BadRow."""
    async with aclosing(rows):
        async for row in rows:
            if isinstance(row, Prompt) and names_files(row.messages):
                yield await attached(row, root)
            else:
                yield row


async def attached(row: Prompt, root: Path | None) -> Row:
    """As `attached_now`; the files are read in a thread."""
    return await asyncio.to_thread(attached_now, row, root)


def attached_now(row: Prompt, root: Path | None) -> Row:
    """The row with the files that its messages name; a BadRow where one may not be read."""
    try:
        return replace(row, messages=inline(row.messages, root))
    except InputError as error:
        bad = BadRow(row.index, error.message, row.id, row.file, row.line, row.metadata)
        return replace(bad, value=row.value, repeat=row.repeat)
