"""Command line parameters made of the option dataclasses of core/options.py."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer

from llmbatch_cli.cli.complete import PROPOSALS
from llmbatch_cli.cli.help import EVERYDAY, Command, print_short_help
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Option, option_of

METAVARS: Final[Mapping[Any, str]] = {str: "TEXT", int: "N", float: "N", Path: "FILE"}
"""What a value is called in help, where its option does not say."""

ONE_SCREEN: Final = 20
"""A command with more options than this has two helps: `-h` with the everyday ones, and all."""

ShortHelp = Annotated[
    bool,
    typer.Option(
        "-h", is_eager=True, callback=print_short_help, help="Show the everyday options and exit."
    ),
]


class Only:
    """In the annotation of a group: the only fields that this command has."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def has(self, name: str) -> bool:
        """Whether the command has this field."""
        return name in self._names


class Without(Only):
    """In the annotation of a group: the fields that this command lacks."""

    def has(self, name: str) -> bool:
        """Whether the command has this field."""
        return name not in self._names


@frozen
class Here:
    """In the annotation of a group: what a field's help is for this command."""

    name: str
    help: str


@frozen
class Arguments:
    """In the annotation of a group: what its positional field is called here."""

    metavar: str
    help: str


@frozen
class _Group:
    """One parameter of a command whose type is a dataclass of options, or of such groups."""

    name: str
    type: Any
    notes: tuple[object, ...] = ()
    own: list[inspect.Parameter] = field(default_factory=list)
    groups: list["_Group"] = field(default_factory=list)

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """One for each option."""
        return [*self.own, *(one for group in self.groups for one in group.parameters)]

    def build(self, values: dict[str, Any]) -> Any:
        """The options, of the values that belong to them."""
        given = {one.name: values.pop(one.name) for one in self.own}
        plain = {name: _plain(value) for name, value in given.items() if value not in (None, [])}
        return self.type(**plain, **{one.name: one.build(values) for one in self.groups})


def command(app: typer.Typer, function: Callable[..., int], epilog: str) -> None:
    """Add a command. Each of its parameters that is a dataclass of options stands for all fields
    of it; its other parameters are Typer's own."""
    signature = inspect.signature(function, eval_str=True)
    found = [_group(one.name, one.annotation) for one in signature.parameters.values()]
    groups = [group for group in found if group is not None]
    names = {group.name for group in groups}
    others = [one for one in signature.parameters.values() if one.name not in names]
    options = [one for group in groups for one in group.parameters]
    short = inspect.Parameter(
        "short_help", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=ShortHelp
    )
    parameters = [_keyword_only(one) for one in (*others, *options)]
    help_names = ["-h", "--help"]
    if len(parameters) > ONE_SCREEN:
        parameters.append(short)
        help_names.remove("-h")

    @functools.wraps(function)
    def run(**values: Any) -> int:
        values.pop("short_help", None)
        built = {group.name: group.build(values) for group in groups}
        return function(**values, **built)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    del run.__wrapped__  # or inspect would look behind it
    settings = {"help_option_names": help_names}
    app.command(cls=Command, epilog=epilog, context_settings=settings)(run)


def _keyword_only(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _group(name: str, annotation: Any, *notes: object) -> _Group | None:
    if get_origin(annotation) is Annotated:
        annotation, *own = get_args(annotation)
        notes = (*notes, *own)
    if not is_dataclass(annotation):
        return None
    group = _Group(name, annotation, notes)
    if hasattr(annotation, "section"):
        group.own.extend(_parameters(group))
    else:
        inner = (_group(one.name, one.type, *notes) for one in fields(annotation))
        group.groups.extend(filter(None, inner))
    return group


def _parameters(group: _Group) -> Iterator[inspect.Parameter]:
    for one in fields(group.type):
        if all(note.has(one.name) for note in group.notes if isinstance(note, Only)):
            described = option_of(one.metadata)
            yield inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None if one.default == () else one.default,
                annotation=Annotated[_type(one.type), _typers(one, described, group)],
            )


def _typers(one: Field[Any], described: Option, group: _Group) -> Any:
    """The Typer parameter of a field."""
    if described.positional:
        here = next((note for note in group.notes if isinstance(note, Arguments)), described)
        return typer.Argument(metavar=here.metavar, help=here.help)
    flags = [f"--{(described.name or one.name).replace('_', '-')}"]
    if described.letter:
        flags.append(f"-{described.letter}")
    default = f"{one.default:g}" if isinstance(one.default, float) else described.shown
    shown = f"  [default: {default}]" if default else ""
    own = (note.help for note in group.notes if isinstance(note, Here) and note.name == one.name)
    return typer.Option(
        *flags,
        help=next(own, described.help) + shown,
        metavar=described.metavar or METAVARS.get(_kind(one.type)),
        min=described.min,
        count=described.count,
        show_envvar=False,
        show_default=not (shown or described.count),
        autocompletion=PROPOSALS.get(described.complete or ""),
        rich_help_panel=_panel(group, described),
    )


def _panel(group: _Group, described: Option) -> str:
    section: str = group.type.section
    return section + (EVERYDAY if described.everyday else "")


def _kind(annotation: Any) -> Any:
    """The type of one value, without None; of several the one that reads any text."""
    if get_origin(annotation) is Sequence:
        return get_args(annotation)[0]
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    kinds = [one for one in get_args(annotation) if one is not type(None)]
    return str if str in kinds else kinds[0]


def _type(annotation: Any) -> Any:
    """The type that Typer reads a field's value as."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        kind = _kind(annotation)
        return kind | None if type(None) in inner else kind
    if origin is not None and origin is not Literal:  # Sequence[str]
        return list[inner[0]] | None  # type: ignore[valid-type]
    return annotation


def _plain(value: Any) -> Any:
    """What a dataclass has in place of Typer's value."""
    return tuple(value or ()) if isinstance(value, list) else value
