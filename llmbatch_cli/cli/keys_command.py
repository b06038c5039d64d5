"""`llmbatch keys`: keys that are kept for the user, and never shown."""

import contextlib
import getpass
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

import orjson
import typer

from llmbatch_cli.cli.complete import providers as complete_providers
from llmbatch_cli.cli.configured import defaults_for
from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.providers.access import Entry, bare, checked_key, first_named
from llmbatch_cli.providers.registry import providers_with
from llmbatch_cli.settings.stored_keys import StoredKeys, file_of_keys

EXAMPLES = """\b
Examples:
  llmbatch keys set groq
  llmbatch keys set groq < key.txt
  llmbatch keys list
  llmbatch keys remove groq
"""

MOST_CHARS: Final = 10_000

Action = Annotated[
    Literal["set", "list", "remove"],
    typer.Argument(
        metavar="set|list|remove",
        help="Keep a key, say for which providers there is one, or forget one.",
        show_default=False,
    ),
]
Named = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROVIDER]",
        help="A provider's name, as in llmbatch providers.",
        autocompletion=complete_providers,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def keys(
    action: Action,
    named: Named = None,
    json: AsJson = False,
) -> int:
    """Keep keys of providers, and never show them.

    They are in the system's keyring, or in a file that only you can read. A key is typed at a
    prompt that does not show it, or read from standard input. One in the environment wins.
    """
    if named and len(named) > 1:
        raise UsageError(
            "a key is not given as an argument, which shells and lists of processes keep",
            hint=f"llmbatch keys {action} PROVIDER asks for it, or reads standard input",
        )
    provider = named[0] if named else None
    known = {
        name: one
        for name, one in providers_with(defaults_for("keys", {}).setup).items()
        if one.key_variables
    }
    stored = StoredKeys(file_of_keys(os.environ))
    if action == "list":
        names = [provider] if provider else [*dict.fromkeys([*known, *stored.keys])]
        if provider is not None:
            _entry(provider, known)
        lines = b"".join(_listed(names, known, stored, json=json))
        with printing():
            sys.stdout.buffer.write(lines)
        if not (lines or json):
            whose = f"no key for {provider}" if provider else "no key"
            say(f"{whose} is set: llmbatch keys set {provider or 'PROVIDER'} keeps one")
    elif provider is None:
        raise UsageError(f"{action} needs a PROVIDER", hint=f"llmbatch keys {action} groq")
    elif action == "set":
        _set(provider, _entry(provider, known), stored)
    else:
        _remove(provider, stored)
    return ExitStatus.OK


def _entry(provider: str, known: Mapping[str, Entry]) -> Entry:
    if provider in known:
        return known[provider]
    near = near_names(provider, known)
    hint = did_you_mean(near) if near else "llmbatch providers lists them"
    raise UsageError(f"no provider {provider[:80]!r} that takes a key", hint=hint)


def _set(provider: str, entry: Entry, stored: StoredKeys) -> None:
    stored.check_private()
    key = checked_key(provider, bare(_typed(provider)), "what was entered")
    stored.set(provider, key)
    say(f"the key for {provider} is kept in {stored.source(provider)}")
    if variable := first_named(os.environ, entry.key_variables)[0]:
        say(f"{variable} is set, and wins over it")


def _typed(provider: str) -> str:
    if sys.stdin is None:
        raise UsageError("standard input is closed", hint="pipe the key into it")
    text = ""
    if sys.stdin.isatty():
        with contextlib.suppress(EOFError):
            text = getpass.getpass(f"Key for {provider} (it is not shown): ")
    else:
        text = sys.stdin.buffer.read(MOST_CHARS).decode("utf-8", "replace")
    if not bare(text):
        raise UsageError(f"no key for {provider} was entered; nothing was changed")
    return text


def _remove(provider: str, stored: StoredKeys) -> None:
    if provider not in stored.keys:
        near = near_names(provider, stored.keys)
        hint = did_you_mean(near) if near else "llmbatch keys list says which there are"
        raise UsageError(f"no key for {provider[:80]!r} is kept here", hint=hint)
    place = stored.source(provider)
    stored.remove(provider)
    say(f"the key for {provider} is no longer kept in {place}")


def _listed(
    names: Sequence[str], known: Mapping[str, Entry], stored: StoredKeys, *, json: bool
) -> Iterator[bytes]:
    """Each of the providers that has a key, and where from."""
    width = max(map(len, names), default=0)
    for name in names:
        entry = known.get(name)
        variable = first_named(os.environ, entry.key_variables)[0] if entry else None
        kept = stored.source(name) if name in stored.keys else None
        if not (variable or kept):
            continue
        if json:
            said = {"provider": name, "variable": variable, "kept_in": kept}
            yield orjson.dumps(said) + b"\n"
            continue
        where = " over ".join(filter(None, (variable, kept)))
        unknown = "" if entry else " (no such provider)"
        yield f"{name:{width}}  {where}{unknown}\n".encode()
