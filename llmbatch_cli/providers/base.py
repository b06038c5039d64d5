"""What a provider is: pure functions from a request to bytes and from bytes to a completion."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmbatch_cli.events import Observer
from llmbatch_cli.types import Completion, Request, Send, WireReply, WireRequest


class Provider(ABC):
    """One provider at one address with one key. No I/O in `build` and `parse`."""

    name: str
    """As in output rows and in `name/model`."""

    @abstractmethod
    def build(self, request: Request) -> WireRequest:
        """The bytes to send. Raises UsageError for what this wire cannot say."""

    @abstractmethod
    def parse(self, request: Request, reply: WireReply) -> Completion:
        """The answer in the reply, whatever its status. Raises ProviderError only."""

    @asynccontextmanager
    async def serving(self, observe: Observer) -> AsyncIterator[Send | None]:
        """What must be up while the provider is used, such as a server in this process.

        Yields the provider's own Send, or None where the network's is to be used.
        """
        yield None
