"""`[hosts.NAME]`: a compatible host of the user's own, with what differs, as a provider."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import (
    ContextLength,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Unauthorized,
    UnknownModel,
)
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.providers.access import Entry
from llmbatch_cli.providers.hosts import OPENAI_BATCH, Host
from llmbatch_cli.providers.registry import PROVIDERS, entry_of
from llmbatch_cli.settings.tables import Table

KINDS: Final[Mapping[str, type[ProviderError]]] = {
    kind.kind: kind
    for kind in (
        RateLimited,
        Overloaded,
        OutOfQuota,
        Unauthorized,
        Rejected,
        ContextLength,
        UnknownModel,
        Refused,
    )
}
"""What an error of a host may mean, by the name that rows have for it."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _kind(table: Table, name: str, value: object) -> type[ProviderError]:
    if isinstance(value, str) and value in KINDS:
        return KINDS[value]
    near = near_names(value, KINDS) if isinstance(value, str) else ()
    hint = did_you_mean(near) if near else None
    raise table.error(name, f"must be one of {', '.join(KINDS)}", hint)


def _kinds(table: Table, name: str) -> dict[str, type[ProviderError]]:
    inner = table.table(name)
    return {key: _kind(inner, key, value) for key, value in inner.values.items()}


def _statuses(table: Table, name: str) -> dict[int, type[ProviderError]]:
    found: dict[int, type[ProviderError]] = {}
    for key, kind in _kinds(table, name).items():
        if not (key.isdecimal() and 100 <= int(key) <= 599):
            raise table.table(name).error(key, "must be an HTTP status, as in 429 = ...")
        found[int(key)] = kind
    return found


def _words(table: Table, name: str) -> tuple[tuple[str, type[ProviderError]], ...]:
    found = []
    for pattern, kind in _kinds(table, name).items():
        try:
            re.compile(pattern)
        except re.error as error:
            message = f"is no regular expression: {error.msg}"
            raise table.table(name).error(pattern, message) from None
        found.append((pattern, kind))
    return tuple(found)


def _waits(table: Table, name: str) -> frozenset[int]:
    value = table.values[name]
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        raise table.error(name, "must be a list of HTTP statuses", "as in [402]")
    return frozenset(value)


def _any_table(table: Table, name: str) -> Mapping[str, Any]:
    return table.table(name).values


def _tables(table: Table, name: str) -> Mapping[str, Mapping[str, Any]]:
    inner = table.table(name)
    return {key: inner.table(key).values for key in inner.values}


def _path(table: Table, name: str) -> tuple[str, ...]:
    return tuple((table.text(name) or "").split("."))


_DIFFERENCES: Final[Mapping[str, Callable[[Table, str], Any]]] = {
    "renamed": Table.text_table,
    "refused": _any_table,
    "no_formats": Table.texts,
    "efforts": _tables,
    "developer": lambda table, name: table.flag(name, False),
    "stream_fields": _any_table,
    "codes": _kinds,
    "statuses": _statuses,
    "words": _words,
    "waits": _waits,
    "flags": Table.texts,
    "cost": _path,
    "costs_per_usd": Table.number,
    "extras": Table.texts,
}
"""The fields of hosts.Host that say how it differs from OpenAI, and how each is read."""

LIMITS: Final = ("concurrency", "rpm", "tpm")
KNOWN: Final = ("base_url", "key_variable", "keyless", "headers", *LIMITS, *_DIFFERENCES)


def host_in(table: Table) -> Entry:
    """The host as a provider. Raises UsageError."""
    name = table.keys[-1]
    _check_name(table, name)
    table.check_names(KNOWN, name)
    if "base_url" not in table.values:
        hint = 'as in base_url = "http://localhost:8000/v1"'
        raise table.source.error(table.keys, f"hosts.{name} has no base_url", hint)
    variable = table.text("key_variable")
    if variable is not None and not _VARIABLE.fullmatch(variable):
        raise table.error(
            "key_variable", "must be the name of an environment variable", "never a key itself"
        )
    differences = {
        field: read(table, field) for field, read in _DIFFERENCES.items() if field in table.values
    }
    host = Host(
        name=name,
        base_url=(table.base_url(name) or "").rstrip("/"),
        docs="",
        key_variables=(variable,) if variable else (),
        keyless=table.flag("keyless", variable is None),
        batch=OPENAI_BATCH,
        **differences,
    )
    _check_variables(table, host)
    return entry_of(host)


def _check_name(table: Table, name: str) -> None:
    if name in PROVIDERS:
        raise table.source.error(
            table.keys,
            f"hosts.{name}: {name} is a provider already",
            f"use another name, or move it: [providers.{name}] with a base_url",
        )
    if not _NAME.fullmatch(name):
        raise table.source.error(
            table.keys, f"{name!r} cannot name a host", "use a-z, 0-9, - and _, as in [hosts.mine]"
        )


def _check_variables(table: Table, host: Host) -> None:
    """Raise UsageError where the host would be sent the key of another provider."""
    for name, entry in PROVIDERS.items():
        taken = set(host.key_variables) & set(entry.key_variables)
        if taken:
            raise table.source.error(
                (*table.keys, "key_variable"),
                f"{min(taken)} holds the key of {name}, which hosts.{host.name} would be sent",
                f'set key_variable = "..." to another, or move {name}: [providers.{name}] with a '
                "base_url",
            )
