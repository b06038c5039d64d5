"""`llmbatch batch`: many prompts, one model."""

import os
import sys

from llmbatch_cli.cli.batch_api import check_batch_api
from llmbatch_cli.cli.batch_job import Options, asked_by, job_of
from llmbatch_cli.cli.cluster_checks import check_cluster
from llmbatch_cli.cli.configured import MODEL_VARIABLE
from llmbatch_cli.cli.running import (
    Shown,
    answer_rows,
    run_async,
)
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.options import (
    Answers,
    DisplayOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    Sampling,
    Sending,
)
from llmbatch_cli.providers.registry import DEFAULT_MODEL, Setup

EXAMPLES = """\b
Examples:
  llmbatch batch prompts.jsonl -o answers.jsonl
  llmbatch batch prompts.jsonl -m gpt-4o-mini -o answers.jsonl --temperature 0
  cat prompts.jsonl | llmbatch batch -m gpt-4o-mini | jq -r .text
  llmbatch batch questions.txt -m my-model --base-url http://localhost:8000/v1
  llmbatch batch prompts.jsonl -m 'fake/echo?latency=0.5&rate_limited=0.05'

\b
Exit status: 0 all rows answered, 1 some failed, 2 usage error (nothing was
sent), 3 stopped early, 130 interrupted.
"""


USAGE = """usage: llmbatch batch [INPUT]... [-m MODEL] [-o OUTPUT]   (llmbatch batch -h for more)
  llmbatch batch prompts.jsonl -o answers.jsonl
  cat prompts.jsonl | llmbatch batch -m gpt-4o-mini | jq -r .text"""


def batch(
    model: ModelOptions,
    sampling: Sampling,
    answers: Answers,
    input_: InputOptions,
    output: OutputOptions,
    sending: Sending,
    display: DisplayOptions,
    setup: Setup,
) -> int:
    """Send many prompts to one model.

    Each row of INPUT (JSONL, a table, or plain text with a prompt per line) becomes one
    request, up to --concurrency at a time, and one row of output.
    """
    if not input_.inputs and sys.stdin is not None and sys.stdin.isatty():
        print(USAGE, file=sys.stderr)  # noqa: T201
        return ExitStatus.USAGE
    options = Options(model, sampling, answers, input_, output, sending, setup)
    is_default = not any(model.models or [os.environ.get(MODEL_VARIABLE, "")])
    ask = asked_by(options)
    job = job_of(options, ask)
    job.inputs.check()
    inputs, output = job.inputs, job.output
    if display.dry_run:
        if display.summary is not None:
            raise UsageError(
                "--summary is of a run, and --dry-run is none", hint="llmbatch estimate has --json"
            )
        from llmbatch_cli.cli.estimating import Estimating, estimate_rows

        estimating = Estimating(
            inputs=inputs,
            input=input_,
            batches=[ask],
            sending=sending,
            setup=setup,
            output=output,
            is_choice=bool(answers.choices),
        )
        return run_async(estimate_rows(estimating))
    check_batch_api(output, sending, fallback=bool(ask.fallback))
    check_cluster(job, sending)
    by_default = DEFAULT_MODEL if is_default else None
    shown = Shown(display, ask.model.partition("?")[0], by_default=by_default)
    if sending.cluster.engine == "ray":
        from llmbatch_cli.cli.cluster_run import answer_on_cluster

        return run_async(answer_on_cluster(job, ask, options, shown))
    return run_async(answer_rows(job, shown))
