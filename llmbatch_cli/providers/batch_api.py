"""What a wire of a provider's batch API is: how jobs of many rows are made, watched and read.

A wire's author writes one class in `providers/<provider>/batch.py`, derived from BatchWire, and
names it in the provider's row: `batch="llmbatch_cli.providers.<provider>.batch:<Class>"` of its
Entry (registry.py) or Host (hosts.py). That is all: rows, journal, resuming, polling, retries,
prices, display and output are the driver's (drivers/provider_batch/), the same for each wire.

A provider that keeps no files has them in the user's `storage` (batch_storage.py); `ready` refuses
what cannot work, before anything is read.

The life of a job, and who does what
------------------------------------
1. The driver asks `group` for each row, and `line` for its bytes; rows of one model and one group
   fill a file, each line ended by `\\n`, up to `limits`. custom_ids are `<intent id>-<n>`, n from
   0: letters, digits and one dash, 20 to 27 characters, so that a result shows whose it is.
2. The Intent is journaled, with its files on the disk. Only then is anything sent.
3. `upload` sends the file where the provider takes files, under `intent.file_name`; after a kill
   in between `find_upload` looks for that name (a second upload costs nothing, a second job does).
4. `create` makes the job, by exactly ONE request that can make one, sent by `http.once`. It puts
   `intent.mark` where the provider has a place for it (metadata, display name, job name, job id,
   client token), else nowhere. It raises what went wrong. The driver knows which errors leave open
   whether there is a job, and then asks `find` (after a kill, too), which goes through the
   provider's whole list since `intent.since_s`, page by page: only None, from a complete list,
   allows the driver another create. A page that fails raises; it never counts as the end.
5. `poll` until `JobStatus.ended`. A word that the wire does not know is a job that still runs; the
   driver has a deadline of its own (`limits.deadline_s`). Compare words with `folded`.
6. `collect` yields what the job has, in any order, as it is downloaded. The driver checks off the
   ids: doubled ones, unknown ones and missing ones are its trouble. A reply is what the live call
   would have got (a WireReply with the status and body of the row), since the provider's own
   `parse` reads it; headers are {} where there are none.
7. `cancel` asks for the end; the job is polled until it has ended, and read like any other.

What is not the wire's: to retry (http.get and downloads do so by themselves; `once` never), to
sleep, to keep state (everything it needs is in its arguments: the process may be another one by
then), to know prices, to write anything.

Errors are those of core/errors.py. `self.failed(reply)` makes one of any reply that is not a
success, by the provider's own rules; `self.json(reply)` reads an object or raises.

Tests: a simulated provider in tests/batch_api/ (see simulated_openai.py there), to which
`tests/batch_api/laws.py` applies every law and fault.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import orjson

from llmbatch_cli.core.errors import ProviderError, Unreadable
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.addresses import is_loopback, queried
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.batch_storage import Storage
from llmbatch_cli.providers.wire.replies import json_object

DAY_S: Final = 24 * 3600.0
CLOCKS_DIFFER_S: Final = 600.0
"""How far the provider's clock may be behind ours, or what it lists be dated early."""
_WHOSE: Final = re.compile("auth|key|token|organization|project|workspace")
"""In the names of headers that say who asks; others change with a release, or a proxy."""
_PROBE: Final = [{"role": "user", "content": "?"}]


@frozen(kw_only=True)
class BatchLimits:
    """What one job may hold, and how jobs are waited for. Say in the wire's docstring which page
    says so, and when it was read."""

    rows: int = 50_000
    bytes: int = 100_000_000
    """Of all lines together, newlines included; for a wire without files, leave room for what
    stands around them."""
    least_rows: int = 1
    """A smaller job is refused by the provider; its rows fail, with a hint."""
    jobs_at_once: int = 20
    """Jobs that are neither collected nor given up."""
    first_poll_s: float = 5.0
    longest_poll_s: float = 60.0
    """Polls begin with the first wait, which grows to this one; a Retry-After is kept to."""
    appears_s: float = 30.0
    """How long after a create whose reply was lost the list may still lack the job."""
    settles_s: float = 1800.0
    """How long a job may take to end once it was cancelled."""
    deadline_s: float = 2 * DAY_S
    """After so long a job that has not ended is cancelled, and what is there is taken."""
    kept: str = "30 days"
    """How long the provider keeps results."""


@frozen(kw_only=True)
class Intent:
    """One job as the journal knows it before anything is sent."""

    id: str
    """16 hexadecimal digits."""
    model: str
    """As the provider names it."""
    group: str
    """What `group` has said of its rows."""
    rows: int
    bytes: int
    sha256: str
    """Of the body file."""
    made_s: float
    """Seconds since the epoch."""

    @property
    def mark(self) -> str:
        """By which its job is found again: 25 characters of [a-z0-9-], first a letter."""
        return f"llmbatch-{self.id}"

    @property
    def file_name(self) -> str:
        """By which its upload is found again."""
        return f"{self.mark}.jsonl"

    @property
    def since_s(self) -> float:
        """Whatever was made for it is not older, by any clock."""
        return self.made_s - CLOCKS_DIFFER_S


@frozen(kw_only=True)
class JobStatus:
    """What the provider says of a job; None where it does not say."""

    word: str
    """Its own word, for people."""
    ended: bool
    """Whether nothing more will come, however it ended: `collect` can be called."""
    total: int | None = None
    done: int | None = None
    """Rows answered."""
    failed: int | None = None
    """Rows that failed at the provider."""
    expires_s: float | None = None
    """When the provider gives it up, in seconds since the epoch."""
    sources: Sequence[str] = ()
    """What `collect` needs to know: file ids, addresses. Never an empty text."""
    error: ProviderError | None = None
    """Why it has failed as a whole: the error of each row without a result. Where it is one that
    may succeed later (`retry`), they are sent again. None: they are sent again as not answered."""
    row_errors: Mapping[int, ProviderError] = field(default_factory=dict)
    """Rows, by their number from 0, that the provider has refused in its check of the whole file,
    with a job that failed for them; the others are sent again without them."""
    full: bool = False
    """Whether it was refused only because too much waits already (OpenAI's token_limit_exceeded):
    the same job is submitted again later, smaller where `fits_tokens` says so."""
    fits_tokens: int | None = None
    """How many tokens may wait at once, where a refusal says so."""
    retry_after_s: float | None = None
    """As the reply asks: `retry_after_s(reply.headers)` of wire/limits.py."""


@frozen
class Result:
    """What a job has for one row."""

    custom_id: str
    reply: WireReply | None = None
    """As the live call would have got it, with any status."""
    error: ProviderError | None = None
    """Where there is no reply: expired (core's NotAnswered), cancelled, or the provider's own."""


class Http(Protocol):
    """The network for a batch API: keys, proxies and certificates as for live calls.

    Requests have whole URLs and headers: see BatchWire.request.
    """

    async def get(self, request: WireRequest) -> WireReply:
        """The reply, whatever its status; asked again in trouble, by Retry-After or backoff.

        For requests that change nothing, or the same by each repetition, as a cancel. After the
        last try a reply of 429 or 5xx is returned, and an Unreachable or Interrupted raised.
        """

    async def once(self, request: WireRequest) -> WireReply:
        """The reply, whatever its status; sent once. Raises Unreachable, Interrupted, BadReply."""

    async def upload(
        self,
        request: WireRequest,
        file: Path,
        before: bytes = b"",
        after: bytes = b"",
        start: int = 0,
    ) -> WireReply:
        """Send `before`, the file from byte `start` on, and `after` as the body, in pieces, once;
        `request.body` is not used. The length is announced. For an inline create this is the one
        request that makes the job, too."""

    def lines(self, request: WireRequest) -> AsyncIterator[bytes]:
        """The lines of a download, without their ends and without empty ones, as they come.

        A break is mended by going on where it was. A status that is no success, at the beginning,
        raises NoDownload with the whole reply. A line has at most 64 MiB.
        """


class NoDownload(Exception):
    """The reply to a download that is none, which the wire turns into an error."""

    def __init__(self, reply: WireReply) -> None:
        super().__init__(reply.status)
        self.reply = reply


Build = Callable[[Request], WireRequest]


class BatchWire(ABC):
    """One provider's batch API at one address with one key. No state of jobs."""

    limits: BatchLimits = BatchLimits()
    finds: ClassVar[bool] = True
    """Whether `find` goes by a mark, so that what it finds is surely ours. False: by circumstances
    (time and number of rows); then the custom_ids of its results decide once it has ended, and the
    driver looks on where they are not ours."""
    storage: Storage = Storage()
    """Set by who makes the wire, before `ready`."""

    def __init__(self, provider: Provider, build: Build) -> None:
        """
        Args:
            provider: the live one: its address, its `parse`, its rules for errors.
            build: its `build`, with the user's headers and the base URL's query.
        """
        self.provider = provider
        self.build = build
        self.limits = limits_at(provider.base_url, self.limits)

    # Tools for wires

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Those of every request: the key, and what the user adds."""
        probe = self.build(Request("probe", _PROBE, {}))
        own = ("content-type", "accept", "content-length")
        return {name: value for name, value in probe.headers.items() if name.lower() not in own}

    @property
    def account(self) -> str:
        """A digest of address and key: another account would not find the jobs."""
        headers = sorted(item for item in self.headers.items() if _WHOSE.search(item[0].lower()))
        said = orjson.dumps([self.provider.name, self.provider.base_url, headers])
        return blake2b(said, digest_size=8, person=b"llmbatch-account").hexdigest()

    @property
    def base_url(self) -> str:
        """The address that paths of `request` are behind; a wire may have another than `build`."""
        return self.provider.base_url

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> WireRequest:
        """A request with the key to a path behind the base URL, or to a whole URL of the same
        origin; `body` is sent as JSON, bytes as they are.

        An address elsewhere, as a signed one of a storage, must not get the key: make a
        WireRequest without these headers for it.
        """
        url = path if "://" in path else f"{self.base_url}{path}"
        if url.split("/", 3)[:3] != self.base_url.split("/", 3)[:3]:
            raise Unreadable(f"the provider names another server than its own: {url[:100]}")
        sent = {**self.headers, **(headers or {})}
        if body is None:
            data = b""
        elif isinstance(body, bytes):
            data = body
        else:
            data = orjson.dumps(body)
            sent.setdefault("content-type", "application/json")
        return WireRequest(method, queried(url, self.provider.query), sent, data)

    def failed(self, reply: WireReply) -> ProviderError:
        """The error in a reply that is no success, by the provider's own rules."""
        try:
            self.provider.parse(Request("", _PROBE, {}), reply)
        except ProviderError as error:
            return error
        return Unreadable(f"HTTP {reply.status} without an error", status=reply.status)

    def json(self, reply: WireReply) -> dict[str, Any]:
        """The object in a reply. Raises the error in it, or BadReply."""
        if not 200 <= reply.status < 300:
            raise self.failed(reply)
        return json_object(reply)

    # What a wire is

    async def ready(self, model: str) -> None:  # noqa: B027 - most wires need nothing
        """Called once before rows of this model are read. Raises UsageError where they cannot be
        sent: for a model without batches, or without a bucket or credentials that they need."""

    def group(self, wire: WireRequest, request: Request) -> str:
        """What all rows of one job must share beside the model, such as the endpoint."""
        return ""

    @abstractmethod
    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        """One row of the body, without a line's end. `wire` is what the live call would send.

        Raises UsageError for a row that the batch API cannot take.
        """

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        """Send the file; its id. None where `create` sends the rows itself."""
        return None

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        """The id of an upload of this intent, by its file name; None where there is none, or where
        that cannot be told."""
        return None

    @abstractmethod
    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        """Make the job; its id. The one request that can make it is sent once."""

    @abstractmethod
    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        """The id of this intent's job, from the provider's whole list; None where there is none.

        `upload` is what `upload` has given; `others` are ids of jobs that are known not to be its.
        """

    @abstractmethod
    async def poll(self, http: Http, job: str) -> JobStatus:
        """How the job stands. Raises ProviderError with status 404 or 410 where it is gone."""

    @abstractmethod
    def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        """What the job has, row by row, as it comes.

        Raises ProviderError: one with `retry` where it may be there later (the driver comes back,
        and takes the rows that it has not seen), with status 404 or 410 where it is gone.
        """

    @abstractmethod
    async def cancel(self, http: Http, job: str) -> None:
        """Ask for the job's end. One that has ended already is no error."""


def limits_at(base_url: str, limits: BatchLimits) -> BatchLimits:
    """The limits at this address: a server on this machine is asked more often, and is none of
    the provider's, whose least it need not have."""
    if not is_loopback(base_url):
        return limits
    return replace(limits, first_poll_s=0.05, longest_poll_s=2.0, appears_s=1.0, least_rows=1)


def folded(word: object) -> str:
    """A status word in the one form that words are compared in: `JOB_STATE_IN_PROGRESS`,
    `in-progress` and `InProgress` are all `inprogress`."""
    text = str(word or "").lower().replace("-", "_").replace(" ", "_")
    for prefix in ("job_state_", "batch_state_", "state_"):
        text = text.removeprefix(prefix)
    return text.replace("_", "")


def count(value: object) -> int | None:
    """A number of rows, also as text; None for anything else."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def moment_s(value: object) -> float | None:
    """A time as text, as in RFC 3339, in seconds since the epoch; None for anything else."""
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
