"""What Bedrock says of a job, and of each record of it."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import NotAnswered, ProviderError, Unauthorized
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.batch_api import JobStatus, Result, count, folded, moment_s
from llmbatch_cli.providers.bedrock.batch_checks import JOB
from llmbatch_cli.providers.wire.replies import clean, mapping, text_or_none

ENDED: Final = frozenset(("completed", "partiallycompleted", "failed", "stopped", "expired"))
_NO_ACCESS: Final = re.compile(r"access|permission|authoriz|assume|denied", re.IGNORECASE)

Failed = Callable[[WireReply], ProviderError]
"""The error in a reply, by the provider's rules."""


def status_of(job: str, said: Mapping[str, Any], failed: Failed) -> JobStatus:
    """What a job's object says."""
    word, total = folded(said.get("status")), count(said.get("totalRecordCount"))
    output = None if is_void(said) else _output(job, said)
    why = clean(text_or_none(said.get("message")) or "", 300)
    return JobStatus(
        word=clean(str(said.get("status")), 40),
        ended=word in ENDED,
        total=total or None,  # 0 while it is validated
        done=count(said.get("successRecordCount")) if total else None,
        failed=count(said.get("errorRecordCount")) if total else None,
        expires_s=_moment_s(said.get("jobExpirationTime")),
        sources=[output] if output and word in ENDED else [],
        error=_why(why, is_void(said), failed) if word == "failed" and why else None,
    )


def is_void(said: Mapping[str, Any]) -> bool:
    """Whether a job has failed before it worked on any record."""
    worked = [count(said.get(f"{which}RecordCount")) for which in ("success", "error")]
    return folded(said.get("status")) == "failed" and not any(worked)


def _why(message: str, void: bool, failed: Failed) -> ProviderError:
    """Why a job has failed: for its role, or for its rows."""
    if void and _NO_ACCESS.search(message):
        return Unauthorized(message, hint="see what the role of --batch-role may do in the bucket")
    return failed(WireReply(400, {}, orjson.dumps({"message": message})))


def result_in(line: bytes, failed: Failed) -> Result | None:
    """What a line says; None where it is nobody's."""
    try:
        said = mapping(orjson.loads(line))
    except orjson.JSONDecodeError:
        return None
    record = text_or_none(said.get("recordId"))
    if not record:
        return None
    custom_id = record.replace("N", "-")
    answer, error = mapping(said.get("modelOutput")), mapping(said.get("error"))
    if answer:
        return Result(custom_id, WireReply(200, {}, orjson.dumps(answer)))
    code = count(error.get("errorCode")) or 500
    text = clean(str(error.get("errorMessage") or "neither an answer nor an error"), 300)
    if code in (408, 504):
        return Result(custom_id, error=NotAnswered(text))
    status = code if 400 <= code < 600 else 500
    reply = WireReply(status, {}, orjson.dumps({"message": text}))
    return Result(custom_id, error=failed(reply))


def _output(job: str, said: Mapping[str, Any]) -> str | None:
    """Where the results are: FOLDER/JOB/INPUT.out."""
    given = mapping(mapping(said.get("inputDataConfig")).get("s3InputDataConfig")).get("s3Uri")
    taken = mapping(mapping(said.get("outputDataConfig")).get("s3OutputDataConfig")).get("s3Uri")
    found = JOB.fullmatch(job)
    if not (isinstance(given, str) and isinstance(taken, str) and found):
        return None
    return f"{taken.rstrip('/')}/{found[2]}/{given.rpartition('/')[2]}.out"


def _moment_s(value: object) -> float | None:
    """A time, as text or in seconds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else moment_s(value)  # type: ignore[arg-type]
