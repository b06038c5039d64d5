"""Everything that can go wrong, as one tree; imports nothing of ours at run time.

LlmbatchError
  UsageError            the command or call is wrong; nothing was sent
    MissingKey          the provider requires a key, and none is set
    UnsupportedParameter  the model or its API does not support a parameter
    BadRows             rows are invalid, and --strict sends none then
  InputError            one row cannot be read
  OutputError           the answers cannot be written
  ReaderGone            the reader of the output has closed it
  RunStopped            the run ended early, for a reason that holds for every row
    BudgetReached       what is left of --max-cost is too little for another request
  RowFailed             a row has no answer, for callers from Python who want an exception
  ProviderError         one request has no answer
    RateLimited         429: too fast, or too many at once
      QuotaSpent        the same for hours: longer than a row may wait
    Overloaded          408, 5xx, 529: the provider's own trouble
    Unreachable         never sent: DNS, connection refused
      Blocked           never sent, and waiting does not help: certificate, TLS, proxy
    Interrupted         sent, no whole reply: maybe billed
      TimedOut          the row's time was over
    NotAnswered         a job of the batch API has ended without an answer to this row
    BadReply            a reply that cannot be understood
      Unreadable        one that would not be understood the next time either
        NotFinished     a job in place of an answer, which is waited for
    OutOfQuota          402, or a 429 that waiting does not resolve
    Unauthorized        401, 403: the key is missing, wrong or not allowed
    Rejected            400, 404, 413, 422: this request can never succeed
      ContextLength     the prompt is longer than the model reads
      UnknownModel      the provider has no such model
      Firewalled        403 with a web page: something in front of the server refuses
      UnknownPath       the server has nothing at this path: the base URL is wrong
    Refused             the provider's content filter
    InvalidOutput       an answer, but not of the form that was asked for
"""

import copyreg
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from llmbatch_cli.core.types import Outcome


class ExitStatus(IntEnum):
    """The program's exit status."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    STOPPED = 3
    INTERRUPTED = 130


class LlmbatchError(Exception):
    """The base of all errors that users meet.

    `message` says what happened and where; `hint`, where there is one, what to do.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Both, as a traceback shows them."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without a call of `__init__`, which may ask for more than the message."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(LlmbatchError):
    """The command or call cannot be carried out as given, as with an unknown model name."""


class MissingKey(UsageError):
    """A provider requires a key, and none is set. `provider` is its name."""

    provider = ""


class UnsupportedParameter(UsageError):
    """This API does not support a parameter; the request may do without it.

    `parameter` is its name in Request.params.
    """

    def __init__(self, parameter: str, provider: str, *, hint: str | None = None) -> None:
        super().__init__(
            f"{provider} does not support {parameter}",
            hint=hint or "remove it, or use --drop-params",
        )
        self.parameter = parameter


class BadRows(UsageError):
    """Some rows cannot be read or sent; `reasons` says so of the first, with their places."""

    def __init__(self, message: str, *, hint: str, reasons: Sequence[str]) -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons


class InputError(LlmbatchError):
    """One row cannot be read, as with broken JSON."""


class OutputError(LlmbatchError):
    """The answers cannot be written, as on a full disk."""


class ReaderGone(LlmbatchError):
    """Standard output was closed by its reader, as `| head` does."""


class RunStopped(LlmbatchError):
    """The run ended before its input, as with a bad key or no quota.

    `outcomes` are those that the Python API has yielded before, the last 10,000 of them: what
    was paid for is at hand even where they were only to be collected, as by `list(batch(...))`.
    """

    outcomes: "Sequence[Outcome]" = ()


class BudgetReached(RunStopped):
    """What is left of the run's budget is too little for another request."""


class RowFailed(LlmbatchError):
    """One row has no answer, as `Outcome.raise_for_error` says it."""

    def __init__(self, message: str, *, kind: str, status: int | None, retryable: bool) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retryable = retryable


class ProviderError(LlmbatchError):
    """One request to one model has no answer.

    The class says what to do about it; the instance says what came back. A provider
    chooses the class, the engine acts on it.
    """

    kind: ClassVar[str] = "provider_error"
    retry: ClassVar[bool] = False
    """Whether the same request may succeed later."""
    fatal: ClassVar[bool] = False
    """Whether every other row of this provider and key will fail the same way."""
    hopeless: bool = False
    """Whether the same holds as long as the model has not answered: the settings are wrong."""
    slow: ClassVar[bool] = False
    """Whether the provider asks for fewer requests."""
    maybe_billed: bool = False
    """Whether the provider may have done the work and charged for it; an instance says so where
    its class leaves that open, as of a refusal."""
    sent: ClassVar[bool] = True
    """False where the request was refused on this side, so that there was no attempt."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_s = retry_after_s
        self.limits: Any = None
        """The account's rate limits as the reply has them, a types.RateInfo."""
        self.usage: Any = None
        """The tokens that the reply counts all the same, a ledger.Usage."""
        self.text: str | None = None
        """The answer's, where there is one that cannot be used."""

    @property
    def retryable(self) -> bool:
        """Whether --resume sends the row again: it may succeed later, or once a setting is
        mended that is not the row's."""
        return self.retry or isinstance(self, Blocked | UnknownPath)

    def without_frames(self) -> Self:
        """Itself, without the calls that it and its causes came through.

        Their variables hold the whole reply, and some hold this error: only the garbage collector
        would free them.
        """
        error: BaseException | None = self
        seen: set[int] = set()
        while error is not None and id(error) not in seen:  # a cause may lead back to its effect
            seen.add(id(error))
            error.__traceback__ = None
            error = error.__cause__ or error.__context__
        return self


class RateLimited(ProviderError):
    """Too many requests or tokens in too short a time: 429."""

    kind = "rate_limited"
    retry = True
    slow = True


class QuotaSpent(RateLimited):
    """A rate limit that lasts longer than any row may wait, such as a quota of a day."""

    fatal = True


class Overloaded(ProviderError):
    """The provider cannot serve anybody just now: 408, 500, 502, 503, 529."""

    kind = "overloaded"
    retry = True


class Unreachable(ProviderError):
    """The request was never sent: the name is unknown, the connection refused."""

    kind = "unreachable"
    retry = True


class Blocked(Unreachable):
    """There is no way until a setting is mended: the certificate is not trusted, TLS is not
    spoken there, the proxy wants a password."""

    retry = False
    hopeless = True


class Interrupted(ProviderError):
    """The request was sent and no whole reply came back: a reset, a reply cut short."""

    kind = "interrupted"
    retry = True
    maybe_billed = True
    received: Any = None
    """The types.WireReply as far as it came; it may hold the whole answer all the same."""


class TimedOut(Interrupted):
    """The row's whole time was over before a reply was there."""

    kind = "timed_out"


class NotAnswered(ProviderError):
    """A job of the provider's batch API has ended without an answer to this row: it expired, was
    cancelled, or lost the row. It is not billed."""

    kind = "not_answered"
    retry = True


class BadReply(ProviderError):
    """A reply that is no answer: truncated JSON, a web page, a body over the size cap."""

    kind = "bad_reply"
    retry = True
    maybe_billed = True


class Unreadable(BadReply):
    """A reply that may well hold the answer, and that asking again would only pay for again."""

    retry = False


class NotFinished(Unreadable):
    """A job that the provider has begun in place of an answer.

    `ask` is the types.WireRequest that asks for what has become of it.
    """

    def __init__(self, message: str, ask: Any, *, status: int) -> None:
        super().__init__(message, status=status)
        self.ask = ask


class OutOfQuota(ProviderError):
    """The account has no money or no quota left: 402, 429 `insufficient_quota`."""

    kind = "out_of_quota"
    fatal = True


class Unauthorized(ProviderError):
    """The key is missing, wrong or not allowed to do this: 401, 403."""

    kind = "unauthorized"
    fatal = True


class Rejected(ProviderError):
    """This request can never succeed: 400, 404, 413, 422."""

    kind = "rejected"


class Unsent(Rejected):
    """This request was refused before it was sent: a wire cannot say it, or a limit is too low."""

    sent = False


class ContextLength(Rejected):
    """The prompt, or the prompt and its answer, is longer than the model reads."""

    kind = "context_length"


class UnknownModel(Rejected):
    """The provider has no such model, or not for this key."""

    kind = "unknown_model"
    hopeless = True


class UnknownPath(Rejected):
    """The server has nothing at this path: a base URL without /v1, or another kind of server."""

    kind = "unknown_path"
    hopeless = True


class Firewalled(Rejected):
    """A firewall in front of the server has refused the request, and answered by a web page."""


class Refused(ProviderError):
    """The provider's content filter stopped the prompt or the answer."""

    kind = "refused"


class InvalidOutput(ProviderError):
    """An answer is not of the form that was asked for, however often.

    `text` is the answer, `reason` what is wrong with it.
    """

    kind = "invalid_output"
    retry = True
    maybe_billed = True

    def __init__(self, message: str, *, text: str, reason: str, hint: str | None = None) -> None:
        super().__init__(message, status=200, hint=hint)
        self.text: str = text
        self.reason = reason
