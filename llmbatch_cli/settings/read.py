"""The settings as a whole: every name known, every value checked."""

from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any, Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Limits
from llmbatch_cli.providers.access import Entry
from llmbatch_cli.providers.registry import PROVIDERS
from llmbatch_cli.settings.own_hosts import host_in
from llmbatch_cli.settings.source import Source
from llmbatch_cli.settings.tables import Table, prices_in
from llmbatch_cli.settings.values import Unfit, option_value

TABLES: Final = ("aliases", "providers", "hosts", "prices")
OF_PROVIDER: Final = ("base_url", "headers", "concurrency", "rpm", "tpm")

Options = Mapping[str, Field[Any]]
"""A command's options, by the name of each flag without its dashes."""


@frozen
class UserSettings:
    """What the file says."""

    source: Source
    model: str | None
    aliases: Mapping[str, str]
    base_urls: Mapping[str, str]
    headers: Mapping[str, Mapping[str, str]] = field(repr=False)
    limits: Mapping[str, Limits]
    hosts: Mapping[str, Entry]
    prices: Mapping[str, tuple[float, float]]
    options: Mapping[str, Mapping[str, Any]]
    """By command, those that were checked: the fields' names and their values."""


def read(source: Source, commands: Mapping[str, Options | None]) -> UserSettings:
    """The settings; of the commands' options those that are told here.

    `commands` has every command; None is one that is not checked. Raises UsageError.
    """
    top = Table(source, (), source.values)
    top.check_names(("model", *TABLES, *commands))
    hosts_table = top.table("hosts")
    tables = {name: hosts_table.table(name) for name in hosts_table.values}
    hosts = {name: host_in(table) for name, table in tables.items()}
    providers = top.table("providers")
    _check_providers(providers, hosts)
    base_urls: dict[str, str] = {}
    for name in providers.values:
        table = tables[name] = providers.table(name)
        table.check_names(OF_PROVIDER, name)
        if url := table.base_url(name, whole=PROVIDERS[name].whole_urls):
            base_urls[name] = url
    limits = {name: table.limits() for name, table in tables.items()}
    return UserSettings(
        source,
        model=top.text("model"),
        aliases=_aliases(top.table("aliases")),
        base_urls=base_urls,
        headers={name: found for name, one in tables.items() if (found := one.headers())},
        limits={name: one for name, one in limits.items() if one is not None},
        hosts=hosts,
        prices=prices_in(top.table("prices")),
        options={
            name: _options(top.table(name), options)
            for name, options in commands.items()
            if options is not None and name in top.values
        },
    )


def _check_providers(table: Table, hosts: Mapping[str, Entry]) -> None:
    for name in table.values:
        if name in hosts:
            hint = f"put it into [hosts.{name}]"
            raise table.error(name, "is a host of your own", hint)
        if name not in PROVIDERS:
            raise table.unknown(name, PROVIDERS)
        if PROVIDERS[name].in_process:
            raise table.error(name, "runs in this process, so there is nothing to set")


def _aliases(table: Table) -> dict[str, str]:
    for name in table.values:
        if not name or any(one in name for one in "/?,") or name != name.strip():
            raise table.error(name, "cannot be an alias", "an alias has no / ? , and no spaces")
        if (table.text(name) or "").partition("?")[0] in table.values.keys() - {name}:
            hint = "write PROVIDER/MODEL in its place"
            raise table.error(name, "names another alias", hint)
    return dict(table.values)


def _options(table: Table, options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.values.items():
        flag = name.replace("_", "-")
        if flag not in options:
            raise table.unknown(name, options)
        option = options[flag]
        if option.name in found:
            raise table.error(name, "is set twice, with - and with _", "leave one out")
        try:
            found[option.name] = option_value(value, option)
        except Unfit as error:
            raise table.error(name, error.message, error.hint) from None
    return found
