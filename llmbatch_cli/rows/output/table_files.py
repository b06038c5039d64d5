"""The files of a table: itself, and the journal of its rows until it is whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.core.options import TABLES, OutputFormat, OutputOptions
from llmbatch_cli.rows.output.target import check_file
from llmbatch_cli.storage import is_remote, located

SUFFIX: Final = ".llmbatch.jsonl"


_BY_SUFFIX: Final[Mapping[str, OutputFormat]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
}
_NOT_WRITTEN: Final = {".xls": ".xlsx", ".arrow": ".parquet", ".feather": ".parquet"}
_PACKERS: Final = (".zst", ".xz", ".bz2", ".zip", ".7z", ".lz4")
_LIBRARIES: Final = {"parquet": ("pyarrow", "parquet"), "xlsx": ("xlsxwriter", "excel")}
"""What is written only as a whole: its library, and the extra that has it."""


def format_of_name(output: Path, named: OutputFormat | None) -> OutputFormat | None:
    """The format that was named, else the one that the file's name asks for, if any.

    Raises UsageError for a name that cannot be written.
    """
    packed = output.suffix.lower() == ".gz"
    suffix = (output.with_suffix("") if packed else output).suffix.lower()
    if suffix in _PACKERS:
        raise UsageError(f"cannot write {output}: {suffix} is not supported", hint="use .gz")
    if named is not None:
        return named
    if suffix in _NOT_WRITTEN:
        hint = f"name it {_NOT_WRITTEN[suffix]}"
        raise UsageError(f"cannot write {output}: {suffix} is not supported", hint=hint)
    return _BY_SUFFIX.get(suffix)


def check_table_options(options: OutputOptions, *, to_terminal: bool) -> None:
    """Raise UsageError for options that contradict each other, or lack a library.

    `to_terminal`: the table goes to one.
    """
    form = options.format
    if form not in TABLES:
        for name, value in (("columns", options.columns), ("raw-cells", options.raw_cells)):
            if value:
                raise UsageError(f"--{name} is for tables", hint="add --format csv")
        return
    from importlib.util import find_spec

    from llmbatch_cli.rows.output.table import Choice

    Choice.of(options)
    if form in _LIBRARIES:
        if to_terminal:
            hint = f"add -o answers.{form}, or > answers.{form}"
            raise UsageError(f"--format {form} is not for a terminal", hint=hint)
        if options.resume and options.output is None:
            raise UsageError("--resume continues a file", hint="name it with -o")
        library, extra = _LIBRARIES[form]
        if find_spec(library) is None:
            raise UsageError(
                f"--format {form} needs {library}, which is not installed", hint=install_hint(extra)
            )
        if options.output is not None and options.output.suffix.lower() == ".gz":
            raise UsageError(f"cannot write {options.output}: {form} is packed by itself")


def journal_of(options: OutputOptions) -> Path | None:
    """Where the rows of a table stand until it is written; None where there is no need.

    A pipe or a device is written as the rows come.
    """
    path = options.output
    if path is None or options.format not in TABLES or (path.exists() and not path.is_file()):
        return None
    return Path(f"{path}{SUFFIX}")


def rows_file(name: str) -> str:
    """The file with the rows of this output: the journal beside it, if there is one."""
    journal = f"{name}{SUFFIX}"
    if is_remote(name):
        storage, key = located(journal)
        try:
            return name if storage.entry(key) is None else journal
        except OSError:  # reading it says why
            return name
    return journal if Path(journal).is_file() else name


PARTS: Final = ("_work/rows", ".")
"""Where a run on a cluster has the rows of its parts: those of tables apart."""


def parts_of_run(name: str) -> list[str] | None:
    """The files with the rows of an output that is a folder of parts; None for any other."""
    folder = Path(name)
    if not (folder / "_work" / "plan.json").is_file():
        return None
    found = ([str(one) for one in sorted((folder / place).glob("part-*.jsonl"))] for place in PARTS)
    return next(filter(None, found), [])


def check_table(options: OutputOptions, inputs: Sequence[str]) -> None:
    """Refuse a table that must not or cannot be written. Raises UsageError."""
    table, journal = options.output, journal_of(options)
    if table is None or journal is None:
        return
    check_file(table, inputs, filled=options.resume or options.overwrite)


def is_whole(options: OutputOptions) -> bool:
    """Whether --resume finds a table whose journal is gone."""
    table, journal = options.output, journal_of(options)
    if table is None or journal is None or not options.resume or journal.exists():
        return False
    return table.exists() and table.stat().st_size > 0
