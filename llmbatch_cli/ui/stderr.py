"""Standard error as a stream that never fails, and the size of the terminal behind it."""

import os
from collections.abc import Mapping
from typing import TextIO


def terminal_size(stream: TextIO | None, environ: Mapping[str, str]) -> os.terminal_size:
    """The terminal behind the stream; without one, COLUMNS or 80 wide and 24 lines high."""
    try:
        size = os.get_terminal_size(stream.fileno() if stream is not None else -1)
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    given = environ.get("COLUMNS", "")
    width = size.columns or (int(given) if given.isdecimal() else 0) or 80
    return os.terminal_size((width, size.lines or 24))


class Stderr:
    """Standard error whose own failures are ignored: the run goes on without a reader."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> None:
        """Write at once; after the first failure nothing more is written."""
        if self.stream is None:
            return
        try:
            self.stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            self.stream.flush()
        except BlockingIOError:  # a full non-blocking pipe: these lines are lost
            pass
        except (OSError, ValueError):
            self.stream = None

    def flush(self) -> None:
        """Nothing is left to flush."""
