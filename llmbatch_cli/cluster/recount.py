"""Rows of an output as outcomes again, as far as figures need them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from llmbatch_cli.core.ledger import Attempt, MaybeBilled, Usage
from llmbatch_cli.core.types import CONTENTS, Completion, Failure, Outcome, Racer

_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """The outcome that was written as this row; texts that no figure needs are left out."""
    error, cost = row.get("error"), row.get("cost")
    unseen = row.get("maybe_billed")
    part = row.get("part") or (1, 1)
    return Outcome(
        index=row["index"],
        id=row["id"],
        model=row.get("model"),
        provider=row.get("provider"),
        completion=None if error is not None else _completion(row),
        error=None if error is None else _failure(error),
        latency_s=row.get("latency"),
        attempts=row.get("attempts") or 0,
        race=[_racer(one, row.get("usage")) for one in row.get("race") or ()],
        failed_attempts=[_attempt(one) for one in row.get("failed_attempts") or ()],
        part=(part[0], part[1]),
        cost_usd=None if cost is None else Decimal(str(cost)),
        maybe_billed=None if unseen is None else _maybe_billed(unseen),
        cached=bool(row.get("cached")),
    )


def _completion(row: Mapping[str, Any]) -> Completion:
    return Completion(
        text=row.get("text"),
        finish_reason=row.get("finish_reason"),
        usage=_usage(row.get("usage")),
        tool_calls=row.get("tool_calls") or (),
        extras={name: row[name] for name in CONTENTS if name in row},
    )


def _failure(error: Mapping[str, Any]) -> Failure:
    return Failure(
        error["type"], error["message"], error.get("status"), bool(error.get("retryable"))
    )


def _usage(said: Mapping[str, Any] | None) -> Usage | None:
    return None if said is None else Usage(**{name: said.get(name) for name in _USAGE})


def _attempt(said: Mapping[str, Any]) -> Attempt:
    return Attempt(
        said["type"],
        said.get("status"),
        said.get("latency") or 0.0,
        bool(said.get("maybe_billed")),
        _usage(said.get("usage")),
    )


def _racer(said: Mapping[str, Any], usage: Mapping[str, Any] | None) -> Racer:
    error = said.get("error")
    return Racer(
        said["model"],
        said["provider"],
        said["status"],
        said.get("latency") or 0.0,
        said.get("attempts") or 0,
        None if error is None else _failure(error),
        usage=_usage(usage) if said["status"] == "won" else None,  # that of others is not there
        cached=bool(said.get("cached")),
    )


def _maybe_billed(said: Mapping[str, Any]) -> MaybeBilled:
    most = said.get("up_to")
    return MaybeBilled(said["attempts"], None if most is None else Decimal(str(most)))
