"""One answer on the terminal while it is still being written."""

import os
import re
from typing import Final

from llmbatch_cli.engine.stack import Lane
from llmbatch_cli.types import Prompt

_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Live:
    """Writes the leader's text as it arrives, without power over the terminal.

    An escape sequence may arrive in two pieces, so what introduces one is taken out by
    itself and the rest of it is shown.
    """

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self.shown: set[int] = set()
        """The rows whose text is on the terminal already."""

    def __call__(self, prompt: Prompt, lane: Lane, text: str) -> None:
        self.shown.add(prompt.index)
        data = _CONTROLS.sub("", text).encode("utf-8", "replace")
        while data:
            data = data[os.write(self._fd, data) :]
