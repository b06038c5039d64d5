"""Credentials that come from another machine."""

import os
from pathlib import Path

import pytest

from llmbatch_cli.storage.adopting import adopt


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": "/", "AWS_REGION": "here"})


def own() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


def test_credentials_are_never_mixed() -> None:
    """A token of this machine does not go with a key of the other."""
    os.environ.update({"AWS_ACCESS_KEY_ID": "mine", "AWS_SESSION_TOKEN": "mine"})
    adopt({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "PATH": "/"})
    assert own() == {
        "HOME": "/", "AWS_REGION": "here", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
    }  # fmt: skip


def test_without_credentials_those_of_the_machine_stay() -> None:
    os.environ["AWS_PROFILE"] = "mine"
    adopt({"AWS_REGION": "there", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"})
    assert own() == {"HOME": "/", "AWS_REGION": "there", "AWS_PROFILE": "mine"}


def test_files_of_the_other_machine_are_left_out(tmp_path: Path) -> None:
    """Unless they are here too, as on a shared disk. Keys of models are no credentials."""
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = "/mine.json"
    adopt({"GOOGLE_APPLICATION_CREDENTIALS": "/not/here.json", "GOOGLE_API_KEY": "model"})
    assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == "/mine.json"
    assert "GOOGLE_API_KEY" not in os.environ
    shared = tmp_path / "shared.json"
    shared.touch()
    adopt({"GOOGLE_APPLICATION_CREDENTIALS": str(shared)})
    assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == str(shared)
