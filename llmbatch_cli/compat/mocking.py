"""`mock_response`: an answer or a failure that is made up on the spot; nothing is sent."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.compat.exceptions import OpenAIError
from llmbatch_cli.engine.stack import Lane
from llmbatch_cli.errors import ContextLength, Overloaded, ProviderError, RateLimited
from llmbatch_cli.types import Completion, Request, Usage

USAGE: Final = Usage(prompt_tokens=10, completion_tokens=20, total_tokens=30)
"""litellm's, for every text."""

NAMED: Final[Mapping[str, tuple[type[ProviderError], int]]] = {
    "litellm.RateLimitError": (RateLimited, 429),
    "litellm.InternalServerError": (Overloaded, 500),
    "litellm.ContextWindowExceededError": (ContextLength, 400),
}
"""Texts that stand for failures."""


class Mocked(ProviderError):
    """Carries a made-up exception to where it is raised."""

    kind = "mocked"

    def __init__(self, exception: OpenAIError) -> None:
        super().__init__(exception.message, status=exception.status_code)
        self.exception = exception


def mock_lane(provider: str, model: str, response: Any, delay_s: float) -> Lane:
    """A model that says `response` after a delay.

    An exception is raised: one of exceptions.py as it is, another as an InternalServerError.
    A text that names one of NAMED is such a failure too.
    """

    async def call(request: Request) -> Completion:
        await asyncio.sleep(delay_s)
        if isinstance(response, OpenAIError):
            raise Mocked(response)
        if isinstance(response, Exception):
            raise Overloaded(str(response), status=500) from response
        if response in NAMED:
            kind, status = NAMED[response]
            raise kind("a failure that mock_response asked for", status=status)
        return Completion(str(response), "stop", usage=USAGE)

    return Lane(provider, model, call)
