"""Every option of a run, declared once: the command line and the Python API both read these.

An option is one field: see option.py. Those of the input are in a file of their own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import orjson

from llmbatch_cli.core.at_file import text_of
from llmbatch_cli.core.batch_api_options import BatchApi as BatchApi
from llmbatch_cli.core.cluster_options import Cluster as Cluster
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.input_options import InputFormat as InputFormat
from llmbatch_cli.core.input_options import InputOptions as InputOptions
from llmbatch_cli.core.limit_options import Limits as Limits
from llmbatch_cli.core.money_options import Money as Money
from llmbatch_cli.core.option import Option as Option
from llmbatch_cli.core.option import is_option as is_option
from llmbatch_cli.core.option import option
from llmbatch_cli.core.option import option_of as option_of
from llmbatch_cli.core.sizes import bytes_of

OutputFormat = Literal["jsonl", "csv", "tsv", "parquet", "xlsx", "text", "openai", "chat"]
TABLES: Final[frozenset[str]] = frozenset(("csv", "tsv", "parquet", "xlsx"))
"""Formats that are tables: the input's own columns, and the answer's beside them."""
WHOLE: Final[frozenset[str]] = frozenset(("parquet", "xlsx"))
"""Tables that cannot be written row by row."""
COLUMNS: Final = (
    "answer",
    "reasoning",
    "model",
    "finish_reason",
    "tokens",
    "cost",
    "latency",
    "error",
)
"""What --columns chooses among."""

LEAST_CACHE_BYTES: Final = 100_000
WITHOUT_IDS: Final[frozenset[str]] = frozenset(("text", "chat"))
"""Formats whose rows have no id, so that only the order of the input tells them apart."""
RetryFailed = Literal["all", "retryable", "none"]
ProgressMode = Literal["auto", "bar", "plain", "json", "none"]
HttpClient = Literal["llhttp", "httpx"]


@frozen(kw_only=True)
class ModelOptions:
    """Which model answers."""

    section: ClassVar[str] = "Model"

    models: Sequence[str] = option(
        (),
        "PROVIDER/MODEL, or a bare name such as gpt-4o-mini. Append ?name=value to set "
        "parameters for this model.",
        name="model",
        letter="m",
        metavar="MODEL",
        shown="local/smollm2, the small embedded model, free",
        everyday=True,
        complete="models",
    )
    fallback: Sequence[str] = option(
        (), "Model to try after a row fails. Repeatable.", metavar="MODEL", complete="models"
    )


@frozen(kw_only=True)
class RaceOptions:
    """Which models race, and how one wins."""

    section: ClassVar[str] = "Race"

    models: Sequence[str] = option(
        (),
        "A model to race, as PROVIDER/MODEL or a bare name. Repeat it, or separate names with "
        "commas; the first wins ties.",
        name="model",
        letter="m",
        metavar="MODEL",
        everyday=True,
        complete="models",
    )
    first: bool = option(False, "The first good answer wins.  [default]")
    all: bool = option(False, "Write every model's answer, one row each.", everyday=True)
    wins: int | None = option(None, "Write the first N good answers.", min=1, metavar="N")
    prefer: Sequence[str] = option(
        (),
        "Model that wins ties and starts first with --hedge. Repeatable.",
        metavar="MODEL",
        complete="models",
    )
    hedge: str | float | None = option(
        None,
        "Start the next model only after SECONDS without an answer, or after this run's own NNth "
        "percentile (p95).",
        metavar="SECONDS|pNN",
        everyday=True,
    )
    accept_truncated: bool = option(False, "An answer cut off by length may win.")
    stream: bool = option(False, "The first model to produce text wins; its text is shown live.")


@frozen(kw_only=True)
class Sampling:
    """What is asked beside the messages."""

    section: ClassVar[str] = "Sampling"

    system: str | None = option(
        None,
        "System message for rows that have none; @FILE reads it from a file.",
        letter="s",
        everyday=True,
    )
    temperature: float | None = option(None, "Sampling temperature, from 0.", everyday=True)
    max_tokens: int | None = option(
        None, "Maximum length of an answer, in tokens.", min=1, everyday=True
    )
    top_p: float | None = option(None, "Nucleus sampling, 0 to 1.")
    stop: Sequence[str] = option((), "Text that ends the answer. Repeatable.")
    seed: int | None = option(None, "Random seed, where the provider supports one.")
    n: int | None = option(None, "Answers per prompt.", min=1)
    reasoning_effort: str | None = option(
        None, "Reasoning effort: minimal, low, medium, high ...", metavar="EFFORT"
    )
    param: Sequence[str] = option(
        (),
        "Any other request parameter, as in top_k=40; NAME=@FILE reads it from a file. Repeatable.",
        letter="p",
        metavar="NAME=JSON",
    )

    def system_text(self) -> str | None:
        """The system message, also of a file. Raises UsageError."""
        return None if self.system is None else text_of(self.system, "--system")

    def params(self) -> dict[str, object]:
        """The parameters that were given, unchecked. Raises UsageError for a bad `param`."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        named = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name not in _NOT_SENT and value not in (None, ())
        }
        return {**named, **dict(map(_named_param, self.param))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What form answers have to have.

    From Python, a schema may be a pydantic class or an object, too.
    """

    section: ClassVar[str] = "Answers"

    schema: str | type | Mapping[str, Any] | None = option(
        None,
        "Form of the answers: a JSON schema, or 'name, age int'; a file, its text, or the short "
        "form. The row's data is the parsed object.",
        metavar="SCHEMA",
        everyday=True,
        complete="files",
    )
    choices: Sequence[str] = option(
        (), "Answers must be one of these, as in yes,no; @FILE reads them.", metavar="A,B,C"
    )
    extract: str | None = option(
        None,
        "Keep only this of each answer: json, code (the first code block), or what REGEX matches.",
        metavar="json|code|REGEX",
    )
    schema_retries: int = option(
        2, "Times to ask again, with the reason, for an answer that does not fit.", min=0
    )


_SHOWN_CHARS: Final = 200
_NOT_SENT: Final = frozenset(("system", "param"))
"""Fields of Sampling that are no parameters by their own name."""


def _named_param(pair: str) -> tuple[str, object]:
    name, equals, text = pair.partition("=")
    if not (name and equals):
        begin = re.split(r"[\s:=]", pair[:20])[0]  # the rest may be a secret
        raise UsageError(f"--param {begin!r} is not NAME=JSON", hint="as in --param top_k=40")
    text = text_of(text, f"--param {name}")
    value = json_or_text(text)
    if value == text and text[:1] in ("{", "["):
        shown = repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")
        raise UsageError(
            f"--param {name}: {'its value' if name.startswith('extra_') else shown} is not "
            "valid JSON",
            hint="quote it for the shell, or read it from a file: --param NAME=@FILE",
        )
    return name, value


def json_or_text(text: str) -> Any:
    """The value as JSON where it is JSON, else the text itself."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


@frozen(kw_only=True)
class OutputOptions:
    """Where answers go and how they look."""

    section: ClassVar[str] = "Output"

    output: Path | None = option(
        None,
        "Write to this file instead of standard output; its name decides the format (.jsonl, "
        ".csv, .tsv, .parquet, .xlsx), .gz compresses. It may be at s3://, gs:// or az://.",
        letter="o",
        everyday=True,
        complete="files",
    )
    format: OutputFormat | None = option(
        None,
        "jsonl (all fields), csv, tsv, parquet or xlsx (a table), text (the answer alone), "
        "openai (a batch API line) or chat (the chat.completion object). Tables have the input's "
        "columns and the answer. Tables, text and chat are in input order.",
        letter="f",
        metavar="FORMAT",
        shown="by the name of -o, else jsonl",
        everyday=True,
    )
    resume: bool = option(
        False,
        "Continue an output file: send only rows that are new, changed or failed.",
        everyday=True,
    )
    overwrite: bool = option(False, "Replace an existing output file.", everyday=True)
    ordered: bool = option(False, "Write rows in input order.", everyday=True)
    include_input: bool = option(
        False, "Add each row's messages to its output, in the field input, and its own fields."
    )
    columns: str | None = option(
        None,
        f"Columns of a table beside the input's, separated by commas: {', '.join(COLUMNS)}.",
        metavar="NAMES",
        shown="answer,error",
    )
    answer_field: str = option("answer", "Name of a table's column of answers.", metavar="NAME")
    raw_cells: bool = option(
        False, "Write cells of CSV that a spreadsheet takes for a formula as they are."
    )
    detail: bool = option(False, "Add what each attempt at a row has cost, in the field costs.")
    one_line: bool = option(
        False, "With --format text: escape newlines, so that line N answers row N."
    )
    retry_failed: RetryFailed = option("retryable", "Failed rows that --resume sends again.")
    fsync: bool = option(False, "fsync each write; survives power loss.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Which answers are not asked for again."""

    section: ClassVar[str] = "Cache"

    path: str | Path | bool | None = option(
        None,
        "Keep answers, and take them for requests that were sent before. PATH ends in .db; write "
        "any other as --cache=PATH.",
        name="cache",
        metavar="[PATH]",
        shown="off; PATH: in the user's cache folder",
    )
    size: str | int = option(
        "1GB",
        "Keep the cache below this size; answers unused for longest go first.",
        name="cache_size",
        metavar="BYTES",
    )
    dedupe: bool = option(False, "Send equal rows of this run once.")

    @property
    def is_kept(self) -> bool:
        """Whether answers are kept for other runs; an empty path or True is the user's cache."""
        return self.path is not None and self.path is not False

    @property
    def size_bytes(self) -> int:
        """The bound of the cache. Raises UsageError."""
        return bytes_of(self.size, "--cache-size", least=LEAST_CACHE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How much trouble is borne before a row, or the run, is given up."""

    section: ClassVar[str] = "Limits and retries"

    max_attempts: int = option(6, "Maximum attempts per row; rate-limit waits don't count.", min=1)
    timeout_s: float = option(
        600.0, "Time limit per row, in seconds.", name="timeout", min=0.001, metavar="SECONDS"
    )
    max_errors: str | int | None = option(
        None, "Stop after N failed rows, or above a share of them (5%).", metavar="N|N%"
    )
    drop_params: bool = option(False, "Drop unsupported parameters; warns once.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How requests travel."""

    section: ClassVar[str] = "Network"

    base_url: Sequence[str] = option(
        (),
        "Send to this server instead of the provider's, as in http://localhost:8000/v1. "
        "Several share the rows.",
        metavar="URL",
        everyday=True,
    )
    api: str | None = option(
        None,
        "OpenAI's API to use.",
        metavar="chat|responses",
        shown="what the model needs",
    )
    no_key: bool = option(False, "Send no key, whatever the environment has.")
    insecure: bool = option(False, "Send keys over plain http to other machines too.")
    connect_timeout_s: float = option(
        10.0,
        "Time limit for connecting, in seconds.",
        name="connect-timeout",
        min=0.001,
        metavar="SECONDS",
    )
    http: HttpClient = option(
        "llhttp", "HTTP client; httpx is slow with more than some dozens of requests in flight."
    )
    environ: Mapping[str, str] | None = field(default=None, repr=False, hash=False)
    """Keys and base URLs, from Python; None is the process's environment."""


@frozen(kw_only=True)
class Sending:
    """How requests are sent: a group of groups."""

    cache: Cache = Cache()
    limits: Limits = Limits()
    retries: Retries = Retries()
    network: Network = Network()
    money: Money = Money()
    batch_api: BatchApi = BatchApi()
    cluster: Cluster = Cluster()


BATCH_ONLY: Final = tuple(one.name for group in (BatchApi, Cluster) for one in fields(group))
"""Options of how rows are sent that only `llmbatch batch` has."""


@frozen(kw_only=True)
class DisplayOptions:
    """What is said on standard error."""

    section: ClassVar[str] = "Display"

    progress: ProgressMode = option(
        "auto",
        "Progress display on standard error: a bar on a terminal, else and in a pipe a line every "
        "10 s.",
    )
    summary: Path | None = option(
        None,
        "Write the figures of the run to this file at its end, as JSON: rows, failures by kind, "
        "tokens, cost, latency, exit status.",
        metavar="FILE",
        complete="files",
    )
    quiet: bool = option(False, "Print nothing but errors.", letter="q", everyday=True)
    verbose: int = option(
        0, "Log failed rows; -vv logs their whole messages.", letter="v", count=True
    )
    log_prompts: bool = option(False, "With -v, log the prompts of failed rows.")
    dry_run: bool = option(
        False, "Print what the run would cost, as llmbatch estimate does, and send nothing."
    )
