"""Together's batch API: OpenAI's shape but for the upload, and for how it speaks of jobs.

Source: together 3.1.1's Python SDK (resources/files.py, lib/resources/files.py, batches.py,
types/batch_job.py; read 2026-11-26). An upload is asked for, sent to a signed address of a storage,
and then checked; a file that is there already is a 409 with its id. A create answers {"job": ...};
the list is a bare array; words are in upper case, times in ISO 8601; `progress` is in percent.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.providers.batch_api import Http, Intent, JobStatus
from llmbatch_cli.providers.openai.batch import OpenAIBatch
from llmbatch_cli.providers.wire.replies import mapping, mappings, text_or_none

_THERE: Final = 409
_REDIRECT: Final = 302


class TogetherBatch(OpenAIBatch):
    """Jobs at Together. Without metadata a job is known by its file, whose name is ours."""

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        boundary = f"{intent.mark}-boundary"
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        fields = {
            "purpose": "batch-api",
            "file_name": intent.file_name,
            "file_type": "jsonl",
            "checksum": intent.sha256,
        }
        said = "".join(
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        form = f"{said}--{boundary}--\r\n".encode()
        reply = await http.once(self.request("POST", "/files", form, headers=headers))
        if reply.status == _THERE:
            return self._there(reply)
        place = text_or_none(reply.headers.get("location"))
        file = text_or_none(reply.headers.get("x-together-file-id"))
        if reply.status != _REDIRECT or not place or not file:
            self.json(reply)  # raises for an error
            raise BadReply("together names no place for the upload", status=reply.status)
        stored = await http.upload(WireRequest("PUT", place, {}), body)
        if not 200 <= stored.status < 300:
            raise self.failed(stored)
        self.json(await http.once(self.request("POST", f"/files/{file}/preprocess")))
        return file

    def _there(self, reply: WireReply) -> str:
        file = text_or_none(mapping(orjson.loads(reply.body)).get("file_id"))
        if not file:
            raise self.failed(reply)
        return file

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        """To ask for it again gives its id where it is there."""
        return None

    def id_in(self, made: Mapping[str, Any]) -> str:
        return super().id_in(mapping(made.get("job")) or made)

    async def jobs(self, http: Http, intent: Intent) -> AsyncIterator[Mapping[str, Any]]:
        """The list is whole in one reply."""
        reply = await http.get(self.request("GET", "/batches"))
        if not 200 <= reply.status < 300:
            raise self.failed(reply)
        try:
            jobs = orjson.loads(reply.body)
        except orjson.JSONDecodeError as error:
            raise BadReply("together's list of jobs cannot be read") from error
        if not isinstance(jobs, list):
            raise BadReply("together gives no list of its jobs")
        for job in mappings(jobs):
            yield job

    def status(self, said: Mapping[str, Any]) -> JobStatus:
        status = super().status({**said, "errors": self._errors(said)})
        return replace(status, expires_s=_seconds(said.get("job_deadline")))

    def _errors(self, said: Mapping[str, Any]) -> dict[str, Any]:
        error = text_or_none(said.get("error"))
        return {"data": [{"message": error, "code": "failed"}]} if error else {}


def _seconds(moment: object) -> float | None:
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return None
