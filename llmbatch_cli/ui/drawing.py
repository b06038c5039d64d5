"""The lines of the display, drawn by rich. Loaded only when the display is first drawn."""

import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from os import terminal_size
from typing import TextIO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment, SegmentLines
from rich.table import Table
from rich.text import Text

from llmbatch_cli.ui.stderr import Stderr

_LABEL_WIDTHS = (60, 24, 16)
_MOST_BAR = 50
"""The widest bar, in columns."""
_LEFT = len("59 min left")
_ECHO = len("^C")
"""Room at the end of the last line, so that the echo of Ctrl-C does not begin a new one."""


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
        lines: Callable[[int], Sequence[RenderableType]],
    ) -> None:
        """`lines` takes the width that they have, in columns."""
        self._size = size
        self._lines = lines
        self._widths: list[int] = []
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
        self._proxied = err.stream is not None and err.stream is sys.stderr
        super().__init__(
            self,  # it is drawn anew below whatever is printed
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=self._proxied,
        )
        self.start()

    def stop(self) -> None:
        """Erase the lines, show the cursor and restore sys.stderr."""
        if self._proxied:
            sys.stderr.flush()  # prints a line that has no end yet
        super().stop()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """What is to be printed, and after it the lines."""
        self.console.size = self._size()  # before the console reads it
        folds = sum(ceil(width / self.console.width) - 1 for width in self._widths if width)
        unfold = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * folds
        return [Control(*unfold), *super().process_renderables(renderables)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = console.size
        options = options.update(width=max(1, width - 1), no_wrap=True, overflow="crop")
        lines = [
            console.render_lines(line, options, pad=False)[0]
            for line in self._lines(options.max_width)
        ][: max(1, height - 1)]
        self._widths = [Segment.get_line_length(line) for line in lines]
        yield SegmentLines(lines, new_lines=True)


def bar_line(
    label: str, share: tuple[int, int | None], counts: Sequence[str], left: str, width: int
) -> RenderableType:
    """A label, a bar, a count and the time left; the fullest that leaves the bar its least width.

    Args:
        label: what goes on.
        share: done, and the total where it is known.
        counts: the same in words, from the longest.
        left: the time left, or nothing.
        width: of the whole line, in columns.
    """
    end = left.rjust(_LEFT) if left else ""
    layouts = [(_cut(label, most), counts[0], end, 10) for most in _LABEL_WIDTHS]
    layouts += [("", counts[0], end, 10), *(("", count, "", 4) for count in counts)]
    for name, count, end, least in layouts:
        room = width - sum(cell_len(part) + 1 for part in (name, count, end) if part)
        if room >= least:
            bar = ProgressBar(total=share[1], completed=share[0], width=min(_MOST_BAR, room))
            cells: list[RenderableType] = [Text(name, "cyan"), bar, Text(count), Text(end)]
            row = Table.grid(padding=(0, 1))
            row.add_row(*(cell for cell in cells if cell))
            return row
    return Text(_cut(counts[-1], width))


def _cut(text: str, width: int) -> str:
    cut = Text(text)
    cut.truncate(width, overflow="ellipsis")
    return cut.plain


_SHORTER = (
    ("tokens", "tokens_out"),
    ("tokens", ""),
    ("failed", ""),
    ("elapsed", ""),
    ("waiting", ""),
    ("held", "held_short"),
    ("held", "held_alone"),
    ("held", ""),
    ("in_flight", ""),
    ("rate", "rate_alone"),
    ("rate", ""),
)
"""The fields that are replaced by others, or left out, where the terminal is narrow, in order."""


def speed_line(fields: Mapping[str, str], width: int, *, failed: bool) -> RenderableType:
    """Speeds, in flight, failed, what limits the run, the time passed; failures always stay."""
    fixed = ("failed",) if failed else ()
    names = ("rate", "tokens", "in_flight", "waiting", "failed", "held", "elapsed")
    shown = _fitting(fields, names, [one for one in _SHORTER if one[0] not in fixed], width)
    return _joined(shown, width, dict.fromkeys(fixed, "red"))


_CHEAPER = (
    ("unpriced", "unpriced_alone"),
    ("per_hour", ""),
    ("projected", "projected_alone"),
    ("cost", "cost_alone"),
    ("projected", ""),
    ("cost", "cost_uncapped"),
)


def money_line(fields: Mapping[str, str], width: int) -> RenderableType:
    """The cost so far, of the whole input, an hour, and the rows of which it is unknown."""
    names = ("cost", "projected", "per_hour", "unpriced")
    return _joined(_fitting(fields, names, _CHEAPER, width), width, {})


def _fitting(
    fields: Mapping[str, str],
    names: Sequence[str],
    shorter: Sequence[tuple[str, str]],
    width: int,
) -> dict[str, str]:
    """The fields, in turn replaced by a shorter one, or by nothing, until they fit."""
    shown = {name: fields[name] for name in names}
    for name, other in shorter:
        if len(", ".join(filter(None, shown.values()))) <= width - _ECHO:
            break
        if shown[name]:
            shown[name] = fields.get(other, "")
    return shown


def _joined(shown: Mapping[str, str], width: int, styles: Mapping[str, str]) -> RenderableType:
    parts = [Text(text, styles.get(name, "")) for name, text in shown.items() if text]
    line = Text(", ").join(parts)
    line.truncate(max(1, width - _ECHO))
    return line
