"""`llmbatch report`: what a run came to, as a page, a text or JSON."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from llmbatch_cli.cli.compare_command import comparison_of, rows_in
from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.text import format_count
from llmbatch_cli.report.compare_text import text_comparison
from llmbatch_cli.report.figures import Figures
from llmbatch_cli.report.gallery import Gallery
from llmbatch_cli.report.page import MARK, page
from llmbatch_cli.report.sections import comparison as comparison_section
from llmbatch_cli.report.text import text_report
from llmbatch_cli.rows.answers import Answers
from llmbatch_cli.rows.input.inputs import can_be_read_twice
from llmbatch_cli.rows.output.outfile import renewed
from llmbatch_cli.rows.output.render import dump_value
from llmbatch_cli.rows.output.target import check_file
from llmbatch_cli.storage import is_remote

EXAMPLES = """\b
Examples:
  llmbatch report answers.jsonl
  llmbatch report answers.jsonl --text
  llmbatch report new.jsonl --compare old.jsonl -o new.html
  llmbatch report answers.jsonl --json | jq .cost
"""

_HEAD_BYTES: Final = 300

File = Annotated[
    str, typer.Argument(metavar="FILE", help="An output of llmbatch; - is standard input.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE",
        help="Where the page goes  [default: FILE with .html]; - is standard output.",
    ),
]  # fmt: skip
AsText = Annotated[
    bool, typer.Option("--text", help="Print the main figures and a histogram; no page.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print all figures as JSON; no page.")]
Other = Annotated[
    str | None,
    typer.Option(
        "--compare", metavar="FILE", help="Add a comparison with the same rows of another output."
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a file that is not a report.")
]


def report(
    file: File,
    output: Output = None,
    text: AsText = False,
    json: AsJson = False,
    compare: Other = None,
    overwrite: Overwrite = False,
) -> int:
    """Report on a run: totals, cost, latency, failures, answers.

    The report is one HTML page that needs no network. It holds the first 1,000 answers and
    the failed rows (5,000 at most), so share it as you would share the answers. An earlier
    report is replaced. Memory stays flat, however long FILE is.
    """
    if text and json:
        raise UsageError("--text and --json exclude each other")
    prints_only = (text or json) and output is None
    place = None if prints_only or output == Path("-") else output or _place_for(file)
    if place is not None:
        _check_place(place, [file, *filter(None, [compare])], overwrite=overwrite)
    if compare is not None and not can_be_read_twice(file):
        raise UsageError("--compare reads FILE twice, so it must be a file")
    answers, found, gallery = Answers(file), Figures(), Gallery()
    for row in rows_in(answers):
        found.add(row)
        if not prints_only:
            gallery.add(row)
    notes = list(answers.notes())
    for one in notes:
        say(one)
    figures = {"file": answers.name, **found.as_json(), "unreadable_lines": answers.unreadable}
    compared = None if compare is None else comparison_of(compare, file)
    if text or json:
        _print(figures, compared, as_text=text)
    if not prints_only:
        section = "" if compared is None else comparison_section(compared)
        content = page(answers.name, figures, gallery, notes=notes, comparison=section)
        _put(content, place, figures)
    return ExitStatus.OK


def _place_for(file: str) -> Path:
    """answers.html for answers.jsonl.gz, out.html for out/; of an object in the current folder."""
    if file == "-":
        raise UsageError("a page of standard input needs a name", hint="add -o report.html")
    path = Path(file.rstrip("/").rpartition("/")[2] if is_remote(file) else file)
    if path.name in ("", ".."):  # a folder that is named by where it is
        path = path.resolve()
    if not path.name:
        raise UsageError(f"a page of {file} needs a name", hint="add -o report.html")
    bare = path.with_suffix("") if path.suffix in (".gz", ".zst", ".xz", ".bz2") else path
    return bare.with_suffix(".html")


def _check_place(place: Path, inputs: list[str], *, overwrite: bool) -> None:
    """Refuse to replace what is no report. Raises UsageError."""
    is_ours = False
    if place.is_file():
        with place.open("rb") as old:
            is_ours = MARK.encode() in old.read(_HEAD_BYTES)
    try:
        check_file(place, inputs, filled=overwrite or is_ours)
    except UsageError as error:
        if "not empty" in error.message:
            error.hint = "--overwrite replaces it; or name another file with -o"
        raise


def _print(
    figures: Mapping[str, Any], compared: Mapping[str, Any] | None, *, as_text: bool
) -> None:
    with printing():
        if not as_text:
            both = figures if compared is None else {**figures, "comparison": compared}
            sys.stdout.buffer.write(dump_value(both) + b"\n")
            return
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        blocks = sys.stdout.isatty() and encoding == "utf8"
        lines = [*text_report(figures["file"], figures, blocks=blocks)]
        if compared is not None:
            lines += ["", *text_comparison(compared)]
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _put(content: bytes, place: Path | None, figures: Mapping[str, Any]) -> None:
    if place is None:
        with printing():
            sys.stdout.buffer.write(content)
        return
    real = Path(os.path.realpath(place))
    try:
        if place.exists() and not place.is_file():  # a pipe or a device
            place.write_bytes(content)
        else:
            with renewed(real) as new:
                new.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror or error}") from error
    say(f"{format_count(figures['rows'], 'row')} reported in {place}")
