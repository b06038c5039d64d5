"""What --batch-api cannot be combined with, said before anything is read or sent."""

from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import TABLES, BatchApi, OutputOptions, Sending
from llmbatch_cli.job.batch_api import ENDING, open_jobs
from llmbatch_cli.rows.output.table_files import journal_of

FALLBACK_HINT: Final = (
    "leave it out, as a job is of one model; then the failed rows go to another by "
    "--resume --retry-failed all -m OTHER"
)
TIER_HINT: Final = "leave it out: a job has its provider's batch price, the same at every hour"


def check_batch_api(output: OutputOptions, sending: Sending, *, fallback: bool) -> None:
    """Raise UsageError for what a run by a batch API cannot do."""
    options = sending.batch_api
    if not options.batch_api:
        _refuse_alone(options, is_cluster=sending.cluster.engine == "ray")
        return
    if output.output is None:
        raise UsageError(
            "--batch-api needs a file, beside which the jobs are kept", hint="name it with -o"
        )
    if output.output.exists() and not (output.output.is_file() or output.output.is_dir()):
        raise UsageError(
            f"--batch-api needs a file, and {output.output} is none",
            hint="name a file with -o, beside which the jobs are kept",
        )
    if output.format != "jsonl" and (output.format not in TABLES or journal_of(output) is None):
        raise UsageError(
            f"--batch-api writes jsonl or a table, not --format {output.format}",
            hint="the finished file can be turned into others: jq -r .text makes text of it",
        )
    if output.ordered and output.format == "jsonl":
        raise UsageError(
            "--ordered, but jobs of a batch API end in any order",
            hint="leave --ordered out; once all is there, --resume --ordered puts it in order",
        )
    for name, given, hint in (
        ("--fallback", fallback, FALLBACK_HINT),
        ("--dedupe", sending.cache.dedupe, "leave --dedupe out; --cache knows earlier answers"),
        ("--tier", sending.money.tier is not None, TIER_HINT),
    ):
        if given:
            raise UsageError(f"{name} does not go with --batch-api", hint=hint)
    if open_jobs(output.output) and not output.resume:
        raise UsageError(
            f"{output.output} has open jobs, in {output.output}{ENDING}",
            hint=f"--resume goes on with them; llmbatch jobs cancel {output.output} ends them",
        )
    _ = options.live_after_s  # raises for what is no time


def _refuse_alone(options: BatchApi, *, is_cluster: bool) -> None:
    for name, given in (("--detach", options.detach), ("--live-after", options.live_after)):
        if given and not (name == "--detach" and is_cluster):
            raise UsageError(f"{name} is for --batch-api", hint="add --batch-api")
