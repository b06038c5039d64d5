"""What an input is known by again. Blocks."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.rows.input.inputs import InputPath, chunks_of
from llmbatch_cli.rows.input.remote import entry_at
from llmbatch_cli.storage import is_remote

_SAMPLE_BYTES: Final = 2**16
_SAMPLES: Final = 16


def fingerprint(name: str) -> dict[str, Any]:
    """The size of a file, and a digest of its first, its last and some bytes between.

    A file of up to 1 MiB is read as a whole. Nothing in it depends on the machine, or on when the
    file was copied. Of an object in a store it is the version, of which alone it is read. Raises
    OSError.
    """
    if is_remote(name):
        entry = InputPath.of(name).entry or entry_at(name)
        return {} if entry is None else {"bytes": entry.size, "version": entry.version}
    size = Path(name).stat().st_size
    digest = sha256()
    for begin in _begins(size):
        for chunk in chunks_of(name, begin=begin, end=min(size, begin + _SAMPLE_BYTES)):
            digest.update(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _begins(size: int) -> Iterator[int]:
    if size <= _SAMPLE_BYTES * _SAMPLES:
        yield from range(0, size, _SAMPLE_BYTES)
        return
    last = size - _SAMPLE_BYTES
    yield from (last * place // (_SAMPLES - 1) for place in range(_SAMPLES))
