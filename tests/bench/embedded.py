"""The embedded model: what llmbatch adds to xllamacpp's own server."""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import run_process
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench, say
from bench.table import Figure, Section, at_least

ROWS = 48
MAX_TOKENS = 64
IN_FLIGHT = 16
STARTS = 3
PLAIN_XLLAMACPP = Path(__file__).with_name("plain_xllamacpp.py")

CommandOf = Callable[[Path, Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Answered:
    """One whole process: its time, and the tokens that it wrote."""

    wall_s: float
    tokens: int


def embedded(bench: Bench) -> Section:
    """Tokens a second of llmbatch and of plain requests to xllamacpp's server, taking turns.

    Start-up (interpreter, imports, loading the model) is taken off both by the same means: the
    median wall time of whole processes that are asked for one token.
    """
    title = f"local/smollm2, {ROWS} rows of up to {MAX_TOKENS} tokens, {IN_FLIGHT} in flight, "
    title += "without start-up"
    if not _weights_are_there():
        ratio = Figure("llmbatch / xllamacpp (llmbatch pull)", None, "x", at_least(0.9))
        return Section("embedded", title, [ratio])
    rows, one_token = bench.folder / "local.jsonl", bench.folder / "one-token.jsonl"
    _write_rows(rows, ROWS, MAX_TOKENS)
    _write_rows(one_token, 1, 1)
    commands = (_llmbatch, _plain)
    start_s = [
        statistics.median(_run(bench, command, one_token).wall_s for _ in range(STARTS))
        for command in commands
    ]
    turns = [[_run(bench, command, rows) for command in commands] for _ in range(bench.pairs)]
    rates = [
        [run.tokens / (run.wall_s - start) for run, start in zip(turn, start_s, strict=True)]
        for turn in turns
    ]
    ours, plain = (statistics.median(column) for column in zip(*rates, strict=True))
    share = statistics.median(own / theirs for own, theirs in rates)
    figures = [
        Figure("llmbatch", ours, "tokens/s"),
        Figure("plain requests to xllamacpp's server", plain, "tokens/s"),
        Figure("llmbatch, start-up", start_s[0] * 1e3, "ms"),
        Figure("xllamacpp, start-up", start_s[1] * 1e3, "ms"),
        Figure("llmbatch / xllamacpp", share, "x", at_least(0.9)),
    ]
    return Section("embedded", title, figures)


def _weights_are_there() -> bool:
    """Here and not at the top, so that no other scenario pays memory for the import."""
    from llmbatch_cli.providers.local.weights import SMOLLM2, models_folder

    return (models_folder() / SMOLLM2.file).exists()


def _llmbatch(rows: Path, answers: Path) -> Sequence[str]:
    command = [LLMBATCH, "batch", str(rows), "-m", "local/smollm2", "-o", str(answers)]
    return [*command, "-c", str(IN_FLIGHT), "--overwrite", "-q"]


def _plain(rows: Path, answers: Path) -> Sequence[str]:
    return [sys.executable, str(PLAIN_XLLAMACPP), str(rows), str(answers), str(IN_FLIGHT)]


def _run(bench: Bench, command_of: CommandOf, rows: Path) -> Answered:
    answers = bench.folder / "local-answers.jsonl"
    command = command_of(rows, answers)
    wall_s = run_process(command, limit_s=RUN_LIMIT_S).wall_s
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    tokens = sum(line["usage"]["completion_tokens"] for line in lines)
    say(f"{Path(command[0]).name}: {tokens:,} tokens in {wall_s:.2f} s")
    return Answered(wall_s, tokens)


def _write_rows(path: Path, count: int, max_tokens: int) -> None:
    """Prompts of one length that differ early, so that no cached prefix helps."""
    rows = (
        {
            "id": f"q{i}",
            "prompt": f"{i} is a number. Tell a long story about a ship with {i} sails.",
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        for i in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
