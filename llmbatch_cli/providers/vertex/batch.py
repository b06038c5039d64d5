"""Batches on Vertex AI: rows in a bucket of the user's, a batchPredictionJob, results there, too.

Sources (read 2026-11-26): docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/
batch-prediction-from-cloud-storage and batch-prediction-gemini (half price; queued for up to 72
hours, then mostly within 24; rows that are done are kept and paid where a job is ended; tokens read
from a cache are at the cache's price), /partner-models/claude/batch (four jobs at once),
docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest/v1/
projects.locations.batchPredictionJobs/{create,get,list,cancel} (`filter` by displayName);
google-genai 3.4.0 (batches.py, types.py: fields and states). 200,000 rows and 1 GB a job:
docs.gmicloud.ai/model-quickstarts/image/gemini-batch-inference. That Claude's need a region: crmne/
ruby_llm, providers/vertexai/anthropic/batches.rb.

A job is named by the project's number, and its results are in a folder of their own below ours.
"""

import re
from collections.abc import AsyncIterator, Collection, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlencode

import orjson

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.batch_api import (
    DAY_S,
    BatchLimits,
    Http,
    Intent,
    JobStatus,
    NoDownload,
    Result,
    count,
    folded,
    moment_s,
)
from llmbatch_cli.providers.gemini.batch import CANCELLED, ENDED
from llmbatch_cli.providers.gemini.errors import http_status
from llmbatch_cli.providers.gemini.google_jobs import GoogleJobs
from llmbatch_cli.providers.gemini.pages import pages
from llmbatch_cli.providers.vertex.batch_rows import claude_line, gemini_line, result_in
from llmbatch_cli.providers.vertex.storage import CloudStorage, Place, storage_of
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import clean, mapping, mappings, text_or_none

PAGE: Final = 100
QUEUED_S: Final = 3 * DAY_S
_HELLO: Final = [{"role": "user", "content": "?"}]
_JOB: Final = re.compile(r"projects/[^/?#]+/locations/[^/?#]+/batchPredictionJobs/[^/?#]+")
_INTENT: Final = re.compile(r"/llmbatch-([0-9a-f]{16})(?:/|$)")
_CLAUDE: Final = "publishers/anthropic/"


class VertexBatch(GoogleJobs):
    """Jobs of one project in one location."""

    limits = BatchLimits(
        rows=200_000,
        bytes=900_000_000,
        jobs_at_once=4,
        deadline_s=QUEUED_S + DAY_S + 7200,
        kept="as long as their bucket does",
    )

    # Whose, and where

    @property
    def headers(self) -> Mapping[str, str]:
        """With the token of this moment: one lasts an hour."""
        headers = self.build(Request("probe", _HELLO, {})).headers
        own = ("content-type", "accept", "content-length")
        return {name: value for name, value in headers.items() if name.lower() not in own}

    @property
    def account(self) -> str:
        """A digest of address, project and location: tokens come and go."""
        said = orjson.dumps([self.provider.name, self._published("probe")[0]])
        return blake2b(said, digest_size=8, person=b"llmbatch-account").hexdigest()

    def _published(self, model: str) -> tuple[str, str]:
        """The address of the location, and the model's name there, as the live call has them."""
        url = self.build(Request(model, _HELLO, {})).url
        parent, _, rest = url.partition("/publishers/")
        return parent, unquote(f"publishers/{rest.partition(':')[0]}")

    @property
    def _files(self) -> CloudStorage:
        """With the token, and nothing else that is for Vertex."""
        held = {name.lower(): value for name, value in self.headers.items()}
        token = {name: held[name] for name in ("authorization",) if name in held}
        return CloudStorage(storage_of(self.base_url), token)

    def _input(self, intent: Intent) -> Place:
        bucket, folder = self.storage.place("gs", self.provider.name)
        return Place(bucket, folder + intent.file_name)

    async def ready(self, model: str) -> None:
        self.storage.place("gs", self.provider.name)
        self._published(model)

    # Rows

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        made = claude_line if f"/{_CLAUDE}" in wire.url else gemini_line
        return made(custom_id, wire.body)

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        place = self._input(intent)
        await self._files.upload(http, place, body, intent.bytes)
        return place.uri

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        place = self._input(intent)
        size = await self._files.size_of(http, place)
        return place.uri if size == intent.bytes else None

    # Jobs

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        parent, model = self._published(intent.model)
        place = Place.of(upload or "")
        folder = Place(place.bucket, place.name.removesuffix(intent.file_name) + intent.mark)
        job = {
            "displayName": intent.mark,
            "model": model,
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [place.uri]}},
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": f"{folder.uri}/"},
            },
        }
        try:
            made = self.json(await http.once(self._jobs_of(parent, "POST", job)))
        except ProviderError as error:
            is_regional = model.startswith(_CLAUDE) and parent.endswith("/global")
            if is_regional and error.status in (400, 404):
                error.hint = "batches of Claude are in regions: set GOOGLE_CLOUD_LOCATION=us-east5"
            raise
        return _named(made)

    def _jobs_of(
        self, parent: str, method: str = "GET", body: object = None, query: str = ""
    ) -> WireRequest:
        return self.request(method, f"{parent}/batchPredictionJobs{query}", body)

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        parent = self._published(intent.model)[0]

        async def ask(more: Mapping[str, str]) -> Mapping[str, Any]:
            wanted = {"filter": f'displayName="{intent.mark}"', "pageSize": str(PAGE), **more}
            request = self._jobs_of(parent, query=f"?{urlencode(wanted)}")
            return self.json(await http.get(request))

        async for page in pages(ask, "jobs at vertex"):
            for job in mappings(page.get("batchPredictionJobs")):
                if job.get("displayName") == intent.mark and job.get("name") not in others:
                    return _named(job)
        return None

    async def poll(self, http: Http, job: str) -> JobStatus:
        reply = await http.get(self._of(job))
        return self.status(self.json(reply), retry_after_s(reply.headers))

    def status(self, said: Mapping[str, Any], wait_s: float | None = None) -> JobStatus:
        """What a job says. Numbers of rows are left out where they are 0, and -1 where unknown."""
        stats, error = mapping(said.get("completionStats")), mapping(said.get("error"))
        done, failed = (count(stats.get(f"{name}Count")) or 0 for name in ("successful", "failed"))
        left = count(stats.get("incompleteCount", 0))
        folder = _folder(said)
        return JobStatus(
            word=clean(str(said.get("state")), 60),
            ended=folded(said.get("state")) in ENDED,
            total=done + failed + left if stats and left is not None else None,
            done=done if stats else None,
            failed=failed if stats else None,
            expires_s=_expires_s(said),
            sources=[folder] if folder else [],
            error=self._error(error, str(said.get("model"))),
            retry_after_s=wait_s,
        )

    def _error(self, error: Mapping[str, Any], model: str) -> ProviderError | None:
        """The error for which a job has failed; one that was cancelled has none."""
        code = count(error.get("code"))
        if not code or code == CANCELLED:
            return None
        body = orjson.dumps({"error": {"status": "", **error}})
        asked = Request("claude" if _CLAUDE in model else "gemini", _HELLO, {})
        try:
            self.provider.parse(asked, WireReply(http_status(code), {}, body))
        except ProviderError as known:
            return known
        return None

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        for uri in status.sources:
            found = _INTENT.search(uri)
            async for place in self._files.files(http, Place.of(f"{uri.rstrip('/')}/")):
                if place.name.endswith(".jsonl"):
                    async with closed(self._lines(http, place)) as lines:
                        async for line in lines:
                            yield result_in(line, found[1] if found else "")

    async def _lines(self, http: Http, place: Place) -> AsyncIterator[bytes]:
        files, has_begun = self._files, False
        try:
            async with closed(http.lines(files.download(place))) as lines:
                async for line in lines:
                    yield line
                    has_begun = True
        except NoDownload as other:
            error = files.failed(other.reply, place)
            if has_begun and error.status == 401:  # the token has ended, and there is a new one
                raise Interrupted(error.message) from None
            raise error from None


def _named(made: Mapping[str, Any]) -> str:
    """The name of a job. Raises BadReply without one."""
    name = text_or_none(made.get("name")) or ""
    if not _JOB.fullmatch(name) or ".." in name:
        raise BadReply("vertex gives no name for the job that it has made")
    return name


def _expires_s(said: Mapping[str, Any]) -> float | None:
    """A day after it began; until then, as long as it may wait."""
    for name, longest_s in (("startTime", DAY_S), ("createTime", QUEUED_S)):
        if (since_s := moment_s(said.get(name))) is not None:
            return since_s + longest_s
    return None


def _folder(said: Mapping[str, Any]) -> str | None:
    """Where the results are, or, before that is known, what they are below."""
    wanted = mapping(mapping(said.get("outputConfig")).get("gcsDestination"))
    return text_or_none(mapping(said.get("outputInfo")).get("gcsOutputDirectory")) or text_or_none(
        wanted.get("outputUriPrefix")
    )
