"""The tokens of a request: its texts, what frames them, and what is no text."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from llmbatch_cli.core.types import Message, Params, Request
from llmbatch_cli.engine.limits.estimate import MESSAGE_TOKENS, PART_TOKENS
from llmbatch_cli.estimate.ranges import Range

REPLY_TOKENS: Final = 3
"""What opens the answer."""
PART: Final = Range(PART_TOKENS / 4, PART_TOKENS, PART_TOKENS * 4)
"""A picture, a sound or a document."""
_ASKING: Final = ("tools", "functions", "response_format")
"""Parameters that the model reads, too."""


class RequestTokens:
    """Counts requests by one vocabulary."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._params: tuple[Params | None, int] = (None, 0)
        """The last parameters, which most rows share, and their tokens."""

    def of(self, request: Request) -> tuple[int, int]:
        """Tokens of its texts by the vocabulary, and how many parts are no texts."""
        known, tokens = self._params
        if known is not request.params:
            tokens = self._of_params(request.params)
            self._params = (request.params, tokens)
        tokens, parts = tokens + REPLY_TOKENS, 0
        for message in request.messages:
            text, media = self._of_message(message)
            tokens += text
            parts += media
        return tokens, parts

    def _of_message(self, message: Message) -> tuple[int, int]:
        content = message.get("content")
        if isinstance(content, str):
            tokens, media = self._count(content), 0
        else:
            tokens, media = self._of_parts(content)
        if calls := message.get("tool_calls"):
            tokens += self._of_json(calls)
        return MESSAGE_TOKENS + tokens, media

    def _of_parts(self, content: Any) -> tuple[int, int]:
        tokens = media = 0
        for part in content if isinstance(content, list) else ():
            text = part.get("text") if isinstance(part, Mapping) else part
            if isinstance(text, str):
                tokens += self._count(text)
            else:
                media += 1
        return tokens, media

    def _of_params(self, params: Params) -> int:
        return sum(self._of_json(params[name]) for name in _ASKING if name in params)

    def _of_json(self, value: Any) -> int:
        try:
            return self._count(orjson.dumps(value).decode())
        except TypeError:  # what no provider takes
            return 0
