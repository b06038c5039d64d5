"""What was attempted for one row: the one source of its times, retries and cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.frozen import frozen

if TYPE_CHECKING:
    from decimal import Decimal

CANCELLED: Final = "cancelled"
"""The kind of an attempt that was cancelled from this side while it was in flight."""

Lane = str
"""How an answer is bought, where that changes its price: batch, flex, priority, ..."""
USUAL_LANES: Final = frozenset((None, "auto", "default", "standard", "standard_only", "on_demand"))
"""What `service_tier` says where the price is the usual one."""
TIER_HEADER: Final = "x-vertex-ai-llm-shared-request-type"
"""By which Vertex AI is asked for a tier."""


@frozen
class Seller:
    """Who bills for a model's answers."""

    provider: str = ""
    base_url: str = ""
    """Where it is asked."""
    moved: bool = False
    """Whether that is not the provider's own address."""
    free: bool = False
    """Whether it is a server of one's own, which bills nothing."""


NOBODY: Final = Seller(free=True)


def lane_of(params: Mapping[str, Any], tier: str | None = None) -> Lane | None:
    """How an answer is bought that is asked for with these parameters; None is the usual way.

    A tier may be a parameter, or a field of the body or a header by its provider's name; `tier`
    holds where none of them is there.
    """
    asked: Any = params.get("service_tier", tier)
    headers, body = params.get("extra_headers"), params.get("extra_body")
    if isinstance(headers, Mapping):
        asked = headers.get(TIER_HEADER, asked)
    if isinstance(body, Mapping):
        asked = body.get("serviceTier", body.get("service_tier", asked))
    if isinstance(asked, Mapping):  # Bedrock's
        asked = asked.get("type")
    lane = None if asked is None else str(asked).lower()
    return None if lane in USUAL_LANES else lane


@dataclass(slots=True)
class Usage:
    """Tokens of one completion, as the provider counts them; None is unknown."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    """The part of `prompt_tokens` that was read from the provider's cache."""
    cache_write_tokens: int | None = None
    """The part of `prompt_tokens` that was written to the provider's cache."""
    cache_write_1h_tokens: int | None = None
    """The part of `cache_write_tokens` that is kept there for an hour, which costs more."""
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
    """Of the request itself, without the wait for rate limits before it."""
    maybe_billed: bool
    """Whether the provider may have done the work; True for an answer."""
    usage: Usage | None = None
    """None where the reply does not give it."""
    served: str | None = field(default=None, compare=False)
    """The model that the provider says has answered."""
    reported_usd: float | None = field(default=None, compare=False)
    """The cost that the provider reports."""
    cost_usd: "Decimal | int | None" = field(default=None, compare=False)
    """What it has cost; None is unknown, or not yet known."""
    up_to_usd: "Decimal | None" = field(default=None, compare=False)
    """The most that it may have cost, where that is all that is known, and was reserved for it."""

    @property
    def is_unseen(self) -> bool:
        """Whether it may have been billed, and nothing says how much."""
        unknown = self.usage is None and self.reported_usd is None
        return unknown and self.kind is not None and self.maybe_billed


@frozen
class MaybeBilled:
    """Attempts that may have been billed unseen: no reply says what they used."""

    attempts: int
    up_to_usd: "Decimal | None" = None
    """The most that they may have cost; None is unknown."""


@dataclass(slots=True)
class Ledger:
    """All attempts at one request. The innermost call adds to it; what is around it only reads.

    The request makes one attempt at a time, so `attempts` is in the order of their beginning and
    of their end. Times are in seconds of the calls' clock.
    """

    model: str = ""
    """`provider/model`."""
    seller: Seller = NOBODY
    lane: Lane | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Those of the request."""
    attempts: list[Attempt] = field(default_factory=list)
    """Those that were begun; a request that was refused before it was sent is not among them."""
    started_s: float | None = None
    """When the first attempt began, after any wait for rate limits; None before it."""
    began_s: float = 0.0
    """When the last attempt began."""
    ended_s: float | None = None
    """When the last attempt ended, or the row's time limit was reached."""
    partial: str | None = None
    """The text so far of a streamed answer that broke off."""
    cause: ProviderError | None = None
    """Why it was last tried again."""
    cached: bool = False
    """Whether the answer was there already, so that nothing was sent."""

    @property
    def latency_s(self) -> float | None:
        """From the first attempt to the last one's end, with the waits between them."""
        if self.started_s is None or self.ended_s is None:
            return None
        return self.ended_s - self.started_s

    @property
    def failed(self) -> list[Attempt]:
        """The attempts that ended in an error; those that were cancelled are not among them."""
        if not self.attempts or self.attempts[0].kind is None:
            return []  # the usual case, without the cost of the other
        return [one for one in self.attempts if one.kind is not None and one.kind != CANCELLED]

    @property
    def cancelled_in_flight(self) -> bool:
        """Whether the last attempt was cancelled in flight, so that it may be billed."""
        return bool(self.attempts) and self.attempts[-1].kind == CANCELLED

    def tries_in(self, seconds: float) -> str:
        """`22 tries in 600 s`."""
        tries = len(self.attempts)
        return f"{tries} {'try' if tries == 1 else 'tries'} in {round(seconds, 2):g} s"

    def begin(self, now_s: float) -> None:
        """An attempt begins."""
        self.began_s = now_s
        if self.started_s is None:
            self.started_s = now_s

    def end(
        self,
        now_s: float,
        kind: str | None,
        status: int | None = None,
        *,
        maybe_billed: bool = True,
        usage: Usage | None = None,
        served: str | None = None,
        reported_usd: float | None = None,
    ) -> None:
        """The attempt that began last has ended; the arguments are an Attempt's."""
        latency_s = now_s - self.began_s
        self.attempts.append(
            Attempt(kind, status, latency_s, maybe_billed, usage, served, reported_usd)
        )
        self.ended_s = now_s

    def time_out(self, kind: str, limit_s: float) -> None:
        """The row's time limit was reached: an attempt in flight gets this kind."""
        if self.cancelled_in_flight:
            self.attempts[-1].kind = kind
        if self.started_s is not None:
            self.ended_s = self.started_s + limit_s
