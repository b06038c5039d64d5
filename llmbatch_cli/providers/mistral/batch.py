"""Mistral's batch jobs: OpenAI's files and lines of results, with jobs of its own.

Sources (read 2026-11-26): docs.mistral.ai/api/endpoint/batch, /resources/known-limitations (100,000
requests and 512 MB a file, results for 24 hours), the Python SDK 3.7.0 (models/batchjob.py,
createbatchjobrequest.py, batcherror.py, jobs_api_routes_batch_get_batch_jobsop.py,
extra/batch/client.py: a custom_id is in the output or the error file, and a line of the latter may
go without), and a recorded job of August 2026: times are numbers, totals are 0 while it is queued,
`outputs` may be within the job.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.types import Request, WireRequest
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.batch_api import (
    BatchLimits,
    Build,
    Http,
    Intent,
    JobStatus,
    Result,
    count,
    folded,
    limits_at,
)
from llmbatch_cli.providers.openai.batch import OpenAIBatch
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

HOURS: Final = 24
PAGE: Final = 100
MOST_PAGES: Final = 10_000
ENDED: Final = frozenset(("success", "failed", "timeoutexceeded", "cancelled"))
LIMITS: Final = BatchLimits(rows=50_000, bytes=200_000_000, kept="24 hours")
"""Half of the rows that a job may have: what is there earlier is read within its day."""


class MistralBatch(OpenAIBatch):
    """A file of rows, a job for it, and files with what came of it."""

    def __init__(self, provider: Provider, build: Build) -> None:
        super().__init__(provider, build)
        self.limits = limits_at(provider.base_url, LIMITS)

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        """The job names the model, once for all rows."""
        body = orjson.loads(wire.body)
        body.pop("model", None)
        return orjson.dumps({"custom_id": custom_id, "body": body})

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        query = {"purpose": "batch", "search": intent.file_name, "page_size": PAGE}
        reply = await http.get(self.request("GET", f"/files?{urlencode(query)}"))
        for file in mappings(self.json(reply).get("data")):
            if file.get("filename") == intent.file_name and file.get("bytes") == intent.bytes:
                return text_or_none(file.get("id")) or None
        return None

    # Jobs

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        said = {
            "input_files": [upload],
            "endpoint": intent.group,
            "model": intent.model,
            "metadata": {"llmbatch": intent.id},
            "timeout_hours": HOURS,
        }
        return self.id_in(self.json(await http.once(self.request("POST", "/batch/jobs", said))))

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        """The list is asked for those with the mark; whether it obeys is not relied on."""
        async for job in self.jobs(http, intent):
            id_ = text_or_none(job.get("id"))
            files = job.get("input_files")
            is_marked = mapping(job.get("metadata")).get("llmbatch") == intent.id
            is_of_file = upload is not None and isinstance(files, list) and upload in files
            if id_ and id_ not in others and (is_marked or is_of_file):
                return id_
        return None

    async def jobs(self, http: Http, intent: Intent) -> AsyncIterator[Mapping[str, Any]]:
        """All jobs since the intent's time. Raises where they cannot be read to the end."""
        since = datetime.fromtimestamp(intent.since_s, UTC).isoformat()
        asked = {"page_size": PAGE, "created_after": since, "order_by": "-created"}
        seen = 0
        for page in range(MOST_PAGES):
            query = urlencode({"page": page, **asked, "llmbatch": intent.id})
            said = self.json(await http.get(self.request("GET", f"/batch/jobs?{query}")))
            jobs, total = mappings(said.get("data")), count(said.get("total"))
            if total is None:
                raise BadReply("mistral does not say how many jobs there are")
            for job in jobs:
                yield job
            seen += len(jobs)
            if not jobs or seen >= total:
                return
        raise BadReply("the list of jobs at mistral has no end")

    def status(self, said: Mapping[str, Any]) -> JobStatus:
        """What a job's object says."""
        word = folded(said.get("status"))
        total, created_s = count(said.get("total_requests")), count(said.get("created_at"))
        files = (said.get("output_file"), said.get("error_file"))
        reasons = [str(one.get("message")) for one in mappings(said.get("errors"))]
        failed = word == "failed" and reasons
        return JobStatus(
            word=clean(str(said.get("status")), 40),
            ended=word in ENDED,
            total=total or None,  # 0 while it is queued
            done=count(said.get("succeeded_requests")) if total else None,
            failed=count(said.get("failed_requests")) if total else None,
            expires_s=created_s + HOURS * 3600.0 if created_s else None,
            sources=[file for file in files if isinstance(file, str) and file],
            error=self.error({"message": "; ".join(reasons)}) if failed else None,
        )

    def _of(self, job: str, more: str = "", *, method: str = "GET") -> WireRequest:
        return self.request(method, f"/batch/jobs/{quote(job, safe='')}{more}")

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        """From its files; where it has none, from what stands within it."""
        async with closed(super().collect(http, job, status)) as results:
            async for result in results:
                yield result
        if status.sources:
            return
        said = self.json(await http.get(self._of(job, "?inline=true")))
        for row in mappings(said.get("outputs")):
            result_ = self.result(orjson.dumps(row))
            if result_ is not None:
                yield result_

    def result(self, line: bytes) -> Result | None:
        """An error may be a text alone."""
        try:
            said = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:
            return None
        error = said.get("error")
        if isinstance(error, str) and error:
            line = orjson.dumps({**said, "error": {"message": error}})
        return super().result(line)
