"""`llmbatch race`: each prompt to several models at once, the first good answer wins."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

from llmbatch_cli.cli.live import Live
from llmbatch_cli.cli.model_names import split_names
from llmbatch_cli.cli.options import Arguments, Without
from llmbatch_cli.cli.running import (
    Shown,
    answer_rows,
    inputs_of,
    run_async,
    stdout_is_terminal,
    with_defaults,
)
from llmbatch_cli.cli.say import say
from llmbatch_cli.cli.shaping import plain_system
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import near_file
from llmbatch_cli.core.options import (
    TABLES,
    Answers,
    DisplayOptions,
    InputOptions,
    OutputFormat,
    OutputOptions,
    RaceOptions,
    Sampling,
    Sending,
)
from llmbatch_cli.engine.failure_limit import FailureLimit
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.race_work import Rules
from llmbatch_cli.job import Job
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.plans import shape_asked
from llmbatch_cli.plans.one_answer import ONE_ANSWER
from llmbatch_cli.plans.race import Race
from llmbatch_cli.providers.registry import Setup
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.storage import is_remote

EXAMPLES = """\b
Examples:
  llmbatch race -m gpt-4o-mini -m claude-haiku-4-5 "Why is the sky blue?"
  llmbatch race -m gpt-4o-mini,gemini-2.5-flash prompts.jsonl -o answers.jsonl
  llmbatch race -m gpt-4o-mini -m gemini-2.5-flash --hedge p95 prompts.jsonl
  llmbatch race -m gpt-4o-mini -m gemini-2.5-flash --all "Tell me a joke"
  echo "Tell me a joke" | llmbatch race -m gpt-4o-mini,o4-mini --stream

\b
Exit status: 0 all rows answered, 1 some failed, 2 usage error (nothing was
sent), 3 stopped early, 130 interrupted.
"""

SUFFIXES: Final = (".json", ".txt", ".md", ".yaml", ".yml")
"""A sentence may end so, and a file's name."""
DATA_SUFFIXES: Final = (
    *(".jsonl", ".ndjson", ".gz", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx"),
    *(".ods", ".zst", ".xz", ".bz2", ".zip"),
)
"""Only a file's name ends so."""

PROMPTS: Final = Arguments(
    "[PROMPT | INPUT...]",
    "One prompt, or files of prompts as in batch. An argument is a prompt if no such file exists "
    "and it does not look like one (answers.jsonl). - or nothing is standard input.",
)


def race(
    race: RaceOptions,
    sampling: Sampling,
    answers: Answers,
    input_: Annotated[InputOptions, PROMPTS],
    output: OutputOptions,
    sending: Annotated[
        Sending,
        Without("dedupe", "batch_api", "detach", "live_after", "batch_bucket", "batch_role"),
    ],
    display: Annotated[DisplayOptions, Without("dry_run")],
    setup: Setup,
) -> int:
    """Send each prompt to several models; the first good answer wins.

    Good is an answer that is not empty, not cut off by length and not refused. The other
    requests are cancelled at once; the summary says what they may have cost. A single
    prompt's answer is shown as text on a terminal, everything else is JSONL.
    """
    system = sampling.system_text()
    inputs, is_prompt_ = _inputs(input_, system)
    to_terminal = stdout_is_terminal(with_defaults(output).output)
    form: OutputFormat = "text" if is_prompt_ and to_terminal else "jsonl"
    output = with_defaults(output, () if is_prompt_ else input_.inputs, form)
    live = Live() if output.format == "text" and to_terminal else None
    models = preferred(racers(race.models, setup), split_names(race.prefer, setup))
    wins = _wins(race, models)
    if wins != 1 and output.format == "text" and not is_prompt_:
        raise UsageError(f"several answers per row, but {ONE_ANSWER}", hint="use --format jsonl")
    if wins != 1 and output.format in TABLES and output.columns is None:
        output = replace(output, columns="answer,model,error")
    rules = Rules(wins, race.accept_truncated, race.stream)
    ask = Race(
        models=models,
        rules=rules,
        hedge=Hedge.parse(race.hedge),
        params=sampling.params(),
        system=plain_system(input_, system),
        shape=shape_asked(answers),
    )
    if live is not None and race.stream and wins == 1 and is_prompt_:  # several would mix
        ask = replace(ask, on_text=live)
    calls = CallOptions.of(sending, together=True, setup=setup)
    job = Job(inputs, ask, calls, output, input_, FailureLimit.parse(sending.retries.max_errors))
    return run_async(answer_rows(job, Shown(display, "race", live, standings=True)))


def racers(named: Sequence[str], setup: Setup) -> list[str]:
    """Every `-m`, split at commas."""
    models = split_names(named, setup)
    if not models:
        raise UsageError("a race needs models", hint="llmbatch race -m MODEL -m MODEL PROMPT")
    return models


def preferred(models: Sequence[str], first: Sequence[str]) -> list[str]:
    """The models with these in front. Raises UsageError for one that does not race."""
    for model in first:
        if model not in models:
            raise UsageError(f"--prefer {model}: not one of the models", hint="add it with -m")
    return sorted(models, key=lambda model: first.index(model) if model in first else len(first))


def _wins(race: RaceOptions, models: Sequence[str]) -> int | None:
    if race.first + race.all + (race.wins is not None) > 1:
        raise UsageError("--first, --all and --wins exclude each other", hint="keep one of them")
    if race.wins is not None and race.wins > len(models):
        only = f"only {len(models)} {'model races' if len(models) == 1 else 'models race'}"
        raise UsageError(f"--wins {race.wins}, but {only}", hint="add models with -m")
    return None if race.all else race.wins or 1


def _inputs(options: InputOptions, system: str | None) -> tuple[Inputs, bool]:
    """What to read, and whether it is one prompt from a person."""
    arguments = options.inputs
    if len(arguments) == 1 and is_prompt(arguments[0]):
        if not arguments[0].strip():
            raise UsageError("the prompt is empty")
        return replace(
            inputs_of(replace(options, inputs=()), system=system), prompt=arguments[0]
        ), True
    inputs = inputs_of(options, for_text="whole", system=system)
    inputs.check()
    if not arguments and sys.stdin.isatty():
        say("type the prompt, then Ctrl-D")
        return replace(inputs, input_format="whole"), True
    return inputs, False


def is_prompt(argument: str) -> bool:
    """Whether the argument is a prompt, not the name of an input.

    What looks like a file's name and is not there is a wrong name, not a prompt.
    """
    if not argument.strip():
        return True
    if is_remote(argument):
        return False
    try:
        exists = argument == "-" or Path(argument).exists()
    except (OSError, ValueError):  # too long for a name, or not one at all
        exists = False
    return not (exists or _looks_like_a_name(argument))


def _looks_like_a_name(argument: str) -> bool:
    """Whether it is the name of a file, though there is none; with spaces if one is nearly so."""
    name = argument.lower()
    if name.endswith(DATA_SUFFIXES):
        return True
    has_space = any(map(str.isspace, name))
    return name.endswith(SUFFIXES) and (not has_space or near_file(argument) is not None)
