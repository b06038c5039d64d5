"""From settings and keys to what a run takes of them."""

from collections.abc import Mapping

from llmbatch_cli.core.environment import Environment, StandIn
from llmbatch_cli.providers.access import Setup, first_set
from llmbatch_cli.providers.registry import PROVIDERS
from llmbatch_cli.settings.read import UserSettings
from llmbatch_cli.settings.stored_keys import StoredKeys, stand_ins


def setup_of(
    settings: UserSettings | None, stored: StoredKeys | None, environ: Mapping[str, str]
) -> Setup:
    """Providers, models and limits as users have set them; the environment wins."""
    hosts = settings.hosts if settings is not None else {}
    entries = {**PROVIDERS, **hosts}
    found = stand_ins(stored, entries, environ) if stored is not None else {}
    if settings is None:
        return Setup(environ=Environment(environ, found))
    for name, url in settings.base_urls.items():
        variables = entries[name].url_variables
        if first_set(environ, variables) is None:
            place = settings.source.place(("providers", name, "base_url"))
            found[variables[0]] = StandIn(lambda url=url: url, f"base_url, {place}")  # type: ignore[misc]
    return Setup(
        environ=Environment(environ, found),
        hosts=hosts,
        aliases=settings.aliases,
        headers=settings.headers,
        limits=settings.limits,
        prices=settings.prices,
    )
