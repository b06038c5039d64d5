"""Gemini's batch mode on Google's Developer API: small jobs inline, larger ones as a file.

Sources (read 2026-11-26): ai.google.dev/api/batch-mode (fields), /gemini-api/docs/batch-api (inline
under 20 MB, a file up to 2 GB; a target of 24 hours), /docs/files; google-genai 3.4.0 (batches.py,
files.py, _api_client.py: upload and download), and a recorded job of August 2026: states are
BATCH_STATE_*, numbers are texts, results are in `metadata.output`, each with its request's
`metadata`. That lines of a file have snake_case: tidyverse/ellmer (read 2026-11-26); that they name
generation parameters within generation_config: UKGovernmentBEIS/inspect_ai 3257.

What is inline stays small, as its results come within the job, twice, which is read whole; images
never come so: 150 were too many for the provider itself (discuss.ai.google.dev 174261, read
2026-11-26).
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import BadReply, NotAnswered, Overloaded, ProviderError
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.batch_api import (
    DAY_S,
    BatchLimits,
    Build,
    Http,
    Intent,
    JobStatus,
    NoDownload,
    Result,
    count,
    folded,
    moment_s,
)
from llmbatch_cli.providers.gemini.batch_rows import as_inline, as_line
from llmbatch_cli.providers.gemini.errors import http_status
from llmbatch_cli.providers.gemini.google_jobs import GoogleJobs
from llmbatch_cli.providers.gemini.pages import pages
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

INLINE_BYTES: Final = 10_000_000
INLINE_ROWS: Final = 1_000
MEDIA: Final = "media"
"""The group of rows whose answers may be megabytes."""
INLINE_AT_ONCE: Final = 2
"""Which are in memory while they are sent."""
PAGE: Final = 100
ENDED: Final = frozenset(
    ("succeeded", "failed", "cancelled", "canceled", "expired", "partiallysucceeded")
)
CANCELLED: Final = 1
"""The google.rpc.Code of what was cancelled."""


class GeminiBatch(GoogleJobs):
    """Jobs of models.batchGenerateContent."""

    limits = BatchLimits(
        rows=50_000,
        bytes=200_000_000,
        jobs_at_once=50,  # of 100 that a project may have
        deadline_s=2 * DAY_S + 7200,  # it gives jobs up by itself after two days
        kept="2 days",
    )

    def __init__(self, provider: Provider, build: Build) -> None:
        super().__init__(provider, build)
        self._inline = asyncio.Semaphore(INLINE_AT_ONCE)

    @property
    def base_url(self) -> str:
        """With the version, which the live one may go without."""
        return self._model_url("probe").partition("/models/probe")[0]

    def _model_url(self, model: str) -> str:
        probe = self.build(Request(model, [{"role": "user", "content": "?"}], {}))
        return probe.url.partition("?")[0].removesuffix(":generateContent")

    def group(self, wire: WireRequest, request: Request) -> str:
        is_media = "image" in request.model or b"responseModalities" in wire.body
        return MEDIA if is_media else ""

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        return as_line(custom_id, wire.body)

    # Files

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        if _is_inline(intent):
            return None
        where = await http.once(self._begun(intent))
        address = text_or_none(where.headers.get("x-goog-upload-url"))
        if where.status != 200 or not address:
            self.json(where)
            raise BadReply("gemini gives no address for the upload")
        headers = {"x-goog-upload-offset": "0", "x-goog-upload-command": "upload, finalize"}
        made = self.json(await http.upload(self._elsewhere(address, headers), body))
        return _named(mapping(made.get("file")), "files/")

    def _begun(self, intent: Intent) -> WireRequest:
        root, _, version = self.base_url.rpartition("/")
        kind = "application/jsonl"
        headers = {
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(intent.bytes),
            "x-goog-upload-header-content-type": kind,
        }
        file = {"displayName": intent.file_name, "mimeType": kind, "sizeBytes": str(intent.bytes)}
        url = f"{root}/upload/{version}/files"
        return self.request("POST", url, {"file": file}, headers=headers)

    def _elsewhere(self, url: str, headers: Mapping[str, str]) -> WireRequest:
        """A POST to an address that the provider has given, whose own query may carry the right
        to it; the key goes to the provider's server only."""
        if url.split("/", 3)[:3] == self.base_url.split("/", 3)[:3]:
            return WireRequest("POST", url, {**self.headers, **headers})
        return WireRequest("POST", url, headers)

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        if _is_inline(intent):
            return None
        async for file in self._listed(http, "files", ("files",)):
            is_whole = count(file.get("sizeBytes")) == intent.bytes
            if file.get("displayName") == intent.file_name and is_whole:
                return _named(file, "files/")
        return None

    # Jobs

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        url = f"{self._model_url(intent.model)}:batchGenerateContent"
        if upload is None:
            async with self._inline:
                rows = await asyncio.to_thread(as_inline, body)
                batch = {"displayName": intent.mark, "inputConfig": {"requests": rows}}
                reply = await http.once(self.request("POST", url, {"batch": batch}))
        else:
            batch = {"displayName": intent.mark, "inputConfig": {"fileName": upload}}
            reply = await http.once(self.request("POST", url, {"batch": batch}))
        if reply.status == 400 and b"ACTIVE" in reply.body:  # the file is still looked through
            raise Overloaded(self.failed(reply).message, status=400)
        return _named(self.json(reply), "batches/")

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        """Its list is in no order that is promised, so it is read whole."""
        async for job in self._listed(http, "batches", ("operations", "batches")):
            said = mapping(job.get("metadata")) or job
            if said.get("displayName") == intent.mark and job.get("name") not in others:
                return _named(job, "batches/")
        return None

    async def _listed(
        self, http: Http, what: str, names: Collection[str]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """All there are. Raises where they cannot be read to the end."""

        async def ask(more: Mapping[str, str]) -> Mapping[str, Any]:
            query = urlencode({"pageSize": str(PAGE), **more})
            return self.json(await http.get(self.request("GET", f"/{what}?{query}")))

        async for page in pages(ask, f"{what} at gemini"):
            for name in names:
                for one in mappings(page.get(name)):
                    yield one

    async def poll(self, http: Http, job: str) -> JobStatus:
        reply = await http.get(self._of(job))
        return self.status(self.json(reply), retry_after_s(reply.headers))

    def status(self, said: Mapping[str, Any], wait_s: float | None = None) -> JobStatus:
        """What an operation says; once it is done, whatever its word is."""
        about = mapping(said.get("metadata"))
        stats, error = mapping(about.get("batchStats")), mapping(said.get("error"))
        created_s, file = moment_s(about.get("createTime")), _output(said).get("responsesFile")
        code = count(error.get("code"))
        return JobStatus(
            word=clean(str(about.get("state")), 60),
            ended=folded(about.get("state")) in ENDED or said.get("done") is True,
            total=count(stats.get("requestCount")),
            done=count(stats.get("successfulRequestCount")),
            failed=count(stats.get("failedRequestCount")),
            expires_s=None if created_s is None else created_s + 2 * DAY_S,
            sources=[file] if isinstance(file, str) and file else [],
            error=self.row_error(error) if error and code != CANCELLED else None,
            retry_after_s=wait_s,
        )

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        for file in status.sources:
            async with closed(self._lines(http, file)) as lines:
                async for line in lines:
                    found = self.result(_loaded(line))
                    if found is not None:
                        yield found
        if status.sources:
            return
        inline = mapping(_output(self.json(await http.get(self._of(job)))).get("inlinedResponses"))
        for one in mappings(inline.get("inlinedResponses")):
            found = self.result(one)
            if found is not None:
                yield found

    async def _lines(self, http: Http, file: str) -> AsyncIterator[bytes]:
        """The file's lines, at the SDK's address, or at the one of the documentation."""
        root, _, version = self.base_url.rpartition("/")
        path = f"{quote(file, safe='/')}:download?alt=media"
        for url in (f"/{path}", f"{root}/download/{version}/{path}"):
            try:
                async with closed(http.lines(self.request("GET", url))) as lines:
                    async for line in lines:
                        yield line
                return
            except NoDownload as other:
                reply = other.reply
                if reply.status != 404:
                    break
        raise self.failed(reply)

    def result(self, said: Mapping[str, Any]) -> Result | None:
        """What a line of the file, or a result in the job, says; None where it is nobody's."""
        about = mapping(said.get("metadata"))
        custom_id = text_or_none(said.get("key")) or text_or_none(about.get("custom_id"))
        if not custom_id:
            return None
        response, error = mapping(said.get("response")), mapping(said.get("error"))
        if response:
            return Result(custom_id, WireReply(200, {}, orjson.dumps(response)))
        if error:
            return Result(custom_id, error=self.row_error(error))
        return Result(custom_id, error=Overloaded("the row has neither an answer nor an error"))

    def row_error(self, error: Mapping[str, Any]) -> ProviderError:
        """The error of a google.rpc.Status."""
        code = count(error.get("code")) or 0
        if code == CANCELLED:
            return NotAnswered(clean(str(error.get("message") or "the job was cancelled"), 300))
        return self.failed(WireReply(http_status(code), {}, orjson.dumps({"error": dict(error)})))


def _is_inline(intent: Intent) -> bool:
    is_small = intent.bytes <= INLINE_BYTES and intent.rows <= INLINE_ROWS
    return is_small and intent.group != MEDIA


def _named(made: Mapping[str, Any], prefix: str) -> str:
    """The name of what was made. Raises BadReply without one."""
    name = text_or_none(made.get("name")) or ""
    if not name.startswith(prefix) or ".." in name:
        raise BadReply(f"gemini gives no name of {prefix} for what it has made")
    return name


def _output(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the results are; the operation's response is a copy of it."""
    return mapping(mapping(said.get("metadata")).get("output")) or mapping(said.get("response"))


def _loaded(line: bytes) -> Mapping[str, Any]:
    try:
        return mapping(orjson.loads(line))
    except orjson.JSONDecodeError:
        return {}
