"""What several tests of clusters begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.one_part import OPEN

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.layout import WORK


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """An output's; the files of parts that are left open there are closed after."""
    made = Folder(tmp_path / "out")
    made.make(WORK)
    yield made
    close()


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Path]:
    """For several outputs."""
    yield tmp_path
    close()


def close() -> None:
    """Close what parts have open."""
    while OPEN:
        OPEN.pop().close()
