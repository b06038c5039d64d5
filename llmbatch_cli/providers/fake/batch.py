"""The fake provider's batch API: jobs in files of the user's state folder, so that they outlive
the process as real ones do; a job ends some seconds after it was made."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import orjson

from llmbatch_cli.core.errors import ProviderError, Rejected
from llmbatch_cli.core.folders import state_folder
from llmbatch_cli.core.types import Request, WireRequest
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.batch_api import (
    BatchLimits,
    BatchWire,
    Build,
    Http,
    Intent,
    JobStatus,
    Result,
)
from llmbatch_cli.providers.fake.provider import Fake

LIMITS = BatchLimits(
    rows=10_000,
    bytes=50_000_000,
    jobs_at_once=8,
    first_poll_s=0.2,
    longest_poll_s=1.0,
    appears_s=0.0,
    settles_s=1.0,
    kept="as long as the state folder",
)
DURATION_S = 1.0
"""From a job's making to its end, and the mean latency of a row on top."""


class FakeBatch(BatchWire):
    """A folder of jobs; each row is answered when it is collected."""

    limits = LIMITS

    def __init__(self, provider: Provider, build: Build) -> None:
        super().__init__(provider, build)
        self._folder = state_folder(os.environ) / "fake-jobs"

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        return b'{"custom_id":"%s","body":%s}' % (custom_id.encode(), wire.body)

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        job = self._file(intent.mark)
        part = job.with_suffix(".part")
        await asyncio.to_thread(shutil.copyfile, body, part)
        part.replace(job)
        self._say(intent.mark, {"made_s": time.time(), "rows": intent.rows, "word": None})
        return intent.mark

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        return intent.mark if self._file(intent.mark).exists() else None

    async def poll(self, http: Http, job: str) -> JobStatus:
        said, now_s = self._said(job), time.time()
        assert isinstance(self.provider, Fake)  # noqa: S101 - for the types
        duration_s = DURATION_S + self.provider.latency_s
        if said["word"] is None:
            share = min(1.0, (now_s - said["made_s"]) / duration_s)
            word, done = ("completed" if share == 1.0 else "in_progress"), int(share * said["rows"])
        else:
            word, done = said["word"], said["done"]
        return JobStatus(
            word=word,
            ended=word != "in_progress",
            total=said["rows"],
            done=done,
            failed=0,
            expires_s=said["made_s"] + 86_400,
            sources=[str(done)],
        )

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        provider = self.provider
        assert isinstance(provider, Fake)  # noqa: S101 - for the types
        with self._file(job).open("rb") as rows:
            for number, line in enumerate(rows):
                if number >= int(status.sources[0]):
                    return
                row = orjson.loads(line)
                body = orjson.dumps(row["body"])
                try:
                    request = WireRequest("POST", self.base_url, {}, body)
                    reply = await provider.send(request, waits=False)
                except ProviderError as error:
                    yield Result(row["custom_id"], error=error)
                else:
                    yield Result(row["custom_id"], reply)

    async def cancel(self, http: Http, job: str) -> None:
        status, said = await self.poll(http, job), self._said(job)
        if not status.ended:
            self._say(job, {**said, "word": "cancelled", "done": status.done})

    def _file(self, job: str) -> Path:
        return self._folder / f"{job}.jsonl"

    def _said(self, job: str) -> dict[str, Any]:
        try:
            said: dict[str, Any] = orjson.loads(self._file(job).with_suffix(".json").read_bytes())
        except FileNotFoundError:
            raise Rejected(f"the fake provider has no job {job}", status=404) from None
        return said

    def _say(self, job: str, said: dict[str, Any]) -> None:
        path = self._file(job).with_suffix(".json")
        path.with_suffix(".new").write_bytes(orjson.dumps(said))
        path.with_suffix(".new").replace(path)
