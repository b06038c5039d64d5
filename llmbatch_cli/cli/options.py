"""Command line parameters made of the option dataclasses of core/options.py."""

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import Field, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer

from llmbatch_cli.cli.complete import PROPOSALS
from llmbatch_cli.cli.configured import defaults_for, options_of, replaced, without_limits
from llmbatch_cli.cli.help import EVERYDAY, LEFT_OUT, Command, Settled, print_short_help
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Option, is_option, option_of
from llmbatch_cli.providers.access import Setup

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

EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Read variables such as keys from this file; those that are set win.",
        rich_help_panel="Network",
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
    of it, and one that is a Setup for what the user has set for all runs; its other parameters are
    Typer's own."""
    signature = inspect.signature(function, eval_str=True)
    groups = _groups(signature)
    setup = next((one for one, kind in _plain_hints(signature) if kind is Setup), None)
    names = {*(group.name for group in groups), setup}
    others = [one for one in signature.parameters.values() if one.name not in names]
    options = [one for group in groups for one in group.parameters]
    short = _keyword("short_help", False, ShortHelp)
    parameters = [_keyword_only(one) for one in (*others, *options)]
    is_settled = setup is not None or bool(groups)
    if setup is not None:
        parameters.append(_keyword("env_file", None, EnvFile))
    if is_settled:
        parameters.append(_keyword("ctx", _EMPTY, typer.Context))
    help_names = ["-h", "--help"]
    if len(parameters) > ONE_SCREEN:
        parameters.append(short)
        help_names.remove("-h")

    @functools.wraps(function)
    def run(**values: Any) -> int:
        values.pop("short_help", None)
        if is_settled:
            found = _settled(function, {one.name for one in options}, values)
            values.update({setup: found} if setup is not None else {})
        built = {group.name: group.build(values) for group in groups}
        return function(**values, **built)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    del run.__wrapped__  # or inspect would look behind it
    kind = Settled if is_settled else Command
    app.command(cls=kind, epilog=epilog, context_settings={"help_option_names": help_names})(run)


_EMPTY: Final = inspect.Parameter.empty


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _plain_hints(signature: inspect.Signature) -> Iterator[tuple[str, Any]]:
    return ((one.name, one.annotation) for one in signature.parameters.values())


def _settled(function: Callable[..., int], options: Set[str], values: dict[str, Any]) -> Setup:
    """The user's setup; puts the settings in place of what the command line leaves out."""
    ctx: typer.Context = values.pop("ctx")
    env_file = values.pop("env_file", None)
    if env_file is not None:
        from llmbatch_cli.settings.env_file import load

        load(env_file, os.environ)
    defaults = defaults_for(function.__name__, options_of(function, options))
    given = {name for name in values if _is_given(ctx, name)} | ctx.meta[LEFT_OUT]
    settled = defaults.values.keys() - replaced(given)
    values.update({name: defaults.values[name] for name in settled})
    return without_limits(defaults.setup, given)


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _groups(signature: inspect.Signature) -> list[_Group]:
    found = [_group(one, kind) for one, kind in _plain_hints(signature) if kind is not Setup]
    return [group for group in found if group is not None]


def declared_by(function: Callable[..., int]) -> dict[str, Field[Any]]:
    """The options that a command's groups declare, by flag without its dashes."""
    signature = inspect.signature(function, eval_str=True)
    names = {one.name for group in _groups(signature) for one in group.parameters}
    return options_of(function, names)


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
        if is_option(one) and all(
            note.has(one.name) for note in group.notes if isinstance(note, Only)
        ):
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
