"""What the tests of compat share."""

import os
from collections.abc import Iterator

import pytest
from compat.loopback import Loopback, running


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """A server in a thread of its own."""
    with running(Loopback()) as known:
        yield known


@pytest.fixture(autouse=True)
def _nobodys_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a key or an address of whoever runs it."""
    for name in os.environ:
        if name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL", "_PROXY", "_proxy")):
            monkeypatch.delenv(name)
