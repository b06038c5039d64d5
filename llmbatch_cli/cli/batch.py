"""`llmbatch batch`: many prompts, one model."""

import sys
from functools import partial

from llmbatch_cli.api import run_batch
from llmbatch_cli.cli import options
from llmbatch_cli.cli.answering import answer_rows
from llmbatch_cli.cli.options import (
    Http,
    InputFormat,
    OutputFormat,
    ProgressMode,
    RetryFailed,
    told_failures,
)
from llmbatch_cli.cli.reading import Reading
from llmbatch_cli.cli.running import Showing, Writing, run_async
from llmbatch_cli.cli.sampling import access_by, parse_failure_limit, run_params
from llmbatch_cli.core.errors import ExitStatus
from llmbatch_cli.providers.registry import DEFAULT_MODEL
from llmbatch_cli.rows.input.inputs import check_inputs
from llmbatch_cli.transport import MEBIBYTE, Connection

EXAMPLES = """\b
Examples:
  llmbatch batch prompts.jsonl -o answers.jsonl
  llmbatch batch prompts.jsonl -m gpt-4o-mini -o answers.jsonl --temperature 0
  cat prompts.jsonl | llmbatch batch -m gpt-4o-mini | jq -r .text
  llmbatch batch questions.txt -m my-model --base-url http://localhost:8000/v1
  llmbatch batch prompts.jsonl -m 'fake/echo?latency=0.5&rate_limited=0.05'

\b
Exit status: 0 all rows answered, 1 some failed, 2 wrong usage (nothing
was sent), 3 the run was stopped, 130 Ctrl-C.
"""

USAGE = """usage: llmbatch batch [INPUT]... [-m MODEL] [-o OUTPUT]   (llmbatch batch --help for all)
  llmbatch batch prompts.jsonl -o answers.jsonl
  cat prompts.jsonl | llmbatch batch -m gpt-4o-mini | jq -r .text"""


def batch(
    inputs: options.Inputs = None,
    model: options.Model = None,
    output: options.Output = None,
    concurrency: options.Concurrency = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    max_attempts: options.MaxAttempts = 6,
    max_errors: options.MaxErrors = None,
    system: options.System = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    stop: options.StopAt = None,
    seed: options.Seed = None,
    n: options.Choices = None,
    reasoning_effort: options.ReasoningEffort = None,
    param: options.Param = None,
    drop_params: options.DropParams = False,
    fallback: options.Fallback = None,
    base_url: options.BaseUrl = None,
    api: options.Api = None,
    insecure: options.Insecure = False,
    timeout: options.Timeout = 600.0,
    connect_timeout: options.ConnectTimeout = 10.0,
    http: options.HttpClient = Http.AIOHTTP,
    files: options.Files = None,
    limit: options.Limit = None,
    format: options.Format = OutputFormat.JSONL,  # noqa: A002 - it is the option's name
    one_line: options.OneLine = False,
    ordered: options.Ordered = False,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    retry_failed: options.RetryFailedRows = RetryFailed.RETRYABLE,
    fsync: options.Fsync = False,
    strict: options.Strict = False,
    input_format: options.ReadAs = InputFormat.AUTO,
    max_line_bytes: options.MaxLineBytes = 64 * MEBIBYTE,
    progress: options.Progress = ProgressMode.AUTO,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    log_prompts: options.LogPrompts = False,
) -> int:
    """Send many prompts to one model.

    Each row of INPUT (JSONL, or plain text with a prompt a line) is sent at once, up to
    --concurrency at a time, and answered with one line of JSON.
    """
    if not inputs and sys.stdin.isatty():
        print(USAGE, file=sys.stderr)  # noqa: T201
        return ExitStatus.USAGE
    model = model or DEFAULT_MODEL
    reading = Reading(inputs or ["-"], input_format.value, max_line_bytes, limit)
    check_inputs(reading.inputs)
    named = {
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "stop": stop or None,
        "seed": seed,
        "n": n,
        "reasoning_effort": reasoning_effort,
    }
    ask = partial(
        run_batch,
        model=model,
        params=run_params(named, param),
        system=system,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        max_attempts=max_attempts,
        tolerance=parse_failure_limit(max_errors),
        fallbacks=fallback or (),
        drop_params=drop_params,
        files=files,
        timeout_s=timeout,
        ordered=ordered,
        access=access_by(base_url, api=api, insecure=insecure),
        connection=Connection(http=http.value, connect_timeout_s=connect_timeout),
    )
    writing = Writing(
        output,
        format.value,
        one_line,
        overwrite,
        reading.inputs,
        resume=resume,
        retry_failed=retry_failed.value,
        fsync=fsync,
        ordered=ordered,
    )
    showing = Showing(
        progress, quiet, told_failures(verbose, format), model.partition("?")[0], log_prompts
    )
    return run_async(answer_rows(reading, ask, writing, showing, strict=strict))
