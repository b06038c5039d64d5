"""Bedrock's batch inference: rows in a file in S3, a model invocation job, a file of results there.

Sources (read 2026-11-26): docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html
(invocation types InvokeModel and Converse; with Converse there is structured output, and rows with
tools fail with 400; no provisioned models), /batch-inference-data.html (lines of recordId and
modelInput, for Converse its request body; results may come in another order; the quotas' names, of
which one is a minimum of records), /batch-inference-results.html (modelOutput as Converse replies,
or error with errorCode and errorMessage), /api-keys-reference.html (keys are for Bedrock alone);
API_CreateModelInvocationJob, API_GetModelInvocationJob, API_ListModelInvocationJobs and
API_StopModelInvocationJob as modelled in botocore 1.44.5 (patterns, status words, times, counts;
a clientRequestToken that was seen before makes no second job).
Not from Amazon's pages: that results are at FOLDER/JOB/INPUT.out (BerriAI/litellm PR 26834), that
counts are 0 while a job is validated (BerriAI/litellm PR 38744), and the default quotas of 100 to
50,000 records a job and 1 GB a file, which differ by model and can be raised.

The Converse form is that of live calls, so that every model works that has both Converse and batch
inference. A record's id has letters and digits alone, as earlier editions of the guide wanted it.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Unauthorized,
    UsageError,
)
from llmbatch_cli.core.types import Request, WireReply, WireRequest
from llmbatch_cli.providers.batch_api import (
    BatchLimits,
    BatchWire,
    Build,
    Http,
    Intent,
    JobStatus,
    NoDownload,
    Result,
)
from llmbatch_cli.providers.bedrock import s3
from llmbatch_cli.providers.bedrock.batch_checks import (
    JOB,
    check_account,
    check_model,
    check_role,
    folder_in,
)
from llmbatch_cli.providers.bedrock.batch_reading import is_void, result_in, status_of
from llmbatch_cli.providers.bedrock.provider import Bedrock
from llmbatch_cli.providers.bedrock.signing import Signer
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import mappings, text_or_none

HOURS: Final = 48
"""After which Bedrock itself gives a job up; at least 24."""
PAGE: Final = 100
MOST_PAGES: Final = 1000


class BedrockBatch(BatchWire):
    """Model invocation jobs of one region. A job's id is its ARN, an upload's its s3:// address."""

    provider: Bedrock
    limits = BatchLimits(
        rows=50_000,
        bytes=1_000_000_000,
        least_rows=100,
        jobs_at_once=10,
        first_poll_s=15.0,
        deadline_s=(HOURS + 2) * 3600.0,
        kept="as long as your bucket does",
    )

    def __init__(self, provider: Bedrock, build: Build) -> None:
        super().__init__(provider, build)
        self._signer = Signer(provider)

    @property
    def base_url(self) -> str:
        """Beside the address of inference; a server of one's own has both at one."""
        own = s3.endpoint_of(self.provider.environ, "BEDROCK")
        return own or self.provider.base_url.replace("//bedrock-runtime", "//bedrock", 1)

    @property
    def account(self) -> str:
        """The address alone: keys and session credentials are renewed while jobs run, and a job's
        ARN says whose it is."""
        said = orjson.dumps([self.provider.name, self.base_url])
        return blake2b(said, digest_size=8, person=b"llmbatch-account").hexdigest()

    async def ready(self, model: str) -> None:
        self.provider.check_region()
        check_model(model)
        folder_in(self.storage)
        check_role(self.storage)
        s3.endpoint_of(self.provider.environ, "S3")
        await self._signer.credentials()

    async def _asked(self, method: str, path: str, body: Any = None) -> WireRequest:
        return await self._signer.for_bedrock(self.request(method, path, body))

    def failed(self, reply: WireReply) -> ProviderError:
        """A signature that was too old when it came is made anew."""
        error = super().failed(reply)
        if isinstance(error, Unauthorized) and "signature expired" in error.message.lower():
            return Overloaded(error.message, status=error.status)
        return error

    # Rows and their file

    def line(self, custom_id: str, wire: WireRequest, request: Request) -> bytes:
        """A row of the Converse form."""
        body = orjson.loads(wire.body)
        if "toolConfig" in body:
            raise UsageError(
                "Bedrock's batch inference takes no tools", hint="send it without --batch-api"
            )
        return orjson.dumps({"recordId": custom_id.replace("-", "N"), "modelInput": body})

    def _uri(self, intent: Intent) -> str:
        return f"{folder_in(self.storage)}{intent.file_name}"

    async def upload(self, http: Http, intent: Intent, body: Path) -> str | None:
        """Put the file, whose digest is signed and checked."""
        uri = self._uri(intent)
        reply = await http.upload(await self._signer.for_s3("PUT", uri, intent.sha256), body)
        if not 200 <= reply.status < 300:
            raise self._refused(reply, uri)
        return uri

    async def find_upload(self, http: Http, intent: Intent) -> str | None:
        uri = self._uri(intent)
        reply = await http.get(await self._signer.for_s3("HEAD", uri))
        is_whole = reply.headers.get("content-length") == str(intent.bytes)
        return uri if reply.status == 200 and is_whole else None

    def _refused(self, reply: WireReply, uri: str) -> ProviderError:
        """S3's error."""
        error = self.failed(s3.as_bedrock(reply))
        folder = uri.rpartition("/")[0]
        if isinstance(error, Unauthorized):
            error.hint = f"s3:PutObject and s3:GetObject are needed in {folder}/"
        elif not error.retry:
            error.hint = f"is {folder}/ the right --batch-bucket, in {self.provider.region}?"
        return error

    # The job

    async def create(self, http: Http, intent: Intent, upload: str | None, body: Path) -> str:
        """Its token makes a second one of the same impossible; one that has failed has used up
        its token, and cost nothing."""
        failed = 0
        async for job in self._jobs(http, intent):
            if not is_void(job):
                return _arn(job)
            failed += 1
        token = f"{intent.mark}-{failed}" if failed else intent.mark
        folder = (upload or "").rpartition("/")[0]
        said = {
            "jobName": token,
            "clientRequestToken": token,
            "roleArn": self.storage.role,
            "modelId": intent.model,
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": upload}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{folder}/"}},
            "timeoutDurationInHours": HOURS,
        }
        reply = await http.once(await self._asked("POST", "/model-invocation-job", said))
        try:
            return _arn(self.json(reply))
        except OutOfQuota as error:  # of jobs that may run at once
            raise RateLimited(error.message, status=error.status) from None

    async def find(
        self, http: Http, intent: Intent, upload: str | None, others: Collection[str]
    ) -> str | None:
        async for job in self._jobs(http, intent):
            id_ = text_or_none(job.get("jobArn"))
            if id_ and id_ not in others and not is_void(job):
                return id_
        return None

    async def _jobs(self, http: Http, intent: Intent) -> AsyncIterator[Mapping[str, Any]]:
        """All jobs with the intent's mark. Raises where they cannot be read to the end."""
        asked = {"nameContains": intent.mark, "maxResults": str(PAGE)}
        for _ in range(MOST_PAGES):
            path = f"/model-invocation-jobs?{urlencode(asked)}"
            said = self.json(await http.get(await self._asked("GET", path)))
            for job in mappings(said.get("invocationJobSummaries")):
                if str(job.get("jobName")).startswith(intent.mark):
                    yield job
            token = text_or_none(said.get("nextToken"))
            if not token:
                return
            asked["nextToken"] = token
        raise BadReply("the list of jobs at bedrock has no end")

    async def poll(self, http: Http, job: str) -> JobStatus:
        check_account(self.storage, job)
        reply = await http.get(await self._asked("GET", _path(job)))
        status = status_of(job, self.json(reply), self.failed)
        return replace(status, retry_after_s=retry_after_s(reply.headers))

    async def cancel(self, http: Http, job: str) -> None:
        check_account(self.storage, job)
        reply = await http.get(await self._asked("POST", f"{_path(job)}/stop"))
        if reply.status not in (404, 409):  # it has ended
            self.json(reply)

    # Results

    async def collect(self, http: Http, job: str, status: JobStatus) -> AsyncIterator[Result]:
        for uri in status.sources:
            try:
                async with closed(http.lines(await self._signer.for_s3("GET", uri))) as lines:
                    async for line in lines:
                        found = result_in(line, self.failed)
                        if found is not None:
                            yield found
            except NoDownload as other:
                reply = other.reply
                if s3.code_in(reply) in s3.STALE:
                    raise Interrupted("the results at S3 are asked for anew") from None
                if reply.status == 404 and not (status.done or status.failed):
                    return  # it ended before it had any
                raise self._refused(reply, uri) from None


def _path(job: str) -> str:
    return f"/model-invocation-job/{quote(job, safe='')}"


def _arn(said: Mapping[str, Any]) -> str:
    """The ARN of what was made. Raises BadReply without one."""
    found = text_or_none(said.get("jobArn")) or ""
    if not JOB.fullmatch(found):
        raise BadReply("bedrock gives no ARN of the job that it has made")
    return found
