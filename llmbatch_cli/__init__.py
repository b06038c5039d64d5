"""Bulk prompting for language models: many prompts, one model; or one prompt, several models.

What is exported is imported at its first use, so that importing the package costs next to nothing.
"""

TYPE_CHECKING = False  # type checkers take it for typing's, which takes long to import

__version__ = "0.1.0"

if TYPE_CHECKING:  # isort: off
    from llmbatch_cli.compat.exceptions import (
        APIConnectionError as APIConnectionError, APIError as APIError,
        AuthenticationError as AuthenticationError, BadGatewayError as BadGatewayError,
        BadRequestError as BadRequestError, BudgetExceededError as BudgetExceededError,
        ContentPolicyViolationError as ContentPolicyViolationError,
        ContextWindowExceededError as ContextWindowExceededError,
        InternalServerError as InternalServerError, NotFoundError as NotFoundError,
        OpenAIError as OpenAIError, PaymentRequiredError as PaymentRequiredError,
        PermissionDeniedError as PermissionDeniedError, RateLimitError as RateLimitError,
        ServiceUnavailableError as ServiceUnavailableError, Timeout as Timeout,
        UnprocessableEntityError as UnprocessableEntityError,
        UnsupportedParamsError as UnsupportedParamsError,
    )  # fmt: skip
    from llmbatch_cli.compat.litellm import (
        abatch_completion as abatch_completion,
        abatch_completion_models as abatch_completion_models,
        abatch_completion_models_all_responses as abatch_completion_models_all_responses,
        acompletion as acompletion, batch_completion as batch_completion,
        batch_completion_models as batch_completion_models,
        batch_completion_models_all_responses as batch_completion_models_all_responses,
        completion as completion,
    )  # fmt: skip
    from llmbatch_cli.client import Client as Client, batch as batch, race as race
    from llmbatch_cli.compat.response import ModelResponse as ModelResponse
    from llmbatch_cli.core.errors import (
        BudgetReached as BudgetReached, LlmbatchError as LlmbatchError, RowFailed as RowFailed,
        RunStopped as RunStopped, UsageError as UsageError,
    )  # fmt: skip
    from llmbatch_cli.core.options import (
        Answers as Answers, Cache as Cache, Network as Network, Retries as Retries,
    )  # fmt: skip
    from llmbatch_cli.core.limit_options import Limits as Limits
    from llmbatch_cli.core.money_options import Money as Money
    from llmbatch_cli.core.ledger import Usage as Usage
    from llmbatch_cli.core.types import (
        Completion as Completion, Failure as Failure, Outcome as Outcome,
    )  # fmt: skip
    from llmbatch_cli.engine.race_work import Rules as Rules

_NAMES = {
    "client": "Client batch race",
    "core.errors": "BudgetReached LlmbatchError RowFailed RunStopped UsageError",
    "core.options": "Answers Cache Network Retries",
    "core.limit_options": "Limits",
    "core.money_options": "Money",
    "core.ledger": "Usage",
    "core.types": "Completion Failure Outcome",
    "engine.race_work": "Rules",
    "compat.exceptions": """
        APIConnectionError APIError AuthenticationError BadGatewayError BadRequestError
        BudgetExceededError ContentPolicyViolationError ContextWindowExceededError
        InternalServerError NotFoundError OpenAIError PaymentRequiredError PermissionDeniedError
        RateLimitError ServiceUnavailableError Timeout UnprocessableEntityError
        UnsupportedParamsError
    """,
    "compat.litellm": """
        abatch_completion abatch_completion_models abatch_completion_models_all_responses
        acompletion batch_completion batch_completion_models batch_completion_models_all_responses
        completion
    """,
    "compat.response": "ModelResponse",
}
"""What is exported, by module; the imports above say the same to type checkers."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES)


if not TYPE_CHECKING:  # or any name would pass a type checker

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
