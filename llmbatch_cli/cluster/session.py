"""A worker from its options: the models, the plan of what is asked, and the folder."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, Final

from llmbatch_cli.cluster.active import Means
from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.messages import Lease, Money, Orders
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.cluster.plan import load
from llmbatch_cli.cluster.shards import Shard, rows_of
from llmbatch_cli.cluster.tables import write_part
from llmbatch_cli.cluster.worker import Beat, ClusterWorker
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import TABLES
from llmbatch_cli.core.types import Outcome, Row
from llmbatch_cli.drivers.live import RunOptions
from llmbatch_cli.engine.budget import Budget
from llmbatch_cli.engine.failure_limit import FailureLimit
from llmbatch_cli.engine.limits.share import Share
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.job import Job
from llmbatch_cli.models import open_models
from llmbatch_cli.plans import Plan
from llmbatch_cli.rows.input.attachments import with_attachments
from llmbatch_cli.rows.output.render import render
from llmbatch_cli.rows.output.with_input import WithInput

NEVER: Final = 10**15
"""So many failed rows are for the coordinator to count."""


@frozen
class WorkerOptions:
    """What a worker is told of the run. Plain values, and no secrets."""

    folder: Folder
    lease_s: float
    rows_in: str = ""


async def work(name: str, job: Job, options: WorkerOptions, beat: Beat) -> None:
    """Answer what is leased until all is over. Raises UsageError for what cannot begin."""
    plan = await asyncio.to_thread(load, options.folder)
    if plan is None:
        raise UsageError(
            f"{options.folder.address} is not seen from this machine",
            hint="all machines need the same folder, as of a shared disk",
        )
    stop = Stop()
    output = job.output
    is_table = output.format in TABLES
    has_input = output.include_input or is_table
    given = WithInput(None, messages=output.include_input) if has_input else None
    line = partial(_line, detail=output.detail)
    asked: dict[str, Plan] = {}

    async def rows(shard: Shard, observe: Callable[[Event], None]) -> AsyncGenerator[Row, None]:
        found = rows_of(shard, job.inputs, observe)
        if given is not None:
            found = given.rows(found)
        async with aclosing(with_attachments(found, job.input.files)) as read:
            async for row in read:
                row.key = await asked["plan"].key_of(row)
                yield row

    def open_part(lease: Lease) -> Part:
        in_order = output.ordered or is_table
        return Part(options.folder, lease, rows_in=options.rows_in, ordered=in_order)

    def publish(part: Part, record: Mapping[str, Any]) -> Mapping[str, Any]:
        said = part.publish(record)
        if is_table:
            write_part(options.folder, part.lease.shard, output, job.schema)
        return said

    means = Means(
        open_part,
        lambda part: part.begin(output.retry_failed),
        lambda number: plan.shards[number],
        rows,
        line if given is None else given.rendering(line),
        (lambda index: None) if given is None else given.forget,
        publish,
        options.folder.sync_s,
    )
    worker = ClusterWorker(name, beat, means, stop, lease_s=options.lease_s)
    share, budget = Share(), _budget(job, options)
    worker.on_orders = partial(_follow, share, budget)
    worker.more = partial(_said, share, budget)
    worker.is_in_need = lambda: budget is not None and budget.needed > 0
    calls = replace(job.calls, before_send=worker.check, share=share, budget=budget)
    async with open_models(calls, worker.observe) as pool:
        limit = FailureLimit(
            rows=None if job.failure_limit == FailureLimit() else NEVER,
            in_a_row=job.failure_limit.in_a_row,
        )
        asked["plan"] = await job.ask.plan(
            pool, RunOptions(failure_limit=limit, observe=worker.observe)
        )
        await worker.run(asked["plan"].driver)


def _budget(job: Job, options: WorkerOptions) -> Budget | None:
    """What is spent of --max-cost: what the coordinator gives."""
    whole = job.calls.budget
    return None if whole is None else Budget(Decimal(repr(whole.cap_usd)), sliced=True)


def _follow(share: Share, budget: Budget | None, orders: Orders) -> None:
    share.set(orders.told.part)
    share.hears(orders.told.limiters)
    if budget is None or orders.money is None:
        return
    if orders.money > budget.granted:
        budget.grant(orders.money - budget.granted)
    elif orders.money < budget.granted:
        budget.give_back(orders.money)
    if orders.money_left is not None:
        budget.left_for_all(orders.money_left)


def _said(share: Share, budget: Budget | None) -> dict[str, Any]:
    """What a report says beside the shards."""
    money = None
    if budget is not None:
        money = Money(budget.granted, budget.committed, budget.spent, budget.needed)
    return {"said": share.says(), "money": money}


def _line(outcome: Outcome, *, detail: bool) -> bytes:
    return render(outcome, "jsonl", detail=detail)
