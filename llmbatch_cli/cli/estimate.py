"""`llmbatch estimate`: what a run would cost, for one model or several."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from llmbatch_cli.cli.configured import MODEL_VARIABLE
from llmbatch_cli.cli.estimating import Estimating, estimate_rows
from llmbatch_cli.cli.model_names import split_names
from llmbatch_cli.cli.options import Here, Only, Without
from llmbatch_cli.cli.running import inputs_of, run_async, with_defaults
from llmbatch_cli.cli.shaping import plain_system
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.estimate_options import EstimateAndDisplay
from llmbatch_cli.core.options import (
    Answers,
    InputOptions,
    ModelOptions,
    OutputOptions,
    Sampling,
    Sending,
)
from llmbatch_cli.plans import Batch, shape_asked
from llmbatch_cli.providers.access import Setup
from llmbatch_cli.providers.registry import DEFAULT_MODEL

EXAMPLES = """\b
Examples:
  llmbatch estimate prompts.jsonl -m gpt-4o-mini -m claude-haiku-5-5
  llmbatch estimate reviews.csv -t 'Translate: {{ review }}' --max-tokens 300
  llmbatch estimate prompts.jsonl -m gpt-4o-mini --sample 20 -o answers.jsonl

\b
Exit status: 0 estimated, 2 usage error; with --sample 3 stopped early,
130 interrupted.
"""


def estimate(
    model: Annotated[
        ModelOptions,
        Only("models"),
        Here("models", "PROVIDER/MODEL, or a bare name such as gpt-4o-mini. Repeatable."),
    ],
    sampling: Sampling,
    answers: Answers,
    input_: Annotated[
        InputOptions,
        Here(
            "sample",
            "Send N rows, chosen at random over the input, to each model, and project from what "
            "they really use. This pays for them.",
        ),
    ],
    output: Annotated[
        OutputOptions,
        Only("output", "resume", "overwrite", "retry_failed"),
        Here(
            "output", "Write the answers of --sample to this file, which batch --resume continues."
        ),
        Here("resume", "Leave out rows that the output has an answer to."),
    ],
    sending: Annotated[
        Sending,
        Without(
            *("path", "size", "dedupe"),
            *("batch_api", "detach", "live_after", "batch_bucket", "batch_role"),
        ),
    ],
    shown: Annotated[EstimateAndDisplay, Only("expect_output", "json", "progress", "quiet")],
    setup: Setup,
) -> int:
    """Count the tokens of a run, and what it would cost and take.

    Reads all of the input, and sends nothing without --sample. Needs no key then.
    """
    if not input_.inputs and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("no INPUT is given", hint="llmbatch estimate prompts.jsonl -m MODEL")
    system = sampling.system_text()
    inputs = inputs_of(input_, system=system)
    inputs.check()
    names = split_names(model.models or [os.environ.get(MODEL_VARIABLE, "")], setup) or [
        DEFAULT_MODEL
    ]
    output, sample = with_defaults(output, input_.inputs), inputs.choice.sample
    _check(output, names, sample)
    params, shape = sampling.params(), shape_asked(answers)
    of_rows = plain_system(input_, system)
    job = Estimating(
        inputs=replace(inputs, choice=replace(inputs.choice, sample=None)),
        input=input_,
        batches=[Batch(model=name, params=params, system=of_rows, shape=shape) for name in names],
        sending=sending,
        setup=setup,
        output=output,
        expected=shown.estimate.expect_output,
        is_choice=bool(answers.choices),
        sample=sample,
        display=shown.display,
        as_json=shown.estimate.json,
    )
    return run_async(estimate_rows(job))


def _check(output: OutputOptions, names: Sequence[str], sample: int | None) -> None:
    if output.output is None:
        return
    if len(names) > 1:
        raise UsageError(
            "-o takes the answers of one model", hint="leave out -o, or all -m but one"
        )
    if sample is None and not output.resume:
        raise UsageError("-o without --sample has nothing to write", hint="leave one out")
    if sample is not None and output.format != "jsonl":
        raise UsageError(
            f"--sample writes its answers as JSONL, but -o {output.output} is {output.format}",
            hint="name a .jsonl file",
        )
