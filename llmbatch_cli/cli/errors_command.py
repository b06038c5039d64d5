"""`llmbatch errors`: what has failed in an output, and the rows to try again."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from llmbatch_cli.cli.options import Only
from llmbatch_cli.cli.running import inputs_of, run_async
from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.options import InputOptions, Sampling
from llmbatch_cli.core.text import clean_for_terminal, format_count
from llmbatch_cli.rows.failures import Failures, Kind, as_json, by_count, failures_in, input_rows
from llmbatch_cli.rows.input.chunks import opened
from llmbatch_cli.rows.input.inputs import check_inputs, chunks_of, shown_name
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.lines import Lines
from llmbatch_cli.rows.output.outfile import OutputLines
from llmbatch_cli.rows.output.table_files import parts_of_run, rows_file
from llmbatch_cli.storage import is_remote

READING: Final = (
    *("input_format", "encoding", "no_header", "prompt_field", "id_field", "model_field"),
    *("template", "messages_template", "image", "audio", "file", "files"),
)
"""The options that decide what an input's rows are."""

EXAMPLES = """\b
Examples:
  llmbatch errors answers.jsonl
  llmbatch errors answers.jsonl --json | jq '.kinds[].type'
  llmbatch errors answers.jsonl --rows prompts.jsonl > again.jsonl
  llmbatch errors out.jsonl --rows in.jsonl | llmbatch batch -m gpt-4o
"""

File = Annotated[
    str, typer.Argument(metavar="FILE", help="An output of llmbatch; - is standard input.")
]
Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="[INPUT]...", help="With --rows: the input files of the run."),
]
PrintRows = Annotated[
    bool, typer.Option("--rows", help="Print the rows of INPUT that failed, unchanged.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def errors(
    answers: File,
    inputs: Files = None,
    rows: PrintRows = False,
    json: AsJson = False,
    *,
    reading: Annotated[InputOptions, Only(*READING)],
    sampling: Annotated[Sampling, Only("system")],
) -> int:
    """List failed rows by kind, with examples.

    With --rows, print the input rows that failed, for another run. Rows are matched by
    content, not by position, so INPUT may have changed since; options that say how fields
    become a prompt are the run's. A row that was asked several times is printed once.
    """
    read = inputs_of(replace(reading, inputs=tuple(inputs or ())), system=sampling.system_text())
    answers = rows_file(answers)
    _check(answers, read.inputs if inputs else [], rows=rows, json=json)
    with printing():
        found = failures_in(_output_lines(answers), shown_name(answers))
        if rows:
            return run_async(_print_rows(found, read, reading.files))
        _print_failures(found, answers, json=json)
    return ExitStatus.OK


def _check(file: str, inputs: Sequence[str], *, rows: bool, json: bool) -> None:
    if rows and not inputs:
        raise UsageError("--rows needs the input", hint="llmbatch errors FILE --rows INPUT...")
    if inputs and not rows:
        raise UsageError("one FILE at a time", hint="--rows goes before the input files")
    if rows and json:
        raise UsageError("--rows and --json exclude each other")
    parts = parts_of_run(file)
    check_inputs([*([file] if parts is None else parts), *inputs])


def _output_lines(file: str) -> Iterator[bytes]:
    if is_remote(file):
        yield from _object_lines(file)
        return
    try:
        if file == "-":
            yield from sys.stdin.buffer
        for part in parts_of_run(file) or (() if file == "-" else (file,)):
            yield from OutputLines(Path(part))
    except OSError as error:
        raise UsageError(f"cannot read {shown_name(file)}: {error.strerror}") from error


def _object_lines(address: str) -> Iterator[bytes]:
    lines = Lines(sys.maxsize)
    for chunk in opened(chunks_of(address)).chunks:
        yield from ((line or b"") + b"\n" for line in lines.feed(chunk))
    yield from filter(None, lines.finish())


def _print_failures(found: Failures, file: str, *, json: bool) -> None:
    if json:
        sys.stdout.buffer.write(as_json(found, file))
        return
    print(f"{format_count(found.failed)} of {format_count(found.rows)} rows failed")  # noqa: T201
    if not found.failed:
        return
    if sys.stdout.isatty():
        _print_table(found)
        return
    for kind, rows in by_count(found):
        print(f"{kind}: {_told(rows)}")  # noqa: T201
        for row_id, message in _examples(rows):
            print(f"  {row_id}: {message}")  # noqa: T201


def _print_table(found: Failures) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("rows", "kind", "id", "message", box=box.SIMPLE_HEAD)
    table.columns[0].justify = "right"
    for kind, rows in by_count(found):
        head = [format_count(rows.count), f"{kind}{', retryable' if rows.retryable else ''}"]
        for row_id, message in _examples(rows):
            table.add_row(*(Text(cell) for cell in (*head, row_id, message)))
            head = ["", ""]
    Console(highlight=False).print(table)


def _told(rows: Kind) -> str:
    return f"{format_count(rows.count)}{', retryable' if rows.retryable else ''}"


def _examples(rows: Kind) -> Iterator[tuple[str, str]]:
    """Ids and messages, each on one line and without power over a terminal."""
    for example in rows.examples:
        yield (
            clean_for_terminal(str(example.id)),
            " ".join(clean_for_terminal(example.message).split()),
        )


async def _print_rows(found: Failures, inputs: Inputs, files: Path | None) -> ExitStatus:
    if found.keyless:
        raise UsageError(
            f"{format_count(found.keyless)} failed rows have no key, so their rows of input are "
            "unknown",
            hint="an earlier version has written them; run them again with this one",
        )
    printed = 0
    async with inputs.spooled() as copies:
        for line, times in input_rows(copies, found, files):
            sys.stdout.buffer.write(line)
            printed += times
    sys.stdout.buffer.flush()
    if printed == 0 and found.failed:
        raise UsageError(
            f"none of the {format_count(found.failed)} failed rows is in this input",
            hint="name the files that the run has read, with its options for input: -t, --system, "
            "--image, --files ...",
        )
    if printed < found.failed:
        missing = found.failed - printed
        say(
            f"{format_count(missing)} of {format_count(found.failed)} failed rows are not in this "
            "input now"
        )
    return ExitStatus.OK
