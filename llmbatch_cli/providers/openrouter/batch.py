"""OpenRouter's batch API: OpenAI's jobs and results, with the rows inline in both directions.

Sources (read 2026-11-26): openrouter.ai/docs/batch-quickstart (endpoint and model before requests,
else a 400; one model; 5,000 rows; half the price; images and files by public addresses alone) and
/docs/api/api-reference/batch; the Python SDK 1.3.84 (batch.py, components/batchobject.py,
batchlistresponse.py, batchsubmitbody.py, apierrortype.py: fields, error types, a list newest
first). Results come within the job once it has ended, which is read whole, so that jobs stay
smaller than they might be. How rows of an expired job read is not said anywhere: a row without an
answer or with a passing error is sent again.

A job has no place for a mark: a lost one is found by its time and number of rows (its model may be
listed by another name than was asked for), and the custom_ids of its results decide. It cannot be
cancelled.
"""

import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson

from llmbatch_cli.core.errors import (
    Interrupted,
    NotAnswered,
    ProviderError,
    Rejected,
    UsageError,
)
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.batch_api import Http, Intent, JobStatus, Result, count
from llmbatch_cli.providers.openai.batch import OpenAIBatch
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

_ROUTING: Final = ("only", "allow_fallbacks")
"""What a job takes of a row's `provider`."""
_EMBEDDED: Final = re.compile(rb'"(?:url|file_data)":"data:')
_UNANSWERED: Final = re.compile("expired|cancel")
_STATUSES: Final = {
    "authentication": 401,
    "payment_required": 402,
    "permission_denied": 403,
    "not_found": 404,
    "payload_too_large": 413,
    "rate_limit_exceeded": 429,
    "server": 500,
    "unmapped": 500,
    "provider_unavailable": 502,
    "provider_overloaded": 503,
    "timeout": 504,
}
"""The HTTP status that the live call gives with an error of this type; 400 for any other."""
_FLAGGED: Final = ("content_policy_violation", "refusal")


class OpenRouterBatch(OpenAIBatch):
    """Jobs that are made, and read, in one piece each."""

    finds: ClassVar[bool] = False

    def group(self, wire: WireRequest, request: Request) -> str:
        """The endpoint, and where the rows may be routed to: that is the job's to say."""
        routing = orjson.loads(wire.body).get("provider")
        if not routing:
            return super().group(wire, request)
        if not isinstance(routing, dict) or not set(routing) <= set(_ROUTING):
            raise UsageError(
                f"a job at openrouter takes of provider only {' and '.join(_ROUTING)}",
                hint="leave out its other fields, or send the row without --batch-api",
            )
        said = orjson.dumps(routing, option=orjson.OPT_SORT_KEYS).decode()
        return f"{super().group(wire, request)} {said}"

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        """The lines are the items of one list, so that all but the first begin with a comma."""
        if _EMBEDDED.search(wire.body):
            raise UsageError(
                "a job at openrouter takes images and files by public addresses alone",
                hint="give their addresses, or send the row without --batch-api",
            )
        body = wire.body
        if b'"provider"' in body:
            fields = orjson.loads(body)
            fields.pop("provider", None)
            body = orjson.dumps(fields)
        comma = b"" if custom_id.endswith("-0") else b","
        return b'%s{"custom_id":%s,"body":%s}' % (comma, orjson.dumps(custom_id), body)

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        return None

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        return None

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        endpoint, _, routing = intent.group.partition(" ")
        said = {"endpoint": endpoint, "model": intent.model, "completion_window": self.host.window}
        if routing:
            said["provider"] = orjson.loads(routing)
        before = b'%s,"requests":[' % orjson.dumps(said)[:-1]
        request = self.request("POST", "/batches", headers={"content-type": "application/json"})
        return self.id_in(self.json(await http.upload(request, body, before, b"]}")))

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        """Of several that still run, and so show nothing, the one that was made next to it."""
        near: list[tuple[float, str]] = []
        async for job in self.jobs(http, intent):
            id_, made_s = text_or_none(job.get("id")), count(job.get("created_at"))
            if not id_ or id_ in others or made_s is None or made_s < intent.since_s:
                continue
            rows = count(mapping(job.get("request_counts")).get("total"))
            if rows not in (intent.rows, 0, None):  # by then, they may not be counted
                continue
            first = await self._first_id(http, id_, self.status(job))
            if first is not None and first.startswith(f"{intent.id}-"):
                return id_
            if first is None:
                near.append((abs(made_s - intent.made_s), id_))
        return min(near)[1] if near else None

    async def _first_id(self, http: Http, job: str, status: JobStatus) -> str | None:
        """The custom_id of any of its results; None where it has none yet."""
        if not status.ended:
            return None
        said = self.json(await http.get(self._of(job)))
        ids = (text_or_none(one.get("custom_id")) for one in mappings(said.get("results")))
        return next(filter(None, ids), None)

    def _refused(self, status: JobStatus, said: Mapping[str, Any]) -> JobStatus:
        reason = mapping(said.get("error"))
        return replace(status, error=self.error(reason)) if reason else status

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        said = self.json(await http.get(self._of(job)))
        if said.get("results") is None and status.done:
            raise Interrupted("the results at openrouter are not there yet")
        for one in mappings(said.get("results")):
            result = self.result(orjson.dumps(one))
            if result is not None:
                yield result

    def error(self, said: Mapping[str, Any]) -> ProviderError:
        """By OpenRouter's own type, which is the same for all providers behind it."""
        kind = str(said.get("error_type") or said.get("type") or "")
        if _UNANSWERED.search(f"{said.get('code')} {said.get('type')} {kind}"):
            return NotAnswered(clean(str(said.get("message")), 300))
        if kind not in _STATUSES and kind not in _FLAGGED:
            return super().error(said)
        status = _STATUSES.get(kind, 403)
        error = {"message": said.get("message"), "code": status}
        if kind in _FLAGGED:
            error["metadata"] = {"reasons": [kind]}
        return self.failed(WireReply(status, {}, orjson.dumps({"error": error})))

    async def cancel(self, http: Http, job: str) -> None:
        raise Rejected("openrouter has no way to end a job, which is waited for")
