"""Which vocabulary a model's tokens are counted by, and how far that is from its own.

The factors are those of one text's tokens to o200k's, measured on English, German, Chinese,
Python, JSON and numbers on 2026-11-26. Claude's rest on a reconstruction of its vocabularies.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.providers.anthropic.models import claude

O200K: Final = "o200k_base"
EXACT: Final = Range.exactly(1)
CLOSE: Final = Range(0.9, 1, 1.1)
BYTES_A_TOKEN: Final = 4
BY_BYTES: Final = Range(0.86, 1, 1.13)
"""A fourth of the bytes was 16 % above the truth for English, 11 % below it for JSON."""
REMEMBERED: Final = 64
"""Texts that stand in many requests, as system messages and examples do."""

Count = Callable[[str], int]
"""A text's tokens."""


@frozen
class Vocabulary:
    """What stands in for a model's own vocabulary."""

    name: str
    """As splintr names it."""
    factor: Range = EXACT
    """The model's tokens for one of its."""
    of: str = ""
    """What it is said to be."""


_OTHER: Final = Vocabulary(
    O200K, Range(0.9, 1.05, 1.35), "o200k's vocabulary x 0.9 to 1.35 (its own is unknown)"
)
_CLAUDE: Final = Vocabulary(
    O200K, Range(1.04, 1.2, 1.35), "o200k's vocabulary x 1.2 (1.04 to 1.35)"
)
_CLAUDE_4_7: Final = Vocabulary(
    O200K, Range(1.08, 1.5, 1.84), "o200k's vocabulary x 1.5 (1.08 to 1.84)"
)
"""From version 4.7 on."""
_KNOWN: Final[Sequence[tuple[re.Pattern[str], Vocabulary]]] = tuple(
    (re.compile(pattern), vocabulary)
    for pattern, vocabulary in (
        (r"gpt-(3\.?5|4)(?![o.\d])", Vocabulary("cl100k_base", of="its own vocabulary")),
        (r"gpt-|chatgpt-|o\d|codex-", Vocabulary(O200K, of="its own vocabulary")),
        (r"gemma-?3", Vocabulary("gemma3", of="its own vocabulary")),
        (r"gem(ini|ma)", Vocabulary("gemma3", CLOSE, "Gemma 3's vocabulary, +-10 %")),
        (r"(meta-)?llama-?3", Vocabulary("llama3", of="its own vocabulary")),
        (r"(meta-)?llama", Vocabulary("llama3", CLOSE, "Llama 3's vocabulary, +-10 %")),
        (r"deepseek-(v3|chat|reasoner|r1$)", Vocabulary("deepseek_v3", of="its own vocabulary")),
        (r"deepseek", Vocabulary("deepseek_v3", CLOSE, "DeepSeek V3's vocabulary, +-10 %")),
        (r"(qwen|qwq)", Vocabulary("qwen3", CLOSE, "Qwen 3's vocabulary, +-10 %")),
        (
            r"(open-)?(mi[sx]tral|codestral|ministral|magistral|devstral|pixtral)",
            Vocabulary("mistral_v3", CLOSE, "Mistral's vocabulary, +-10 %"),
        ),
        (r"kimi|moonshot", Vocabulary("kimi_k2", CLOSE, "Kimi K2's vocabulary, +-10 %")),
        (r"glm", Vocabulary("glm4", CLOSE, "GLM 4's vocabulary, +-10 %")),
    )
)
"""By how the model's name begins, without what is before its last / or a vendor's dot."""
_BEFORE: Final = re.compile(r".*/|ft:|([a-z]{2,6}\.)?(meta|mistral|deepseek|qwen)\.")


def vocabulary_of(model: str) -> Vocabulary:
    """The vocabulary of a model by its name."""
    name = _BEFORE.sub("", model.lower())
    if "claude" in name:
        found = claude(name)
        is_old = found.version is not None and not found.since(4, 7)
        return _CLAUDE if is_old else _CLAUDE_4_7
    return next((vocabulary for pattern, vocabulary in _KNOWN if pattern.match(name)), _OTHER)


@frozen
class Counting:
    """How one model's tokens are counted."""

    count: Count
    factor: Range
    """The model's tokens for one that was counted."""
    said: str
    """For people."""


def counting_of(model: str) -> Counting:
    """How a model's tokens are counted: by a vocabulary, without splintr by the bytes."""
    vocabulary = vocabulary_of(model)
    tokenizer = _tokenizer(vocabulary.name)
    if tokenizer is None:
        kin = vocabulary.factor if vocabulary.name == O200K else Range(0.95, 1.05, 1.15)
        times = "" if kin == EXACT else f" x {kin.likely:g}"
        return Counting(_by_bytes(), BY_BYTES * kin, f"a fourth of the bytes{times}, by a guess")
    return Counting(_by_tokens(vocabulary.name), vocabulary.factor, f"by {vocabulary.of}")


def can_count() -> bool:
    """Whether the extra `count` is installed."""
    return _tokenizer(O200K) is not None


@cache
def _tokenizer(name: str) -> Any:
    try:
        from splintr import Tokenizer
    except ImportError:
        return None
    return Tokenizer.from_pretrained(name)


@cache
def _by_tokens(name: str) -> Count:
    encode = _tokenizer(name).encode_ordinary

    @lru_cache(REMEMBERED)
    def count(text: str) -> int:
        try:
            return len(encode(text))
        except UnicodeEncodeError:  # half of a surrogate pair
            return len(encode(text.encode(errors="replace").decode()))

    return count


@cache
def _by_bytes() -> Count:
    def count(text: str) -> int:
        length = len(text) if text.isascii() else len(text.encode(errors="replace"))
        return -(-length // BYTES_A_TOKEN)

    return count
