"""`mock_response` and its like: an answer or a failure without a request."""

import asyncio
import copy
from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.compat.exceptions import OpenAIError
from llmbatch_cli.core.errors import ContextLength, Overloaded, ProviderError, RateLimited, TimedOut
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.engine.calls import Model

USAGE: Final = Usage(prompt_tokens=10, completion_tokens=20, total_tokens=30)
"""litellm's, for every text."""

TEXT: Final = "This is a mock request"
"""litellm's, for `mock_tool_calls` alone."""

FAILURES: Final[Mapping[str, tuple[type[ProviderError], int]]] = {
    "litellm.RateLimitError": (RateLimited, 429),
    "litellm.InternalServerError": (Overloaded, 500),
    "litellm.ContextWindowExceededError": (ContextLength, 400),
}
"""Texts that stand for failures, with their status."""


def mock_model(
    provider: str, model: str, params: Mapping[str, Any], timeout_s: float
) -> Model | None:
    """A model that does what the `mock_` arguments say; None where there are none.

    `mock_timeout` fails with a Timeout after `timeout_s`. `mock_response` is the text, after
    `mock_delay` seconds, beside `mock_tool_calls`. An exception in it is raised: an OpenAIError
    as a copy, any other as an InternalServerError; so is a failure of FAILURES.
    """
    response, calls = params.get("mock_response"), params.get("mock_tool_calls")
    if response is None and not calls and not params.get("mock_timeout"):
        return None

    async def call(request: Request) -> Completion:
        if params.get("mock_timeout"):
            await asyncio.sleep(timeout_s)
            raise TimedOut("This is a mock timeout error")
        await asyncio.sleep(float(params.get("mock_delay") or 0))
        if isinstance(response, Exception):
            own = isinstance(response, OpenAIError)
            # a copy of our own: a race adds the other models' failures to what it raises
            cause = copy.copy(response) if own else response
            raise Overloaded(str(response), status=500) from cause
        if isinstance(response, str) and response in FAILURES:
            kind, status = FAILURES[response]
            raise kind("mock_response", status=status)
        text = TEXT if response is None else str(response)
        plain = [one.model_dump() if hasattr(one, "model_dump") else one for one in calls or ()]
        return Completion(text, "stop", usage=USAGE, tool_calls=plain)

    return Model(provider, model, call)
