"""What a provider is: pure functions from a request to bytes and from bytes to a completion."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from typing import TYPE_CHECKING

from llmbatch_cli.core.errors import ProviderError, UsageError
from llmbatch_cli.core.events import Observer
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Completion, Request, Send, WireReply, WireRequest

if TYPE_CHECKING:
    from llmbatch_cli.providers.hosts import Host


@frozen
class Settings:
    """The arguments of a provider."""

    name: str
    """As in output rows, and in front of `/model`."""
    base_url: str
    """Up to and with the version, as in `https://api.openai.com/v1`."""
    api_key: str | None = field(default=None, repr=False)
    """None sends none."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For a provider's own settings: a region, a project, an API version."""
    withheld: str | None = None
    """Why credentials that the provider finds by itself must not go there; None where they may."""
    query: str = ""
    """Goes behind the path of every request, as the base URL had it; added by who sends."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The user's own for every request; added by who sends."""
    host: "Host | None" = None
    """How a compatible host differs; None where its name says that."""


class Stream(ABC):
    """Reads one streamed reply as its bytes arrive, split anywhere. No I/O."""

    @abstractmethod
    def feed(self, data: bytes) -> str:
        """The answer's new text in these bytes, often none. Raises ProviderError only."""

    @abstractmethod
    def finish(self) -> Completion:
        """The whole answer, once the reply has ended, as `Provider.parse` would give it.

        Raises Interrupted where the stream ended before its own end mark.
        """

    def billed(self, error: ProviderError) -> ProviderError:
        """The error, with what the stream so far has counted, and may have cost."""
        return error


class Provider(ABC):
    """One provider at one address with one key. No I/O in `build` and `parse`."""

    reports_cost: bool = False
    """Whether its replies say what they cost."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._api_key = settings.api_key
        self._withheld = settings.withheld
        self.query = settings.query
        self.headers = settings.headers
        self.aim(settings.base_url)

    def aim(self, base_url: str) -> None:
        """Send to this address from now on."""
        self.base_url = base_url.rstrip("/")

    @property
    def source(self) -> Sequence[str]:
        """Who answers, beside what a request says: the same for the same answers only."""
        return (self.name, type(self).__name__, self.base_url, self.query)

    @abstractmethod
    def build(self, request: Request) -> WireRequest:
        """The bytes to send. Raises UnsupportedParameter, or UsageError for its messages."""

    @abstractmethod
    def parse(self, request: Request, reply: WireReply) -> Completion:
        """The answer in the reply, whatever its status. Raises ProviderError only."""

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        """A reader for the reply to a request with `stream` set, when its status is 200.

        Raises UsageError for an API that cannot stream.
        """
        raise UsageError(f"{self.name} does not support streaming")

    def check_credentials_may_go(self) -> None:
        """Raise UsageError where credentials that the provider finds must not be sent."""
        if self._withheld is not None:
            raise UsageError(
                f"credentials for {self.name} are not sent to {self.base_url}: {self._withheld}"
            )

    @asynccontextmanager
    async def serving(self, observe: Observer) -> AsyncIterator[Send | None]:
        """What must run while the provider is used, such as a server in this process.

        Yields the provider's own Send, or None to use the network's.
        """
        yield None
