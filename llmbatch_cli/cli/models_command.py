"""`llmbatch models`: the models that a provider lists, just now."""

import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated

import orjson
import typer

from llmbatch_cli.cli.complete import providers
from llmbatch_cli.cli.options import Here, Only
from llmbatch_cli.cli.running import run_async
from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import BadReply, ExitStatus, ProviderError, UsageError
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.options import Network
from llmbatch_cli.core.text import clean_for_terminal
from llmbatch_cli.core.types import Send
from llmbatch_cli.providers.listing import MOST_PAGES, Model, listing_of, read, request
from llmbatch_cli.providers.registry import Access, Entry, Setup, Target, providers_with, resolve
from llmbatch_cli.transport import check_way

EXAMPLES = """\b
Examples:
  llmbatch models openai
  llmbatch models ollama --json | jq .details.size
  llmbatch models vllm --base-url http://localhost:8000/v1
"""

Name = Annotated[
    str,
    typer.Argument(
        metavar="PROVIDER",
        help="A provider's name, as in llmbatch providers.",
        autocompletion=providers,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line, with all details.")
]
Seconds = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.001,
        metavar="SECONDS",
        help="Time limit per reply, in seconds.  [default: 30]",
        show_default=False,
    ),
]

BASE_URL = Here(
    "base_url", "Ask this server instead of the provider's, as in http://localhost:8000/v1."
)


def models(
    provider: Name,
    json: AsJson = False,
    timeout: Seconds = 30.0,
    *,
    network: Annotated[Network, Only("base_url", "no_key", "insecure"), BASE_URL],
    setup: Setup,
) -> int:
    """List the models that a provider has now, one per line.

    Use them as PROVIDER/MODEL in -m. Costs nothing; most providers require a key.
    """
    _check(provider, providers_with(setup))
    if len(network.base_url) > 1:
        raise UsageError("one --base-url at a time", hint="list each server by itself")
    base_url = next(iter(network.base_url), None)
    access = Access(
        base_url=base_url,
        no_key=network.no_key,
        insecure=network.insecure,
        environ=setup.environ or os.environ,
        setup=setup,
    )
    target = resolve(f"{provider}/-", access, _tell)
    check_way(target.provider.base_url)
    with printing():
        run_async(_print(target, timeout, json=json))
    return ExitStatus.OK


def _check(provider: str, known: Mapping[str, Entry]) -> None:
    """Raise UsageError for an unknown provider, or one without a list."""
    if provider not in known:
        near = near_names(provider, known)
        hint = did_you_mean(near) if near else "llmbatch providers lists them"
        raise UsageError(f"unknown provider {provider[:80]!r}", hint=hint)
    listing_of(provider)


def _tell(event: Event) -> None:
    if isinstance(event, Notice):
        say(event.message)


async def _print(target: Target, timeout_s: float, *, json: bool) -> ExitStatus:
    from llmbatch_cli.transport.control import open_control

    printed = 0
    try:
        async with open_control(timeout_s) as send, aclosing(listed(target, send)) as found:
            async for model in found:
                sys.stdout.buffer.write(_line(target.provider.name, model, json=json))
                printed += 1
    except ProviderError as error:
        error.message = f"{target.provider.name}: {error.message}"
        error.hint = error.hint or (target.key_hint if error.fatal else None)
        raise
    sys.stdout.flush()
    if not printed:
        say(f"{target.provider.name} lists no models")
    return ExitStatus.OK


async def listed(target: Target, send: Send) -> AsyncGenerator[Model, None]:
    """Every model of every page, once. Raises ProviderError."""
    provider, listing = target.provider, listing_of(target.provider.name)
    seen: set[str] = set()
    after: str | None = None
    for _ in range(MOST_PAGES):
        page = read(listing, provider, await send(request(listing, provider, after)))
        for model in page.models:
            if model.id not in seen:
                seen.add(model.id)
                yield model
        if page.after is None:
            return
        if page.after == after:
            break
        after = page.after
    raise BadReply("the list of models does not end")


def _line(provider: str, model: Model, *, json: bool) -> bytes:
    if not json:
        return " ".join(clean_for_terminal(model.id).split()).encode() + b"\n"
    try:
        return (
            orjson.dumps({"provider": provider, "id": model.id, "details": model.details}) + b"\n"
        )
    except TypeError as error:  # nested too deep
        raise BadReply(f"the details of {model.id[:80]!r} cannot be written as JSON") from error
