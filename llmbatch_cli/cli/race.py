"""`llmbatch race`: each prompt to several models at once, the first good answer wins."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from llmbatch_cli.api import run_race
from llmbatch_cli.cli import options
from llmbatch_cli.cli.answering import answer_rows
from llmbatch_cli.cli.live import Live
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
from llmbatch_cli.cli.say import say
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.rows.input.inputs import check_inputs
from llmbatch_cli.transport import MEBIBYTE, Connection

EXAMPLES = """\b
Examples:
  llmbatch race -m gpt-4o-mini -m claude-haiku-4-5 "What is the capital of France?"
  llmbatch race -m gpt-4o-mini,gemini-2.5-flash prompts.jsonl -o answers.jsonl
  llmbatch race -m gpt-4o-mini -m mistral-small-latest --hedge p95 prompts.jsonl
  llmbatch race -m gpt-4o-mini -m gemini-2.5-flash --all "Tell me a joke"
  echo "Why is the sky blue?" | llmbatch race -m gpt-4o-mini -m o4-mini --stream -f text

\b
Exit status: 0 all rows answered, 1 some failed, 2 wrong usage (nothing
was sent), 3 the run was stopped, 130 Ctrl-C.
"""

Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="A racer: PROVIDER/MODEL or a bare name; ?name=value behind it sets its parameters. "
        "Repeat it, or part names by commas. The first listed is preferred in a tie.",
    ),
]
What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROMPT | INPUT...]",
        help="One prompt, or files of prompts as in batch: what is no existing file, and has a "
        "space or no ending such as .jsonl or .txt, is a prompt. - or nothing is standard input.",
    ),
]
Prefer = Annotated[
    list[str] | None,
    typer.Option(
        "--prefer",
        metavar="MODEL",
        help="Preferred in a tie, and first with --hedge, in place of the order of -m. Repeatable.",
    ),
]
First = Annotated[bool, typer.Option("--first", help="The first good answer wins (the default).")]
All = Annotated[bool, typer.Option("--all", help="Every model's answer, a row each.")]
Wins = Annotated[
    int | None, typer.Option("--wins", min=1, metavar="N", help="The first N good answers.")
]
HedgeAfter = Annotated[
    str | None,
    typer.Option(
        "--hedge",
        metavar="SECONDS|pNN",
        help="Start the next model only when those before have not answered within SECONDS, or "
        "within this run's own NNth percentile, as p95.",
    ),
]
AcceptTruncated = Annotated[
    bool, typer.Option("--accept-truncated", help="An answer cut off by length may win.")
]
Streamed = Annotated[
    bool, typer.Option("--stream", help="The first model to produce text wins, and is shown live.")
]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".txt", ".md", ".gz")


def race(
    what: What = None,
    models: Models = [],  # noqa: B006 - Typer wants the default itself
    output: options.Output = None,
    first: First = False,
    all_: All = False,
    wins: Wins = None,
    prefer: Prefer = None,
    hedge: HedgeAfter = None,
    accept_truncated: AcceptTruncated = False,
    stream: Streamed = False,
    concurrency: options.RaceConcurrency = None,
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
    reasoning_effort: options.ReasoningEffort = None,
    param: options.Param = None,
    drop_params: options.DropParams = False,
    base_url: options.BaseUrl = None,
    api: options.Api = None,
    insecure: options.Insecure = False,
    timeout: options.Timeout = 600.0,
    connect_timeout: options.ConnectTimeout = 10.0,
    http: options.HttpClient = Http.AIOHTTP,
    files: options.Files = None,
    limit: options.Limit = None,
    format: options.MaybeFormat = None,  # noqa: A002 - it is the option's name
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
    """Send each prompt to several models; the first good answer wins.

    Good is an answer that is not empty, not cut off by length and not refused. The other
    requests are closed at once; what a cancelled one may cost is told in the summary. A
    single prompt's answer is shown as text on a terminal, everything else is JSONL.
    """
    reading, prompt = _what_to_read(what or [], input_format, max_line_bytes, limit)
    named = {
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "stop": stop or None,
        "seed": seed,
        "reasoning_effort": reasoning_effort,
    }
    form = format or (OutputFormat.TEXT if prompt and _shown(output) else OutputFormat.JSONL)
    wanted = _wins(first=first, all_=all_, wins=wins)
    live = Live() if form is OutputFormat.TEXT and _shown(output) else None
    one_answer = stream and wanted == 1 and prompt  # several at once would mix
    ask = partial(
        run_race,
        models=preferred(racers(models), prefer or []),
        wins=wanted,
        hedge=parse_hedge(hedge),
        accept_truncated=accept_truncated,
        stream=stream,
        on_text=live if one_answer else None,
        params=run_params(named, param),
        system=system,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        max_attempts=max_attempts,
        tolerance=parse_failure_limit(max_errors),
        drop_params=drop_params,
        files=files,
        timeout_s=timeout,
        ordered=ordered,
        access=access_by(base_url, api=api, insecure=insecure),
        connection=Connection(http=http.value, connect_timeout_s=connect_timeout),
    )
    writing = Writing(
        output,
        form.value,
        one_line,
        overwrite,
        reading.inputs,
        resume=resume,
        retry_failed=retry_failed.value,
        fsync=fsync,
        ordered=ordered,
        live=live,
    )
    showing = Showing(
        progress, quiet, told_failures(verbose, form), "race", log_prompts, standings=True
    )
    return run_async(answer_rows(reading, ask, writing, showing, strict=strict))


def racers(named: list[str]) -> list[str]:
    """Every `-m`, parted by commas; a comma inside a model's options parts nothing."""
    models = []
    for one in named:
        path, mark, query = one.partition("?")
        *before, last = path.split(",")
        models += [model.strip() for model in before if model.strip()]
        if last.strip():
            models.append(f"{last.strip()}{mark}{query}")
    if not models:
        raise UsageError("a race needs models", hint="llmbatch race -m MODEL -m MODEL PROMPT")
    return models


def preferred(models: list[str], first: list[str]) -> list[str]:
    """The models with these in front. Raises UsageError for one that does not race."""
    for model in first:
        if model not in models:
            raise UsageError(f"--prefer {model}: it is no racer", hint="name it with -m, too")
    return sorted(models, key=lambda model: first.index(model) if model in first else len(first))


def parse_hedge(value: str | None) -> Hedge | None:
    """`0.8`, `800ms` or `p95` as a Hedge. Raises UsageError."""
    if value is None:
        return None
    try:
        if value.startswith("p"):
            quantile = float(value[1:]) / 100
            if not 0 < quantile < 1:
                raise ValueError
            return Hedge(quantile=quantile)
        seconds = float(value[:-2]) / 1000 if value.endswith("ms") else float(value.rstrip("s"))
        if not 0 < seconds < float("inf"):
            raise ValueError
        return Hedge(fixed_s=seconds)
    except ValueError as error:
        raise UsageError(
            f"--hedge {value!r} is no time and no percentile", hint="as in --hedge 0.8 or p95"
        ) from error


def _wins(*, first: bool, all_: bool, wins: int | None) -> int | None:
    if first + all_ + (wins is not None) > 1:
        raise UsageError("--first, --all and --wins exclude each other")
    return None if all_ else wins or 1


def _what_to_read(
    what: list[str], input_format: InputFormat, max_line_bytes: int, limit: int | None
) -> tuple[Reading, bool]:
    """What to read, and whether it is one prompt from a person."""
    if len(what) == 1 and is_prompt(what[0]):
        if not what[0].strip():
            raise UsageError("the prompt is empty")
        return Reading((), "whole", max_line_bytes, limit, prompt=what[0]), True
    inputs = what or ["-"]
    check_inputs(inputs)
    asked = not what and sys.stdin.isatty()
    if asked:
        say("type the prompt, then Ctrl-D")
        return Reading(inputs, "whole", max_line_bytes, limit), True
    return Reading(inputs, input_format.value, max_line_bytes, limit, for_text="whole"), False


def is_prompt(argument: str) -> bool:
    """Whether the argument is a prompt, not the name of an input.

    What is no file, and looks like the name of one, is a name that is wrong.
    """
    if not argument.strip():
        return True
    try:
        exists = argument == "-" or Path(argument).exists()
    except (OSError, ValueError):  # too long for a name, or not one at all
        exists = False
    looks = argument.lower().endswith(SUFFIXES) and not any(map(str.isspace, argument))
    return not (exists or looks)


def _shown(output: Path | None) -> bool:
    return str(output or "-") == "-" and sys.stdout is not None and sys.stdout.isatty()
