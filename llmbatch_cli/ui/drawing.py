"""The lines of the display, drawn by rich. Loaded only when the display is first drawn."""

import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from os import terminal_size
from typing import TextIO, cast

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    Group,
    RenderableType,
    RenderResult,
)
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment, SegmentLines
from rich.table import Table
from rich.text import Text

from llmbatch_cli.core.events import Pulled
from llmbatch_cli.core.text import columns, fit
from llmbatch_cli.ui.plain import pull_label, pull_size
from llmbatch_cli.ui.report import format_about, format_bytes
from llmbatch_cli.ui.stderr import Stderr
from llmbatch_cli.ui.totals import Totals

_MOST_BAR = 50
"""The widest bar, in columns."""
_LEFT = len("59 min left")
_ECHO = len("^C")
"""Room at the end of the last line, so that the echo of Ctrl-C does not begin a new one."""

Lines = Callable[[int], Sequence[RenderableType]]
"""The lines to draw, each at most so many columns wide."""


class Drawing(Live):
    """Lines that stay below everything printed to its console and to sys.stderr.

    rich erases as many lines as it drew. A terminal made narrower has folded them into more,
    so those are erased here.
    """

    def __init__(
        self,
        err: Stderr,
        environ: Mapping[str, str],
        size: Callable[[], terminal_size],
        lines: Lines,
    ) -> None:
        self._size = size
        self._fitted = _Fitted(lines)
        console = Console(
            file=cast("TextIO", err),
            force_terminal=True,
            force_interactive=True,
            legacy_windows=False,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=True,
            _environ=environ,
        )
        super().__init__(
            self._fitted,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=err.stream is not None and err.stream is sys.stderr,
        )
        self.start()

    def stop(self) -> None:
        """Erase the lines, show the cursor and restore sys.stderr."""
        if self.is_started and self._redirect_stderr:
            sys.stderr.flush()  # a line without an end
        super().stop()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """What is to be printed, and after it the lines."""
        self.console.size = self._size()  # hooks run before the console reads it
        width = self.console.width
        folds = sum(ceil(drawn / width) - 1 for drawn in self._fitted.widths if drawn)
        unfold = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * folds
        return [Control(*unfold), *super().process_renderables(renderables)]


class _Fitted:
    """The lines, fewer than the terminal's own and narrower than it."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.widths: list[int] = []
        """The columns of each line that was drawn last."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = console.size
        options = options.update(width=max(1, width - 1), no_wrap=True, overflow="crop")
        group = Group(*self._lines(options.max_width))
        lines = console.render_lines(group, options, pad=False)[: max(1, height - 1)]
        self.widths = [Segment.get_line_length(line) for line in lines]
        yield SegmentLines(lines, new_lines=True)


def rows_line(label: str, totals: Totals, fields: Mapping[str, str], width: int) -> RenderableType:
    """The model, the bar, the rows done, the time left; narrow, the first and last go."""
    bar = (totals.rows, totals.total)
    count = fields["count"]
    return _bar_line(label, bar, [f"{count} rows", count], fields["left"], width)


def pull_line(pull: Pulled, bytes_per_s: float, width: int) -> RenderableType:
    """The name, the bar, the bytes done, the time left."""
    done, total = pull.done_bytes, pull.total_bytes
    size = pull_size(pull)
    counts = [f"{size}, {format_bytes(bytes_per_s)}/s", size, format_bytes(done)]
    left = f"{format_about((total - done) / bytes_per_s)} left" if total and bytes_per_s else ""
    return _bar_line(pull_label(pull), (done, total), counts, left, width)


def _bar_line(
    label: str, share: tuple[int, int | None], counts: Sequence[str], left: str, width: int
) -> RenderableType:
    """The fullest of several layouts that leaves the bar its least width."""
    end = left.rjust(_LEFT) if left else ""
    names = (label, fit(label, 24), fit(label, 16), "")
    layouts = [(name, counts[0], end, 10) for name in names]
    layouts += [("", count, "", 4) for count in counts]
    for name, count, end, least in layouts:
        room = width - sum(columns(part) + 1 for part in (name, count, end) if part)
        if room >= least:
            done, total = share
            bar = ProgressBar(total=total, completed=done, width=min(_MOST_BAR, room))
            row = Table.grid(padding=(0, 1))
            row.add_row(
                *([Text(name, "cyan")] if name else []), bar, count, *([end] if end else [])
            )
            return row
    return Text(fit(counts[-1], width))


_SPEEDS = ("rate", "tokens", "in_flight", "failed", "held", "elapsed")
_SHORTER = (
    ("tokens", "tokens_out"),
    ("tokens", ""),
    ("failed", ""),
    ("elapsed", ""),
    ("held", ""),
    ("in_flight", ""),
    ("rate", "rate_alone"),
    ("rate", ""),
)
"""The fields that are replaced by others, or left out, where the terminal is narrow, in order."""


def speed_line(totals: Totals, fields: Mapping[str, str], width: int) -> RenderableType:
    """Speeds, in flight, failed, what limits the run, the time passed; failures always stay."""
    shown = {name: fields[name] for name in _SPEEDS}
    for name, shorter in _SHORTER:
        if len(", ".join(filter(None, shown.values()))) <= width - _ECHO:
            break
        if name != "failed" or not totals.failed:
            shown[name] = fields.get(shorter, "")
    red = "red" if totals.failed else ""
    parts = [Text(text, red if name == "failed" else "") for name, text in shown.items() if text]
    line = Text(", ").join(parts)
    line.truncate(width)
    return line
