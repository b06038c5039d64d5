"""What several tests of clusters begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.one_part import OPEN

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.folders import folder_at
from llmbatch_cli.cluster.layout import WORK
from llmbatch_cli.cluster.local_folder import LocalFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LocalFolder]:
    """An output's; the files of parts that are left open there are closed after."""
    made = LocalFolder(tmp_path / "out")
    made.make(WORK)
    yield made
    close()


@pytest.fixture(params=["local", "store"])
def any_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder of an output: one on a disk, one in a store."""
    where: str | Path = tmp_path / "out"
    if request.param == "store":
        where = f"{request.getfixturevalue('bucket').address}/some/out/"
    made = folder_at(where)
    assert made.is_empty()
    made.make(WORK)
    return made


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Path]:
    """For several outputs."""
    yield tmp_path
    close()


def close() -> None:
    """Close what parts have open."""
    while OPEN:
        OPEN.pop().close()
