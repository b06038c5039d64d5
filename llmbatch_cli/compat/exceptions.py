"""Exceptions by litellm's names, and the table from ours to them.

In litellm they are subclasses of the classes of the package openai, which is not needed here:
its openai.OpenAIError is our OpenAIError. Among themselves they are related as litellm's are:
`except APIError` catches neither a RateLimitError nor a Timeout.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import LlmbatchError, ProviderError


class OpenAIError(LlmbatchError):
    """One call failed. Our own error, with the details of the reply, is its `__cause__`.

    Args:
        message: what happened, without litellm's "litellm.RateLimitError: " in front.
        llm_provider: as in our output rows; empty where the model's name implies none.
        model: without the provider in front.
        status_code: the HTTP status of the reply; None is the class's own.
    """

    status: ClassVar[int] = 500
    """`status_code` where the reply had none, or 200."""

    def __init_subclass__(cls, *, status: int | None = None) -> None:
        super().__init_subclass__()
        if status is not None:
            cls.status = status

    def __init__(
        self,
        message: str,
        *,
        llm_provider: str = "",
        model: str = "",
        status_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.llm_provider = llm_provider
        self.model = model
        self.status_code = self.status if status_code is None else status_code
        self.causes: Sequence[OpenAIError] = ()
        """The exceptions of the other models that were called, in their order."""


class AuthenticationError(OpenAIError, status=401):
    """The key is missing or wrong."""


class PermissionDeniedError(OpenAIError, status=403):
    """The key is not allowed to do this."""


class NotFoundError(OpenAIError, status=404):
    """The provider has no such model, or nothing at this address."""


class BadRequestError(OpenAIError, status=400):
    """The request can never succeed."""


class ContextWindowExceededError(BadRequestError):
    """The prompt is longer than the model's context window."""


class ContentPolicyViolationError(BadRequestError):
    """The content filter stopped the prompt or the answer, or the model refused."""


class UnsupportedParamsError(BadRequestError):
    """The model's provider, or this program, does not support a parameter; see `drop_params`."""


class PaymentRequiredError(BadRequestError, status=402):
    """The account has no money left."""


class UnprocessableEntityError(OpenAIError, status=422):
    """The provider understood the request and could not process it."""


class RateLimitError(OpenAIError, status=429):
    """Too many requests in too short a time, or the quota is used up."""


class Timeout(OpenAIError, status=408):
    """There was no answer in time."""


class InternalServerError(OpenAIError, status=500):
    """The provider failed."""


class BadGatewayError(OpenAIError, status=502):
    """A proxy could not reach the provider."""


class ServiceUnavailableError(OpenAIError, status=503):
    """The provider is overloaded."""


class APIError(OpenAIError):
    """The reply is invalid."""


class APIConnectionError(OpenAIError):
    """The provider could not be reached, or the connection was lost."""


class BudgetExceededError(LlmbatchError):
    """For `except` clauses written for litellm; never raised, as no budget can be set here."""

    def __init__(self, current_cost: float, max_budget: float, message: str | None = None) -> None:
        spent = f"Current cost: {current_cost}, Max budget: {max_budget}"
        super().__init__(message or f"Budget has been exceeded! {spent}")
        self.current_cost = current_cost
        self.max_budget = max_budget


EXCEPTIONS: Final[Mapping[type[LlmbatchError], type[OpenAIError]]] = {
    errors.UsageError: BadRequestError,
    errors.MissingKey: AuthenticationError,
    errors.UnsupportedParameter: UnsupportedParamsError,
    errors.ProviderError: APIError,
    errors.RateLimited: RateLimitError,
    errors.QuotaSpent: RateLimitError,
    errors.Overloaded: InternalServerError,
    errors.Unreachable: APIConnectionError,
    errors.Blocked: APIConnectionError,
    errors.Interrupted: APIConnectionError,
    errors.TimedOut: Timeout,
    errors.BadReply: APIError,
    errors.Unreadable: APIError,
    errors.NotFinished: APIError,
    errors.NotAnswered: APIError,
    errors.OutOfQuota: RateLimitError,
    errors.Unauthorized: AuthenticationError,
    errors.Rejected: BadRequestError,
    errors.Unsent: BadRequestError,
    errors.ContextLength: ContextWindowExceededError,
    errors.UnknownModel: NotFoundError,
    errors.UnknownPath: NotFoundError,
    errors.Firewalled: PermissionDeniedError,
    errors.Refused: ContentPolicyViolationError,
    errors.InvalidOutput: APIError,
}
"""A class that is missing here goes by its base."""

BY_STATUS: Final[Mapping[tuple[type[LlmbatchError], int], type[OpenAIError]]] = {
    (errors.Overloaded, 408): Timeout,
    (errors.Overloaded, 502): BadGatewayError,
    (errors.Overloaded, 503): ServiceUnavailableError,
    (errors.Overloaded, 504): Timeout,
    (errors.OutOfQuota, 402): PaymentRequiredError,
    (errors.Unauthorized, 403): PermissionDeniedError,
    (errors.Rejected, 404): NotFoundError,
    (errors.Rejected, 422): UnprocessableEntityError,
}
"""Where litellm has more classes than we have."""


def as_litellm(
    error: LlmbatchError, provider: str, model: str, hint: str | None = None
) -> OpenAIError:
    """litellm's exception for our error, which becomes its cause.

    `hint` is used where the error has none of its own.
    """
    status = (error.status or 0) if isinstance(error, ProviderError) else 0
    hint = error.hint or hint
    made = _class_of(error, status)(
        f"{error.message}. hint: {hint}" if hint else error.message,
        llm_provider=provider,
        model=model,
        status_code=status if status >= 400 else None,
    )
    made.__cause__ = error
    return made


def _class_of(error: LlmbatchError, status: int) -> type[OpenAIError]:
    if isinstance(error.__cause__, errors.UnsupportedParameter):
        return UnsupportedParamsError
    known = next(kind for kind in type(error).__mro__ if kind in EXCEPTIONS)
    return BY_STATUS.get((known, status), EXCEPTIONS[known])
