"""`llmbatch preview`: the first requests of a run as they would be sent; nothing is sent."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import field
from typing import Annotated, Any, Final

import orjson

from llmbatch_cli.cli.configured import MODEL_VARIABLE
from llmbatch_cli.cli.model_names import one_model
from llmbatch_cli.cli.options import Only
from llmbatch_cli.cli.running import inputs_of, run_async
from llmbatch_cli.cli.shaping import plain_system
from llmbatch_cli.core.errors import ExitStatus, ProviderError, UsageError
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import (
    Answers,
    InputOptions,
    ModelOptions,
    Network,
    Retries,
    Sampling,
)
from llmbatch_cli.core.text import clean_for_terminal, format_count
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.estimate.asked import AskedModel, Asking
from llmbatch_cli.plans import shape_asked, system_message
from llmbatch_cli.providers.access import Access, Setup
from llmbatch_cli.providers.registry import DEFAULT_MODEL
from llmbatch_cli.rows.input.attachments import with_attachments
from llmbatch_cli.rows.input.source import Inputs

SHOWN: Final = 3
"""Requests that are shown."""
MOST_CHARS: Final = 4_000
"""Of a text in a request; files are longer."""

EXAMPLES = """\b
Examples:
  llmbatch preview reviews.csv -t 'Translate into French: {{ review }}'
  llmbatch preview prompts.jsonl -m claude-haiku-5-5 --where 'stars < 3'

\b
Exit status: 0 all rows can be read, 1 some cannot, 2 usage error.
"""


def preview(
    model: Annotated[ModelOptions, Only("models")],
    sampling: Sampling,
    answers: Annotated[Answers, Only("schema", "choices", "extract")],
    retries: Annotated[Retries, Only("drop_params")],
    input_: InputOptions,
    network: Annotated[Network, Only("base_url", "api")],
    setup: Setup,
) -> int:
    """Show the first three requests, and send nothing.

    They are shown as they would be sent, with the fields and the count of rows. Reads all of
    the input. Needs no key, and shows none.
    """
    system = sampling.system_text()
    inputs = inputs_of(input_, system=system)
    inputs.check()
    named = model.models or [os.environ.get(MODEL_VARIABLE, "")]
    access = Access(
        base_url=network.base_url[0] if network.base_url else None,
        no_key=True,
        api=network.api,
        environ=setup.environ or os.environ,
        setup=setup,
    )
    asking = Asking(
        access=access,
        params=sampling.params(),
        system=system_message(plain_system(input_, system)),
        shape=shape_asked(answers),
        drop_params=retries.drop_params,
    )
    asked = asking.of(one_model(named, setup) or DEFAULT_MODEL)
    return run_async(_preview(inputs, _Asked(asked, asking.at_home_of(asked)), input_))


async def _preview(inputs: Inputs, asked: "_Asked", options: InputOptions) -> ExitStatus:
    seen = _Seen()
    async with inputs.spooled() as inputs:
        fields = inputs.fields()
        async with aclosing(with_attachments(inputs.rows(seen.observe), options.files)) as rows:
            async for row in rows:
                if isinstance(row, Prompt) and len(seen.shown) < SHOWN:
                    seen.shown.append(row)
                seen.count(row)
    for line in _lines(fields, seen, asked):
        sys.stdout.write(f"{clean_for_terminal(line)}\n")
    return ExitStatus.SOME_FAILED if seen.invalid else ExitStatus.OK


@frozen
class _Asked:
    """What is asked, and of whom."""

    model: AskedModel
    of_rows: Asking
    """By which the models are reached that rows name."""

    def of(self, row: Prompt) -> Iterator[str]:
        """The lines of a row's request. Raises ProviderError, or UsageError."""
        asked = self.model if row.model is None else self.of_rows.of(row.model)
        wire = asked.build(asked.request(row))
        yield f"{wire.method} {wire.url}"
        try:
            body = orjson.loads(wire.body)
        except orjson.JSONDecodeError:
            yield wire.body.decode(errors="replace")
        else:
            yield orjson.dumps(_shortened(body), option=orjson.OPT_INDENT_2).decode()


@frozen
class _Seen:
    """What was read."""

    shown: list[Row] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0])
    """Rows, and the invalid ones among them."""
    reasons: list[str] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.message)

    def count(self, row: Row) -> None:
        self.counts[0] += 1
        if isinstance(row, BadRow):
            self.counts[1] += 1
            if len(self.reasons) < SHOWN:
                self.reasons.append(f"{row.place}: {row.reason}")

    @property
    def invalid(self) -> int:
        return self.counts[1]


def _lines(fields: Mapping[str, Sequence[str]], seen: _Seen, asked: _Asked) -> Iterator[str]:
    for number, row in enumerate(seen.shown, 1):
        yield f"{number}. {row.place}, id {row.id}"
        yield from _request(row, asked)
        yield ""
    distinct = {tuple(names): name for name, names in reversed([*fields.items()])}
    for names, name in distinct.items():
        yield f"{name}: the fields are {', '.join(names)}"
    yield from seen.notices
    invalid = f", {seen.invalid:,} of them invalid" if seen.invalid else ""
    yield f"{format_count(seen.counts[0], 'row')}{invalid}"
    yield from (f"  {reason}" for reason in seen.reasons)


def _request(row: Row, asked: _Asked) -> Sequence[str]:
    if isinstance(row, BadRow):
        return [row.reason]
    try:
        return [*asked.of(row)]
    except (ProviderError, UsageError) as error:
        return [f"cannot be sent: {error.message}"]


def _shortened(value: Any) -> Any:
    """The body, with the long texts in it cut."""
    if isinstance(value, str) and len(value) > MOST_CHARS:
        return f"{value[:100]}... ({len(value):,} characters)"
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    return value
