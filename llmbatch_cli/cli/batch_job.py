"""The job of `llmbatch batch`, made of its options: here, and by each worker on a cluster."""

import os

from llmbatch_cli.cli.configured import MODEL_VARIABLE
from llmbatch_cli.cli.model_names import one_model, split_names
from llmbatch_cli.cli.running import inputs_of, with_defaults
from llmbatch_cli.cli.shaping import plain_system
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import (
    Answers,
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


@frozen
class Options:
    """All that says what a batch is."""

    model: ModelOptions
    sampling: Sampling
    answers: Answers
    input: InputOptions
    output: OutputOptions
    sending: Sending
    setup: Setup


def asked_by(options: Options) -> Batch:
    """What is asked for each row. Raises UsageError."""
    model, setup = options.model, options.setup
    named = model.models or [os.environ.get(MODEL_VARIABLE, "")]
    return Batch(
        model=one_model(named, setup) or DEFAULT_MODEL,
        fallback=split_names(model.fallback, setup),
        params=options.sampling.params(),
        system=plain_system(options.input, options.sampling.system_text()),
        shape=shape_asked(options.answers),
    )


def job_of(options: Options, ask: Batch) -> Job:
    """The job that answers this. Raises UsageError."""
    sending, setup = options.sending, options.setup
    return Job(
        inputs_of(options.input, system=options.sampling.system_text()),
        ask,
        CallOptions.of(sending, setup=setup),
        with_defaults(options.output, options.input.inputs),
        options.input,
        FailureLimit.parse(sending.retries.max_errors),
        batch_api=sending.batch_api,
    )
