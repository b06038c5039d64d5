"""Fireworks' batch inference: a dataset of rows, a job that we name, a dataset of results.

Sources (read 2026-11-26): docs.fireworks.ai/guides/batch-inference (rows of custom_id and body, up
to 500 MB, half the price; a job for a model without batches may stay pending for ever),
/api-reference/create-batch-inference-job, /api-reference/upload-dataset-files (up to 150 MB in one
request); fireworks-ai 1.2.30 (resources/datasets.py, batch_inference_jobs.py, accounts.py and their
types: paths, names, states, progress; no way to cancel). That the name makes a create idempotent,
and how lines of results read: batchlane 0.2.0 (adapters/fireworks.py), after the same guide.

The output dataset is left to Fireworks, which names it in the job. A job that has begun runs to its
end; one that still waits is deleted where it is to be cancelled.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    NotAnswered,
    ProviderError,
    Rejected,
)
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.batch_api import (
    Http,
    Intent,
    JobStatus,
    NoDownload,
    Result,
    count,
    folded,
)
from llmbatch_cli.providers.openai.batch import OpenAIBatch
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

_WAITING: Final = frozenset(("creating", "validating", "pending"))
_THERE: Final = 409
_GONE: Final = 404


class FireworksBatch(OpenAIBatch):
    """Jobs of one account, the key's own. Ids are whole names: accounts/A/batchInferenceJobs/ID."""

    @property
    def base_url(self) -> str:
        """Beside the address of inference."""
        root = self.provider.base_url.removesuffix("/v1")
        return f"{root.removesuffix('/inference')}/v1"

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        """The model is the job's."""
        body = orjson.loads(wire.body)
        body.pop("model", None)
        return orjson.dumps({"custom_id": custom_id, "body": body})

    # The dataset

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        """Make the dataset, or take the one that an upload which broke has left, and fill it."""
        account, id_ = await self._account(http), intent.mark
        said = {"datasetId": id_, "dataset": {"userUploaded": {}}}
        reply = await http.once(self.request("POST", f"/{account}/datasets", said))
        if reply.status != _THERE:
            self.json(reply)
        name = f"{account}/datasets/{id_}"
        boundary = f"{id_}-boundary"
        before = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="file"; '
            f'filename="{intent.file_name}"\r\ncontent-type: application/jsonl\r\n\r\n'
        )
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        request = self.request("POST", f"/{name}:upload", headers=headers)
        after = f"\r\n--{boundary}--\r\n"
        self.json(await http.upload(request, body, before.encode(), after.encode()))
        return name

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        """The dataset, where it is filled."""
        name = f"{await self._account(http)}/datasets/{intent.mark}"
        reply = await http.get(self.request("GET", f"/{name}"))
        is_filled = reply.status == 200 and folded(self.json(reply).get("state")) == "ready"
        return name if is_filled else None

    async def _account(self, http: Http) -> str:
        """The key's account: accounts/ID."""
        said = self.json(await http.get(self.request("GET", "/accounts")))
        names = [text_or_none(one.get("name")) for one in mappings(said.get("accounts"))]
        if len(names) != 1 or not names[0]:
            raise Rejected(
                f"the key is of {len(names)} accounts at fireworks, and jobs are of one",
                hint="use a key of one account",
            )
        return names[0]

    # The job

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        """Its name makes a second one of the same impossible."""
        said = {"model": intent.model, "inputDatasetId": upload, "displayName": intent.mark}
        name = _job_of(intent, upload)
        query = urlencode({"batchInferenceJobId": intent.mark})
        path = f"/{name.rpartition('/')[0]}?{query}"
        reply = await http.once(self.request("POST", path, said))
        if reply.status != _THERE:
            self.json(reply)
        return name

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        name = _job_of(intent, upload)
        reply = await http.get(self._of(name))
        if reply.status == _GONE:
            return None
        self.json(reply)
        return name

    async def poll(self, http: Http, job: str) -> JobStatus:
        reply = await http.get(self._of(job))
        return replace(self.status(self.json(reply)), retry_after_s=retry_after_s(reply.headers))

    def status(self, said: Mapping[str, Any]) -> JobStatus:
        word, progress = folded(said.get("state")), mapping(said.get("jobProgress"))
        total = count(progress.get("totalInputRequests"))
        output = text_or_none(said.get("outputDatasetId"))
        why = text_or_none(mapping(said.get("status")).get("message"))
        return JobStatus(
            word=clean(word or "unknown", 40),
            ended=word in ("completed", "failed", "cancelled", "expired"),
            total=total or None,
            done=count(progress.get("successfullyProcessedRequests")) if total else None,
            failed=count(progress.get("failedRequests")) if total else None,
            sources=[output] if output else [],
            error=self.error({"message": why}) if word == "failed" and why else None,
        )

    async def cancel(self, http: Http, job: str) -> None:
        """Delete it while it waits, which no result can be lost by."""
        status = await self.poll(http, job)
        if status.ended:
            return
        if status.word not in _WAITING:
            raise Rejected("fireworks has no way to end a job that has begun, which is waited for")
        reply = await http.get(self._of(job, method="DELETE"))
        if reply.status != _GONE:
            self.json(reply)

    def _of(self, job: str, more: str = "", *, method: str = "GET") -> WireRequest:
        return self.request(method, f"/{quote(job)}{more}")

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        for dataset in status.sources:
            request = self.request("GET", f"/{quote(dataset)}:getDownloadEndpoint")
            files = self.json(await http.get(request)).get("filenameToSignedUrls")
            urls = [url for url in mapping(files).values() if isinstance(url, str)]
            if not urls and status.done:
                raise Interrupted("the results at fireworks are not there yet")
            for url in urls:
                async with closed(self._stored(http, url)) as lines:
                    async for line in lines:
                        result = self.result(line)
                        if result is not None:
                            yield result

    async def _stored(self, http: Http, url: str) -> AsyncIterator[bytes]:
        """A file of the storage, which must not get the key."""
        try:
            async with closed(http.lines(WireRequest("GET", url, {}))) as lines:
                async for line in lines:
                    yield line
        except NoDownload as other:
            status = other.reply.status
            if status in (401, 403):  # the address was signed for some minutes
                raise Interrupted("the address of the results is not good any more") from None
            raise BadReply(
                f"the results cannot be downloaded: HTTP {status}", status=status
            ) from None

    def result(self, line: bytes) -> Result | None:
        """A line has the answer in `response`, or as OpenAI's in its `body`."""
        try:
            said = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:
            return None
        response = mapping(said.get("response"))
        if "choices" in response:
            said = {**said, "response": {"status_code": 200, "body": response}}
        return super().result(orjson.dumps(dict(said)))

    def error(self, said: Mapping[str, Any]) -> ProviderError:
        """By its HTTP status, where it has one."""
        status = count(said.get("code"))
        if status is None or not 400 <= status < 600:
            return super().error(said)
        text = clean(str(said.get("message")), 300)
        if status in (408, 504):
            return NotAnswered(text)
        return self.failed(WireReply(status, {}, orjson.dumps({"error": {"message": text}})))


def _job_of(intent: Intent, upload: str | None) -> str:
    """The job's name, in the account of its dataset."""
    account = "/".join((upload or "").split("/")[:2])
    return f"{account}/batchInferenceJobs/{intent.mark}"
