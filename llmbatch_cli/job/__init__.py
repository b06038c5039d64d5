"""A job: rows from their source through a driver to an output, from its lock to its last line."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, nullcontext
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any

from llmbatch_cli.core.errors import (
    LlmbatchError,
    OutputError,
    ReaderGone,
    RunStopped,
    UsageError,
)
from llmbatch_cli.core.events import Notice, Observer, Skipped, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import TABLES, BatchApi, InputOptions, OutputOptions
from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Prompt, Row
from llmbatch_cli.drivers.delivery import Render, deliver, to_its_end
from llmbatch_cli.drivers.live import RunOptions
from llmbatch_cli.engine.failure_limit import FailureLimit
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.job.ahead import YIELD_EVERY, counted, left_over, refuse_faults
from llmbatch_cli.job.batch_api import batch_run, open_jobs
from llmbatch_cli.job.stored import Stored
from llmbatch_cli.models import open_models
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.plans import Ask, Plan
from llmbatch_cli.plans.one_answer import ONE_ANSWER, with_one_answer
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.input.attachments import with_attachments
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.lock import locked
from llmbatch_cli.rows.output.sink import Sink, open_sink
from llmbatch_cli.rows.output.table_files import check_table, is_whole, journal_of
from llmbatch_cli.rows.output.with_input import WithInput


@frozen
class Job:
    """What is read, what is asked, how it is sent, and where the answers go."""

    inputs: Inputs
    ask: Ask
    calls: CallOptions
    output: OutputOptions
    input: InputOptions = field(default_factory=InputOptions)
    failure_limit: FailureLimit = field(default_factory=FailureLimit)
    is_kept: bool = True
    """Whether the output stays where it is written; else it is only on its way."""
    batch_api: BatchApi = field(default_factory=BatchApi)
    stored: Stored | None = None
    """Where the output is, if it is not a file here."""

    def named(self, text: str) -> str:
        """A text with the name that people know the output by."""
        return text if self.stored is None else self.stored.named(text)

    @property
    def rows_file(self) -> Path | None:
        """The file of the rows as they come: the output, or what a table is made of at the end."""
        return self.journal or self.output.output

    @property
    def journal(self) -> Path | None:
        """What a table is made of at the end."""
        return journal_of(self.output)

    @property
    def schema(self) -> Any:
        """The JSON schema of the answers' data; None without one."""
        return None if self.ask.shape is None else self.ask.shape.schema

    @property
    def is_resumable(self) -> bool:
        """Whether its rows carry the keys that --resume goes by."""
        is_file = self.output.output is not None
        return is_file and (self.output.format == "jsonl" or self.journal is not None)


class JobRun:
    """One run of a job."""

    def __init__(self, job: Job, stop: Stop, observe: Observer, render: Render) -> None:
        """
        Args:
            job: what to do.
            stop: ends the run early.
            observe: receives what happens, in the loop's thread; it must not block.
            render: gives the bytes of each outcome; its method `end`, if any, the last ones.
        """
        self.error: LlmbatchError | None = None
        """What ended the run early."""
        self.sink: Sink | None = None
        """None where the output was never opened."""
        self.unclaimed: str | None = None
        """What of the output is not in an input that could be read only once."""
        self.looked_ahead = False
        """Whether a message has said how many rows are done and how many are left."""
        self._job = job
        self._stop = stop
        self._observe = observe
        self._render = render
        self._inputs = job.inputs
        self._rows_file = job.rows_file
        self._is_table = job.output.format in TABLES
        self._with_input: WithInput | None = None
        self._finished: FinishedRows | None = None
        self._cancelled = False

    @property
    def rows_waiting(self) -> int:
        """Finished rows that are not yet written."""
        return self.sink.rows_waiting if self.sink is not None else 0

    def rows_lost(self, finished: int) -> int:
        """Of so many finished rows, those that were not written, at most."""
        if not self._cancelled or self.sink is None:
            return 0
        return max(self.rows_waiting, finished - self.sink.rows_written)

    @property
    def can_go_on(self) -> bool:
        """Whether --resume goes on where this run has ended."""
        output = self._job.output.output
        begun = self._job.output.resume or self.sink is not None
        is_file = output is not None and (output.is_file() or not output.exists())
        return self._job.is_kept and self._job.is_resumable and begun and is_file

    @property
    def aside(self) -> Path | None:
        """Where the old output is that nothing was written in place of."""
        return None if self.sink is None else self.sink.old

    @property
    def failed_before(self) -> int:
        """Rows of the input that an earlier run has failed, and that were not sent again."""
        return 0 if self._finished is None else self._finished.taken_failed

    @property
    def failures_kept(self) -> int:
        """Failed rows of earlier runs that stand in the output."""
        return 0 if self._finished is None else self._finished.failed

    async def run(self) -> None:
        """Run to the end; `error` says what ended it early. Raises CancelledError only."""
        try:
            async with AsyncExitStack() as stack:
                await self._run(stack)
        except asyncio.CancelledError:
            self._cancelled = True
            raise
        except (RunStopped, OutputError, ReaderGone, UsageError) as error:
            if not isinstance(error, OutputError):  # of a local copy, the disk's name counts
                error.message = self._job.named(error.message)
            self.error = error

    async def _run(self, stack: AsyncExitStack) -> None:
        job = self._job
        output = job.output.output
        if output is not None:
            unlocked = stack.enter_context(locked(output))
            if unlocked is not None:
                self._notice(unlocked)
        check_table(job.output, self._inputs.inputs)
        if job.input.strict:
            self._inputs = await stack.enter_async_context(job.inputs.spooled())
        self._finished = await self._read_back()
        pool = await stack.enter_async_context(open_models(job.calls, self._observe))
        stack.callback(self._tell_unused_prices)
        finished = self._finished
        has = finished.has if finished is not None else lambda key: False
        batch = batch_run(job.batch_api, output, self._durable, has, lambda: self._inputs.is_whole)
        plan = await job.ask.plan(
            pool, RunOptions(job.output.ordered, job.failure_limit, self._observe, batch)
        )
        if pool.prices.asks_for_money:
            self._tell_unused_prices()
        await self._refuse_several_answers(plan)
        if is_whole(job.output):
            await self._recover(plan)
        if job.input.strict:
            await refuse_faults(self._source(plan, sending=False), plan, self._stop)
        self.looked_ahead = await self._look_ahead(plan)
        stack.enter_context(self._inputs.counting(self._observe))
        stack.callback(self._remember(waits_long=batch is not None))
        try:
            await self._deliver(plan)
        except BaseException as error:
            await self._settle(to_the_end=False)
            if isinstance(error, RunStopped):
                await self._write_table(to_the_end=False)
            raise
        replaced = await self._settle(to_the_end=not self._stop.draining)
        await self._write_table(to_the_end=not self._stop.draining)
        if not self.looked_ahead and self._finished is not None:
            from llmbatch_cli.rows.resume import unclaimed

            note = unclaimed(self._finished, replaced)
            self.unclaimed = job.named(f"{note}; {output} keeps them") if note else None

    async def _read_back(self) -> FinishedRows | None:
        """What an earlier run has left in the output; None where this run is the first."""
        options = self._job.output
        if not options.resume:
            return None
        if self._rows_file is None:
            raise UsageError("--resume continues a file", hint="name it with -o")
        if not self._job.is_resumable:
            raise UsageError(
                "--resume needs --format jsonl or a table, whose rows have keys",
                hint="leave --format out; jq -r .text makes text of the finished file",
            )
        if options.overwrite:
            raise UsageError("--resume and --overwrite exclude each other", hint="leave one out")
        from llmbatch_cli.rows.resume import prepare

        finished = await to_its_end(
            partial(prepare, self._rows_file, options.retry_failed, fsync=options.fsync)
        )
        if finished.with_input != (finished.rows if options.include_input else 0):
            has, hint = ("the", "add") if finished.with_input else ("no", "leave out")
            raise UsageError(
                f"the rows of {options.output} have {has} field input",
                hint=f"{hint} --include-input, so that all rows are alike",
            )
        return finished

    # Rows

    def _source(self, plan: Plan, *, sending: bool) -> AsyncGenerator[Row, None]:
        """Every row, with the files that it names."""
        rows = self._inputs.rows(self._observe if sending else ignore)
        if self._with_input is not None and sending:
            rows = self._with_input.rows(rows)
        rows = with_attachments(rows, self._job.input.files)
        return rows if self._job.output.format != "text" else with_one_answer(rows, plan)

    async def _rows(self, plan: Plan, *, sending: bool) -> AsyncGenerator[Row, None]:
        """Every row that is to be sent, with its key where the output takes one."""
        finished, skipped = self._finished, 0
        async with aclosing(self._source(plan, sending=sending)) as rows:
            async for row in rows:
                row.key = await plan.key_of(row)
                if finished is None or not finished.claim(row):
                    yield row
                    continue
                if sending:
                    self._observe(Skipped(row.index))
                if self._with_input is not None:
                    self._with_input.forget(row.index)
                skipped += 1
                if skipped % YIELD_EVERY == 0:
                    await asyncio.sleep(0)

    def _remember(self, *, waits_long: bool) -> Callable[[], None]:
        """Begin to remember what is read of each row, where it is written; returns what ends it."""
        options = self._job.output
        if not (options.include_input or self._is_table):
            return lambda: None
        beside = options.output if waits_long else None
        self._with_input = WithInput(beside, messages=options.include_input)
        return self._with_input.close

    async def _refuse_several_answers(self, plan: Plan) -> None:
        """Raise UsageError where the options ask for more than the format can say."""
        if self._job.output.format != "text":
            return
        count = await plan.answers_to(Prompt(0, [{"role": "user", "content": ""}], 0))
        if count > 1:
            raise UsageError(f"n is {count}, but {ONE_ANSWER}", hint="use --format jsonl")

    async def _keyed(self, plan: Plan) -> AsyncGenerator[Row, None]:
        """Every row with its key, to look at only."""
        async with aclosing(self._source(plan, sending=False)) as rows:
            async for row in rows:
                row.key = await plan.key_of(row)
                yield row

    async def _recover(self, plan: Plan) -> None:
        """Find the rows of a whole table, whose journal is gone, by the input's columns."""
        from llmbatch_cli.rows.output.recovered import recover

        if self._inputs.again() is None:
            hint = "name a file; --overwrite starts afresh"
            raise UsageError("--resume of a whole table reads the input twice", hint=hint)
        job = self._job
        path = job.rows_file or Path()
        await recover(job.output, path, lambda: self._keyed(plan), job.schema)
        self._notice(
            f"{job.output.output} has no keys, so its rows are found by the input's columns: "
            "another model, template or parameter is not seen (--overwrite starts afresh)"
        )
        self._finished = await self._read_back()

    async def _look_ahead(self, plan: Plan) -> bool:
        """Say how many rows are done and how many are left, where the input can be read twice."""
        finished, output = self._finished, self._job.output.output
        if finished is None or output is None:
            return False
        from llmbatch_cli.rows.resume import resuming, unclaimed

        if not finished.rows and not finished.failed_again:
            if open_jobs(output):
                return True
            self._notice(f"{output} has no rows yet, so all are sent")
            return True
        if self._inputs.again() is None:
            self._notice(resuming(output, finished, None))
            return False
        left = await left_over(self._keyed(plan), finished, self._stop)
        if left and finished.untaken:  # some may be for rows that are equal but for their ids
            finished.release()
            left = await counted(self._rows(plan, sending=False), self._stop)
        message = resuming(output, finished, left, has_jobs=open_jobs(output))
        note = unclaimed(finished)
        finished.release()
        self._notice("; ".join(filter(None, (message, note))))
        return True

    # Output

    async def _deliver(self, plan: Plan) -> None:
        options, stored, rows_file = self._job.output, self._job.stored, self._rows_file
        ships: AbstractAsyncContextManager[None] = nullcontext()
        if stored is not None and rows_file is not None:
            ships = stored.shipping(rows_file, self._notice)
        async with (
            ships,
            open_sink(
                rows_file,
                overwrite=options.overwrite,
                inputs=self._inputs.inputs,
                append=options.resume,
                fsync=options.fsync,
            ) as sink,
        ):
            self.sink = sink
            keyed = self._job.is_resumable
            rows = (self._rows if keyed else self._source)(plan, sending=True)
            given = self._with_input
            render = self._render if given is None else given.rendering(self._render)
            end = getattr(self._render, "end", bytes)
            await deliver(plan.driver(rows, self._stop), sink, render, self._stop, end)

    async def _durable(self) -> None:
        if self.sink is not None:
            await self.sink.synced()

    async def _settle(self, *, to_the_end: bool) -> int:
        """Give rows of earlier runs their present ids and places, in input order if asked.

        `to_the_end`: the whole input was read, so what is not of it may be out of date. Returns
        how many answers of edited rows were moved to another file.
        """
        path, finished = self._rows_file, self._finished
        if path is None or finished is None:
            return 0
        from llmbatch_cli.rows.output.settle import settle

        ordered = (self._job.output.ordered or self._is_table) and to_the_end
        whole = to_the_end and self._inputs.is_whole
        settled = await to_its_end(partial(settle, path, finished, ordered=ordered, whole=whole))
        if settled.replaced:
            answers = format_count(settled.replaced, "old answer")
            self._notice(f"{answers} of edited rows moved to {settled.replaced_in}")
        return settled.replaced

    async def _write_table(self, *, to_the_end: bool) -> None:
        """Make the table of the rows so far; they go where all of the input is answered in it."""
        options, journal = self._job.output, self._job.journal
        if journal is None or not (to_the_end or journal.exists()):
            return
        from llmbatch_cli.rows.output.journal import write_table

        in_order = to_the_end and self._finished is not None
        schema = self._job.schema
        written = await to_its_end(
            partial(write_table, options, journal, in_order=in_order, schema=schema)
        )
        for note in written.notes:
            self._notice(note)
        if to_the_end and not written.failed and self._inputs.is_whole:
            journal.unlink(missing_ok=True)
        elif self._job.is_kept:
            self._notice(f"{journal} has the rows for --resume, until all are answered")

    def _tell_unused_prices(self) -> None:
        """At the start where a model is sold, else at the end: rows may name others."""
        if unused := self._job.calls.prices.unused():
            self._notice(unused)

    def _notice(self, message: str) -> None:
        self._observe(Notice(self._job.named(message)))
