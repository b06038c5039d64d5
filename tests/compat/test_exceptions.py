"""litellm's exceptions for our errors."""

import pickle

import pytest

from llmbatch_cli.compat import exceptions
from llmbatch_cli.compat.exceptions import EXCEPTIONS, OpenAIError, as_litellm
from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.engine.race_work import NotGood

OURS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ProviderError)
]

BELOW = {
    "ContentPolicyViolationError": {"BadRequestError"},
    "ContextWindowExceededError": {"BadRequestError"},
    "PaymentRequiredError": {"BadRequestError"},
    "UnsupportedParamsError": {"BadRequestError"},
}
"""Which of litellm 1.106.2's exceptions are subclasses of which of its others, of those we have."""


def named() -> dict[str, type[Exception]]:
    return {
        name: kind
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type)
        and issubclass(kind, errors.LlmbatchError)
        and kind.__module__ == exceptions.__name__
    }


@pytest.mark.parametrize("kind", OURS)
def test_every_error_of_ours_is_in_the_table(kind: type[ProviderError]) -> None:
    """None is left to its base by accident."""
    assert kind in EXCEPTIONS


def test_an_error_from_elsewhere_goes_by_its_base() -> None:
    """A subclass that the table cannot know is translated too."""
    assert type(as_litellm(NotGood("x"), "openai", "m")) is exceptions.APIError


def test_they_are_related_as_litellms_are() -> None:
    """`except` clauses catch what they catch there, in whatever order they stand."""
    kinds = {name: kind for name, kind in named().items() if kind is not OpenAIError}
    for name, kind in kinds.items():
        above = {n for n, other in kinds.items() if other is not kind and issubclass(kind, other)}
        assert above == BELOW.get(name, set()), name


@pytest.mark.parametrize(
    ("error", "name", "status"),
    [
        (errors.Unauthorized("x", status=401), "AuthenticationError", 401),
        (errors.Unauthorized("x", status=403), "PermissionDeniedError", 403),
        (errors.UnknownModel("x", status=404), "NotFoundError", 404),
        (errors.Rejected("x", status=404), "NotFoundError", 404),
        (errors.Rejected("x", status=400), "BadRequestError", 400),
        (errors.Rejected("x", status=413), "BadRequestError", 413),
        (errors.Rejected("x", status=422), "UnprocessableEntityError", 422),
        (errors.ContextLength("x", status=400), "ContextWindowExceededError", 400),
        (errors.Refused("x", status=200), "ContentPolicyViolationError", 400),
        (errors.RateLimited("x", status=429), "RateLimitError", 429),
        (errors.OutOfQuota("x", status=429), "RateLimitError", 429),
        (errors.OutOfQuota("x", status=402), "PaymentRequiredError", 402),
        (errors.Overloaded("x", status=408), "Timeout", 408),
        (errors.Overloaded("x", status=500), "InternalServerError", 500),
        (errors.Overloaded("x", status=502), "BadGatewayError", 502),
        (errors.Overloaded("x", status=503), "ServiceUnavailableError", 503),
        (errors.Overloaded("x", status=504), "Timeout", 504),
        (errors.Overloaded("x", status=529), "InternalServerError", 529),
        (errors.Unreachable("x"), "APIConnectionError", 500),
        (errors.Interrupted("x"), "APIConnectionError", 500),
        (errors.TimedOut("x"), "Timeout", 408),
        (errors.BadReply("x", status=200), "APIError", 500),
    ],
)
def test_each_error_has_its_exception(error: ProviderError, name: str, status: int) -> None:
    """Class, status, message, provider and model; our own error is the cause."""
    made = as_litellm(error, "openai", "m")
    assert (type(made).__name__, made.status_code) == (name, status)
    assert (made.message, str(made), made.llm_provider, made.model) == ("x", "x", "openai", "m")
    assert made.__cause__ is error
    assert made.causes == ()


def test_a_hint_is_part_of_the_message() -> None:
    """The error's own, else the one that is given."""
    error = errors.Unauthorized("no", hint="look")
    assert as_litellm(error, "openai", "m", "other").message == "no. hint: look"
    assert as_litellm(errors.Unauthorized("no"), "o", "m", "other").message == "no. hint: other"


def test_an_exception_survives_another_process() -> None:
    """Pickled and back, it says the same."""
    one = exceptions.RateLimitError("slow", llm_provider="openai", model="m")
    two = pickle.loads(pickle.dumps(one))
    assert (type(two), two.message, two.model, two.status_code) == (type(one), "slow", "m", 429)


def test_a_budget_has_its_exception() -> None:
    """With litellm's two numbers."""
    one = exceptions.BudgetExceededError(current_cost=2.0, max_budget=1.0)
    assert (one.current_cost, one.max_budget) == (2.0, 1.0)
    assert "Max budget: 1.0" in str(one)
