"""xAI's batch API: a batch is made empty and for nothing, and the rows are added to it after.

Sources (read 2026-11-26): docs.x.ai/docs/guides/batch-api; xai-sdk 1.21.0 (proto/v6/batch_pb2.pyi,
sync/batch.py: the list and results are paged by a token); litellm 1.110.2 (llms/xai/batches: what
`cancel_by_xai_message` means, that an empty batch is one that is still checked); and a recorded job
of August 2026: no word for the state, but counts; dates without a time; `null` for rows that were
added; an answer as chat_get_completion, with its price in `usage.cost_in_usd_ticks`.

The empty batch takes the place of an upload: an empty one too many costs nothing, and only the
one that the journal knows gets rows. All rows go in one request, of up to 25 MB, so that a batch
has all of them or none; its number of rows tells, after a lost reply, which.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from llmbatch_cli.core.errors import BadReply, NotAnswered, Overloaded, ProviderError
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.batch_api import (
    BatchLimits,
    BatchWire,
    Http,
    Intent,
    JobStatus,
    Result,
    count,
)
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

PAGE: Final = 100
MOST_PAGES: Final = 10_000
_TOLD: Final = (400, 404, 409)
"""Statuses of a cancel that comes too late."""
_UNWORKED: Final = (1, 4)
"""Codes of a row that was cancelled, or not answered in time (google.rpc.Code)."""
_STATUSES: Final = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 13: 500, 14: 503, 16: 401}


class XAIBatch(BatchWire):
    """Batches of chat completions."""

    limits = BatchLimits(rows=10_000, bytes=24_000_000)

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        """The lines are the items of one list, so that all but the first begin with a comma."""
        comma = b"" if custom_id.endswith("-0") else b","
        return b'%s{"batch_request_id":%s,"batch_request":{"chat_get_completion":%s}}' % (
            comma,
            orjson.dumps(custom_id),
            wire.body,
        )

    # The batch, and its rows

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        """Make the empty batch."""
        made = self.json(await http.once(self.request("POST", "/batches", {"name": intent.mark})))
        id_ = text_or_none(made.get("batch_id"))
        if not id_:
            raise BadReply("xai gives no id for the batch that it has made")
        return id_

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        """Where the list cannot be read, there is one empty batch more."""
        try:
            async for page in self._pages(http, "/batches"):
                for one in mappings(page.get("batches")):
                    if one.get("name") == intent.mark:
                        return text_or_none(one.get("batch_id")) or None
        except ProviderError:
            pass
        return None

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        """Add the rows; those that are there already are refused."""
        batch = upload or ""
        headers = {"content-type": "application/json"}
        request = self.request("POST", self._path(batch, "/requests"), headers=headers)
        reply = await http.upload(request, body, b'{"batch_requests":[', b"]}")
        is_taken = 200 <= reply.status < 300 and reply.body.strip() == b"null"
        if is_taken or (reply.status < 500 and await self._has_rows(http, batch)):
            return batch
        if 200 <= reply.status < 300:  # of something in between: the batch would never end
            raise BadReply("xai shows no rows in the batch that they were added to")
        raise self.failed(reply)

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        return upload if upload and await self._has_rows(http, upload) else None

    async def _has_rows(self, http: Http, batch: str) -> bool:
        said = self.json(await http.get(self.request("GET", self._path(batch))))
        return bool(_counts(said)["num_requests"])

    async def poll(self, http: Http, job: str) -> JobStatus:
        reply = await http.get(self.request("GET", self._path(job)))
        said = self.json(reply)
        counts, why = _counts(said), text_or_none(said.get("cancel_by_xai_message"))
        total, pending = counts["num_requests"], counts["num_pending"]
        ended = bool(why) or (total > 0 and pending == 0)
        is_cancelled = said.get("cancel_time") is not None
        word = "cancelled" if is_cancelled else "completed" if ended else "in progress"
        return JobStatus(
            word=word,
            ended=ended,
            total=total or None,
            done=counts["num_success"] if total else None,
            failed=counts["num_error"] if total else None,
            error=self._error(3, why) if why else None,
            retry_after_s=retry_after_s(reply.headers),
        )

    async def cancel(self, http: Http, job: str) -> None:
        reply = await http.get(self.request("POST", self._path(job, ":cancel"), {}))
        if reply.status not in _TOLD:
            self.json(reply)

    def _path(self, batch: str, more: str = "") -> str:
        return f"/batches/{quote(batch, safe='')}{more}"

    async def _pages(self, http: Http, path: str) -> AsyncIterator[Mapping[str, Any]]:
        """The pages of a list. Raises where it cannot be read to its end."""
        token: str | None = None
        for _ in range(MOST_PAGES):
            query = {"limit": str(PAGE), **({"pagination_token": token} if token else {})}
            page = self.json(await http.get(self.request("GET", f"{path}?{urlencode(query)}")))
            yield page
            before, token = token, text_or_none(page.get("pagination_token"))
            if not token:
                return
            if token == before:
                break
        raise BadReply("a list at xai has no end")

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        async for page in self._pages(http, self._path(job, "/results")):
            for one in mappings(page.get("results")):
                result = self._result(one)
                if result is not None:
                    yield result

    def _result(self, said: Mapping[str, Any]) -> Result | None:
        """What one item says; None where it is nobody's."""
        custom_id = text_or_none(said.get("batch_request_id"))
        if not custom_id:
            return None
        result = mapping(said.get("batch_result"))
        # Its one key need not be the one that the request had.
        bodies = [body for body in mapping(result.get("response")).values() if mapping(body)]
        if bodies:
            return Result(custom_id, WireReply(200, {}, orjson.dumps(bodies[0])))
        error = mapping(result.get("error"))
        if error:
            return Result(custom_id, error=self._error(error.get("code"), error.get("message")))
        return Result(custom_id, error=Overloaded("the row has neither an answer nor an error"))

    def _error(self, code: object, message: object) -> ProviderError:
        """An error by its google.rpc code, or by an HTTP status in its place."""
        number = count(code) or 0
        text = clean(str(message), 300)
        if number in _UNWORKED:
            return NotAnswered(text)
        status = number if 400 <= number < 600 else _STATUSES.get(number, 500)
        return self.failed(WireReply(status, {}, orjson.dumps({"error": text})))


def _counts(batch: Mapping[str, Any]) -> Mapping[str, int]:
    """How many rows are where."""
    state = mapping(batch.get("state"))
    names = ("num_requests", "num_pending", "num_success", "num_error")
    return {name: count(state.get(name)) or 0 for name in names}
