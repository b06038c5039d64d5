"""What tests of the cluster share."""

from pathlib import Path

import pytest

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.folders import folder_at
from llmbatch_cli.cluster.layout import WORK


@pytest.fixture(params=["local", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder of an output: one on a disk, one in a store."""
    where: str | Path = tmp_path / "out"
    if request.param == "store":
        where = f"{request.getfixturevalue('bucket').address}/some/out/"
    made = folder_at(where)
    assert made.is_empty()
    made.make(WORK)
    return made
