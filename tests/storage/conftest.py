"""A simulated S3 for the tests of one module."""

from collections.abc import Iterator

import pytest
from support.moto import Simulated, simulated_s3


@pytest.fixture(scope="module")
def server() -> Iterator[Simulated]:
    with simulated_s3() as found:
        yield found


@pytest.fixture
def s3(server: Simulated, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return server
