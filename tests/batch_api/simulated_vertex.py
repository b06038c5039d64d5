"""A simulated Vertex AI with Cloud Storage beside it, as Google's pages and SDK have them in 2026.

Files are in one bucket; an upload is a session that keeps what has come. Results are in a folder
that is named when a job ends.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from batch_api.simulated_gemini import ENDS, SimulatedGemini, now, status
from batch_api.simulated_openai import File, Job
from support.scripted import Exchange, abort

PARENT = "projects/p-1/locations/global"
NAMED = "projects/123/locations/global/batchPredictionJobs"
"""A job has the project's number in its name, and is there by the project's id, too."""
WORDS = {400: "Bad Request", 500: "Internal Server Error"}
LABELS = ("llmbatch-0", "llmbatch-1", "llmbatch-2")

Answer = tuple[int, Any, dict[str, str]]


@dataclass
class SimulatedVertex(SimulatedGemini):
    """The provider. `words` are states without their prefix."""

    model: ClassVar[str] = "vertex/gemini-2.5-flash"
    key_variable: ClassVar[str] = "GOOGLE_OAUTH_ACCESS_TOKEN"
    version: ClassVar[str] = "/v1"
    create_path: ClassVar[str] = "/batchPredictionJobs$"
    list_path: ClassVar[str] = "/batchPredictionJobs$"
    poll_path: ClassVar[str] = "/batchPredictionJobs/[^/]+$"
    results_path: ClassVar[str] = "predictions.jsonl$"
    upload_path: ClassVar[str | None] = "^/upload/"
    keeps: ClassVar[str] = "as long as their bucket does"
    rejected: ClassVar[tuple[Any, str]] = (400, "Please use a valid role: user, model.")
    trouble: ClassVar[tuple[Any, str]] = (500, "Internal error encountered.")

    prefix: str = "JOB_STATE_"
    bucket: str = "a-bucket"
    sessions: dict[str, tuple[str, int, bytearray]] = field(default_factory=dict)
    """Uploads that are not whole, by id: the name, the size, and what has come."""
    break_upload: list[int] = field(default_factory=list)
    """Of the next parts: so many bytes come, and the connection breaks."""
    parts: list[int] = field(default_factory=list)
    """The sizes of what was sent."""
    put_with: set[str | None] = field(default_factory=set)
    """The tokens that it was sent with; none is needed."""

    @property
    def env(self) -> dict[str, str]:
        return {
            self.key_variable: "token-of-the-test",
            "GOOGLE_CLOUD_PROJECT": "p-1",
            "LLMBATCH_BATCH_BUCKET": f"gs://{self.bucket}/some/folder",
        }

    async def _answered(self, exchange: Exchange, path: str, query: dict[str, list[str]]) -> Answer:
        if exchange.method == "PUT":
            self.put_with.add(exchange.header("authorization"))
        else:
            assert exchange.header("authorization") == "Bearer token-of-the-test"
        kind = {"content-type": "application/json; charset=UTF-8"}
        if path.startswith("/upload/"):
            return self._taken(exchange, query, kind)
        if path.startswith(("/storage/v1/b/", "/download/storage/v1/b/")):
            return (*self._stored(path.removeprefix("/download"), query), kind)
        method, parent = exchange.method, f"/v1/{PARENT}"
        name, _, verb = path.removeprefix("/v1/").partition(":")
        if (method, path) == ("POST", f"{parent}/batchPredictionJobs"):
            return (*self._created(json.loads(exchange.body)), kind)
        if (method, path) == ("GET", f"{parent}/batchPredictionJobs"):
            return 200, self._listed(query), kind
        job = self.jobs.get(name.replace(f"{PARENT}/batchPredictionJobs", NAMED))
        if job is not None and (method, verb) in (("GET", ""), ("POST", "cancel")):
            return 200, self._of_batch(job, verb), kind
        if method == "POST" and path.startswith(f"{parent}/publishers/google/models/"):
            return 200, self._response(json.loads(exchange.body)), kind
        return *self._nothing(path), kind

    def _nothing(self, path: str) -> tuple[int, Any]:
        return 404, status(404, f"Requested entity was not found: {path}", "NOT_FOUND")

    # Files

    def _taken(
        self, exchange: Exchange, query: dict[str, list[str]], kind: dict[str, str]
    ) -> Answer:
        if exchange.method == "POST":
            bucket = urlsplit(exchange.path).path.split("/")[5]
            if bucket != self.bucket:
                return 404, status(404, "The specified bucket does not exist.", "notFound"), kind
            assert query["uploadType"] == ["resumable"]
            id_ = f"s{len(self.sessions)}"
            size = int(exchange.header("x-upload-content-length") or "")
            name = query["name"][0] if "name" in query else json.loads(exchange.body)["name"]
            self.sessions[id_] = name, size, bytearray()
            where = f"{self.url.removesuffix('/v1')}/upload/storage/v1/b/{bucket}/o?upload_id={id_}"
            return 200, {}, {**kind, "location": where}
        id_ = query["upload_id"][0]
        if id_ not in self.sessions:
            return 410, {}, kind
        name, size, content = self.sessions[id_]
        self._part(exchange, size, content)
        if len(content) < size:
            come = {"range": f"bytes=0-{len(content) - 1}"} if content else {}
            return 308, {}, {**kind, **come}
        file = self.files.get(name) or self.put(name, bytes(content))
        return 200, self._file_shown(file), kind

    def _part(self, exchange: Exchange, size: int, content: bytearray) -> None:
        """What has come with a PUT, or only a part of it."""
        said = re.fullmatch(
            r"bytes (?:\*|(\d+)-(\d+))/(\d+)", exchange.header("content-range") or ""
        )
        assert said is not None
        assert int(said[3]) == size
        if said[1] is None:
            assert not exchange.body
            return
        assert (int(said[1]), int(said[2])) == (len(content), size - 1)
        self.parts.append(len(exchange.body))
        if self.break_upload:
            content += exchange.body[: self.break_upload.pop(0)]
            abort(exchange)
            return
        content += exchange.body
        self.uploads += 1

    def put(self, name: str, content: bytes) -> File:
        self.files[name] = File(name, name, content)
        return self.files[name]

    def _stored(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        bucket, _, quoted = path.removeprefix("/storage/v1/b/").partition("/o")
        name = unquote(quoted.removeprefix("/"))
        assert "/" not in quoted.removeprefix("/")
        if bucket != self.bucket or (name and name not in self.files):
            return self._nothing(path)
        if name:
            file = self.files[name]
            return 200, file if query.get("alt") == ["media"] else self._file_shown(file)
        inside = [one for one in self.files if one.startswith(query["prefix"][0])]
        items = [self._file_shown(self.files[one]) for one in sorted(inside)]
        return 200, self._list_page("items", items, query)

    def _file_shown(self, file: File) -> dict[str, Any]:
        return {"name": file.id, "bucket": self.bucket, "size": str(len(file.content))}

    # Jobs

    def _created(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if self.refusals:
            return self.refusals.pop(0)
        assert set(asked) == {"displayName", "model", "inputConfig", "outputConfig"}
        source, target = asked["inputConfig"], asked["outputConfig"]
        assert (source["instancesFormat"], target["predictionsFormat"]) == ("jsonl", "jsonl")
        (uri,) = source["gcsSource"]["uris"]
        file = self.files[uri.removeprefix(f"gs://{self.bucket}/")]
        rows = [json.loads(line) for line in file.content.splitlines()]
        ids = [self.id_of(row) for row in rows]
        assert len(set(ids)) == len(ids)
        self.creates += 1
        job = self.add_job(rows, asked["displayName"], asked["model"])
        job.said.update(inputConfig=source, outputConfig=target)
        self.on_create(self, job)
        self.fresh.set()
        return 200, job.said

    def add_job(
        self, rows: list[dict[str, Any]], name: str, model: str, *, is_file: bool = True
    ) -> Job:
        id_ = f"{NAMED}/{7_000_000 + len(self.jobs)}"
        said = {
            "name": id_,
            "displayName": name,
            "model": model,
            "state": "JOB_STATE_PENDING",
            "createTime": now(),
            "updateTime": now(),
        }
        self.jobs[id_] = Job(said, rows, words=self.words)
        return self.jobs[id_]

    def add_jobs(self, count: int) -> None:
        """Jobs of somebody else in the same project, in front of ours."""
        jobs, self.jobs = self.jobs, {}
        for number in range(count):
            job = self.add_job([], "somebody-elses", "m")
            self.jobs[f"theirs{number}"] = self.jobs.pop(job.said["name"])
        self.jobs.update(jobs)

    def _listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """A page of all, of which it shows what the filter leaves."""
        all_ = [job.said for job in self.jobs.values()]
        page = self._list_page("batchPredictionJobs", all_, query)
        wanted = re.fullmatch('displayName="(.*)"', query.get("filter", [""])[0])
        jobs = page.pop("batchPredictionJobs", [])
        left = [job for job in jobs if wanted is None or job["displayName"] == wanted[1]]
        return {**({"batchPredictionJobs": left} if left else {}), **page}

    def _of_batch(self, job: Job, verb: str) -> dict[str, Any]:
        said = job.said
        if "endTime" in said:
            return {} if verb else said
        if verb == "cancel":
            said["state"] = "JOB_STATE_CANCELLING"
            return {}
        if said["state"] == "JOB_STATE_CANCELLING":
            self._ended(job, "cancelled")
            return said
        job.polls += 1
        word = job.words[min(job.polls, len(job.words) - 1)]
        said["state"] = f"{self.prefix}{word}"
        if word.upper() in ENDS:
            self._ended(job, word.lower())
        return said

    def _ended(self, job: Job, word: str) -> None:
        said = job.said
        said["state"], said["endTime"] = f"{self.prefix}{word.upper()}", now()
        if word == "failed":
            said["error"] = {"code": 13, "message": "INTERNAL"}
            return
        lines = list(self.lines(job, word))
        good = sum(not line["status"] for line in lines)
        counts = (good, len(lines) - good, max(len(job.rows) - len(lines), 0))
        names = ("successfulCount", "failedCount", "incompleteCount")
        said["completionStats"] = {
            name: str(number) for name, number in zip(names, counts, strict=True) if number
        }
        target = said["outputConfig"]["gcsDestination"]["outputUriPrefix"]
        folder = f"{target.rstrip('/')}/prediction-model-2026-11-26T10:00:00.000000Z"
        said["outputInfo"] = {"gcsOutputDirectory": folder}
        inside = folder.removeprefix(f"gs://{self.bucket}/")
        self.put(f"{inside}/predictions.jsonl", self.as_file(lines))
        self.put(f"{inside}/incomplete.txt", b"not a line of results\n")

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row.get("custom_id") or [row["request"]["labels"][name] for name in LABELS])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        request = row["request"]
        if "contents" in request:
            return super().prompt_in(row)
        assert request["anthropic_version"] == "vertex-2023-10-16"
        assert "model" not in request
        return str(request["messages"][-1]["content"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any] | None:
        if isinstance(end, str):
            return None  # a row that was not worked on is not there
        request = row["request"]
        who: dict[str, Any] = {"request": request}
        if "custom_id" in row:
            who["custom_id"] = custom_id
        elif custom_id != self.id_of(row):
            who["request"] = {**request, "labels": {**request["labels"], LABELS[0]: custom_id}}
        about = {**who, "processed_time": now()}
        if end is not None:
            error = {"code": end[0], "message": end[1], "status": "INVALID_ARGUMENT"}
            text = f"{WORDS[end[0]]}: {json.dumps({'error': error})}"
            return {**about, "status": text, "response": {}}
        answer = self._message(row) if "messages" in request else self._response(request)
        return {**about, "status": "", "response": answer}

    def _message(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": "msg_vrtx_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5-20251001",
            "content": [{"type": "text", "text": f"re: {self.prompt_in(row)}"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 4},
        }
