"""The options that bound a run."""

from dataclasses import dataclass
from typing import ClassVar

from llmbatch_cli.core.option import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is sent at once, and a minute, and what it may cost."""

    section: ClassVar[str] = "Limits and retries"

    concurrency: int | None = option(
        None,
        "Maximum requests in flight.",
        letter="c",
        min=1,
        shown="found while running, up to 512; in a race, up to 64 for all models",
        everyday=True,
    )
    rpm: float | None = option(
        None, "Maximum requests per minute, per model.", min=0.01, everyday=True
    )
    tpm: int | None = option(None, "Maximum tokens per minute, per model.", min=1)
    max_cost: float | None = option(
        None,
        "Most that this run may cost, in US dollars. A request is sent only if the most that it "
        "may cost fits; the run stops when none does, and --resume goes on.",
        metavar="USD",
    )
    allow_unpriced: bool = option(
        False, "With --max-cost, send to models without a known price too; they are not counted."
    )
