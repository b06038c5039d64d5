"""One outcome to one line of bytes, in each output format. No I/O."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmbatch_cli.core.ledger import Attempt, Ledger, MaybeBilled, Usage
from llmbatch_cli.core.options import OutputFormat
from llmbatch_cli.core.types import Completion, Failure, Outcome, Racer

_Json = dict[str, Any]


def render(
    outcome: Outcome,
    format: OutputFormat,  # noqa: A002 - it is `--format`
    *,
    one_line: bool = False,
    created: int = 0,
    detail: bool = False,
) -> bytes:
    r"""The outcome as one row of output, which ends with a newline.

    - jsonl: as the README shows it: twelve constant fields, then those that only some rows
      have. Tables are made of these rows: rows/output/table.py.
    - text: the answer alone, an empty line for a failed row. With `one_line` a backslash, a
      newline and a carriage return become `\\`, `\n` and `\r`; without, the row may be
      several lines.
    - openai: an output line of OpenAI's batch API, see `_openai_line`.
    - chat: the bare chat.completion object, or `{"error": {...}}`.

    `detail` adds what each attempt has cost. `created` is the time for the chat.completion, in
    seconds since the epoch; 0 is unknown.
    Never raises: values that JSON cannot hold are written as `_plain` makes them.
    """
    if format == "text":
        return _answer(outcome, one_line)
    if format == "openai":
        return dump(_openai_line(outcome, created))
    if format == "chat":
        return dump(_chat(outcome, created))
    row = row_of(outcome)
    if detail:
        row["costs"] = [_cost(one, ledger) for ledger in outcome.ledgers for one in ledger.attempts]
    return dump(row)


# The jsonl format


def row_of(outcome: Outcome) -> _Json:
    """The fields of a row, in their order."""
    completion, failure, latency_s = outcome.completion, outcome.error, outcome.latency_s
    row: _Json = {
        "index": outcome.index,
        "id": outcome.id,
        "model": outcome.model,
        "provider": outcome.provider,
        "text": None,
        "finish_reason": None,
        "usage": None,
        "cost": outcome.cost,
        # to 1 ms, in a third of the time of round()
        "latency": None if latency_s is None else int(latency_s * 1000 + 0.5) / 1000,
        "attempts": outcome.attempts,
        "metadata": outcome.metadata,
        "error": None if failure is None else _error(failure),
    }
    if completion is not None:
        _add_completion(row, completion)
    else:
        _add_failed(row, outcome)
    if outcome.repeat is not None:
        row["repeat"] = outcome.repeat
    if outcome.input is not None:
        row["input"] = outcome.input or None
    if outcome.fields is not None:
        row["fields"] = outcome.fields
    _add_course(row, outcome)
    if outcome.key is not None:
        row["key"] = outcome.key
    if outcome.part != (1, 1):
        row["part"] = outcome.part
    return row


def _add_course(row: _Json, outcome: Outcome) -> None:
    """How the row came to its end."""
    if outcome.cached:
        row["cached"] = True
    if outcome.ledgers and (lane := outcome.ledgers[-1].lane) is not None:
        row["lane"] = lane
    if outcome.maybe_billed is not None:
        row["maybe_billed"] = _maybe_billed(outcome.maybe_billed)
    if outcome.race:
        row["race"] = [_racer(racer) for racer in outcome.race]
    if outcome.failed_attempts:
        row["failed_attempts"] = [_attempt(attempt) for attempt in outcome.failed_attempts]
    if outcome.fallback_from is not None:
        row["fallback_from"] = outcome.fallback_from
    if outcome.ttft_s is not None:
        row["ttft"] = round(outcome.ttft_s, 3)
    if outcome.partial is not None:
        row["partial"] = outcome.partial
    if outcome.finished_at is not None:
        row["finished_at"] = int(outcome.finished_at * 1000 + 0.5) / 1000


def _add_failed(row: _Json, outcome: Outcome) -> None:
    """What the last attempt has used, as of a refusal, and its text, if it cannot be used."""
    if outcome.error is not None and outcome.error.text is not None:
        row["text"] = outcome.error.text
    if outcome.failed_attempts and (usage := outcome.failed_attempts[-1].usage) is not None:
        row["usage"] = _usage(usage)


def _add_completion(row: _Json, completion: Completion) -> None:
    row["text"] = completion.text
    row["finish_reason"] = completion.finish_reason
    if completion.parsed is not None:
        row["data"] = completion.parsed.data
        if completion.parsed.repaired:
            row["repaired"] = True
    if completion.model is not None:
        row["model"] = completion.model
    if completion.usage is not None:
        row["usage"] = _usage(completion.usage)
    native = completion.native_finish_reason
    if native is not None and native != completion.finish_reason:
        row["native_finish_reason"] = native
    if completion.reasoning is not None:
        row["reasoning"] = completion.reasoning
    if completion.tool_calls:
        row["tool_calls"] = completion.tool_calls
    if completion.choices:
        row["choices"] = completion.choices
    if completion.extras:
        _add_new(row, completion.extras)


def _add_new(row: _Json, extras: Mapping[str, Any]) -> None:
    """Add what is known; no extra replaces a field of ours."""
    for name, value in extras.items():
        if value is not None:
            row.setdefault(name, value)


def _tokens(usage: Usage) -> _Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _usage(usage: Usage) -> _Json:
    tokens = _tokens(usage)
    if usage.cached_tokens is not None:
        tokens["cached_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens is not None:
        tokens["cache_write_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens is not None:
        tokens["reasoning_tokens"] = usage.reasoning_tokens
    return tokens


def _error(failure: Failure) -> _Json:
    return {
        "type": failure.kind,
        "message": failure.message,
        "status": failure.status,
        "retryable": failure.retryable,
    }


def _cost(attempt: Attempt, ledger: Ledger) -> _Json:
    """What one attempt has cost; null where that is not known, or may have been billed unseen."""
    cost = None if attempt.is_unseen else attempt.cost_usd
    return {
        "model": ledger.model,
        "served": attempt.served,
        "type": attempt.kind,
        "tier": ledger.lane,
        "usage": None if attempt.usage is None else _usage(attempt.usage),
        "cost": None if cost is None else float(cost),
        "maybe_billed": attempt.is_unseen,
    }


def _maybe_billed(unseen: MaybeBilled) -> _Json:
    most = unseen.up_to_usd
    return {"attempts": unseen.attempts, "up_to": None if most is None else float(most)}


def _racer(racer: Racer) -> _Json:
    shown: _Json = {
        "model": racer.model,
        "provider": racer.provider,
        "status": racer.status,
        "latency": round(racer.latency_s, 3),
        "attempts": racer.attempts,
        "error": None if racer.error is None else _error(racer.error),
    }
    return {**shown, "cached": True} if racer.cached else shown


def _attempt(attempt: Attempt) -> _Json:
    made: _Json = {
        "type": attempt.kind,
        "status": attempt.status,
        "latency": round(attempt.latency_s, 3),
        "maybe_billed": attempt.maybe_billed,
    }
    return made if attempt.usage is None else {**made, "usage": _usage(attempt.usage)}


# The text format

_ONE_LINE = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r"})


def _answer(outcome: Outcome, one_line: bool) -> bytes:
    completion = outcome.completion
    text = "" if completion is None or completion.text is None else completion.text
    if one_line:
        text = text.translate(_ONE_LINE)
    return well_formed(text).encode() + b"\n"


# The chat format


def _chat(outcome: Outcome, created: int) -> _Json:
    """A chat.completion, with every field that OpenAI's reference marks as required.

    https://platform.openai.com/docs/api-reference/chat/object
    """
    completion = outcome.completion
    if completion is None:
        return {"error": _openai_error(outcome.error)}
    chat: _Json = {
        "id": completion.response_id or f"chatcmpl-{_stable_id(outcome)}",
        "object": "chat.completion",
        "created": created,
        "model": completion.model or outcome.model,
        "choices": completion.choices or [_choice(completion)],
        "usage": None if completion.usage is None else _openai_usage(completion.usage),
    }
    if (citations := completion.extras.get("citations")) is not None:
        chat["citations"] = citations
    return chat


def _choice(completion: Completion) -> _Json:
    extras = completion.extras
    message: _Json = {
        "role": "assistant",
        "content": completion.text,
        "refusal": extras.get("refusal"),
    }
    if completion.reasoning is not None:
        message["reasoning_content"] = completion.reasoning
    if completion.tool_calls:
        message["tool_calls"] = completion.tool_calls
    for name in ("annotations", "audio", "thinking_blocks"):
        if (value := extras.get(name)) is not None:
            message[name] = value
    return {
        "index": 0,
        "message": message,
        "logprobs": extras.get("logprobs"),
        "finish_reason": completion.finish_reason,
    }


def _openai_usage(usage: Usage) -> _Json:
    tokens = _tokens(usage)
    if usage.cached_tokens is not None:
        tokens["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        tokens["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return tokens


def _openai_error(failure: Failure | None) -> _Json:
    failure = failure or Failure("no_answer", "neither an answer nor an error")
    kind = failure.kind
    return {"message": failure.message, "type": kind, "param": None, "code": kind}


# The openai format


def _openai_line(outcome: Outcome, created: int) -> _Json:
    """An output line of OpenAI's batch API.

    OpenAI writes failed rows to a separate file, ours stand between the others; so a failed
    row always has `error`. It has a `response` too where the provider replied with an error
    status; a failure with status 200 has none, or it would read as a success.
    https://platform.openai.com/docs/api-reference/batch/request-output
    """
    error = None
    if outcome.completion is None:
        full = _openai_error(outcome.error)
        error = {"code": full["code"], "message": full["message"]}
    return {
        "id": f"batch_req_{_stable_id(outcome)}",
        "custom_id": str(outcome.id),
        "response": _openai_response(outcome, created),
        "error": error,
    }


def _openai_response(outcome: Outcome, created: int) -> _Json | None:
    request_id = ""  # a text in OpenAI's schema, never null
    if outcome.completion is not None:
        status: int | None = 200
        request_id = outcome.completion.request_id or ""
    else:
        status = None if outcome.error is None else outcome.error.status
        if status is None or 200 <= status < 300:
            return None
    return {"status_code": status, "request_id": request_id, "body": _chat(outcome, created)}


def _stable_id(outcome: Outcome) -> str:
    """24 hex digits, the same in every run."""
    name = f"{outcome.index}:{outcome.id!r}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, digest_size=12).hexdigest()


# JSON, whatever the values


def dump(row: _Json) -> bytes:
    """The object as a line of JSON. Never raises.

    Many lines may wait to be written, so they are copies: orjson's own bytes hold 4 KiB at least,
    and up to 13 times what they are long.
    """
    try:
        return orjson.dumps(row) + b"\n"
    except TypeError:  # orjson's own error is one
        return orjson.dumps(_plain(row)) + b"\n"


def dump_value(value: Any) -> bytes:
    """The value as JSON, without a newline. Never raises."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_plain(value))


_DEEPEST = 200
_INT64 = range(-(2**63), 2**64)


def _plain(value: Any, depth: int = 0) -> Any:
    """A copy that orjson supports: the slow way, for rare rows.

    Lone surrogates become U+FFFD; an integer over 64 bits stays as it is; what JSON cannot hold
    becomes its `str`, and what is nested over 200 levels deep becomes null.
    """
    if depth > _DEEPEST:
        return None
    if isinstance(value, str):
        return well_formed(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if value in _INT64 else orjson.Fragment(_digits(value))
    if isinstance(value, Mapping):
        return {well_formed(str(k)): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        return [_plain(item, depth + 1) for item in value]
    return well_formed(str(value))


def _digits(value: int) -> str:
    """The integer's digits; beyond Python's limit of 4,300 a JSON string with its hex form."""
    try:
        return str(value)
    except ValueError:
        return f'"{value:#x}"'


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced, fit for UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
