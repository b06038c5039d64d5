"""The options of the commands: one letter, one word, one meaning on every command."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class InputFormat(StrEnum):
    """How input is read."""

    AUTO = "auto"
    JSONL = "jsonl"
    TEXT = "text"
    WHOLE = "whole"


class OutputFormat(StrEnum):
    """How an answer is written."""

    JSONL = "jsonl"
    TEXT = "text"
    OPENAI = "openai"
    CHAT = "chat"


class ProgressMode(StrEnum):
    """How progress is shown on standard error."""

    AUTO = "auto"
    BAR = "bar"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class RetryFailed(StrEnum):
    """Which failed rows a resumed run tries again."""

    ALL = "all"
    RETRYABLE = "retryable"
    NONE = "none"


class Http(StrEnum):
    """The HTTP client."""

    AIOHTTP = "aiohttp"
    HTTPX = "httpx"


def told_failures(verbose: int, form: OutputFormat) -> int:
    """How much is told of failed rows: all where the output itself has no place for them."""
    return 2 if form is OutputFormat.TEXT else verbose


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT]...",
        help="Files of prompts, read one after the other; - or nothing is standard input.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="LLMBATCH_MODEL",
        help="PROVIDER/MODEL, or a bare name such as gpt-4o-mini. ?name=value behind it sets "
        "parameters.  [default: local/smollm2, in this process, free]",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write here instead of standard output; .gz compresses."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        help="Requests in flight at most. Without it a run begins with 16, and finds out how "
        "many the account allows, up to 512.",
    ),
]
RaceConcurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        help="Requests, not rows, in flight at most.  [default: 64]",
        show_default=False,
    ),
]
Rpm = Annotated[
    float | None,
    typer.Option("--rpm", min=0.01, help="Requests a minute at most, to each model."),
]
Tpm = Annotated[
    int | None, typer.Option("--tpm", min=1, help="Tokens a minute at most, to each model.")
]
MaxAttempts = Annotated[
    int,
    typer.Option(
        "--max-attempts",
        min=1,
        help="Tries of a row in all. Being told to wait uses up none: --timeout bounds that.",
    ),
]
MaxErrors = Annotated[
    str | None,
    typer.Option(
        "--max-errors", metavar="N|N%", help="Stop when so many rows, or such a share, failed."
    ),
]
System = Annotated[
    str | None, typer.Option("--system", "-s", help="A system message for every row without one.")
]
Temperature = Annotated[float | None, typer.Option(help="Randomness, from 0.")]
TopP = Annotated[float | None, typer.Option("--top-p", help="Nucleus sampling, 0 to 1.")]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="The longest answer, in tokens.")
]
StopAt = Annotated[
    list[str] | None, typer.Option("--stop", help="Text that ends the answer. Repeatable.")
]
Seed = Annotated[int | None, typer.Option(help="A seed, for providers that take one.")]
Choices = Annotated[int | None, typer.Option("--n", min=1, help="Answers to each prompt.")]
ReasoningEffort = Annotated[
    str | None,
    typer.Option("--reasoning-effort", help="How much to think: minimal, low, medium, high ..."),
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=JSON",
        help="Any other parameter, sent as it is. Repeatable.",
    ),
]
DropParams = Annotated[
    bool,
    typer.Option(
        "--drop-params", help="Leave out parameters that a provider does not take, told once."
    ),
]
Fallback = Annotated[
    list[str] | None,
    typer.Option(
        "--fallback", metavar="MODEL", help="Where a row goes when it finally fails. Repeatable."
    ),
]
BaseUrl = Annotated[
    list[str] | None,
    typer.Option(
        "--base-url",
        help="Send to this server instead of the provider's own, as http://localhost:8000/v1. "
        "Several share the rows.",
    ),
]
Files = Annotated[
    Path | None,
    typer.Option(
        "--files",
        metavar="DIR",
        help="Read image, audio and file parts that name a path below DIR.",
    ),
]
Api = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="chat|responses",
        help="Which of OpenAI's APIs to speak; without it the one that the model needs.",
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Send keys over plain http to other machines too.")
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.001,
        help="The most that one row may take from its first request on, seconds.",
    ),
]
ConnectTimeout = Annotated[
    float, typer.Option("--connect-timeout", min=0.001, help="The most for connecting, seconds.")
]
HttpClient = Annotated[Http, typer.Option("--http", help="The HTTP client.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=0, help="Only the first N rows.", metavar="N")
]
Format = Annotated[OutputFormat, typer.Option("--format", "-f", help="How an answer is written.")]
MaybeFormat = Annotated[
    OutputFormat | None,
    typer.Option("--format", "-f", help="How an answer is written.", show_default=False),
]
OneLine = Annotated[
    bool, typer.Option("--one-line", help="With --format text: newlines escaped, a line a row.")
]
Ordered = Annotated[bool, typer.Option("--ordered", help="Write in input order.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with what the output holds: only rows that are new, changed or failed are "
        "sent.",
    ),
]
RetryFailedRows = Annotated[
    RetryFailed,
    typer.Option("--retry-failed", help="Which failed rows --resume tries again."),
]
Fsync = Annotated[
    bool,
    typer.Option(
        "--fsync", help="Have each row on the disk: safe when the machine goes down, slower."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what the output holds.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Send nothing if any row cannot be read or sent.")
]
ReadAs = Annotated[
    InputFormat,
    typer.Option(
        "--input-format", help="jsonl, text (a prompt a line) or whole (all is one prompt)."
    ),
]
MaxLineBytes = Annotated[
    int,
    typer.Option(
        "--max-line-bytes",
        min=1,
        show_default=False,
        help="A longer line is an unreadable row.  [default: 67108864, 64 MiB]",
    ),
]
Progress = Annotated[
    ProgressMode, typer.Option("--progress", help="How progress is shown on standard error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
LogPrompts = Annotated[
    bool,
    typer.Option(
        "--log-prompts",
        help="With -v, tell the prompts of failed rows, and providers' words that repeat them.",
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Tell each failed row as it happens, and with -vv its whole message.",
    ),
]
