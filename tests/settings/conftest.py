from pathlib import Path

import pytest
from support.settings import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user without settings."""
    folder = tmp_path / "config"
    folder.mkdir()
    return Home(folder)
