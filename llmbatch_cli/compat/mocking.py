"""`mock_response`, `mock_tool_calls` and `mock_timeout`: an answer or a failure that is made up on
the spot; nothing is sent."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmbatch_cli.compat.exceptions import OpenAIError
from llmbatch_cli.core.errors import ContextLength, Overloaded, ProviderError, RateLimited, TimedOut
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.engine.calls import Model

USAGE: Final = Usage(prompt_tokens=10, completion_tokens=20, total_tokens=30)
"""litellm's, for every text."""

NAMED: Final[Mapping[str, tuple[type[ProviderError], int]]] = {
    "litellm.RateLimitError": (RateLimited, 429),
    "litellm.InternalServerError": (Overloaded, 500),
    "litellm.ContextWindowExceededError": (ContextLength, 400),
}
"""Texts that stand for failures."""


TEXT: Final = "This is a mock request"
"""litellm's, beside tool calls without a text."""


class Mocked(ProviderError):
    """Carries a made-up exception to where it is raised."""

    kind = "mocked"

    def __init__(self, exception: OpenAIError) -> None:
        super().__init__(exception.message, status=exception.status_code)
        self.exception = exception


def mock_model(
    provider: str, model: str, params: Mapping[str, Any], timeout_s: float
) -> Model | None:
    """A model that does what the mock's arguments say; None where there are none.

    `mock_timeout` is a Timeout after `timeout_s`, whatever else is said. `mock_response` is told
    after `mock_delay` seconds, beside `mock_tool_calls`. An exception in it is raised: one of
    exceptions.py as a copy, another as an InternalServerError. A text that names one of NAMED is
    such a failure too.
    """
    response, calls = params.get("mock_response"), params.get("mock_tool_calls")
    if response is None and not calls and not params.get("mock_timeout"):
        return None

    async def call(request: Request) -> Completion:
        if params.get("mock_timeout"):
            await asyncio.sleep(timeout_s)
            raise TimedOut("This is a mock timeout error")
        await asyncio.sleep(float(params.get("mock_delay") or 0))
        if isinstance(response, OpenAIError):
            raise Mocked(_copied(response))
        if isinstance(response, Exception):
            raise Overloaded(str(response), status=500) from response
        if isinstance(response, str) and response in NAMED:
            kind, status = NAMED[response]
            raise kind("a failure that mock_response asked for", status=status)
        text = TEXT if response is None else str(response)
        return Completion(text, "stop", usage=USAGE, tool_calls=_calls(calls or ()))

    return Model(provider, model, call)


def _copied(exception: OpenAIError) -> OpenAIError:
    """The same failure for one raise: what a race notes on it is not noted on the mock."""
    made = type(exception).__new__(type(exception), *exception.args)
    vars(made).update(vars(exception))
    if notes := getattr(exception, "__notes__", None):
        made.__notes__ = list(notes)
    made.__cause__ = exception.__cause__
    return made


def _calls(calls: Iterable[Any]) -> tuple[Mapping[str, Any], ...]:
    """Tool calls as plain dicts."""
    return tuple(one.model_dump() if hasattr(one, "model_dump") else one for one in calls)
