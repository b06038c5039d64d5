"""A standard error that never fails."""

import io
from typing import cast

import pytest

from llmbatch_cli.ui.stderr import Stderr, terminal_size


@pytest.mark.parametrize(("told", "width"), [("72", 72), ("", 80), ("0", 80), ("wide", 80)])
def test_without_a_terminal_the_environment_sets_the_width(told: str, width: int) -> None:
    """COLUMNS where it is a number, otherwise 80."""
    assert terminal_size(io.StringIO(), {"COLUMNS": told}) == (width, 24)
    assert terminal_size(None, {"COLUMNS": told}).columns == width


class Broken(io.StringIO):
    """A stream whose reader is gone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "tries"),
    [(BrokenPipeError(), 1), (OSError(5, "I/O error"), 1), (ValueError("closed"), 1),
     (BlockingIOError(), 3)],
)  # fmt: skip
def test_a_closed_standard_error_is_no_error(error: Exception, tries: int) -> None:
    """Writing never raises; only a pipe that is full for now is tried again."""
    stream = Broken(error)
    err = Stderr(stream)
    for _ in range(3):
        err.write("text")
    assert stream.tries == tries
    Stderr(None).write("nobody")
    assert Stderr(cast("io.StringIO", None)).encoding == "utf-8"
