"""A simulated Amazon: model invocation jobs of Bedrock and the S3 beneath them, in the shapes of
botocore 1.44.5 and of docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html and
batch-inference-results.html. Every signature is checked, by AWS's own description of it."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, unquote

from batch_api.shapes import Shape
from batch_api.simulated_openai import File, Job
from support.scripted import Exchange

REGION, ACCOUNT, BUCKET = "eu-central-1", "123456789012", "a-bucket"
KEY_ID, SECRET = "AKIDEXAMPLE", "the-secret-of-the-test"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/batches"
ENDED = ("Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired")
CALLED: Mapping[str, str] = {"expired": "Expired", "cancelled": "Stopped"}
"""The words of other shapes' tests."""
EARLY = {"Expired": "expired", "Stopped": "cancelled"}


@dataclass(kw_only=True)
class Raw(File):
    """A reply of S3 that is no file."""

    status: int
    length: int | None = None
    """The length of what a HEAD asks about."""


@dataclass
class SimulatedBedrock(Shape):
    """The provider. A job moves on by one word with each poll."""

    model: ClassVar[str] = "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0"
    key_variable: ClassVar[str] = "AWS_SECRET_ACCESS_KEY"
    version: ClassVar[str] = ""
    upload_path: ClassVar[str | None] = r"\.jsonl$"
    create_path: ClassVar[str] = "/model-invocation-job$"
    list_path: ClassVar[str] = "/model-invocation-jobs$"
    poll_path: ClassVar[str] = "/model-invocation-job/[^/]+$"
    results_path: ClassVar[str] = r"\.jsonl\.out$"
    keeps: ClassVar[str] = "as long as your bucket does"
    rejected: ClassVar[tuple[Any, str]] = (400, "messages: not right")
    trouble: ClassVar[tuple[Any, str]] = (503, "Model is not ready")

    words: tuple[str, ...] = ("Submitted", "Validating", "Scheduled", "InProgress", "Completed")
    why: str = "1 record is not valid"
    """Said by a job that fails."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """By bucket and key."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Jobs by their client tokens."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of creates."""
    at_once: int = 20
    """Jobs that may be open."""
    stale: int = 0
    """So often a signature is too old for S3."""
    signed: set[str] = field(default_factory=set)
    """The services that were signed for."""

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.base_url,
            "LLMBATCH_BATCH_BUCKET": f"s3://{BUCKET}/of-llmbatch/",
            "LLMBATCH_BATCH_ROLE": ROLE,
        }

    def _fault(self, method: str, path: str) -> Any:
        """An upload is a PUT here."""
        return super()._fault("POST" if method == "PUT" else method, path)

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        trouble = self._unsigned(exchange)
        if trouble is not None:
            return (*refusal(403, "InvalidSignatureException", trouble),)
        match exchange.method, [unquote(one) for one in path.split("/")[1:]]:
            case "POST", ["model-invocation-job"]:
                return self._created_job(json.loads(exchange.body))
            case "GET", ["model-invocation-jobs"]:
                return 200, self._listed(query), {"content-type": "application/json"}
            case method, ["model-invocation-job", id_, *rest]:
                return self._of_job_named(method, id_, rest)
            case method, [bucket, *keys] if bucket == BUCKET:
                return self._object(method, f"{bucket}/{'/'.join(keys)}", exchange)
        return s3_error(404, "NoSuchBucket", "The specified bucket does not exist")

    # Signatures, as in docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html

    def _unsigned(self, exchange: Exchange) -> str | None:
        """What is wrong with the request's signature; None where it is right."""
        said = exchange.header("authorization") or ""
        if said.startswith("Bearer "):
            return None if not self._is_s3(exchange) else "S3 takes no such key"
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=(.+?)/(.+), ?SignedHeaders=(.+), ?Signature=(.+)", said
        )
        if found is None or found[1] != KEY_ID:
            return "no signature"
        scope, names, moment = found[2], found[3].split(";"), exchange.header("x-amz-date") or ""
        _, region, service, _ = scope.split("/")
        if (region, service) != (REGION, "s3" if self._is_s3(exchange) else "bedrock"):
            return f"signed for {scope}"
        digest = hashlib.sha256(exchange.body).hexdigest()
        sent = exchange.header("x-amz-content-sha256")
        if service == "s3" and sent not in (digest, "UNSIGNED-PAYLOAD"):
            return "the body is another"
        path, _, query = exchange.path.partition("?")
        pairs = sorted((code(name), code(text)) for name, text in parse_qsl(query, True))
        canonical = [
            exchange.method,
            path if service == "s3" else quote(path, safe="/-_.~"),
            "&".join(f"{name}={text}" for name, text in pairs),
            *(f"{name}:{' '.join((exchange.header(name) or '').split())}" for name in names),
            "",
            ";".join(names),
            sent or digest,
        ]
        whole = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{whole}"
        self.signed.add(service)
        right = hmac.new(key, text.encode(), "sha256").hexdigest()
        return None if right == found[4] else "the signature does not match"

    def _is_s3(self, exchange: Exchange) -> bool:
        return not exchange.path.startswith("/model-invocation-job")

    # S3

    def _object(
        self, method: str, name: str, exchange: Exchange
    ) -> tuple[int, Any, dict[str, str]]:
        if method == "PUT":
            self.uploads += 1
            self.objects[name] = exchange.body
            return 200, Raw(name, name, b"", status=200), {}
        if name not in self.objects:
            return s3_error(404, "NoSuchKey", "The specified key does not exist.")
        content = self.objects[name]
        if self.stale and name.endswith(".out"):
            self.stale -= 1
            return s3_error(403, "RequestTimeTooSkewed", "The difference is too large.")
        if method == "HEAD":
            return 200, Raw(name, name, b"", status=200, length=len(content)), {}
        return 200, File(name, name, content), {}

    async def _download(self, exchange: Exchange, file: File) -> None:
        if not isinstance(file, Raw):
            await super()._download(exchange, file)
            return
        content = b"" if exchange.method == "HEAD" else file.content
        length = len(content) if file.length is None else file.length
        head = f'HTTP/1.1 {file.status} Whatever\r\netag: "0"\r\ncontent-length: {length}\r\n\r\n'
        await exchange.raw(head.encode() + content)

    # Jobs

    def _created_job(self, asked: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        self.asked.append(asked)
        assert re.fullmatch("[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9+.-]){0,63}", asked["jobName"])
        assert asked["modelInvocationType"] == "Converse"
        assert 24 <= asked["timeoutDurationInHours"] <= 168
        token = asked["clientRequestToken"]
        if token in self.tokens:
            return 200, {"jobArn": self.tokens[token]}, {}
        open_ = [job for job in self.jobs.values() if job.said["status"] not in ENDED]
        if len(open_) >= self.at_once:
            return refusal(400, "ServiceQuotaExceededException", "too many batch inference jobs")
        place = asked["inputDataConfig"]["s3InputDataConfig"]
        assert place["s3InputFormat"] == "JSONL"
        content = self.objects[place["s3Uri"].removeprefix("s3://")]
        rows = [json.loads(line) for line in content.splitlines()]
        assert all(re.fullmatch("[A-Za-z0-9]+", row["recordId"]) for row in rows)
        assert len({row["recordId"] for row in rows}) == len(rows)
        self.creates += 1
        arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/job{len(self.jobs):09}"
        said = {
            **asked,
            "jobArn": arn,
            "status": "Submitted",
            "submitTime": moment(time.time()),
            "jobExpirationTime": moment(time.time() + asked["timeoutDurationInHours"] * 3600),
            **dict.fromkeys(("totalRecordCount", "processedRecordCount"), 0),
            **dict.fromkeys(("successRecordCount", "errorRecordCount"), 0),
        }
        self.tokens[token] = arn
        job = self.jobs[arn] = Job(said, rows, words=self.words)
        self.on_create(self, job)
        self.fresh.set()
        return 200, {"jobArn": arn}, {}

    def add_jobs(self, count: int) -> None:
        for _ in range(count):
            arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/else{len(self.jobs):08}"
            said = {"jobArn": arn, "jobName": "somebody-elses", "status": "Completed"}
            self.jobs[arn] = Job(said, [])

    def _listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """A filter may also come to nothing but pages that are shorter, or empty."""
        jobs = [job.said for job in reversed(self.jobs.values())]
        start = int(query.get("nextToken", ["0"])[0])
        most = min(self.page, int(query.get("maxResults", ["100"])[0]))
        wanted = query.get("nameContains", [""])[0]
        shown = [job for job in jobs[start : start + most] if wanted in job["jobName"]]
        more = {"nextToken": str(start + most)} if start + most < len(jobs) else {}
        return {"invocationJobSummaries": shown, **more}

    def _of_job_named(
        self, method: str, id_: str, rest: list[str]
    ) -> tuple[int, Any, dict[str, str]]:
        job = self.jobs.get(id_)
        if job is None:
            return refusal(404, "ResourceNotFoundException", "The job does not exist")
        is_open = job.said["status"] not in ENDED
        if method == "GET" and not rest:
            return 200, self._polled(job), {"content-type": "application/json"}
        assert (method, rest) == ("POST", ["stop"])
        if not is_open:
            return refusal(409, "ConflictException", "The job has ended")
        job.said["status"] = "Stopping"
        return 200, {}, {}

    def _polled(self, job: Job) -> dict[str, Any]:
        said = job.said
        if said["status"] == "Stopping":
            self._end(job, "Stopped")
        elif said["status"] not in ENDED:
            job.polls += 1
            word = job.words[min(job.polls, len(job.words) - 1)]
            said["status"] = CALLED.get(word, word)
            if said["status"] in ENDED:
                self._end(job, said["status"])
        return said

    def _end(self, job: Job, word: str) -> None:
        said = job.said
        said["status"] = word
        if word == "Failed":
            said["message"] = self.why
            return
        lines = list(self.lines(job, EARLY.get(word, word)))
        failed = sum("error" in line for line in lines)
        said["totalRecordCount"] = len(job.rows)
        said["processedRecordCount"] = len(lines)
        said["successRecordCount"], said["errorRecordCount"] = len(lines) - failed, failed
        given = said["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        taken = said["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removeprefix("s3://")
        folder = f"{taken.rstrip('/')}/{said['jobArn'].rpartition('/')[2]}"
        name = given.rpartition("/")[2]
        self.objects[f"{folder}/{name}.out"] = self.as_file(lines)
        names = ("totalRecordCount", "processedRecordCount", "successRecordCount")
        manifest = {one: said[one] for one in (*names, "errorRecordCount")}
        self.objects[f"{folder}/manifest.json.out"] = json.dumps(manifest).encode()

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row["recordId"])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        return str(row["modelInput"]["messages"][-1]["content"][-1]["text"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any] | None:
        said = {"recordId": custom_id, "modelInput": row["modelInput"]}
        if end is None:
            text = f"re: {self.prompt_in(row)}"
            answer = {
                "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
                "stopReason": "end_turn",
                "usage": {
                    "inputTokens": 9,
                    "outputTokens": 4,
                    "totalTokens": 1013,
                    "cacheReadInputTokens": 1000,
                },
                "metrics": {"latencyMs": 1},
            }
            return {**said, "modelOutput": answer}
        if not isinstance(end, tuple):
            return None
        code_, message = end
        return {**said, "error": {"errorCode": code_, "errorMessage": message}}


def code(text: str) -> str:
    return quote(text, safe="-_.~")


def moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def refusal(status: int, name: str, message: str) -> tuple[int, Any, dict[str, str]]:
    """An error of Bedrock's."""
    return status, {"message": message}, {"x-amzn-errortype": f"{name}:http://internal.amazon.com/"}


def s3_error(status: int, name: str, message: str) -> tuple[int, Any, dict[str, str]]:
    said = f"<Error><Code>{name}</Code><Message>{message}</Message></Error>"
    page = f'<?xml version="1.0" encoding="UTF-8"?>\n{said}'
    return status, Raw(name, name, page.encode(), status=status), {}
