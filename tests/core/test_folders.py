"""Where the program keeps files of its own."""

import sys
from pathlib import Path

import pytest
from platformdirs import user_config_path

from llmbatch_cli.core.folders import config_folder


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="platformdirs is asked there")
@pytest.mark.parametrize("base", [None, "", " ", "/etc/xdg-of-mine", "not/absolute"])
def test_the_folder_of_settings_is_that_of_platformdirs(
    base: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose import would cost every run more than all that is read there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    environ = {}
    if base is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", base)
        environ["XDG_CONFIG_HOME"] = base
    assert config_folder(environ) == user_config_path("llmbatch", appauthor=False)
