"""`llmbatch cluster`: runs of --engine ray that are at work, or were."""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from llmbatch_cli.cli.ending import say_summary
from llmbatch_cli.cli.options import Only
from llmbatch_cli.cli.running import exit_status, open_display, run_async
from llmbatch_cli.cli.say import Voice, printing, say
from llmbatch_cli.cli.signals import interrupts, keep_handlers
from llmbatch_cli.core.errors import ExitStatus, LlmbatchError, UsageError
from llmbatch_cli.core.options import DisplayOptions
from llmbatch_cli.core.text import clean_for_terminal, format_count

if TYPE_CHECKING:
    from llmbatch_cli.cluster.folder import Folder

EXAMPLES = """\b
Examples:
  llmbatch cluster status out/
  llmbatch cluster attach out/ --address auto
  llmbatch cluster stop out/ --address auto
"""

Action = Annotated[
    Literal["status", "attach", "stop"],
    typer.Argument(
        metavar="status|attach|stop",
        help="Show how a run stands; follow it to its end, as the command that began it would; or "
        "have it end: what is in flight may finish.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Argument(
        metavar="OUT", help="The folder of the run, or s3://, gs:// or az://.", show_default=False
    ),
]
Address = Annotated[
    str,
    typer.Option("--address", metavar="ADDRESS", help="The Ray cluster's address."),
]
AsJson = Annotated[bool, typer.Option("--json", help="With status: print JSON.")]
Now = Annotated[bool, typer.Option("--now", help="With stop: drop what is in flight.")]


def cluster(
    action: Action,
    output: Output,
    address: Address = "auto",
    json: AsJson = False,
    now: Now = False,
    *,
    display: Annotated[DisplayOptions, Only("progress", "quiet")],
) -> int:
    """Show, follow or stop a run of --engine ray.

    The status of a run that is not at work any more is read from its folder.
    """
    from llmbatch_cli.cli.cluster_run import unusable
    from llmbatch_cli.cluster.folders import folder_at
    from llmbatch_cli.cluster.layout import PLAN

    folder = folder_at(output)
    try:
        if folder.read(PLAN) is None:
            raise UsageError(
                f"{folder.address} is not the folder of a run on a cluster",
                hint="llmbatch batch ... -o OUT --engine ray begins one",
            )
        return run_async(_act(action, folder, address, json, now, display))
    except NotADirectoryError as error:
        raise UsageError(
            f"{folder.address} is a file", hint="name the folder of a run of --engine ray"
        ) from error
    except OSError as error:
        raise unusable(folder, error) from error


async def _act(
    action: str, folder: "Folder", address: str, json: bool, now: bool, display: DisplayOptions
) -> ExitStatus:
    from llmbatch_cli.cli.cluster_checks import check_ray

    try:
        check_ray()
        from llmbatch_cli.cluster.ray_engine import Cluster

        ray = Cluster(address, 0)
        await asyncio.to_thread(ray.connect)
    except UsageError:
        if action != "status":
            raise
        return _print(_status_of_files(folder), json=json)
    keep_handlers()
    try:
        coordinator = await asyncio.to_thread(ray.find, folder.address)
        if coordinator is None:
            if action == "status":
                return _print(_status_of_files(folder), json=json)
            raise UsageError(
                f"no run is at work in {folder.address} on this cluster",
                hint="the command that began it goes on with what is left",
            )
        if action == "status":
            return _print(_figures(folder, await coordinator.poll()), json=json)
        if action == "stop":
            await coordinator.stop("cancel" if now else "drain")
            say(f"the run in {folder.address} is told to end")
            return ExitStatus.OK
        return await _attach(coordinator, folder, display)
    except ConnectionError as error:
        raise UsageError(str(error), hint="try again in a moment") from error
    finally:
        await asyncio.to_thread(ray.close)


async def _attach(coordinator: Any, folder: "Folder", display: DisplayOptions) -> ExitStatus:
    from llmbatch_cli.cluster.ended import RemoteRun
    from llmbatch_cli.cluster.run import Following, RemoteTotals, error_of

    voice = Voice(as_json=display.progress == "json", quiet=display.quiet)
    totals, run = RemoteTotals(), RemoteRun(has_begun=True)
    with interrupts(voice, totals) as asked:
        async with open_display(display, totals, folder.address.rpartition("/")[2]) as observe:
            following = Following(coordinator, totals, observe)
            leave = asyncio.ensure_future(following.to_the_end())
            asked.stop.listen(partial(_leave, leave))
            try:
                run.error = error_of(await leave)
            except asyncio.CancelledError:
                if not asked.count:
                    raise
                voice.notice(f"the run goes on; llmbatch cluster stop {folder.address} ends it")
                return ExitStatus.INTERRUPTED
            except LlmbatchError as error:
                run.error = error
            totals.cut_short = run.error is not None
        run.failed_before = run.failures_kept = totals.failed_before
        say_summary(run, totals, (), voice)
        if run.error is not None:
            voice.error(run.error)
        return exit_status(run, totals, interrupted=False)


def _leave(following: "asyncio.Future[Any]") -> None:
    following.cancel()


def _figures(folder: "Folder", status: Any) -> dict[str, Any]:
    """How a run that is at work stands."""
    tally = status.tally
    failed = sum(tally["failed"].values())
    return {
        "folder": folder.address,
        "state": "over" if status.is_over else status.stopping or "at work",
        "rows": status.rows,
        "finished": status.rows_before + tally["skipped"] + tally["rows"],
        "failed": failed,
        "shards": status.shards,
        "shards_done": status.shards_done,
        "in_flight": status.in_flight,
        "cost": None if tally["unknown_cost"] else float(tally["cost_usd"]),
        "reason": None if status.why is None else status.why.message,
        "workers": list(status.workers),
    }


def _status_of_files(folder: "Folder") -> dict[str, Any]:
    """How a run stands by what lies in its folder."""
    from llmbatch_cli.cluster.ground import stand_of
    from llmbatch_cli.cluster.layout import ROWS
    from llmbatch_cli.cluster.plan import load

    plan = load(folder)
    if plan is None:
        raise UsageError(f"{folder.address} has no plan")
    parts = {**stand_of(folder, tidy=False).parts, **stand_of(folder, ROWS, tidy=False).parts}
    done = [shard for shard in plan.shards if shard.number in parts]
    return {
        "folder": folder.address,
        "state": "over" if len(done) == len(plan.shards) else "not at work",
        "rows": plan.rows,
        "finished": sum(shard.rows for shard in done),
        "shards": len(plan.shards),
        "shards_done": len(done),
    }


def _print(figures: dict[str, Any], *, json: bool) -> ExitStatus:
    with printing():
        if json:
            sys.stdout.buffer.write(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
        else:
            sys.stdout.write(clean_for_terminal("\n".join(_lines(figures))) + "\n")
    return ExitStatus.OK


def _lines(figures: dict[str, Any]) -> list[str]:
    rows = format_count(figures["rows"], "row")
    shards = format_count(figures["shards"], "shard")
    first = (
        f"{figures['folder']}: {figures['state']}, {figures['finished']:,} of {rows} finished, "
        f"{figures['shards_done']:,} of {shards} whole"
    )
    lines = [first]
    if figures.get("failed"):
        lines.append(f"  {format_count(figures['failed'], 'row')} failed")
    if figures.get("reason"):
        lines.append(f"  {figures['reason']}")
    for one in figures.get("workers", ()):
        state = "lost" if one["lost"] else f"{one['in_flight']} in flight"
        held = f", waits for {one['held_by']}" if one["held_by"] else ""
        lines.append(f"  {one['worker']}: {state}, {format_count(one['shards'], 'shard')}{held}")
    return lines
