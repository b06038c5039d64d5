"""Settings for all tests."""

from hypothesis import settings

settings.register_profile("llmbatch", deadline=None)  # the machines are shared: nothing is timed
settings.load_profile("llmbatch")
