"""What an estimate rests on, in words."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.core.options import Limits
from llmbatch_cli.core.text import format_count
from llmbatch_cli.estimate.lines import ASSUMED
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.estimate.requests import PART
from llmbatch_cli.estimate.result import TOKENS_A_SECOND, Estimated
from llmbatch_cli.estimate.rows import Estimator
from llmbatch_cli.estimate.vocabularies import can_count


@frozen
class Said:
    """An estimate, and what the user has asked for."""

    estimator: Estimator
    found: Sequence[Estimated]
    answer: Range
    is_expected: bool
    """Whether the user has said how long an answer is."""
    output: Path | None
    limits: Limits

    def heads(self) -> Iterator[str]:
        """What was read."""
        read = self.estimator
        invalid = f", {read.invalid:,} of them invalid" if read.invalid else ""
        done = f", {read.done:,} of them answered in {self.output}" if read.done else ""
        yield f"{format_count(read.rows, 'row')}{invalid}{done}"
        yield from (f"  {reason}" for reason in read.reasons)


def assumptions(said: Said) -> Iterator[str]:
    """A sentence each."""
    yield from _sampled(said)
    if any(one.sampled is None for one in said.found):
        yield from _input(said)
        yield _output(said)
    yield from _rows(said)
    if any(one.batch is not None for one in said.found):
        yield "batch: the cost at the provider's batch API, which may take a day"
    yield from _time(said)


def _sampled(said: Said) -> Iterator[str]:
    for one in said.found:
        if one.sampled is None:
            continue
        spent = "an unknown sum" if one.spent is None else f"${one.spent:.4g}"
        kept = f"their answers are in {said.output}, for batch --resume"
        if said.output is None:
            kept = "their answers were thrown away; -o FILE keeps them"
        rows = format_count(one.sampled, "row")
        failed = f", {one.failed:,} of which failed" if one.failed else ""
        yield f"{one.model}: projected from {rows} that were sent for {spent}{failed}; {kept}"


def _input(said: Said) -> Iterator[str]:
    ways: dict[str, list[str]] = {}
    for one in said.found:
        if one.sampled is None:
            ways.setdefault(one.counted, []).append(one.model)
    for way, models in ways.items():
        yield f"input: tokens of {', '.join(models)} are counted {way}"
    if ways and not can_count():
        yield (
            "input: a fourth of the bytes is within 16 % for prose, code and JSON, and half of "
            f"the truth for numbers; {install_hint('count')} counts tokens"
        )
    if any(line.parts for line in said.estimator.all_lines()):
        parts = sum(line.parts for line in said.estimator.lines[:1]) or "some"
        yield (
            f"input: {parts} pictures, sounds or documents count {PART.likely:g} tokens each "
            f"({PART.low:g} to {PART.high:g}), a guess"
        )


def _output(said: Said) -> str:
    answer = said.answer
    if said.is_expected:
        return f"output: an answer counts {answer.likely:g} tokens, as --expect-output says"
    limited = any(line.limited for line in said.estimator.all_lines())
    high = "its max_tokens" if limited and answer == ASSUMED else f"{answer.high:,g}"
    most = ", its max_tokens at most" if limited else ""
    return (
        f"output: an answer counts {answer.likely:g} tokens ({answer.low:g} to {high}){most}, "
        "a guess without hidden reasoning; --expect-output N sets it, --sample N measures it"
    )


def _rows(said: Said) -> Iterator[str]:
    for line in said.estimator.all_lines():
        if line.refused:
            refused = format_count(line.refused, "row")
            yield f"{line.name}: {refused} cannot be sent to it, as {line.refusal}"
    own = sum(line.rows for line in said.estimator.own_lines.values())
    if own:
        yield f"{format_count(own, 'row')} with a model of their own count there"


def _time(said: Said) -> Iterator[str]:
    limits = said.limits
    if (limits.rpm, limits.tpm, limits.concurrency) == (None, None, None):
        yield "time: unknown; --rpm, --tpm or -c sets a limit that shows it"
    elif limits.concurrency is not None and any(one.sampled is None for one in said.found):
        low, likely, high = (
            f"{n:g}" for n in (TOKENS_A_SECOND.low, TOKENS_A_SECOND.likely, TOKENS_A_SECOND.high)
        )
        yield f"time: at {likely} tokens a second in each answer ({low} to {high}), a guess"
