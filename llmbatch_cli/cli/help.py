"""Help in sections: `--help` shows every option of a command, `-h` those of every day."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import zip_longest
from typing import Any, Final

import typer
from typer.core import TyperCommand

SECTIONS: Final = (
    "Model", "Race", "Sampling", "Answers", "Input", "Output", "Cache", "Limits and retries",
    "Money", "Batch API", "Cluster", "Network", "Display",
)  # fmt: skip
"""In this order; others come behind them."""
OTHERS: Final = "Other options"
EVERYDAY: Final = "*"
"""Ends the panel of an option that the short help shows, too."""
_RANGE: Final = re.compile(r"(?:; |  \[(?=x))x>=[\d.]+\]?")
_FIRST_SENTENCE: Final = re.compile(r"(.*?)(?:[.;](?:\s.*)?|  \[.*)?$", re.DOTALL)

DATABASES: Final = (".db", ".sqlite", ".sqlite3")
"""Files that are the value of the option before them, and no input."""

LEFT_OUT: Final = "llmbatch.left_out"
"""Where a command's context has the options that are turned off."""

Record = tuple[str, str]


class Command(TyperCommand):
    """A command whose options are shown by section, without rich."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A value in brackets, as in `--cache [PATH]`, may be left out."""
        optional = {flag for flag, one in _flags(self) if (one.metavar or "").startswith("[")}
        return list(super().parse_args(ctx, _with_values(args, optional)))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Every option."""
        found: dict[str, list[Record]] = {}
        for section, record, _ in _records(self, ctx):
            found.setdefault(section, []).append(record)
        known = ("Arguments", *SECTIONS)
        others = [section for section in found if section not in (*known, OTHERS)]
        for section in (*known, *others, OTHERS):
            if section in found:
                with formatter.section(section):
                    formatter.write_dl(found[section])


class Settled(Command):
    """A command that takes from the user's settings what its command line leaves out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--no-NAME` leaves out what the settings have for --NAME, too."""
        named = {flag: str(one.name) for flag, one in _flags(self)}
        ctx.meta[LEFT_OUT], args = _left_out(args, named)
        return super().parse_args(ctx, args)


def _flags(command: Any) -> Iterator[tuple[str, Any]]:
    options = (one for one in command.params if one.param_type_name == "option")
    return ((flag, one) for one in options for flag in one.opts)


def _left_out(words: Sequence[str], named: Mapping[str, str]) -> tuple[frozenset[str], list[str]]:
    """The options that `--no-NAME` turns off, and the words without those."""
    end = words.index("--") if "--" in words else len(words)
    off = {
        word: named[f"--{word[5:]}"]
        for word in words[:end]
        if word.startswith("--no-") and word not in named and f"--{word[5:]}" in named
    }
    return frozenset(off.values()), [*(one for one in words[:end] if one not in off), *words[end:]]


def _with_values(words: Sequence[str], optional: Set[str]) -> list[str]:
    """The words, in which each of these options has its value, an empty one where none is given.

    The next word is the value only where it can be no input: where it is the name of a database.
    """
    found: list[str] = []
    end = words.index("--") if "--" in words else len(words)
    for word, after in zip_longest(words[:end], words[1:end]):
        named = word in optional
        is_value = named and after is not None and after.endswith(DATABASES)
        found.append(f"{word}=" if named and not is_value else word)
    return [*found, *words[end:]]


def print_short_help(ctx: typer.Context, wanted: bool) -> None:
    """Print the everyday options, a line each, and end, as `-h` asks for."""
    if not wanted or ctx.resilient_parsing:
        return
    command = ctx.command
    records = [record for _, record, everyday in _records(command, ctx) if everyday]
    if not records:  # a command of few options has one help
        typer.echo(ctx.get_help())
        raise typer.Exit
    formatter = ctx.make_formatter()
    command.format_usage(ctx, formatter)
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text((command.help or "").partition("\n\n")[0])
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_dl([(flags, _short(text)) for flags, text in records])
    formatter.write_paragraph()
    formatter.write_text(f"All options and examples: {ctx.command_path} --help")
    typer.echo(formatter.getvalue().rstrip("\n"))
    raise typer.Exit


def _records(command: Any, ctx: Any) -> Iterator[tuple[str, Record, bool]]:
    """Each parameter's section, its flags and help, and whether it is an everyday one."""
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        flags, text = record
        panel = getattr(parameter, "rich_help_panel", None) or OTHERS
        is_argument = parameter.param_type_name == "argument"
        section = "Arguments" if is_argument else panel.removesuffix(EVERYDAY)
        yield section, (flags, _without_range(text)), is_argument or panel.endswith(EVERYDAY)


def _without_range(text: str) -> str:
    """The help without `[x>=1]`: a value out of range is refused with the range."""
    return _RANGE.sub(lambda found: "]" if found[0].startswith(";") else "", text)


def _short(text: str) -> str:
    found = _FIRST_SENTENCE.match(text)
    return found[1] if found else text
