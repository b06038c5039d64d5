"""Settings for all tests, and what many need that takes long to import."""

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.moto import Bucket

settings.register_profile("llmbatch", deadline=None)  # the machines are shared: nothing is timed
settings.load_profile("llmbatch")


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of what the garbage collector looks through; some tests ask
    it again and again for what they have made."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A simulated S3."""
    from support.moto import serving_s3

    with serving_s3() as url:
        yield url


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> "Bucket":
    """A new bucket of it, which this process finds by its environment."""
    from support.moto import Bucket

    made = Bucket(s3_url)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made
