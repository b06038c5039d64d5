"""The options that say how fields become a prompt, read once."""

import os
from collections.abc import Set

from llmbatch_cli.core.at_file import text_of
from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.near import did_you_mean
from llmbatch_cli.core.options import InputOptions
from llmbatch_cli.rows.input.shape import Adds, Asks, Fields, Renders, Shape, is_template


def shape_of(options: InputOptions, system: str | None) -> Shape:
    """The shape of rows. Raises UsageError for what is no template, and for options that exclude
    each other. What a run does not use is not imported."""
    where = None
    if options.where is not None:
        from llmbatch_cli.rows.input.template import Condition

        where = Condition(options.where, "--where")
    asks, rendered, media = _asks(options), _system(options, system), _media(options)
    differs = media or options.model_field or (rendered is not None and rendered.names)
    if asks is not None and asks.is_constant and not differs:
        raise _constant(options)
    return Shape(
        prompt_field=options.prompt_field,
        id_field=options.id_field,
        model_field=options.model_field,
        asks=asks,
        system=rendered,
        where=where,
        media=media,
    )


def _constant(options: InputOptions) -> UsageError:
    """A template without a field, which is seldom meant and paid for with each row."""
    text = options.template
    name = "--messages-template" if text is None else "--template"
    hint = "{{ text }} stands for the row's field text; --image names one with a picture"
    if text is not None and os.path.isfile(text):  # noqa: PTH113 - which takes any text
        hint = did_you_mean([f"@{text}"])
    return UsageError(f"{name} names no field, so that every row would be sent the same", hint=hint)


class _Invalid:
    """A system message that is no valid template: only rows that need it as one are refused."""

    names: Set[str] = frozenset()

    def __init__(self, error: UsageError) -> None:
        self._error = error

    def check(self, fields: Fields, file: str | None) -> None:
        """Raise the error."""
        raise self._error

    def render(self, fields: Fields) -> str:
        """Raise the error of the row."""
        raise InputError(self._error.message)


def _system(options: InputOptions, system: str | None) -> Renders | None:
    if system is None or not is_template(system):
        return None
    from llmbatch_cli.rows.input.template import Template

    try:
        return Template(system, "--system")
    except UsageError as error:
        if _has_template(options):
            raise
        return _Invalid(error)


def _has_template(options: InputOptions) -> bool:
    return options.template is not None or options.messages_template is not None


def plain_system(options: InputOptions, system: str | None) -> str | None:
    """The system message of rows that have none: itself, unless it is a template for all rows."""
    fills_all = system is not None and _has_template(options) and is_template(system)
    return None if fills_all else system


def _asks(options: InputOptions) -> Asks | None:
    ways = {
        "--template": options.template,
        "--messages-template": options.messages_template,
        "--prompt-field": options.prompt_field,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other", hint="leave one out")
    if options.template is not None:
        from llmbatch_cli.rows.input.template import TextTemplate

        return TextTemplate(text_of(options.template, "--template"), "--template")
    if options.messages_template is not None:
        from llmbatch_cli.rows.input.template import MessagesTemplate

        name = "--messages-template"
        return MessagesTemplate(text_of(options.messages_template, name), name)
    return None


def _media(options: InputOptions) -> Adds | None:
    if not (options.image or options.audio or options.file):
        return None
    from llmbatch_cli.rows.input.media import Media

    return Media(images=options.image, audio=options.audio, files=options.file)
