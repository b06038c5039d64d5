"""Parts of a message that name a file of this machine, read and put in its place.

Rows may come from strangers, so a file is read only below the folder that the user has named
with `--files`, and only if it is what it should be by its first bytes.

    image_url.url                a path, or file:... ; any other scheme is left to the provider
    input_audio.path, file.path  a path
    input_audio.data,            a path where it has a dot, which no base64 has, and is no
    file.file_data               data: URL

Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11-22).
"""

import asyncio
import os
import re
import stat
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.types import BadRow, Message, Prompt, Row
from llmbatch_cli.rows.input.params import escaped

MAX_FILE_BYTES: Final = 20 * 2**20
"""Of one file, as it lies on the disk; base64 makes a third more of it."""
MAX_ROW_BYTES: Final = 64 * 2**20
"""Of all files of one row together; no provider takes so much in one request."""
MAX_PATH_CHARS: Final = 4096

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # one letter is a drive of Windows
_MAGIC: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"RIFF.{4}WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"%PDF-"), "application/pdf"),
    # An MPEG frame of layer III with a bitrate and a sampling rate, or a tag before the first.
    (
        re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef][^\x0c-\x0f]", re.DOTALL),
        "audio/mpeg",
    ),
)
_AUDIO_FORMATS: Final = {"audio/wav": "wav", "audio/mpeg": "mp3"}
_FLAGS: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)

Part = dict[str, Any]


def names_files(messages: Sequence[Message]) -> bool:
    """Whether any part names a file, so that `inline` would read one. Costs no I/O."""
    for message in messages:
        if type(message.get("content")) is not str and _has_file(message.get("content")):
            return True
    return False


def inline(messages: Sequence[Message], root: Path | None) -> Sequence[Message]:
    """The messages with every file that they name in the place of its name.

    Returns the same object where there is nothing to read, and never changes it. Reads up to
    MAX_FILE_BYTES a file and MAX_ROW_BYTES in all, and blocks meanwhile. None for `root` reads
    nothing. Raises InputError for a file that may not or cannot be read, or is of no known type.
    """
    if not names_files(messages):
        return messages
    folder = _Folder(root)
    return [_message(message, folder) for message in messages]


@dataclass
class _Folder:
    """Where one row may read, and how much more."""

    root: Path | None
    left: int = MAX_ROW_BYTES


def _message(message: Message, folder: _Folder) -> Message:
    content = message.get("content")
    if not isinstance(content, list) or not _has_file(content):
        return message
    return {**message, "content": [_filled(part, folder) for part in content]}


def _has_file(content: object) -> bool:
    return isinstance(content, list) and any(_named(part) is not None for part in content)


def _filled(part: Part, folder: _Folder) -> Part:
    name = _named(part)
    if name is None:
        return part
    return FILLERS[part["type"]](part, name, folder)


# ---- which file a part names


def _named(part: object) -> str | None:
    """The path that a part names; None where it names none."""
    if not isinstance(part, dict):
        return None
    kind = part.get("type")
    held = part.get(kind) if isinstance(kind, str) and kind in FILLERS else None
    if isinstance(held, str) and kind == "image_url":
        return _path_in_url(held)
    if not isinstance(held, dict):
        return None
    if kind == "image_url":
        return _path_in_url(held.get("url"))
    if held.get("path") is not None:
        return str(held["path"])
    return _path_in_data(held.get("data" if kind == "input_audio" else "file_data"))


def _path_in_url(url: object) -> str | None:
    if not isinstance(url, str):
        return None
    if url[:5].lower() == "file:":
        return _path_of_file_url(url)
    return None if _SCHEME.match(url) else url


def _path_in_data(data: object) -> str | None:
    if not isinstance(data, str) or len(data) > MAX_PATH_CHARS or "." not in data:
        return None
    return _path_in_url(data)


def _path_of_file_url(url: str) -> str:
    """Source: RFC 8089. A host other than this machine is kept, so that no file is found."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    here = parts.netloc.lower() in ("", "localhost")
    return unquote(parts.path) if here else f"//{parts.netloc}{unquote(parts.path)}"


# ---- what takes the name's place


def _image(part: Part, name: str, folder: _Folder) -> Part:
    kind, data = _read(name, folder)
    if not kind.startswith("image/"):
        raise InputError(f"{_shown(name)} is no image, but {kind}; name it in a part 'file'")
    held = part["image_url"]
    held = held if isinstance(held, dict) else {}
    return {**part, "image_url": {**held, "url": _data_url(kind, data)}}


def _audio(part: Part, name: str, folder: _Folder) -> Part:
    kind, data = _read(name, folder)
    if kind not in _AUDIO_FORMATS:
        raise InputError(f"{_shown(name)} is no wav or mp3, but {kind}")
    held = _without_path(part["input_audio"])
    said = {"data": b64encode(data).decode(), "format": _AUDIO_FORMATS[kind]}
    return {**part, "input_audio": {**held, **said}}


def _file(part: Part, name: str, folder: _Folder) -> Part:
    kind, data = _read(name, folder)
    held = {"filename": re.split(r"[/\\]", name)[-1], **_without_path(part["file"])}
    return {**part, "file": {**held, "file_data": _data_url(kind, data)}}


FILLERS: Final[Mapping[str, Callable[[Part, str, _Folder], Part]]] = {
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}
"""How a part of each kind takes a file in."""


def _without_path(held: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in held.items() if name != "path"}


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


# ---- reading


def _read(name: str, folder: _Folder) -> tuple[str, bytes]:
    """The file's media type and bytes. Raises InputError."""
    root = folder.root
    if root is None:
        raise InputError(
            f"{_shown(name)} is a file, and no row may read files; "
            "--files DIR allows those in a folder"
        )
    try:
        data = _bytes(_allowed(name, root), name)
    except OSError as error:
        raise InputError(f"cannot read {_shown(name)}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte, or a lone surrogate
        raise InputError(f"{_shown(name)} is no file's name") from error
    folder.left -= len(data)
    if folder.left < 0:
        most = MAX_ROW_BYTES // 2**20
        raise InputError(f"the files of the row are longer than {most} MiB together")
    kind = type_of(data)
    if kind is None:
        raise InputError(
            f"{_shown(name)} is of no known type (png, jpeg, gif, webp, pdf, wav, mp3), "
            "judged by its first bytes"
        )
    return kind, data


def type_of(data: bytes) -> str | None:
    """The media type that the first bytes tell; None for any other."""
    return next((kind for pattern, kind in _MAGIC if pattern.match(data)), None)


def _allowed(name: str, root: Path) -> str:
    """The file's real path, below the folder's real one. Raises InputError.

    What lies outside is refused before it is looked at, so that nobody learns what is there.
    """
    if not name or len(name) > MAX_PATH_CHARS:
        raise InputError("a file's name is empty or too long")
    if ".." in re.split(r"[/\\]", name):
        raise InputError(f"{_shown(name)} goes up with '..'; name it from the --files folder down")
    folder = os.path.realpath(root)
    real = os.path.realpath(root / name)
    if os.path.commonpath((folder, real)) != folder:
        raise InputError(f"{_shown(name)} is outside of the --files folder")
    return real


def _bytes(real: str, name: str) -> bytes:
    """The plain file's bytes; nothing else is so much as opened. Raises InputError, OSError."""
    _check(os.lstat(real), name)
    with os.fdopen(os.open(real, _FLAGS), "rb") as file:
        _check(os.fstat(file.fileno()), name)
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InputError(_too_large(name))
    return data


def _check(found: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{_shown(name)} is no plain file")
    if found.st_size > MAX_FILE_BYTES:
        raise InputError(_too_large(name))


def _too_large(name: str) -> str:
    return f"{_shown(name)} is larger than {MAX_FILE_BYTES // 2**20} MiB"


def _shown(name: str) -> str:
    return f"'{escaped(name, 200)}'"


async def with_attachments(
    rows: AsyncGenerator[Row, None], root: Path | None
) -> AsyncGenerator[Row, None]:
    """Every row with the files that its messages name; where one may not be read, a BadRow."""
    async with aclosing(rows):
        async for row in rows:
            if isinstance(row, Prompt) and names_files(row.messages):
                yield await _attached(row, root)
            else:
                yield row


async def _attached(row: Prompt, root: Path | None) -> Row:
    try:
        messages = await asyncio.to_thread(inline, row.messages, root)
    except InputError as error:
        return BadRow(row.index, error.message, row.id, row.file, row.line, row.metadata)
    return replace(row, messages=messages)
