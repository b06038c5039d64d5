"""Help, usage errors and completion, as users meet them.

To write the stored copies again after a change of help:

    LLMBATCH_WRITE_HELP=1 python -m pytest tests/cli/test_help.py
"""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from support.program import environment, jsonl, run

from llmbatch_cli.cli.app import COMMANDS
from llmbatch_cli.core.options import (
    Answers,
    BatchApi,
    Cache,
    Cluster,
    DisplayOptions,
    InputOptions,
    Limits,
    ModelOptions,
    Network,
    Option,
    OutputOptions,
    RaceOptions,
    Retries,
    Sampling,
    is_option,
    option_of,
)

TOP = Path(__file__).parent.parent.parent
STORED = Path(__file__).parent / "help"
COLUMNS = 80
SHARED = (
    Sampling, Answers, InputOptions, OutputOptions, Cache, Limits, Retries, Network, DisplayOptions
)  # fmt: skip
GROUPS: Final[Mapping[str, tuple[Any, ...]]] = {
    "batch": (ModelOptions, *SHARED, BatchApi, Cluster),
    "race": (RaceOptions, *SHARED),
}

HELPS = {
    "llmbatch": ("--help",),
    **{name: (name, "--help") for name in COMMANDS},
    "batch-short": ("batch", "-h"),
    "race-short": ("race", "-h"),
    "preview-short": ("preview", "-h"),
    "estimate-short": ("estimate", "-h"),
}
"""Every help text: the name of its stored copy, and how it is asked for."""


@cache
def stored(name: str) -> str:
    """The stored copy of a help text."""
    return (STORED / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", HELPS)
async def test_help_equals_its_stored_copy(name: str) -> None:
    """Nothing in help changes unseen; no line is wider than 80 columns."""
    done = await run(*HELPS[name], env={"COLUMNS": str(COLUMNS)})
    text = done.out.decode()
    assert (done.status, done.err) == (0, "")
    assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
    if os.environ.get("LLMBATCH_WRITE_HELP"):
        STORED.mkdir(exist_ok=True)
        (STORED / f"{name}.txt").write_text(text)
    assert text == stored(name)


def test_no_stored_copy_is_left_over() -> None:
    """Each stored copy is one of a help text that there is."""
    assert {path.stem for path in STORED.iterdir()} == set(HELPS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if f"{name}-short" not in HELPS])
async def test_a_command_with_few_options_has_one_help(name: str) -> None:
    """`-h` is `--help` where all options fit on one screen."""
    done = await run(name, "-h", env={"COLUMNS": str(COLUMNS)})
    assert (done.status, done.out.decode()) == (0, stored(name))


@pytest.mark.parametrize("command", GROUPS)
def test_the_short_help_fits_one_screen(command: str) -> None:
    """The everyday options and no others, and where to find the rest."""
    text = stored(f"{command}-short")
    assert len(text.splitlines()) <= 30
    shown = {name for name in options(command) if flag_in(name, text)}
    assert shown == {name for name, option in options(command).items() if option.everyday}
    assert f"llmbatch {command} --help" in text
    assert text.count("(") == text.count(")"), "a text is cut in the middle of a bracket"


@pytest.mark.parametrize("command", GROUPS)
def test_the_full_help_names_every_option(command: str) -> None:
    """In sections, most used first, each with every one of its options."""
    text = stored(command)
    for group in GROUPS[command]:
        assert f"\n{group.section}:\n" in text
    assert [name for name in options(command) if not flag_in(name, text)] == []
    first = "Model" if command == "batch" else "Race"
    order = [text.index(f"\n{name}:\n") for name in (first, "Sampling", "Input", "Network")]
    assert order == sorted(order)


def test_the_readme_and_recipes_name_every_command() -> None:
    """A command that is not documented fails the tests."""
    assert [name for name in COMMANDS if f"llmbatch {name}" not in documentation()] == []


@pytest.mark.parametrize("command", GROUPS)
def test_the_readme_and_recipes_name_every_option(command: str) -> None:
    """Each option is in the README or a recipe, by its name or its letter."""
    text = documentation()
    for name, option in options(command).items():
        flags = [name, f"-{option.letter}"] if option.letter else [name]
        assert any(flag_in(flag, text) for flag in flags), name


def options(command: str) -> Mapping[str, Option]:
    """The command's options, by name."""
    left_out = ("dedupe", "dry_run") if command == "race" else ()
    declared = [one for group in GROUPS[command] for one in fields(group) if is_option(one)]
    found = [(one, option_of(one.metadata)) for one in declared]
    return {
        f"--{(option.name or one.name).replace('_', '-')}": option
        for one, option in found
        if not option.positional and one.name not in left_out
    }


def flag_in(flag: str, text: str) -> bool:
    """Whether the text has the flag as a word of its own."""
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text) is not None


@cache
def documentation() -> str:
    """The README and all recipes."""
    pages = (TOP / "README.md", *(TOP / "samples" / "recipes").glob("*.md"))
    return "\n".join(page.read_text() for page in pages)


USAGE_ERRORS = {
    ("bach",): ("no such command 'bach'", "did you mean batch? llmbatch --help lists all"),
    ("qqq",): (
        "no such command 'qqq'",
        f"the commands are {', '.join(COMMANDS)}; llmbatch --help tells what they do",
    ),
    ("pyproject.toml",): (
        "no such command 'pyproject.toml'", "llmbatch batch pyproject.toml ... sends it",
    ),
    ("--verson",): (
        "no such option: --verson", "did you mean --version? llmbatch --help lists all",
    ),
    ("batch", "--temprature", "0"): (
        "no such option: --temprature",
        "did you mean --temperature? llmbatch batch --help lists all",
    ),
    ("batch", "--prompt", "x"): (
        "no such option: --prompt",
        "did you mean --prompt-field? llmbatch batch --help lists all",
    ),
    ("race", "-m", "a", "--batch-api"): (
        "no such option: --batch-api", "it is an option of llmbatch batch",
    ),
    ("batch", "--hedge", "1"): ("no such option: --hedge", "it is an option of llmbatch race"),
    ("race", "--hegde", "1"): (
        "no such option: --hegde", "did you mean --hedge? llmbatch race --help lists all",
    ),
    ("errors", "--rowz"): (
        "no such option: --rowz", "did you mean --rows? llmbatch errors --help lists all",
    ),
    ("batch", "-z"): ("no such option: -z", "llmbatch batch --help"),
    ("batch", "-c"): ("option '-c' requires an argument", "llmbatch batch --help"),
    ("batch", "-c", "0"): (
        "invalid value for '--concurrency' / '-c': 0 is less than 1, the minimum",
        "llmbatch batch --help",
    ),
    ("race", "--rpm", "-5"): (
        "invalid value for '--rpm': -5.0 is less than 0.01, the minimum", "llmbatch race --help",
    ),
    ("batch", "--seed", "x"): (
        "invalid value for '--seed': 'x' is not a whole number", "llmbatch batch --help",
    ),
    ("batch", "--timeout", "x"): (
        "invalid value for '--timeout': 'x' is not a number", "llmbatch batch --help",
    ),
    ("batch", "--http", "curl"): (
        "invalid value for '--http': 'curl' is not one of 'llhttp', 'httpx'",
        "llmbatch batch --help",
    ),
    ("batch", "-m", "fake/echo", "--temperature", "-1"): (
        "temperature must be a number >= 0, not -1.0",
        "it is set by an option, or after ? in the model's name",
    ),
    ("batch", "-m", "fake/echo", "--overwrite", "--resume", "-o", "out.jsonl"): (
        "--resume and --overwrite exclude each other", "leave one out",
    ),
    ("batch", "-m", "fake/echo", "-p", "x"): (
        "--param 'x' is not NAME=JSON", "as in --param top_k=40",
    ),
    ("models",): ("missing argument 'PROVIDER'", "llmbatch models --help"),
}  # fmt: skip
"""Command lines that cannot be run, and what is said of each: the error and the hint."""


@pytest.mark.parametrize("words", USAGE_ERRORS, ids=" ".join)
async def test_a_usage_error_says_what_and_what_to_do(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """One style for all: `llmbatch: error: ...`, then `hint: ...`; exit status 2, no output."""
    message, hint = USAGE_ERRORS[words]
    done = await run(*words, stdin=jsonl(["hi"]), cwd=TOP if words[0] != "batch" else tmp_path)
    assert (done.status, done.out) == (2, b"")
    assert done.err == f"llmbatch: error: {message}\nhint: {hint}\n"


async def test_bash_adds_no_space_after_a_provider() -> None:
    """`anthropic/` goes on with the model's name; a whole model's name ends."""
    env = environment({"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    script = """
        source <(llmbatch --show-completion)
        compopt() { echo "compopt $1 $2"; }
        for word in anthr gpt-4o-m; do
            COMP_WORDS=(llmbatch batch -m $word) COMP_CWORD=3 COMPREPLY=()
            _llmbatch_completion llmbatch
            echo "$COMPREPLY"
        done
    """
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env=env, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().splitlines() == ["compopt -o nospace", "anthropic/", "gpt-4o-mini"]


COMPLETIONS = {
    "llmbatch ": list(COMMANDS),
    "llmbatch ba": ["batch"],
    "llmbatch batch -m gpt-4o": ["gpt-4o", "gpt-4o-mini"],
    "llmbatch batch -m anthr": ["anthropic/"],
    "llmbatch batch --fallback anthr": ["anthropic/"],
    "llmbatch batch --tempe": ["--temperature"],
    "llmbatch race -m gpt-4o": ["gpt-4o", "gpt-4o-mini"],
    "llmbatch race -m gpt-4o,anthr": ["gpt-4o,anthropic/"],
    "llmbatch race --prefer anthr": ["anthropic/"],
    "llmbatch models anthr": ["anthropic"],
    "llmbatch batch --progress p": ["plain"],
}
"""What is typed, and what bash then proposes."""


@pytest.mark.parametrize("typed", COMPLETIONS)
async def test_completion_knows_commands_options_providers_and_models(typed: str) -> None:
    """What `llmbatch --install-completion` sets up calls the program in this way."""
    words = typed.split(" ")
    env = {
        "_LLMBATCH_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = await run(env=env)
    assert (done.status, done.err) == (0, "")
    assert done.out.decode().split() == COMPLETIONS[typed]
