"""The values that travel through the program.

A row of input becomes a `Prompt`, a prompt one or more `Request`s, a request one
`Completion` or one `ProviderError`, and the row ends as exactly one `Outcome`.

Nothing here is changed once it is made. What is made for every row is not declared frozen
all the same: freezing multiplies the cost of making one by four.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from llmbatch_cli.core.errors import RowFailed
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Attempt, Ledger, MaybeBilled, Usage

if TYPE_CHECKING:
    from decimal import Decimal

Message = dict[str, Any]
"""One chat message in OpenAI's shape: `role`, `content` (a string or a list of parts), ..."""

Params = Mapping[str, Any]
"""Sampling parameters by OpenAI's names; a parameter that is absent is left to the provider."""

RowId = str | int

CONTENTS: Final = frozenset(("images", "audio", "code", "output", "blocks"))
"""Extras that are an answer by themselves."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(slots=True)
class Prompt:
    """One readable row of input."""

    index: int
    """Place in the whole input, from 0, over all files and unreadable rows."""
    messages: Sequence[Message]
    id: RowId
    """The row's own `id` or `custom_id`, else `index`."""
    file: str | None = None
    """The file's name as the user gave it; None for values that came from Python."""
    line: int | None = None
    """The line in `file`, from 1."""
    model: str | None = None
    """The row's own model, which wins over the run's."""
    models: Sequence[str] = ()
    """The row's own racers, which win over the run's."""
    params: Params = field(default_factory=dict)
    """The row's own parameters, which win over the run's."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Every field of the row that means nothing to us; carried to the output."""
    key: str | None = None
    """Digest of request and row (rows/keys.py); None where no output needs it."""
    value: Any = None
    """The row as it was read: an object of fields, a text or a list of messages."""
    repeat: int | None = None
    """Which one this is, from 1, of a row that is to be answered several times."""
    ledgers: Sequence[Ledger] = field(default=(), repr=False, compare=False)
    """Of requests for it that were made elsewhere, as in a job."""

    @property
    def place(self) -> str:
        """Where the row stands, for messages: `prompts.jsonl:17`, or `row 16`."""
        return _place(self.file, self.line, self.index)


@dataclass(slots=True)
class BadRow:
    """One row of input that could not be read; it is answered with an error row."""

    index: int
    reason: str
    """What is wrong, without the place; a sentence without a full stop."""
    id: RowId
    """The row's own id where it could be read, else `index`."""
    file: str | None = None
    line: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    value: Any = None
    """The row as far as it could be read."""
    repeat: int | None = None
    """As that of Prompt."""

    @property
    def place(self) -> str:
        """Where the row stands, for messages: `prompts.jsonl:17`, or `row 16`."""
        return _place(self.file, self.line, self.index)


def _place(file: str | None, line: int | None, index: int) -> str:
    return f"row {index}" if line is None else f"{file}:{line}"


Row = Prompt | BadRow


@dataclass(slots=True)
class Request:
    """What one model is asked once, in no provider's dialect."""

    model: str
    """The model as its provider names it, without the `provider/` in front."""
    messages: Sequence[Message]
    params: Params
    """Row over model over run, merged; OpenAI's names; never holds None."""
    stream: bool = False
    """Whether the answer is wanted piece by piece."""
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)
    """Its attempts so far; the innermost call adds to it."""
    repeat: int = 1
    """The row's own: each of its repeats is to have an answer of its own."""
    again: int = 0
    """How often its answer did not fit: each time it is to have another one."""


@dataclass(slots=True)
class Parsed:
    """What an answer of a given shape says."""

    data: Any
    """Values of JSON; from Python, an instance of the class that was given as schema."""
    repaired: bool = False
    """Whether the answer was only nearly JSON."""


@dataclass(slots=True)
class Completion:
    """One model's answer to one request."""

    text: str | None
    """The first choice's text; None where the model gave tool calls only."""
    finish_reason: FinishReason | None = None
    """None is unknown, never guessed."""
    native_finish_reason: str | None = None
    """The provider's own word for it."""
    usage: Usage | None = None
    model: str | None = None
    """The model that the provider says has served the request."""
    reasoning: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """In OpenAI's shape: id, type, function{name, arguments (a JSON text)}."""
    choices: Sequence[Mapping[str, Any]] = ()
    """All choices in OpenAI's shape; only where there is more than one."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """What else the first choice carried: logprobs, refusal, audio, annotations, citations."""
    response_id: str | None = None
    request_id: str | None = None
    """The provider's id of the HTTP request, for its support."""
    cost_usd: float | None = None
    """As the provider reports it. What a row costs is its Outcome's to say."""
    limits: "RateInfo | None" = None
    parsed: Parsed | None = None
    """None where no shape was asked for."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read: no text, no tool call, no picture, as of thoughts
        alone."""
        text = self.text
        if text and not text.isspace():
            return False
        return not self.tool_calls and CONTENTS.isdisjoint(self.extras)


@frozen
class RateInfo:
    """What a reply says about the account's limits; None where it does not say."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    """Seconds from the reply until the request budget is whole again."""
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None
    retry_after_s: float | None = None


@frozen
class Failure:
    """Why a row, or one attempt at it, has no answer."""

    kind: str
    """The error's `kind`, as in errors.py: rate_limited, rejected, invalid_row, ..."""
    message: str
    status: int | None = None
    retryable: bool = False
    messages: Sequence[Message] = field(default=(), repr=False, compare=False)
    """What was sent, so that whoever shows `message` can hide what it repeats of them."""
    text: str | None = field(default=None, repr=False)
    """The answer's, where there is one that cannot be used."""


@frozen
class Racer:
    """How one model fared in one race."""

    model: str
    provider: str
    status: Literal["won", "lost", "cancelled", "failed"]
    latency_s: float
    """From its first request to its end; to its cancellation from its own start."""
    attempts: int = 1
    """Requests that were sent for it; 0 for one that was cancelled before its first."""
    error: Failure | None = None
    usage: Usage | None = None
    failed_attempts: Sequence[Attempt] = ()
    """Those that ended in an error, in their order."""
    cancelled_in_flight: bool = False
    """Whether its last request was cancelled on its way, so that it may be billed."""
    cached: bool = False
    """Whether its answer was in the cache."""
    ledger: Ledger | None = field(default=None, repr=False, compare=False)
    """Its attempts, with what each has cost."""


@dataclass(slots=True)
class Outcome:
    """The end of one row: a completion or a failure, never both, never neither."""

    index: int
    id: RowId
    model: str | None
    """The model that was asked, without its provider; None for a row that could not be read."""
    provider: str | None
    completion: Completion | None = None
    error: Failure | None = None
    latency_s: float | None = None
    """From the first attempt's start to the last one's end, without the wait for limits before
    it; None where nothing was sent."""
    attempts: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    race: Sequence[Racer] = ()
    """Every model that was asked for the row, in the order of preference."""
    failed_attempts: Sequence[Attempt] = ()
    """Those that ended in an error, in their order; of a race, see `race`."""
    ttft_s: float | None = None
    """Time to the first token, from the row's start; None where nothing was streamed."""
    partial: str | None = None
    """The text so far of a streamed answer that broke off."""
    fallback_from: str | None = None
    """The model that failed before this one was asked."""
    key: str | None = None
    """The row's own."""
    input: Sequence[Message] | None = None
    """The row's messages, with --include-input; none for a row that could not be read."""
    fields: Mapping[str, Any] | None = None
    """The row's own fields as they were read, with --include-input and in tables."""
    repeat: int | None = None
    """Which of the row's answers this is, from 1, with --repeat."""
    part: tuple[int, int] = (1, 1)
    """Which of the row's outcomes this is, from 1, and how many there are, as with --all."""
    ledgers: Sequence[Ledger] = ()
    """One for each model that was asked, with every attempt, answers too. Of several outcomes of
    one row each has its own model's, and the first also those of models without an outcome."""
    cost_usd: "Decimal | int | None" = 0
    """What all attempts in `ledgers` have cost, exactly; None is unknown."""
    maybe_billed: MaybeBilled | None = None
    """What may have been billed beside that; None for nothing."""
    cached: bool = False
    """Whether the answer was there already, from the cache or for an equal row."""
    finished_at: float | None = field(default=None, compare=False)
    """When the row ended, in seconds since the epoch; the run sets it."""

    @property
    def text(self) -> str | None:
        """The answer's text; None for a failed row, and for an answer of tool calls only."""
        return self.completion.text if self.completion is not None else None

    @property
    def data(self) -> Any:
        """What the answer says, where it was asked for in a shape: see Parsed."""
        parsed = self.completion.parsed if self.completion is not None else None
        return parsed.data if parsed is not None else None

    @property
    def cost(self) -> float | None:
        """US dollars for every attempt at the row, of each model that was asked; None is unknown.

        What a provider may have billed without saying so is in `maybe_billed`.
        """
        return None if self.cost_usd is None else float(self.cost_usd)

    def raise_for_error(self) -> "Outcome":
        """Itself. Raises RowFailed where the row has no answer."""
        if self.error is None:
            return self
        error = self.error
        raise RowFailed(
            error.message, kind=error.kind, status=error.status, retryable=error.retryable
        )


@dataclass(slots=True)
class WireRequest:
    """One HTTP request, ready to send."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    """Holds the API key, so it is left out of repr."""
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class WireReply:
    """One HTTP reply, whole and decompressed. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class WireStream:
    """One HTTP reply whose body is still to come, in pieces of any size, decompressed."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


Call = Callable[[Request], Awaitable[Completion]]
"""One request to one model. Raises ProviderError only; its attempts stand in the ledger."""

Work = Callable[[Prompt], Awaitable[tuple[Outcome, ...]]]
"""One row to its outcomes; the first is the answer. Raises RunStopped and nothing else."""

Asking = Callable[[Prompt, list[Ledger]], Awaitable[tuple[Outcome, ...]]]
"""Work that puts the ledger of each request for the row into a list before it is sent, so that
what was paid is known however the row ends."""

Send = Callable[[WireRequest], Awaitable[WireReply]]
"""The seam to the network. Raises ProviderError (Unreachable, Interrupted, BadReply) only."""

OpenStream = Callable[[WireRequest], AbstractAsyncContextManager[WireStream]]
"""The same seam for a reply that is read as it comes; its end closes what is not read."""
