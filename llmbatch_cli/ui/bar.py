"""Progress as a display of two lines at the bottom of a terminal.

rich colours and measures; where lines go is decided here, because the display has to stay
whole in three cases that rich.live leaves open: a terminal made narrower, a closed
standard error, and no thread of its own.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from os import terminal_size
from typing import TYPE_CHECKING, Final, TextIO, cast

from llmbatch_cli.core.events import Pulled
from llmbatch_cli.ui.plain import PREFIX
from llmbatch_cli.ui.report import (
    format_about,
    format_bytes,
    format_compact,
    format_count,
    format_duration,
    format_rate,
    held,
)
from llmbatch_cli.ui.text import Stderr, clean, columns, fit
from llmbatch_cli.ui.totals import Pace, Speed, Totals

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MOST_BAR: Final = 50
"""The widest bar, in columns."""
_NAME_CHARS: Final = 60
_LEFT: Final = len("59 min left")
_UP, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Bar:
    """The display. It is drawn first after 0.3 s and is gone at the end.

    Between two ticks the cursor stands hidden at the start of the last line, so that what
    others write to the terminal overwrites the display rather than continuing it.
    """

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
        self._err = err
        self._environ = environ
        self._label = clean(label, _NAME_CHARS)
        self._totals = totals
        self._size = size
        self._show_rows = rows
        self._pace = Pace(totals)
        self._pull: _Pull | None = None
        self._console: Console | None = None
        self._drawn: list[int] = []
        """The columns of each line that stands on the terminal."""
        self._drawn_width = 0
        """The terminal's columns at that time."""
        self._hold = contextlib.ExitStack()

    def tick(self) -> None:
        """Draw it anew."""
        if self._console is None and (self._show_rows or self._pull is not None):
            self._open()
        self._draw(self._lines())

    def say(self, message: str) -> None:
        """A line above the display."""
        self.write_above(f"{PREFIX}{message}\n")

    def write_above(self, text: str) -> None:
        """Whole lines above the display."""
        drawn = self._drawn
        self._err.write(self._to_top() + (_CLEAR_BELOW if drawn else "") + text)
        self._drawn = []
        if drawn:
            self._draw(self._lines())

    def pulled(self, event: Pulled) -> None:
        """Keep it for the next tick."""
        if self._pull is None or self._pull.event.name != event.name:
            self._pull = _Pull(event, self._totals.clock)
        self._pull.event = event

    def close(self) -> None:
        """Take the display away and show the cursor."""
        self._hold.close()
        self._draw([])

    def width(self) -> int:
        """The columns that a message may take."""
        return self._size().columns - len(PREFIX)

    def _open(self) -> None:
        from rich.console import Console

        self._console = Console(
            file=io.StringIO(),
            force_terminal=True,
            legacy_windows=False,
            highlight=False,
            _environ=self._environ,
        )
        stream = self._err.stream
        if stream is not None and stream is sys.stderr:
            above = cast("TextIO", _Above(self, stream))
            self._hold.callback(above.close)
            self._hold.enter_context(contextlib.redirect_stderr(above))

    def _lines(self) -> "list[Text]":
        console = self._console
        if console is None:
            return []
        width, height = self._size()
        painter = Painter(console, width - 1, self._err.encoding)
        begun, pull = self._totals.has_begun, self._pull
        lines = []
        if pull is not None and not (begun and (pull.done or not self._show_rows)):
            lines.append(painter.pull(pull))
        if self._show_rows and (begun or pull is None):
            speed = self._pace.look()
            lines.append(painter.rows(self._label, self._totals, speed))
            lines.append(painter.speeds(self._totals, speed))
        return lines[: max(1, height - 1)]

    def _draw(self, lines: "list[Text]") -> None:
        if not lines and not self._drawn:
            return
        shown = "\r\n".join(self._ansi(line) + _CLEAR_LINE for line in lines)
        cursor = _HIDE_CURSOR if lines else _SHOW_CURSOR
        self._err.write(self._to_top() + shown + _CLEAR_BELOW + "\r" + cursor)
        self._drawn = [line.cell_len for line in lines]

    def _to_top(self) -> str:
        """To the start of the first line, which a narrower terminal may have folded."""
        if not self._drawn:
            return ""
        width = self._size().columns
        up = sum(max(1, ceil(line / width)) for line in self._drawn[:-1])
        # lines once folded are taken for one by a wider terminal, unless they are cleared whole
        resized, self._drawn_width = width != self._drawn_width, width
        return "\r" + (_UP.format(up) if up else "") + (_CLEAR_BELOW if resized else "")

    def _ansi(self, line: "Text") -> str:
        console = cast("Console", self._console)
        with console.capture() as captured:
            console.print(line, end="", no_wrap=True, crop=False, overflow="ignore")
        encoding = self._err.encoding
        return captured.get().encode(encoding, "replace").decode(encoding)


class Painter:
    """Lines of at most `width` columns."""

    def __init__(self, console: "Console", width: int, encoding: str) -> None:
        self._console = console
        self._width = width
        self._encoding = encoding

    def rows(self, label: str, totals: Totals, speed: Speed) -> "Text":
        """The model, the bar, the rows done, the time left; narrow, the first and last go."""
        done, total = totals.rows, totals.total
        left = f"{format_about(speed.left_s)} left" if speed.left_s else ""
        if total is None:
            counts = [f"{format_count(done)} rows", format_compact(done)]
        else:
            full = format_count(total)
            count = f"{format_count(done):>{len(full)}}/{full}"
            counts = [f"{count} rows", count, f"{format_compact(done)}/{format_compact(total)}"]
        return self._bar_line(label, (done, total), counts, left)

    def pull(self, pull: "_Pull") -> "Text":
        """The name, the bar, the bytes done, the time left."""
        done, total = pull.event.done_bytes, pull.event.total_bytes
        size = format_bytes(done) + (f" of {format_bytes(total)}" if total else "")
        counts = [f"{size}, {format_bytes(pull.bytes_per_s)}/s", size, format_bytes(done)]
        left = f"{format_about(pull.left_s)} left" if pull.left_s else ""
        label = f"fetching {clean(pull.event.name, _NAME_CHARS)}"
        return self._bar_line(label, (done, total), counts, left)

    def speeds(self, totals: Totals, speed: Speed) -> "Text":
        """Everything that moves; narrow, the less important goes."""
        from rich.text import Text

        out = f"{format_rate(speed.completion_tokens_per_s)}"
        tokens_in = f"{format_rate(speed.prompt_tokens_per_s)} tokens/s in"
        rate = format_rate(speed.rows_per_s)
        failed = format_count(totals.failed_rows)
        fields = {
            "rate": f"{rate} rows/s",
            "tokens": f"{tokens_in}, {out} out",
            "in_flight": f"{format_count(totals.in_flight)} in flight",
            "failed": f"{failed} failed",
            "held": held(totals),
            "elapsed": format_duration(totals.elapsed_s, whole=True),
        }
        shorter = [("tokens", f"{out} tokens/s out"), ("tokens", "")]
        shorter += [] if totals.failed else [("failed", "")]
        shorter += [
            ("elapsed", ""),
            ("held", ""),
            ("in_flight", ""),
            ("rate", f"{rate}/s"),
            ("rate", ""),
        ]
        for name, text in shorter:
            if len(", ".join(filter(None, fields.values()))) <= self._width:
                break
            fields[name] = text
        styles = {"failed": "red"} if totals.failed else {}
        parts = [Text(text, styles.get(name, "")) for name, text in fields.items() if text]
        line = Text(", ").join(parts)
        line.truncate(self._width)
        return line

    def _bar_line(
        self, label: str, share: tuple[int, int | None], counts: Sequence[str], left: str
    ) -> "Text":
        from rich.text import Text

        for name, count, end, least in _layouts(label, counts, left):
            used = sum(columns(part) + 1 for part in (name, count, end) if part)
            if self._width - used >= least:
                bar = self._bar(*share, min(MOST_BAR, self._width - used))
                parts = [Text(name, "cyan"), bar, Text(count), Text(end)]
                return Text(" ").join(part for part in parts if part.plain)
        return Text(fit(counts[-1], max(1, self._width)))

    def _bar(self, done: int, total: int | None, width: int) -> "Text":
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        bar = ProgressBar(total=total, completed=done, width=width)
        options = self._console.options.update(width=width)
        options.encoding = self._encoding
        line = Text()
        for segment in self._console.render(bar, options):
            line.append(segment.text.rstrip("\n"), segment.style)
        line.pad_right(width - line.cell_len)
        return line


def _layouts(label: str, counts: Sequence[str], left: str) -> list[tuple[str, str, str, int]]:
    """The parts of a line, from the fullest, each with the least width of its bar."""
    end = left.rjust(_LEFT) if left else ""
    names = [(name, counts[0], end, 10) for name in (label, fit(label, 24), fit(label, 16))]
    bare = [("", count, "", 4) for count in counts]
    return [*names, ("", counts[0], end, 10), *bare]


class _Pull:
    """A download and its speed."""

    def __init__(self, event: Pulled, clock: Callable[[], float]) -> None:
        self.event = event
        self._clock = clock
        self._began_s = clock()
        self._began_bytes = event.done_bytes

    @property
    def done(self) -> bool:
        """Whether the last byte is there; unknown sizes are done with the first row."""
        return self.event.total_bytes is None or self.event.done_bytes >= self.event.total_bytes

    @property
    def bytes_per_s(self) -> float:
        elapsed_s = self._clock() - self._began_s
        return (self.event.done_bytes - self._began_bytes) / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        total, speed = self.event.total_bytes, self.bytes_per_s
        return (total - self.event.done_bytes) / speed if total and speed else None


class _Above(io.TextIOBase):
    """Stands in for sys.stderr, so that what others print lands above the display."""

    def __init__(self, bar: Bar, stream: TextIO) -> None:
        self._bar = bar
        self._stream = stream
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the stubs
        return self._stream.encoding

    def write(self, text: str) -> int:
        lines, end, self._rest = (self._rest + text).rpartition("\n")
        if end:
            self._bar.write_above(lines + end)
        return len(text)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        if self._rest:
            self._bar.write_above(self._rest + "\n")
            self._rest = ""
