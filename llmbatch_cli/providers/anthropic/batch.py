"""Anthropic's Message Batches: the rows inline in one request, the results as lines.

Sources (read 2026-11-26): platform.claude.com/docs/en/api/messages/batches/create (up to 100,000
requests; custom_id ^[a-zA-Z0-9_-]{1,64}$), /docs/en/build-with-claude/batch-processing (256 MB, 29
days, what is not billed), the Python SDK 2.12.0 (resources/messages/batches.py,
types/messages/message_batch.py), and recorded jobs of August 2026: polls of a running job ask for
10 s by Retry-After, and the counts stay at `processing` until the end. Results asked for too early
are a 404, recorded in 2025.

A batch has no place for a mark: a lost one is found by its time and number of rows, and the
custom_ids of its results decide.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

import orjson

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import BadReply, Interrupted, NotAnswered, ProviderError
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.batch_api import (
    BatchLimits,
    BatchWire,
    Http,
    Intent,
    JobStatus,
    NoDownload,
    Result,
    count,
    folded,
    moment_s,
)
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

PAGE: Final = 1000
MOST_PAGES: Final = 1000
_COUNTS: Final = ("processing", "succeeded", "errored", "canceled", "expired")
_STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
"""The HTTP status that the live call gives with an error of this type; 500 for any other."""
_TOLD: Final = (400, 404, 409)
"""Statuses of a cancel that comes too late."""


class AnthropicBatch(BatchWire):
    """Message Batches."""

    limits = BatchLimits(rows=10_000, bytes=240_000_000, jobs_at_once=10, kept="29 days")
    """Of 100,000 rows a tenth: those of a small job are there earlier, and the account's limit of
    waiting rows, 100,000 in its first tier, holds ten of them."""
    finds: ClassVar[bool] = False

    @property
    def base_url(self) -> str:
        """With the version, which the live one may go without."""
        probe = self.build(Request("probe", [{"role": "user", "content": "?"}], {}))
        return probe.url.partition("?")[0].removesuffix("/messages")

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        """The lines are the items of one list, so that all but the first begin with a comma."""
        comma = b"" if custom_id.endswith("-0") else b","
        return b'%s{"custom_id":%s,"params":%s}' % (comma, orjson.dumps(custom_id), wire.body)

    # Jobs

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        headers = {"content-type": "application/json"}
        request = self.request("POST", "/messages/batches", headers=headers)
        made = self.json(await http.upload(request, body, b'{"requests":[', b"]}"))
        id_ = text_or_none(made.get("id"))
        if not id_:
            raise BadReply("anthropic gives no id for the batch that it has made")
        return id_

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        """Of several that still run, and so show nothing, the one that was made next to it."""
        near: list[tuple[float, str]] = []
        async for job in self._jobs(http, intent):
            id_, made_s = text_or_none(job.get("id")), moment_s(job.get("created_at"))
            if not id_ or id_ in others or made_s is None or made_s < intent.since_s:
                continue
            if sum(_counts(job).values()) != intent.rows:
                continue
            first = await self._first_id(http, id_, self._status(job))
            if first is not None and first.startswith(f"{intent.id}-"):
                return id_
            if first is None:
                near.append((abs(made_s - intent.made_s), id_))
        return min(near)[1] if near else None

    async def _jobs(self, http: Http, intent: Intent) -> AsyncIterator[Mapping[str, Any]]:
        """The list, newest first, down to where it is older than the intent."""
        after: str | None = None
        for _ in range(MOST_PAGES):
            query = {"limit": str(PAGE), **({"after_id": after} if after else {})}
            reply = await http.get(self.request("GET", f"/messages/batches?{urlencode(query)}"))
            page = self.json(reply)
            if not isinstance(page.get("data"), list):
                raise BadReply("anthropic gives no list of its batches")
            jobs = mappings(page["data"])
            for job in jobs:
                yield job
            made_s = moment_s(jobs[-1].get("created_at")) if jobs else None
            if not page.get("has_more") or (made_s is not None and made_s < intent.since_s):
                return
            last = text_or_none(page.get("last_id"))
            if not last or last == after:
                raise BadReply("the list of batches at anthropic has no next page")
            after = last
        raise BadReply("the list of batches at anthropic has no end")

    async def _first_id(self, http: Http, job: str, status: JobStatus) -> str | None:
        """The custom_id of any of its results; None where it has none yet."""
        if not status.ended:
            return None
        try:
            async with aclosing(self._results(http, job, status)) as results:
                async for result in results:
                    return result.custom_id
        except NoDownload:
            pass
        return None

    async def poll(self, http: Http, job: str) -> JobStatus:
        reply = await http.get(self._of(job))
        return self._status(self.json(reply), retry_after_s(reply.headers))

    def _status(self, said: Mapping[str, Any], wait_s: float | None = None) -> JobStatus:
        counts = _counts(said)
        word, url = said.get("processing_status"), text_or_none(said.get("results_url"))
        ended = folded(word) == "ended"
        return JobStatus(
            word=clean(str(word), 40),
            ended=ended,
            total=sum(counts.values()) or None,
            done=counts["succeeded"] if ended else None,  # 0 until the end, for any progress
            failed=sum(counts.values()) - counts["succeeded"] if ended else None,
            expires_s=moment_s(said.get("expires_at")),
            sources=[url] if url else [],
            retry_after_s=wait_s,
        )

    async def cancel(self, http: Http, job: str) -> None:
        reply = await http.get(self._of(job, "/cancel", method="POST"))
        if reply.status not in _TOLD:
            self.json(reply)

    def _of(self, job: str, more: str = "", *, method: str = "GET") -> WireRequest:
        return self.request(method, f"/messages/batches/{quote(job, safe='')}{more}")

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        try:
            async with closed(self._results(http, job, status)) as results:
                async for result in results:
                    yield result
        except NoDownload as other:
            error = self.failed(other.reply)
            if other.reply.status == 404 and not await self._is_gone(http, job):
                raise Interrupted(error.message) from None
            raise error from None

    async def _is_gone(self, http: Http, job: str) -> bool:
        """Whether results that are not there will not come: the 404 for "not yet" is the same."""
        reply = await http.get(self._of(job))
        return reply.status in (404, 410) or self.json(reply).get("archived_at") is not None

    async def _results(
        self, http: Http, job: str, status: JobStatus
    ) -> AsyncGenerator[Result, None]:
        named = [url for url in status.sources if _origin(url) == _origin(self.base_url)]
        # A gateway may pass on the address at the provider, which must not get the gateway's key.
        request = self.request("GET", named[0]) if named else self._of(job, "/results")
        async with closed(http.lines(request)) as lines:
            async for line in lines:
                result = self.result(line)
                if result is not None:
                    yield result

    def result(self, line: bytes) -> Result | None:
        """What one line says; None where it is nobody's."""
        try:
            said = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:
            return None
        custom_id, result = text_or_none(said.get("custom_id")), mapping(said.get("result"))
        if not custom_id:
            return None
        kind = result.get("type")
        if kind == "succeeded":
            return Result(custom_id, WireReply(200, {}, orjson.dumps(result.get("message"))))
        if kind == "errored":
            return Result(custom_id, error_reply(mapping(result.get("error"))))
        return Result(custom_id, error=_unworked(kind))


def _origin(url: str) -> list[str]:
    return url.split("/", 3)[:3]


def _counts(job: Mapping[str, Any]) -> Mapping[str, int]:
    """How many rows are where; all of them together are the batch's."""
    counts = mapping(job.get("request_counts"))
    return {name: count(counts.get(name)) or 0 for name in _COUNTS}


def error_reply(error: Mapping[str, Any]) -> WireReply:
    """The live call's reply of this error; the object stands once or twice wrapped."""
    inner = mapping(error.get("error")) or error
    request_id = text_or_none(error.get("request_id"))
    headers = {"request-id": request_id} if request_id else {}
    status = _STATUSES.get(str(inner.get("type")), 500)
    return WireReply(status, headers, orjson.dumps({"type": "error", "error": dict(inner)}))


def _unworked(kind: object) -> ProviderError:
    """The error of a row that was not worked on, which is not billed."""
    words = {"expired": "the batch expired before this row's turn", "canceled": "it was cancelled"}
    return NotAnswered(words.get(str(kind)) or f"the batch has no answer: {clean(str(kind), 60)}")
