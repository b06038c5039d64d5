"""Where the program keeps files of its own."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

NAME: Final = "llmbatch"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """What can be had again: LLMBATCH_CACHE_DIR, else `llmbatch` in the user's cache folder."""
    if moved := environ.get("LLMBATCH_CACHE_DIR"):
        return Path(moved)
    from platformdirs import user_cache_path

    return user_cache_path(NAME, appauthor=False)


def state_folder(environ: Mapping[str, str]) -> Path:
    """What outlives a run: LLMBATCH_STATE_DIR, else `llmbatch` in the user's state folder."""
    if moved := environ.get("LLMBATCH_STATE_DIR"):
        return Path(moved)
    from platformdirs import user_state_path

    return user_state_path(NAME, appauthor=False)


def config_folder(environ: Mapping[str, str]) -> Path:
    """Settings and keys: `llmbatch` in the user's folder of settings.

    Every run asks for it, and importing platformdirs takes longer than reading a file, so its
    answer for Unix is spelt out.
    """
    if sys.platform in ("win32", "darwin") or "ANDROID_DATA" in environ:
        from platformdirs import user_config_path

        return user_config_path(NAME, appauthor=False, roaming=True)
    base = environ.get("XDG_CONFIG_HOME", "").strip()
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.config")) / NAME  # noqa: PTH111, PTH117
