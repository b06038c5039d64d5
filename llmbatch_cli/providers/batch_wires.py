"""From a provider to the wire of its batch API."""

from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.providers.access import Setup, load
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.batch_api import BatchWire, Build
from llmbatch_cli.providers.batch_storage import Storage
from llmbatch_cli.providers.registry import PROVIDERS, providers_with

NO_STORAGE: Final = Storage()


def batch_wire(
    provider: Provider, build: Build, setup: Setup, storage: Storage = NO_STORAGE
) -> BatchWire:
    """The wire; `build` is the provider's own with what the user adds. Raises UsageError where
    there is none."""
    wire: BatchWire = load(batch_of(provider.name, setup))(provider, build)
    wire.storage = storage
    return wire


def batch_of(name: str, setup: Setup) -> str:
    """Where the provider's wire is. Raises UsageError where there is none."""
    entry = providers_with(setup)[name]
    if entry.batch is None:
        have = ", ".join(name for name, one in PROVIDERS.items() if one.batch is not None)
        raise UsageError(
            f"{name} has no batch API that llmbatch speaks",
            hint=f"-m names another, of these: {have}; without --batch-api the rows are sent live",
        )
    return entry.batch
