"""What was tried for one row, attempt by attempt: the one source of times, retries and cost."""

from dataclasses import dataclass, field
from typing import Final

CANCELLED: Final = "cancelled"
"""The kind of an attempt that was given up from this side while it was on its way."""


@dataclass(slots=True)
class Usage:
    """Tokens of one completion, as the provider counts them; None where it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    """The part of `prompt_tokens` that was read from the provider's cache."""
    cache_write_tokens: int | None = None
    """The part of `prompt_tokens` that was written to the provider's cache."""
    reasoning_tokens: int | None = None
    """The part of `completion_tokens` that went into hidden reasoning."""


@dataclass(slots=True)
class Attempt:
    """One request to a provider, from its sending to its end."""

    kind: str | None
    """None for an answer; else the error's kind (core/errors.py), or CANCELLED."""
    status: int | None
    """The reply's HTTP status; None without a reply."""
    latency_s: float
    """Of the request itself, without the wait for limits before it."""
    maybe_billed: bool
    """Whether the provider may have done the work; True for an answer."""
    usage: Usage | None = None
    """What the reply said of its tokens."""

    @property
    def failed(self) -> bool:
        """Whether it gave no answer."""
        return self.kind is not None


@dataclass(slots=True)
class Ledger:
    """All attempts at one request of one row. The calls that it passes through add to it."""

    attempts: list[Attempt] = field(default_factory=list)
    """In the order of their end; one that was never sent is not among them."""
    started_s: float | None = None
    """When the first attempt was let go, by the calls' clock; None before it."""
    partial: str | None = None
    """What had come of a streamed answer that broke off."""

    @property
    def failed(self) -> list[Attempt]:
        """The attempts that gave no answer."""
        return [one for one in self.attempts if one.kind is not None]
