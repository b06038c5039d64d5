"""OpenAI's batch API, and that of the hosts that have taken its shape over (batch_hosts.py).

Sources (read 2026-11-26): OpenAI's Python SDK 3.57.0 (resources/batches.py, files.py,
types/batch.py), platform.openai.com/docs/guides/batch, and recorded jobs of August 2026: a job has
`model` null while it is validated; rows that fail are in the error file; `error_file_id` may be ""
or null; a job that is refused has status `failed` and its reasons in `errors.data`.
"""

import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import orjson

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import (
    BadReply,
    NotAnswered,
    Overloaded,
    ProviderError,
    UsageError,
)
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.batch_api import (
    BatchWire,
    Build,
    Http,
    Intent,
    JobStatus,
    NoDownload,
    Result,
    count,
    folded,
    limits_at,
)
from llmbatch_cli.providers.openai.batch_hosts import BATCH_HOSTS, OTHER
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

ENDED: Final = frozenset(("completed", "failed", "expired", "cancelled", "canceled"))
PAGE: Final = 100
MOST_PAGES: Final = 10_000
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_UNANSWERED: Final = re.compile("expired|cancel")
"""In the code of a row that was not worked on."""
_FULL: Final = re.compile("token_limit_exceeded|enqueued")
_FITS: Final = re.compile(r"limit:?\s*([\d,]+)")


class OpenAIBatch(BatchWire):
    """A file of rows, a job for it, and files with what came of it."""

    def __init__(self, provider: Provider, build: Build) -> None:
        super().__init__(provider, build)
        self.host = BATCH_HOSTS.get(provider.name, OTHER)
        self.limits = limits_at(provider.base_url, self.host.limits)

    @property
    def base_url(self) -> str:
        """Azure's live requests may go to another version of its API."""
        resource = getattr(self.provider, "resource", None)
        return self.provider.base_url if resource is None else f"{resource}/openai/v1"

    # Rows

    def group(self, wire: WireRequest, request: Request) -> str:
        parts = [self._endpoint(wire)]
        if self.host.groups:
            body = orjson.loads(wire.body)
            parts += [f"{name}={body[name]}" for name in self.host.groups if name in body]
        return " ".join(parts)

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        head = {"custom_id": custom_id, "method": "POST", "url": self._endpoint(wire)}
        return b'%s,"body":%s}' % (orjson.dumps(head)[:-1], wire.body)

    def _endpoint(self, wire: WireRequest) -> str:
        path = urlsplit(wire.url).path
        for endpoint in self.host.endpoints:
            if path.endswith(endpoint):
                return f"/v1{endpoint}"
        raise UsageError(
            f"the batch API of {self.provider.name} has no {path.rpartition('/')[2]}",
            hint="--api chat asks for the other API; without --batch-api rows are asked live",
        )

    # Files

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        boundary = f"{intent.mark}-boundary"
        before = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\ncontent-disposition: form-data; name="file"; '
            f'filename="{intent.file_name}"\r\ncontent-type: application/jsonl\r\n\r\n'
        )
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        request = self.request("POST", "/files", headers=headers)
        after = f"\r\n--{boundary}--\r\n"
        reply = await http.upload(request, body, before.encode(), after.encode())
        return self.id_in(self.json(reply))

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        """A host whose files cannot be listed gets the file again."""
        query = urlencode({"purpose": "batch", "order": "desc", "limit": PAGE})
        reply = await http.get(self.request("GET", f"/files?{query}"))
        if reply.status != 200:
            return None
        for file in mappings(self.json(reply).get("data")):
            if file.get("filename") == intent.file_name and file.get("bytes") == intent.bytes:
                return text_or_none(file.get("id")) or None
        return None

    # Jobs

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        said: dict[str, Any] = {
            "input_file_id": upload,
            "endpoint": intent.group.partition(" ")[0],
            "completion_window": self.host.window,
        }
        if self.host.metadata:
            said["metadata"] = {"llmbatch": intent.id}
        return self.id_in(self.json(await http.once(self.request("POST", "/batches", said))))

    def id_in(self, made: Mapping[str, Any]) -> str:
        """The id of what was made. Raises BadReply without one."""
        id_ = text_or_none(made.get("id"))
        if not id_:
            raise BadReply(f"{self.provider.name} gives no id for what it has made")
        return id_

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        async for job in self.jobs(http, intent):
            id_ = text_or_none(job.get("id"))
            if not id_ or id_ in others:
                continue
            is_marked = mapping(job.get("metadata")).get("llmbatch") == intent.id
            if is_marked or (upload and job.get("input_file_id") == upload):
                return id_
        return None

    async def jobs(self, http: Http, intent: Intent) -> AsyncIterator[Mapping[str, Any]]:
        """The provider's list, down to where it is older than the intent. Raises where it cannot
        be read to there."""
        after: str | None = None
        for _ in range(MOST_PAGES):
            query = {"limit": str(PAGE), **({"after": after} if after else {})}
            reply = await http.get(self.request("GET", f"/batches?{urlencode(query)}"))
            page = self.json(reply)
            if not isinstance(page.get("data"), list):
                raise BadReply(f"{self.provider.name} gives no list of its jobs")
            jobs = mappings(page["data"])
            for job in jobs:
                yield job
            made = [count(job.get("created_at")) for job in jobs]
            is_old = bool(made) and made[-1] is not None and made[-1] < intent.since_s
            if not page.get("has_more") or (is_old and self.host.newest_first):
                return
            last = text_or_none(page.get("last_id")) or text_or_none((jobs or [{}])[-1].get("id"))
            if not last or last == after:
                raise BadReply(f"the list of jobs at {self.provider.name} has no next page")
            after = last
        raise BadReply(f"the list of jobs at {self.provider.name} has no end")

    async def poll(self, http: Http, job: str) -> JobStatus:
        reply = await http.get(self._of(job))
        return replace(self.status(self.json(reply)), retry_after_s=retry_after_s(reply.headers))

    def status(self, said: Mapping[str, Any]) -> JobStatus:
        """What a job's object says."""
        own = folded(said.get("status"))
        word = self.host.words.get(own, own)
        counts = mapping(said.get("request_counts"))
        total = count(counts.get("total"))
        known = (said.get("output_file_id"), said.get("error_file_id"))
        expires_s = count(said.get("expires_at"))
        status = JobStatus(
            word=clean(str(said.get("status")), 40),
            ended=word in ENDED,
            total=total or None,  # 0 while it is validated
            done=count(counts.get("completed")) if total else None,
            failed=count(counts.get("failed")) if total else None,
            expires_s=float(expires_s) if expires_s else None,
            sources=[id_ for id_ in known if isinstance(id_, str) and id_],
        )
        return self._refused(status, said) if word == "failed" else status

    def _refused(self, status: JobStatus, said: Mapping[str, Any]) -> JobStatus:
        """Why a job failed, as its errors say."""
        reasons = mappings(mapping(said.get("errors")).get("data"))
        words = " ".join(f"{one.get('code')} {one.get('message')}" for one in reasons).lower()
        if _FULL.search(words):
            fits = _FITS.search(words)
            tokens = int(fits[1].replace(",", "")) if fits else None
            return replace(status, full=True, fits_tokens=tokens)
        rows: dict[int, ProviderError] = {}
        error: ProviderError | None = None
        for reason in reasons:
            line = count(reason.get("line"))
            if line:
                rows[line - 1] = self.error(reason)
            elif error is None:
                error = self.error(reason)
        return replace(status, error=error, row_errors=rows)

    def error(self, said: Mapping[str, Any]) -> ProviderError:
        """An error that stands without an HTTP reply, by the provider's own rules."""
        words = f"{said.get('code')} {said.get('type')} {said.get('message')}".lower()
        if _UNANSWERED.search(f"{said.get('code')}"):
            return NotAnswered(clean(str(said.get("message") or said.get("code")), 300))
        is_passing = re.search(r"server_error|internal|overload|unavailable|timeout", words)
        status = 500 if is_passing else 400
        return self.failed(WireReply(status, {}, orjson.dumps({"error": dict(said)})))

    async def cancel(self, http: Http, job: str) -> None:
        reply = await http.get(self._of(job, "/cancel", method="POST"))
        if reply.status not in (400, 404, 409):  # it has ended
            self.json(reply)

    def _of(self, job: str, more: str = "", *, method: str = "GET") -> WireRequest:
        return self.request(method, f"/batches/{quote(job, safe='')}{more}")

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        for file in status.sources:
            async with closed(self._file(http, file)) as lines:
                async for line in lines:
                    result = self.result(line)
                    if result is not None:
                        yield result

    async def _file(self, http: Http, file: str) -> AsyncIterator[bytes]:
        request = self.request("GET", f"/files/{quote(file, safe='')}/content")
        for _ in range(3):
            try:
                async with closed(http.lines(request)) as lines:
                    async for line in lines:
                        yield line
                return
            except NoDownload as other:
                elsewhere = text_or_none(other.reply.headers.get("location"))
                if other.reply.status not in _REDIRECTS or not elsewhere:
                    raise self.failed(other.reply) from None
                request = WireRequest("GET", elsewhere, {})  # a storage, which needs no key
        raise BadReply(f"the results at {self.provider.name} are redirected without an end")

    def result(self, line: bytes) -> Result | None:
        """What one line of a file says; None where it is nobody's."""
        try:
            said = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:
            return None
        custom_id = text_or_none(said.get("custom_id"))
        if not custom_id:  # Mistral's errors may be without, but they are results
            return Result("") if "id" in said or "response" in said else None
        response, error = mapping(said.get("response")), mapping(said.get("error"))
        status, body = count(response.get("status_code")), response.get("body")
        if status and status >= 100:
            request_id = text_or_none(response.get("request_id"))
            headers = {"x-request-id": request_id} if request_id else {}
            return Result(custom_id, WireReply(status, headers, _bytes(body)))
        if error:
            return Result(custom_id, error=self.error(error))
        if isinstance(body, dict) and body and not status:
            return Result(custom_id, WireReply(200, {}, _bytes(body)))
        return Result(custom_id, error=Overloaded("the row has neither an answer nor an error"))


def _bytes(body: object) -> bytes:
    return body.encode() if isinstance(body, str) else orjson.dumps(body)
