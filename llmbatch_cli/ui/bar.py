"""Progress as a display of a few lines at the bottom of a terminal. rich is loaded to draw it."""

from collections.abc import Callable, Mapping
from os import terminal_size
from typing import TYPE_CHECKING

from llmbatch_cli.core.events import Pulled
from llmbatch_cli.core.text import clean
from llmbatch_cli.ui.plain import PREFIX, Display, progress_fields, pull_label, pull_size
from llmbatch_cli.ui.report import format_about, format_bytes
from llmbatch_cli.ui.stderr import Stderr
from llmbatch_cli.ui.totals import Totals

if TYPE_CHECKING:
    from rich.console import RenderableType

    from llmbatch_cli.ui.drawing import Drawing

_LABEL_CHARS = 60


class Bar(Display):
    """The display. It is drawn first after 0.3 s and is gone at the end."""

    first_s = 0.3
    every_s = 0.125

    def __init__(
        self,
        err: Stderr,
        environ: Mapping[str, str],
        label: str,
        totals: Totals,
        size: Callable[[], terminal_size],
        *,
        rows: bool = True,
    ) -> None:
        """With `rows` False only downloads are shown, and only until the first row begins."""
        super().__init__(err, totals)
        self._environ = environ
        self._label = clean(label, _LABEL_CHARS)
        self._size = size
        self._show_rows = rows
        self._pull: Pulled | None = None
        self._pull_began = (0.0, 0)
        self._drawing: Drawing | None = None

    def tick(self) -> None:
        """Draw it again, or take it away where there is nothing to show."""
        if not (self._rows_shown or self._pull_shown):
            self.close()
            return
        if self._drawing is None:
            from llmbatch_cli.ui.drawing import Drawing

            self._drawing = Drawing(self._err, self._environ, self._size, self._lines)
        self._drawing.refresh()

    def say(self, message: str) -> None:
        """A line above the display."""
        if self._drawing is None:
            super().say(message)
        else:
            self._drawing.console.print(f"{PREFIX}{message}")

    def pulled(self, event: Pulled) -> None:
        """Keep it for the next tick."""
        if self._pull is None or self._pull.name != event.name:
            self._pull_began = (self._totals.clock(), event.done_bytes)
        self._pull = event

    def close(self) -> None:
        """Take the display away and show the cursor."""
        if self._drawing is not None:
            self._drawing.stop()
            self._drawing = None

    def width(self) -> int:
        """The columns that a message may take."""
        return self._size().columns - len(PREFIX)

    @property
    def _rows_shown(self) -> bool:
        return self._show_rows and (self._totals.has_begun or self._pull is None)

    @property
    def _pull_shown(self) -> bool:
        pull = self._pull
        if pull is None or not self._totals.has_begun:
            return pull is not None
        return self._show_rows and pull.done_bytes < (pull.total_bytes or 0)

    def _lines(self, width: int) -> "list[RenderableType]":
        """The lines, each at most `width` columns wide."""
        from llmbatch_cli.ui.drawing import bar_line, money_line, speed_line

        lines = []
        totals, pull = self._totals, self._pull
        if pull is not None and self._pull_shown:
            share = (pull.done_bytes, pull.total_bytes)
            lines.append(bar_line(pull_label(pull), share, *self._pull_fields(pull), width))
        if self._rows_shown:
            fields = progress_fields(totals)
            counts = [f"{fields['count']} rows", fields["count"]]
            share = (totals.rows, totals.total)
            lines.append(bar_line(self._label, share, counts, fields["left"], width))
            lines.append(speed_line(fields, width, failed=bool(totals.failed)))
            if fields["cost"] or fields["unpriced"]:
                lines.append(money_line(fields, width))
        return lines

    def _pull_fields(self, pull: Pulled) -> tuple[list[str], str]:
        """How much of it is done, from the longest form, and the time left."""
        began_s, began_bytes = self._pull_began
        seconds = self._totals.clock() - began_s
        per_s = (pull.done_bytes - began_bytes) / seconds if seconds > 0 else 0.0
        left_s = ((pull.total_bytes or 0) - pull.done_bytes) / per_s if per_s else 0.0
        counts = [f"{pull_size(pull)}, {format_bytes(per_s)}/s", pull_size(pull)]
        return counts, f"{format_about(left_s)} left" if left_s > 0 else ""
