"""The options that say what is read, and what is asked of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.option import option

MEBIBYTE: Final = 2**20

InputFormat = Literal["auto", "jsonl", "text", "whole", "csv", "tsv", "parquet", "arrow", "xlsx"]


@frozen(kw_only=True)
class InputOptions:
    """How prompts are read."""

    section: ClassVar[str] = "Input"

    inputs: Sequence[str] = option(
        (),
        "Files or folders of prompts: JSONL, JSON, text, or a table (CSV, TSV, Parquet, Arrow, "
        "Excel). They may be at s3://, gs:// or az://; .gz, .bz2, .xz and .zst are unpacked, "
        "'*.csv' in quotes is all that match; - or nothing is standard input.",
        metavar="[INPUT]...",
        positional=True,
    )
    template: str | None = option(
        None,
        "Template of the prompt, as in 'Translate: {{ text }}'; @FILE reads it from a file. "
        "--system is a template then, too.",
        letter="t",
        everyday=True,
    )
    messages_template: str | None = option(
        None, "A list of messages as a template, in YAML or JSON.", metavar="@FILE"
    )
    where: str | None = option(
        None, "Ask only rows of which this is true, as in 'stars > 3'.", metavar="EXPR"
    )
    offset: int = option(0, "Leave out the first N rows.", min=0, metavar="N")
    limit: int | None = option(
        None, "Read only the first N rows.", min=0, metavar="N", everyday=True
    )
    sample: int | None = option(
        None, "Ask N rows chosen at random, always the same ones.", min=1, metavar="N"
    )
    repeat: int = option(
        1, "Ask each row N times; the field repeat tells which answer it is.", min=1, metavar="N"
    )
    input_format: InputFormat = option(
        "auto",
        "jsonl, text (a prompt per line), whole (the whole input is one prompt), csv, tsv, "
        "parquet, arrow or xlsx.",
        metavar="FORMAT",
        shown="by name and first bytes",
    )
    encoding: str | None = option(
        None,
        "Encoding of text and tables, as in cp1252.",
        metavar="NAME",
        shown="UTF-8, or UTF-16 by its first bytes",
    )
    no_header: bool = option(
        False, "The first row of a table is data; its columns are column_1, column_2, ..."
    )
    prompt_field: str | None = option(
        None,
        "Field that is the prompt.",
        metavar="NAME",
        shown="prompt, messages, text, query, question ..., or the only text",
    )
    id_field: str | None = option(
        None, "Field that is the row's id.", metavar="NAME", shown="id or custom_id"
    )
    model_field: str | None = option(
        None, "Field that names the row's model.", metavar="NAME", shown="model"
    )
    strict: bool = option(False, "Send nothing if any row is invalid.")
    image: Sequence[str] = option(
        (),
        "Field that is an image: a path below --files, a URL or base64. Repeatable.",
        metavar="FIELD",
    )
    audio: Sequence[str] = option(
        (), "Field that is a sound: a path below --files, or base64. Repeatable.", metavar="FIELD"
    )
    file: Sequence[str] = option(
        (),
        "Field that is a document: a path below --files, a URL or base64. Repeatable.",
        metavar="FIELD",
    )
    files: Path | None = option(
        None, "Allow rows to name image, audio and other files below DIR.", metavar="DIR"
    )
    max_line_bytes: int = option(
        64 * MEBIBYTE,
        "Longer lines are invalid rows.",
        min=1,
        metavar="BYTES",
        shown="67108864, 64 MiB",
    )
