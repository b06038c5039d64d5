"""Answers on the terminal, also while one is still being written."""

import os

from llmbatch_cli.core.text import clean_for_terminal, without_controls
from llmbatch_cli.core.types import Prompt
from llmbatch_cli.engine.calls import Model


class Live:
    """Writes text at once, so that it stays in order with what is said on standard error.

    As an `on_text` it writes the leader's text as it arrives, without power over the terminal:
    an escape sequence may arrive in two pieces, so what introduces one is taken out by itself
    and the rest of it is shown.
    """

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._leaders: dict[int, Model] = {}
        """Whose text is on the terminal already, by row."""

    def __call__(self, prompt: Prompt, model: Model, text: str) -> None:
        if self._leaders.get(prompt.index, model) is not model:  # the leader has broken off
            self._write("\n\n")
        self._leaders[prompt.index] = model
        self._write(without_controls(text))

    def end(self, index: int, text: str) -> None:
        """The row's answer is whole: write it, or only its end where it is there already."""
        self._write("\n" if self._leaders.pop(index, None) else clean_for_terminal(text))

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._fd, data) :]
