"""Where the program keeps files of its own."""

from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder(environ: Mapping[str, str]) -> Path:
    """What can be had again: LLMBATCH_CACHE_DIR, else `llmbatch` in the user's cache folder."""
    moved = environ.get("LLMBATCH_CACHE_DIR")
    return Path(moved) if moved else user_cache_path("llmbatch", appauthor=False)
