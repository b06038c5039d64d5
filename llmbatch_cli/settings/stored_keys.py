"""Keys that are kept for the user: in the system's keyring, else in a file of one's own.

The file names the providers whose keys are kept, also those in the keyring, which cannot list
what it holds: so a run whose key is in the environment never imports the keyring.
"""

import os
import stat
import sys
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.core.environment import StandIn
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.folders import config_folder
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.providers.access import Entry, first_set
from llmbatch_cli.settings.atomic import alone, write_atomically

FILE: Final = "keys.json"
SERVICE: Final = "llmbatch"
"""What the keyring calls our entries; the user's name there is the provider's."""
IN_KEYRING: Final = None
"""In the file, in place of a key."""

PRIVATE: Final = 0o600


class StoredKeys:
    """The keys in one file, and in the keyring."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mode = 0
        self.keys = self._read()

    def source(self, provider: str) -> str:
        """Where its key is kept."""
        return "the system's keyring" if self.keys[provider] is IN_KEYRING else str(self.path)

    def get(self, provider: str) -> str:
        """The key. Raises UsageError where others can read the file, or the keyring has none."""
        key = self.keys[provider]
        if key is IN_KEYRING:
            return _from_keyring(provider)
        self.check_private()
        return key

    def set(self, provider: str, key: str) -> None:
        """Keep a key, in the keyring where there is one. Raises UsageError."""
        with alone(self.path):
            self._set(provider, key)

    def _set(self, provider: str, key: str) -> None:
        self.keys = self._read()  # others may have set theirs meanwhile
        self.check_private()
        backend = _keyring()
        if backend is not None:
            _in_keyring(partial(backend.set_password, SERVICE, provider, key), provider)
        self.keys[provider] = key if backend is None else IN_KEYRING
        self._write()

    def remove(self, provider: str) -> None:
        """Forget a key. Raises UsageError."""
        with alone(self.path):
            self._remove(provider)

    def _remove(self, provider: str) -> None:
        self.keys = self._read()
        self.check_private()
        if self.keys.get(provider, "") is IN_KEYRING and (backend := _keyring()) is not None:
            import keyring.errors

            def delete() -> None:
                try:
                    backend.delete_password(SERVICE, provider)
                except keyring.errors.PasswordDeleteError:  # somebody has done so already
                    return

            _in_keyring(delete, provider)
        self.keys.pop(provider, None)
        self._write()

    def check_private(self) -> None:
        """Raise UsageError where others can read or change the file."""
        if sys.platform != "win32" and self._mode & 0o077:
            raise UsageError(
                f"{self.path} is not used: others can read it (mode {self._mode:04o})",
                hint=f"chmod 600 {self.path}; if others use this machine, make new keys",
            )

    def _read(self) -> dict[str, str | None]:
        try:
            with self.path.open("rb") as file:
                self._mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                found = orjson.loads(file.read() or b"{}")
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise UsageError(f"cannot read the keys in {self.path}: {error.strerror}") from error
        except orjson.JSONDecodeError:
            found = None  # its error would quote the file
        if not isinstance(found, dict) or not all(
            value is None or isinstance(value, str) for value in found.values()
        ):
            raise UsageError(
                f"{self.path} is no file of keys",
                hint="remove it, and set the keys again",
            )
        return found

    def _write(self) -> None:
        data = orjson.dumps(self.keys, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        write_atomically(self.path, data + b"\n", mode=PRIVATE)


def file_of_keys(environ: Mapping[str, str]) -> Path:
    """Where keys are kept."""
    return config_folder(environ) / FILE


def stand_ins(
    stored: StoredKeys, entries: Mapping[str, Entry], environ: Mapping[str, str]
) -> dict[str, StandIn]:
    """For each provider whose key is kept, and in none of its variables: the variable."""
    found: dict[str, StandIn] = {}
    for name in stored.keys:
        entry = entries.get(name)
        if entry is not None and first_set(environ, entry.key_variables) is None:
            source = f"the key in {stored.source(name)} (llmbatch keys set {name})"
            found[entry.key_variables[0]] = StandIn(cache(partial(stored.get, name)), source)
    return found


def _keyring() -> Any:
    """The system's keyring; None where there is none, or only one that encrypts nothing."""
    try:
        import keyring
    except ImportError:
        return None
    backend = keyring.get_keyring()
    # The library recommends a backend from priority 1 on.
    return backend if backend.priority >= 1 else None


def _from_keyring(provider: str) -> str:
    backend = _keyring()
    if backend is None:
        raise UsageError(
            f"the key for {provider} is in the system's keyring, which cannot be reached from here",
            hint=f"{install_hint('keyring')}, or set it again: llmbatch keys set {provider}",
        )
    key = _in_keyring(partial(backend.get_password, SERVICE, provider), provider)
    if not key:
        raise UsageError(
            f"the system's keyring has lost the key for {provider}",
            hint=f"llmbatch keys set {provider}",
        )
    return str(key)


def _in_keyring(use: Any, provider: str) -> Any:
    """What the keyring answers. Raises UsageError, without what it was told."""
    import keyring.errors

    try:
        return use()
    except keyring.errors.KeyringError as error:
        raise UsageError(
            f"the system's keyring refuses the key for {provider}: {type(error).__name__}",
            hint="is it unlocked? With PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring keys "
            "are kept in a file",
        ) from None
