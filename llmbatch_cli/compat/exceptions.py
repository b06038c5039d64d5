"""Exceptions by litellm's names, and the table that leads to them from ours.

LlmbatchError
  OpenAIError                       the base of all that a call raises, as in litellm
    AuthenticationError      401    PermissionDeniedError    403    NotFoundError    404
    BadRequestError          400
      ContextWindowExceededError    ContentPolicyViolationError    UnsupportedParamsError
      PaymentRequiredError   402
    UnprocessableEntityError 422    RateLimitError           429    Timeout          408
    InternalServerError      500    BadGatewayError          502    ServiceUnavailableError  503
    APIError                 500    APIConnectionError       500
  BudgetExceededError

In litellm they are subclasses of the classes of the package openai, which is not needed here:
its openai.OpenAIError is our OpenAIError. Among themselves they are related as litellm's are:
`except APIError` catches neither a RateLimitError nor a Timeout.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    Interrupted,
    LlmbatchError,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    TimedOut,
    Unauthorized,
    UnknownModel,
    Unreachable,
    Unsent,
    UnsupportedParameter,
)


class OpenAIError(LlmbatchError):
    """One call has no answer. Our own error, with what came back, is its `__cause__`.

    Args:
        message: what happened, without litellm's "litellm.RateLimitError: " in front.
        llm_provider: as in our output rows; empty where the model's name means none.
        model: without the provider in front.
        status_code: the HTTP status of the reply; None is the class's own.
    """

    status: ClassVar[int] = 500
    """`status_code` where the reply had none, or 200."""

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
        """The exceptions of the other models that were asked, in their order."""


class AuthenticationError(OpenAIError):
    """The key is missing or wrong."""

    status = 401


class PermissionDeniedError(OpenAIError):
    """The key may not do this."""

    status = 403


class NotFoundError(OpenAIError):
    """The provider has no such model, or nothing at this address."""

    status = 404


class BadRequestError(OpenAIError):
    """The request can never succeed."""

    status = 400


class ContextWindowExceededError(BadRequestError):
    """The prompt is longer than the model reads."""


class ContentPolicyViolationError(BadRequestError):
    """The content filter stopped the prompt or the answer, or the model refused."""


class UnsupportedParamsError(BadRequestError):
    """The model's provider, or this program, has no such parameter; see `drop_params`."""


class PaymentRequiredError(BadRequestError):
    """The account has no money left."""

    status = 402


class UnprocessableEntityError(OpenAIError):
    """The request is well written and makes no sense to the provider."""

    status = 422


class RateLimitError(OpenAIError):
    """Too many requests in too short a time, or the quota is used up."""

    status = 429


class Timeout(OpenAIError):
    """There was no answer in time."""

    status = 408


class InternalServerError(OpenAIError):
    """The provider's own trouble."""

    status = 500


class BadGatewayError(OpenAIError):
    """The provider's own trouble, a proxy says."""

    status = 502


class ServiceUnavailableError(OpenAIError):
    """The provider is overloaded."""

    status = 503


class APIError(OpenAIError):
    """The reply cannot be understood."""


class APIConnectionError(OpenAIError):
    """The provider was not reached, or the connection broke off."""


class BudgetExceededError(LlmbatchError):
    """For `except` clauses written for litellm; no budget can be set here, so none is exceeded."""

    def __init__(self, current_cost: float, max_budget: float, message: str | None = None) -> None:
        told = f"Budget has been exceeded! Current cost: {current_cost}, Max budget: {max_budget}"
        super().__init__(message or told)
        self.current_cost = current_cost
        self.max_budget = max_budget


EXCEPTIONS: Final[Mapping[type[ProviderError], type[OpenAIError]]] = {
    ProviderError: APIError,
    RateLimited: RateLimitError,
    Overloaded: InternalServerError,
    Unreachable: APIConnectionError,
    Interrupted: APIConnectionError,
    TimedOut: Timeout,
    BadReply: APIError,
    OutOfQuota: RateLimitError,
    Unauthorized: AuthenticationError,
    Rejected: BadRequestError,
    Unsent: BadRequestError,
    ContextLength: ContextWindowExceededError,
    UnknownModel: NotFoundError,
    Refused: ContentPolicyViolationError,
}
"""The exception of each of our errors; a subclass that is not here goes by its base."""

BY_STATUS: Final[Mapping[tuple[type[ProviderError], int], type[OpenAIError]]] = {
    (Overloaded, 408): Timeout,
    (Overloaded, 502): BadGatewayError,
    (Overloaded, 503): ServiceUnavailableError,
    (Overloaded, 504): Timeout,
    (OutOfQuota, 402): PaymentRequiredError,
    (Unauthorized, 403): PermissionDeniedError,
    (Rejected, 404): NotFoundError,
    (Rejected, 422): UnprocessableEntityError,
}
"""Where litellm has more classes than we have: by the reply's status too."""


def as_litellm(
    error: ProviderError, provider: str, model: str, hint: str | None = None
) -> OpenAIError:
    """litellm's exception for our error, which becomes its cause.

    `hint` is told where the error has none of its own.
    """
    made = _class_of(error)(
        with_hint(error.message, error.hint or hint),
        llm_provider=provider,
        model=model,
        status_code=error.status if (error.status or 0) >= 400 else None,
    )
    made.__cause__ = error
    return made


def with_hint(message: str, hint: str | None) -> str:
    """One text of both."""
    return f"{message}. hint: {hint}" if hint else message


def _class_of(error: ProviderError) -> type[OpenAIError]:
    if isinstance(error.__cause__, UnsupportedParameter):
        return UnsupportedParamsError
    known = next(kind for kind in type(error).__mro__ if kind in EXCEPTIONS)
    return BY_STATUS.get((known, error.status or 0), EXCEPTIONS[known])
