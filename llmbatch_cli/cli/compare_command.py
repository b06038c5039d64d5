"""`llmbatch compare`: two outputs, row by row."""

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.report.compare import compared
from llmbatch_cli.report.compare_text import text_comparison
from llmbatch_cli.report.row import Row, row_of
from llmbatch_cli.rows.answers import Answers
from llmbatch_cli.rows.input.inputs import can_be_read_twice, shown_name
from llmbatch_cli.rows.output.render import dump_value

EXAMPLES = """\b
Examples:
  llmbatch compare old.jsonl new.jsonl
  llmbatch compare old.jsonl new.jsonl --json | jq .data
  llmbatch report new.jsonl --compare old.jsonl
"""

First = Annotated[str, typer.Argument(metavar="FIRST", help="An output of llmbatch.")]
Second = Annotated[
    str, typer.Argument(metavar="SECOND", help="Another output; - is standard input.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def compare(first: First, second: Second, json: AsJson = False) -> int:
    """Compare two outputs, row by row.

    Rows are matched by id, or by index where they have none. Where both have data
    (--schema, --choices) it is compared, as a whole and field by field; else the texts,
    without white space around them. Of FIRST some 200 bytes a row are held in memory.
    """
    figures = comparison_of(first, second)
    with printing():
        if json:
            sys.stdout.buffer.write(dump_value(figures) + b"\n")
            return ExitStatus.OK
        lines = text_comparison(figures)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return ExitStatus.OK


def comparison_of(first: str, second: str) -> Mapping[str, Any]:
    """The figures of two files; says what of them cannot be read. Raises UsageError."""
    read = (Answers(first), Answers(second))
    if not can_be_read_twice(first):
        raise UsageError(f"{shown_name(first)} is read twice, so it must be a file")
    figures = compared(rows_in(read[0]), rows_in(read[1]), rows_in(Answers(first)))
    for answers in read:
        for note in answers.notes():
            say(note)
    return {"first_file": read[0].name, "second_file": read[1].name, **figures}


def rows_in(answers: Answers) -> Iterator[Row]:
    """The rows of an output."""
    return (row_of(fields, place) for place, fields in enumerate(answers))
