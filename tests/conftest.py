"""Settings for all tests."""

import gc

from hypothesis import settings

settings.register_profile("llmbatch", deadline=None)  # the machines are shared: nothing is timed
settings.load_profile("llmbatch")


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of what the garbage collector looks through; some tests ask
    it again and again for what they have made."""
    gc.collect()
    gc.freeze()
