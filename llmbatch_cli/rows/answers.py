"""The rows of an output, whatever it was written as: to be counted, compared and looked through.

Read are jsonl, journals of tables, tables with the usual columns, and OpenAI's batch lines and
chat completions; packed or not.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.text import format_count
from llmbatch_cli.rows.input.chunks import as_text, opened
from llmbatch_cli.rows.input.foreign import table_by_magic
from llmbatch_cli.rows.input.inputs import check_inputs, chunks_of, format_of_name, shown_name
from llmbatch_cli.rows.input.table import Record
from llmbatch_cli.rows.lines import BLANK, MAX_LINE_BYTES, CutShort, Lines, Unreadable

Fields = Mapping[str, Any]
"""A row of output as --format jsonl has it; what a stranger has written may have any values."""

_NUMBERS: Final = ("prompt_tokens", "completion_tokens", "cost", "latency")
_OURS: Final = frozenset(("answer", "error", "model", "finish_reason", "reasoning", *_NUMBERS))
_NO_OUTPUT_HINT: Final = (
    "name a file that was written with --format jsonl, csv, parquet, openai or chat"
)


class Answers:
    """The rows of one output. What cannot be read is counted after the last row."""

    def __init__(self, name: str) -> None:
        """`name`: a file; `-` is standard input. Raises UsageError where it cannot be opened."""
        check_inputs([name])
        self._name = name
        self.unreadable = 0
        """Lines that are no rows, such as a last one that was not written whole."""
        self.is_cut_short = False
        """Whether packed data ends too early."""
        self.lacks_figures = False
        """Whether it is a table without the columns of tokens, cost and latency."""
        self.damage: str | None = None
        """Why the rest of the file could not be read."""

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return shown_name(self._name)

    def __iter__(self) -> Iterator[Fields]:
        """Raises UsageError for a file that is no output."""
        rows = 0
        try:
            for value in self._values():
                row = None if value is None else _row_of(value)
                if row is None:
                    self.unreadable += 1
                    if not rows and self.unreadable > 1:
                        raise self._no_output()
                else:
                    rows += 1
                    yield row
        except CutShort:
            self.is_cut_short = True
        except Unreadable as error:
            if not rows:
                raise UsageError(f"{self.name}: {error.message}", hint=error.hint) from error
            self.damage = error.message
        if self.unreadable and not rows:
            raise self._no_output()

    def notes(self) -> Iterator[str]:
        """What a person should know of the file, once it is read."""
        if self.unreadable:
            lines = format_count(self.unreadable, "line")
            yield f"{lines} of {self.name} could not be read and {_are(self.unreadable)} left out"
        if self.lacks_figures:
            yield (
                f"{self.name} has no columns of tokens, cost and latency: a run writes them with "
                "--columns answer,tokens,cost,latency, their sums with --summary FILE"
            )
        if self.is_cut_short:
            yield f"{self.name} ends too early; what is there is counted"
        if self.damage:
            yield f"{self.name} was read up to where it {self.damage}"

    def _no_output(self) -> UsageError:
        return UsageError(f"{self.name}: this is not an output", hint=_NO_OUTPUT_HINT)

    def _values(self) -> Iterator[Any]:
        """The values of the file; None for what cannot be read."""
        data = opened(chunks_of(self._name))
        form = table_by_magic(data.head) or format_of_name(self._name)
        if form in ("parquet", "arrow", "xlsx"):
            from llmbatch_cli.rows.input.binary_tables import binary_records

            yield from self._records(binary_records(form, self._name, data, _ignore))
        elif form in ("csv", "tsv"):
            from llmbatch_cli.rows.input.delimited import records_of

            delimiter = "\t" if form == "tsv" else None
            chunks = as_text(data)
            yield from self._records(records_of(chunks, delimiter, MAX_LINE_BYTES, _ignore))
        else:
            yield from _json_values(as_text(data))

    def _records(self, batches: Iterator[Iterable[Record]]) -> Iterator[Any]:
        for place, record in enumerate(record for batch in batches for record in batch):
            if not place and _OURS.isdisjoint(record.fields):
                raise self._no_output()
            if not place:
                self.lacks_figures = not set(_NUMBERS) & record.fields.keys()
            yield None if record.wrong else _table_row(record.fields, place)


def _ignore(note: str) -> None:
    """What is said of an input's columns means nothing for an output."""


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _json_values(chunks: Iterator[bytes]) -> Iterator[Any]:
    lines = Lines(MAX_LINE_BYTES)
    for chunk in chunks:
        for line in lines.feed(chunk):
            yield from _json_value(line)
    for line in lines.finish():
        yield from _json_value(line)


def _json_value(line: bytes | None) -> Iterator[Any]:
    if line is None:
        yield None
    elif line := line.strip(BLANK + b"\0"):
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            yield _odd_value(line)


def _odd_value(line: bytes) -> Any:
    """What others write as JSON: NaN, lone surrogates, integers of any size; None for no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _row_of(value: Any) -> Fields | None:
    """The row that a value is; None where it is none."""
    if not isinstance(value, dict):
        return None
    if "error" in value and "text" in value and ("index" in value or "id" in value):
        return value
    if "response" in value and "custom_id" in value:
        return _openai_row(value)
    if isinstance(value.get("choices"), list) or value.keys() == {"error"}:
        return _chat_row(value, value.get("error"))
    return None


# Other shapes


def _openai_row(line: Fields) -> Fields:
    """An output line of OpenAI's batch API."""
    response = line["response"] if isinstance(line["response"], dict) else {}
    body = response.get("body")
    body = body if isinstance(body, dict) else {}
    row = _chat_row(body, line.get("error") or body.get("error"))
    if row["error"] is not None:
        row["error"]["status"] = response.get("status_code")
    return {**row, "id": line["custom_id"]}


def _chat_row(body: Fields, error: Any) -> dict[str, Any]:
    """A chat.completion; it has no id of a row."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    first = first if isinstance(first, dict) else {}
    message = first.get("message")
    message = message if isinstance(message, dict) else {}
    failure = None
    if error or not first:
        said = error if isinstance(error, dict) else {}
        failure = {
            "type": said.get("code") or said.get("type") or "no_answer",
            "message": said.get("message") or "neither an answer nor an error",
        }
    return {
        "text": message.get("content"),
        "tool_calls": message.get("tool_calls"),
        "reasoning": message.get("reasoning_content"),
        "finish_reason": first.get("finish_reason"),
        "model": body.get("model"),
        "usage": _flat_usage(body.get("usage")),
        "error": failure,
    }


def _flat_usage(usage: Any) -> dict[str, Any] | None:
    if not isinstance(usage, dict):
        return None
    flat = dict(usage)
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if isinstance(details := usage.get(name), dict):
            flat.update(details)
    return flat


def _table_row(cells: Fields, place: int) -> Fields:
    """A row of a table; columns that are none of ours are its data where it has no `answer`."""
    said = _text(cells.get("error"))
    kind, _, message = (said or "").partition(": ")
    others = {name: cell for name, cell in cells.items() if name not in _OURS and name != "id"}
    row: dict[str, Any] = {
        "index": place,
        "id": cells.get("id") or place,
        "model": _text(cells.get("model")),
        "text": _text(cells.get("answer")),
        "finish_reason": _text(cells.get("finish_reason")),
        "reasoning": _text(cells.get("reasoning")),
        "usage": {name: _number(cells.get(name)) for name in _NUMBERS[:2] if name in cells} or None,
        "cost": _number(cells.get("cost")),
        "latency": _number(cells.get("latency")),
        "error": {"type": kind, "message": message} if said else None,
    }
    if "answer" not in cells and not said:
        row["data"] = others
    return row


def _text(cell: Any) -> str | None:
    if cell is None or cell == "":
        return None
    return cell if isinstance(cell, str) else orjson.dumps(cell, default=str).decode()


def _number(cell: Any) -> float | None:
    """A cell's number; whole ones stay whole, so that tokens are counted exactly."""
    if isinstance(cell, int | float):
        return cell
    try:
        return int(cell) if str(cell).isdecimal() else float(cell)
    except (TypeError, ValueError):
        return None
