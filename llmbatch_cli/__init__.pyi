"""The types of what __init__.py imports at its first use."""

from llmbatch_cli.compat.exceptions import (
    APIConnectionError as APIConnectionError,
)
from llmbatch_cli.compat.exceptions import (
    APIError as APIError,
)
from llmbatch_cli.compat.exceptions import (
    AuthenticationError as AuthenticationError,
)
from llmbatch_cli.compat.exceptions import (
    BadGatewayError as BadGatewayError,
)
from llmbatch_cli.compat.exceptions import (
    BadRequestError as BadRequestError,
)
from llmbatch_cli.compat.exceptions import (
    BudgetExceededError as BudgetExceededError,
)
from llmbatch_cli.compat.exceptions import (
    ContentPolicyViolationError as ContentPolicyViolationError,
)
from llmbatch_cli.compat.exceptions import (
    ContextWindowExceededError as ContextWindowExceededError,
)
from llmbatch_cli.compat.exceptions import (
    InternalServerError as InternalServerError,
)
from llmbatch_cli.compat.exceptions import (
    NotFoundError as NotFoundError,
)
from llmbatch_cli.compat.exceptions import (
    OpenAIError as OpenAIError,
)
from llmbatch_cli.compat.exceptions import (
    PaymentRequiredError as PaymentRequiredError,
)
from llmbatch_cli.compat.exceptions import (
    PermissionDeniedError as PermissionDeniedError,
)
from llmbatch_cli.compat.exceptions import (
    RateLimitError as RateLimitError,
)
from llmbatch_cli.compat.exceptions import (
    ServiceUnavailableError as ServiceUnavailableError,
)
from llmbatch_cli.compat.exceptions import (
    Timeout as Timeout,
)
from llmbatch_cli.compat.exceptions import (
    UnprocessableEntityError as UnprocessableEntityError,
)
from llmbatch_cli.compat.exceptions import (
    UnsupportedParamsError as UnsupportedParamsError,
)
from llmbatch_cli.compat.litellm import (
    abatch_completion as abatch_completion,
)
from llmbatch_cli.compat.litellm import (
    abatch_completion_models as abatch_completion_models,
)
from llmbatch_cli.compat.litellm import (
    abatch_completion_models_all_responses as abatch_completion_models_all_responses,
)
from llmbatch_cli.compat.litellm import (
    acompletion as acompletion,
)
from llmbatch_cli.compat.litellm import (
    batch_completion as batch_completion,
)
from llmbatch_cli.compat.litellm import (
    batch_completion_models as batch_completion_models,
)
from llmbatch_cli.compat.litellm import (
    batch_completion_models_all_responses as batch_completion_models_all_responses,
)
from llmbatch_cli.compat.litellm import (
    completion as completion,
)
from llmbatch_cli.compat.response import ModelResponse as ModelResponse

__version__: str

__all__: list[str]
