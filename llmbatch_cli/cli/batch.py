"""`llmbatch batch`: many prompts, one model."""

import os
import sys

from llmbatch_cli.cli.batch_api import check_batch_api
from llmbatch_cli.cli.configured import MODEL_VARIABLE
from llmbatch_cli.cli.model_names import one_model, split_names
from llmbatch_cli.cli.running import (
    Shown,
    answer_rows,
    inputs_of,
    run_async,
    with_defaults,
)
from llmbatch_cli.cli.shaping import plain_system
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
from llmbatch_cli.engine.failure_limit import FailureLimit
from llmbatch_cli.job import Job
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.plans import Batch, shape_asked
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
    system = sampling.system_text()
    inputs = inputs_of(input_, system=system)
    inputs.check()
    named = model.models or [os.environ.get(MODEL_VARIABLE, "")]
    ask = Batch(
        model=one_model(named, setup) or DEFAULT_MODEL,
        fallback=split_names(model.fallback, setup),
        params=sampling.params(),
        system=plain_system(input_, system),
        shape=shape_asked(answers),
    )
    output = with_defaults(output, input_.inputs)
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
    job = Job(
        inputs,
        ask,
        CallOptions.of(sending, setup=setup),
        output,
        input_,
        FailureLimit.parse(sending.retries.max_errors),
        batch_api=sending.batch_api,
    )
    by_default = None if any(named) else DEFAULT_MODEL
    shown = Shown(display, ask.model.partition("?")[0], by_default=by_default)
    return run_async(answer_rows(job, shown))
