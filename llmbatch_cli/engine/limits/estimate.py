"""How many tokens a request will count, before its provider reports it."""

from typing import Any, Final

from llmbatch_cli.core.types import Completion, Message, Prompt, Request

BYTES_A_TOKEN: Final = 4
MESSAGE_TOKENS: Final = 4
"""What a message costs besides its text."""
PART_TOKENS: Final = 800
"""For a part that is not text: an image of middle size."""
FIRST_ANSWER_TOKENS: Final = 256
"""For an answer while none is known and no max_tokens is set."""
NEWEST: Final = 0.05
"""The weight of the newest answer in the moving average."""


class Estimate:
    """A request's tokens: a fourth of its text's bytes, and the answer.

    The answer counts as long as this run's answers are on average, and max_tokens while there is
    none yet; never more than max_tokens.
    """

    def __init__(self) -> None:
        self._answer_tokens: float | None = None

    def __call__(self, request: Request) -> int:
        """Tokens, from 1: prompt and answer."""
        return max(1, prompt_tokens(request) + self._answer(request))

    def learn(self, completion: Completion) -> None:
        """Take an answer into the average."""
        usage = completion.usage
        if usage is None or usage.completion_tokens is None:
            return
        if self._answer_tokens is None:
            self._answer_tokens = float(usage.completion_tokens)
        self._answer_tokens += NEWEST * (usage.completion_tokens - self._answer_tokens)

    def _answer(self, request: Request) -> int:
        params = request.params
        most = params.get("max_completion_tokens", params.get("max_tokens"))
        likely = self._answer_tokens
        if not isinstance(most, int):
            return round(FIRST_ANSWER_TOKENS if likely is None else likely)
        return most if likely is None else min(most, round(likely))


def prompt_tokens(request: Request | Prompt) -> int:
    """An estimate for the messages alone."""
    return sum(_message_tokens(message) for message in request.messages)


def used_tokens(completion: Completion) -> int | None:
    """Prompt and answer as the provider counted them; None is unknown."""
    usage = completion.usage
    if usage is None:
        return None
    if usage.total_tokens is not None:
        return usage.total_tokens
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return usage.prompt_tokens + usage.completion_tokens


def _message_tokens(message: Message) -> int:
    content = message.get("content")
    if isinstance(content, str):
        return MESSAGE_TOKENS + _bytes(content) // BYTES_A_TOKEN
    if isinstance(content, list):
        return MESSAGE_TOKENS + sum(_part_tokens(part) for part in content)
    return MESSAGE_TOKENS


def _part_tokens(part: Any) -> int:
    text = part.get("text") if isinstance(part, dict) else part
    return _bytes(text) // BYTES_A_TOKEN if isinstance(text, str) else PART_TOKENS


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
