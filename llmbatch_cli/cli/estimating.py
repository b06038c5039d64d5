"""What `estimate` and `batch --dry-run` share: count the rows, send a sample if asked, show it."""

import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import field, replace

import orjson

from llmbatch_cli.cli.estimate_table import print_estimate
from llmbatch_cli.cli.running import Shown, answer_rows
from llmbatch_cli.cli.say import Voice, printing
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import DisplayOptions, InputOptions, OutputOptions, Sending
from llmbatch_cli.core.types import Outcome, Prompt, Row
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.estimate.asked import Asking
from llmbatch_cli.estimate.closed import answer_of
from llmbatch_cli.estimate.lines import ASSUMED, ASSUMED_CHOICE, Line
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.estimate.result import Estimated, estimated
from llmbatch_cli.estimate.rows import Estimator, IsDone
from llmbatch_cli.estimate.said import Said, assumptions
from llmbatch_cli.estimate.sample import Point, point_of
from llmbatch_cli.job import Job
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.plans import Batch, Plan, system_message
from llmbatch_cli.providers.access import Setup
from llmbatch_cli.rows.input.attachments import with_attachments
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.output.render import render

Points = dict[Line, list[Point]]
"""What rows have used that were sent, by their model."""


@frozen(kw_only=True)
class Estimating:
    """What is estimated."""

    inputs: Inputs
    input: InputOptions
    batches: Sequence[Batch]
    """What would be run, one for each model."""
    sending: Sending
    setup: Setup
    output: OutputOptions = field(default_factory=OutputOptions)
    expected: int | None = None
    """Tokens of an answer, as the user expects them."""
    is_choice: bool = False
    """Whether an answer is only a choice."""
    sample: int | None = None
    """Rows that are sent to each model."""
    display: DisplayOptions = field(default_factory=DisplayOptions)
    as_json: bool = False

    @property
    def answer(self) -> Range:
        """Tokens of an answer."""
        if self.expected is not None:
            return Range.exactly(self.expected)
        if self.is_choice:
            return ASSUMED_CHOICE
        shape = self.batches[0].shape
        return (answer_of(shape.schema) if shape is not None else None) or ASSUMED

    @property
    def calls(self) -> CallOptions:
        """How the models are called. Raises UsageError."""
        return CallOptions.of(self.sending, setup=self.setup)


async def estimate_rows(job: Estimating) -> ExitStatus:
    """Count what the rows would cost, and print it."""
    if job.sample is None:
        estimator = await _count(job, job.inputs)
        _show(job, estimator, {})
        return ExitStatus.OK
    async with job.inputs.spooled() as inputs:
        estimator = await _count(job, inputs)
        sampled = replace(inputs, choice=replace(inputs.choice, sample=job.sample))
        points: Points = {}
        for batch, line in zip(job.batches, estimator.lines, strict=True):
            rows = with_attachments(sampled.rows(), job.input.files)
            expected = await estimator.expected(rows, line)
            calls = replace(job.calls, prices=estimator.prices)
            sent = Job(sampled, batch, calls, job.output, job.input)
            status = await _send(sent, Shown(job.display, line.name), expected, points)
            if status not in (ExitStatus.OK, ExitStatus.SOME_FAILED):
                return status
        _show(job, estimator, points)
    return ExitStatus.OK


async def _count(job: Estimating, inputs: Inputs) -> Estimator:
    calls, first = job.calls, job.batches[0]
    asking = Asking(
        access=replace(calls.access, no_key=True),
        params=first.params,
        system=system_message(first.system),
        shape=first.shape,
        drop_params=calls.drop_params,
        tier=calls.tier,
    )
    names = [batch.model for batch in job.batches]
    estimator = Estimator(asking, names, calls.prices, job.answer)
    rows = with_attachments(inputs.rows(), job.input.files)
    await estimator.read(rows, _already(job, estimator))
    return estimator


def _already(job: Estimating, estimator: Estimator) -> IsDone | None:
    """What tells the rows that the output has an answer to, with --resume."""
    if not job.output.resume:
        return None
    batch = job.batches[0]
    run = Job(job.inputs, batch, job.calls, job.output)
    if run.rows_file is None:
        raise UsageError("--resume continues a file", hint="name it with -o")
    if not run.is_resumable:
        raise UsageError("--resume needs --format jsonl or a table, whose rows have keys")
    from llmbatch_cli.rows.resume import read_back

    finished = read_back(run.rows_file, job.output.retry_failed)

    async def models_for(row: Prompt) -> Sequence[Model]:
        return [line.asked.model for line in estimator.lines_of(row)]

    plan = Plan(_nothing, models_for, (), system_message(batch.system), batch.shape)

    async def is_done(row: Row) -> bool:
        row.key = await plan.key_of(row)
        return finished.claim(row)

    return is_done


def _nothing(rows: AsyncGenerator[Row, None], stop: Stop) -> AsyncGenerator[Outcome, None]:
    raise AssertionError(rows)


async def _send(
    job: Job, shown: Shown, expected: Mapping[int, tuple[Line, float]], points: Points
) -> ExitStatus:
    """Send the sampled rows, and note what they have used."""
    is_kept = job.output.output is not None

    def note(outcome: Outcome) -> bytes:
        if outcome.index in expected:
            line, tokens = expected[outcome.index]
            point = point_of(outcome, tokens, line.price_of("batch"))
            points.setdefault(line, []).append(point)
        return render(outcome, "jsonl") if is_kept else b""

    return await answer_rows(job, shown, note)


def _show(job: Estimating, estimator: Estimator, points: Points) -> None:
    limits = job.sending.limits
    lines = [line for line in estimator.all_lines() if line.rows or line in estimator.lines]
    found = [estimated(line, limits, points.get(line, ())) for line in lines]
    said = Said(
        estimator,
        found,
        job.answer,
        is_expected=job.expected is not None,
        output=job.output.output,
        limits=limits,
    )
    notes = [*assumptions(said), *_left_out(job), *_beyond(job, found)]
    with printing():
        if job.as_json:
            sys.stdout.buffer.write(_as_json(estimator, found, notes))
            sys.stdout.buffer.flush()
        else:
            print_estimate(said.heads(), found, notes)
    if unused := estimator.prices.unused():
        Voice().notice(unused)
    _tell_unknown([one for one in found if one.cost is None and one.rows])


def _tell_unknown(without_cost: Sequence[Estimated]) -> None:
    """Say why: the price is not known, or what sampled rows have used."""
    voice = Voice()
    untold = [one.model for one in without_cost if one.sampled and one.prices]
    if untold:
        voice.notice(f"{', '.join(untold)}: not every sampled row's reply says what it has used")
    unknown = [one.model for one in without_cost if one.model not in untold]
    if unknown:
        voice.notice(f"the price of {', '.join(unknown)} is unknown")
        voice.hint(f"--price {unknown[0]}=IN,OUT sets it, in US dollars a million tokens")


def _left_out(job: Estimating) -> Iterator[str]:
    """What no line counts."""
    if job.sample is None and any(batch.fallback or batch.shape for batch in job.batches):
        yield "not counted: fallbacks, and answers that are asked for again"
    cache = job.sending.cache
    if cache.is_kept or cache.dedupe:
        yield "answers of the cache, and of equal rows, are counted as if they were sent"


def _beyond(job: Estimating, found: Sequence[Estimated]) -> Iterator[str]:
    """That --max-cost ends the run before its input does."""
    cap_usd, by_jobs = job.sending.limits.max_cost, job.sending.batch_api.batch_api
    costs = [one.batch if by_jobs else one.cost for one in found]
    likely_usd = sum(cost.likely for cost in costs if cost is not None)
    if cap_usd is not None and likely_usd > cap_usd:
        yield (
            f"--max-cost {cap_usd:g} covers some {cap_usd / likely_usd:.0%} of it: the run would "
            "stop there, and --resume goes on"
        )


def _as_json(estimator: Estimator, found: Sequence[Estimated], notes: Sequence[str]) -> bytes:
    whole = {
        "rows": estimator.rows,
        "invalid": estimator.invalid,
        "done": estimator.done,
        "reasons": estimator.reasons,
        "models": [one.as_json() for one in found],
        "notes": notes,
    }
    return orjson.dumps(whole) + b"\n"
