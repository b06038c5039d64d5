"""`llmbatch race`: each prompt to several models at once, the first good answer wins."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

from llmbatch_cli.cli.live import Live
from llmbatch_cli.cli.model_names import split_names
from llmbatch_cli.cli.options import Arguments
from llmbatch_cli.cli.running import (
    Shown,
    answer_rows,
    inputs_of,
    run_async,
    stdout_is_terminal,
    with_defaults,
)
from llmbatch_cli.cli.say import say
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import (
    DisplayOptions,
    InputOptions,
    Limits,
    Network,
    OutputOptions,
    RaceOptions,
    Retries,
    Sampling,
)
from llmbatch_cli.engine.failure_limit import FailureLimit
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.race_work import Rules
from llmbatch_cli.job import Job
from llmbatch_cli.models import CallOptions
from llmbatch_cli.plans import Race
from llmbatch_cli.rows.input.foreign import by_suffix
from llmbatch_cli.rows.input.source import Inputs

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

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".txt", ".md")
MOST_WORDS: Final = 4
"""In a file's name with spaces; a prompt that ends in a name has more."""

PROMPTS: Final = Arguments(
    "[PROMPT | INPUT...]",
    "One prompt, or files of prompts as in batch. An argument is a prompt if no such file exists "
    "and it has a space or no suffix such as .jsonl or .txt. - or nothing is standard input.",
)


def race(
    race: RaceOptions,
    sampling: Sampling,
    input_: Annotated[InputOptions, PROMPTS],
    output: OutputOptions,
    limits: Limits,
    retries: Retries,
    network: Network,
    display: DisplayOptions,
) -> int:
    """Send each prompt to several models; the first good answer wins.

    Good is an answer that is not empty, not cut off by length and not refused. The other
    requests are cancelled at once; the summary says what they may have cost. A single
    prompt's answer is shown as text on a terminal, everything else is JSONL.
    """
    inputs, is_prompt_ = _inputs(input_)
    to_terminal = stdout_is_terminal(with_defaults(output).output)
    output = with_defaults(output, "text" if is_prompt_ and to_terminal else "jsonl")
    live = Live() if output.format == "text" and to_terminal else None
    models = racers(race.models)
    wins = _wins(race, len(models))
    rules = Rules(wins, race.accept_truncated, race.stream)
    ask = Race(
        models=preferred(models, split_names(race.prefer)),
        rules=rules,
        hedge=Hedge.parse(race.hedge),
        params=sampling.params(),
        system=sampling.system,
    )
    if live is not None and race.stream and wins == 1 and is_prompt_:  # several would mix
        ask = replace(ask, on_text=live)
    calls = CallOptions.of(
        limits, retries, network, drop_params=sampling.drop_params, together=True
    )
    job = Job(inputs, ask, calls, output, input_, FailureLimit.parse(retries.max_errors))
    return run_async(answer_rows(job, Shown(display, "race", live, standings=True)))


def racers(named: Sequence[str]) -> list[str]:
    """Every `-m`, split at commas."""
    models = split_names(named)
    if not models:
        raise UsageError("a race needs models", hint="llmbatch race -m MODEL -m MODEL PROMPT")
    return models


def preferred(models: Sequence[str], first: Sequence[str]) -> list[str]:
    """The models with these in front. Raises UsageError for one that does not race."""
    for model in first:
        if model not in models:
            raise UsageError(f"--prefer {model}: not one of the models", hint="add it with -m")
    return sorted(models, key=lambda model: first.index(model) if model in first else len(first))


def _wins(race: RaceOptions, models: int) -> int | None:
    if race.first + race.all + (race.wins is not None) > 1:
        raise UsageError("--first, --all and --wins exclude each other")
    if race.wins is not None and race.wins > models:
        raise UsageError(
            f"--wins {race.wins} of {models} {'model' if models == 1 else 'models'}",
            hint="name more with -m; --all writes every answer",
        )
    return None if race.all else race.wins or 1


def _inputs(options: InputOptions) -> tuple[Inputs, bool]:
    """What to read, and whether it is one prompt from a person."""
    arguments = options.inputs
    if len(arguments) == 1 and is_prompt(arguments[0]):
        if not arguments[0].strip():
            raise UsageError("the prompt is empty")
        return replace(inputs_of(options), inputs=(), prompt=arguments[0]), True
    inputs = inputs_of(options, for_text="whole")
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
    try:
        exists = argument == "-" or Path(argument).exists()
    except (OSError, ValueError):  # too long for a name, or not one at all
        exists = False
    return not (exists or looks_like_a_name(argument))


def looks_like_a_name(argument: str) -> bool:
    """Whether it ends as a file's name does, and has few words; "my prompts.jsonl" is no prompt."""
    words = argument.split()
    last = words[-1].lower()
    stem, dot, suffix = last.removesuffix(".gz").rpartition(".")
    known = f"{dot}{suffix}" in SUFFIXES or by_suffix(f"{dot}{suffix}") is not None
    ends_so = bool(stem) and (known or last.endswith(".gz"))
    return ends_so and len(words) <= MOST_WORDS and "\n" not in argument
