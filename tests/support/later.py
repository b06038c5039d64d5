"""Large libraries, imported by the worker that needs them and by no other."""

import importlib
from typing import Any


class Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest looks for its own marks in every object
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
