"""A simulated provider with Gemini's batch mode, as a recording of 2026 and Google's SDK show it.

Shapes after crmne/ruby_llm, spec/fixtures/vcr_cassettes/batch_with_gemini_*; those of files after
the SDK, as nobody has recorded them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from batch_api.shapes import Shape
from batch_api.simulated_openai import File, Job
from support.scripted import Exchange

ENDS = ("SUCCEEDED", "FAILED", "EXPIRED", "CANCELLED", "PARTIALLY_SUCCEEDED")
CODES = {"INVALID_ARGUMENT": 3, "INTERNAL": 13}
SNAKE = {"generation_config", "system_instruction", "contents", "tools", "safety_settings"}
CAMEL = {"generationConfig", "systemInstruction", "contents", "tools", "safetySettings"}


def status(code: int, message: str, word: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": word}}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


@dataclass
class SimulatedGemini(Shape):
    """The provider. `words` are states without their prefix; the last may be "expired" or
    "cancelled"."""

    model: ClassVar[str] = "gemini/gemini-2.5-flash"
    key_variable: ClassVar[str] = "GEMINI_API_KEY"
    version: ClassVar[str] = "/v1beta"
    create_path: ClassVar[str] = ":batchGenerateContent$"
    list_path: ClassVar[str] = "/batches$"
    poll_path: ClassVar[str] = "/batches/[^/]+$"
    results_path: ClassVar[str] = "/batches/[^/]+$"
    keeps: ClassVar[str] = "2 days"
    rejected: ClassVar[tuple[Any, str]] = ("INVALID_ARGUMENT", "contents is not right")
    trouble: ClassVar[tuple[Any, str]] = ("INTERNAL", "An internal error has occurred.")

    words: tuple[str, ...] = ("PENDING", "RUNNING", "SUCCEEDED")
    prefix: str = "BATCH_STATE_"
    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Uploads that were begun."""
    refusals: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """What the next creates are answered."""
    download_root: str = ""
    """Results are at /download/VERSION/files/... where this says so."""

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        kind = {"content-type": "application/json; charset=UTF-8"}
        if path.startswith("/upload/"):
            return self._uploads(exchange, query, kind)
        method, _, verb = self.parts_of(path)[-1].partition(":")
        match exchange.method, self.parts_of(path)[0], verb:
            case "POST", "models", "batchGenerateContent":
                if self.refusals:
                    return (*self.refusals.pop(0), kind)
                return 200, self._made(method, json.loads(exchange.body)["batch"]), kind
            case "POST", "models", "generateContent":
                return 200, self._response(json.loads(exchange.body)), kind
            case "GET", "batches", "" if path.endswith("batches"):
                jobs = [job.said for job in self.jobs.values()]
                return 200, self._list_page("operations", jobs, query), kind
            case "GET", "files", "" if path.endswith("files"):
                files = [self._file_shown(one) for one in self.files.values()]
                return 200, self._list_page("files", files, query), kind
            case _, "batches", _ if f"batches/{method}" in self.jobs:
                return 200, self._of_batch(self.jobs[f"batches/{method}"], verb), kind
            case "GET", "files", "download" if path.startswith(self.download_root + "/v1beta"):
                if f"files/{method}" in self.files:
                    assert query["alt"] == ["media"]
                    return 200, self.files[f"files/{method}"], kind
        return 404, status(404, f"Requested entity was not found: {path}", "NOT_FOUND"), kind

    # Files

    def _uploads(
        self, exchange: Exchange, query: dict[str, list[str]], kind: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        if exchange.header("x-goog-upload-command") == "start":
            assert exchange.header("x-goog-upload-protocol") == "resumable"
            id_ = f"up-{len(self.started)}"
            self.started[id_] = json.loads(exchange.body)["file"]
            where = f"{self.url.removesuffix('/v1')}/upload/v1beta/files?upload_id={id_}"
            return 200, {}, {**kind, "x-goog-upload-url": where, "x-goog-upload-status": "active"}
        assert exchange.header("x-goog-upload-command") == "upload, finalize"
        assert exchange.header("x-goog-upload-offset") == "0"
        said = self.started[query["upload_id"][0]]
        self.uploads += 1
        size = said.get("sizeBytes") or said.get("size_bytes") or len(exchange.body)
        assert int(size) == len(exchange.body)
        name = said.get("displayName") or said.get("display_name") or ""
        file = self._add(name, exchange.body)
        return 200, {"file": self._file_shown(file)}, {**kind, "x-goog-upload-status": "final"}

    def _add(self, name: str, content: bytes) -> File:
        file = File(f"files/f{len(self.files):05}", name, content)
        self.files[file.id] = file
        return file

    def _file_shown(self, file: File) -> dict[str, Any]:
        return {
            "name": file.id,
            "displayName": file.filename,
            "mimeType": "application/jsonl",
            "sizeBytes": str(len(file.content)),
            "createTime": now(),
            "state": "ACTIVE",
            "uri": f"{self.base_url}/{file.id}",
            "source": "UPLOADED",
        }

    # Jobs

    def _made(self, model: str, asked: dict[str, Any]) -> dict[str, Any]:
        assert set(asked) <= {"displayName", "inputConfig", "model"}
        config = asked["inputConfig"]
        if "fileName" in config:
            rows = [
                json.loads(line) for line in self.files[config["fileName"]].content.splitlines()
            ]
            assert all(set(row["request"]) <= SNAKE for row in rows)
        else:
            rows = config["requests"]["requests"]
            assert all(set(row) == {"request", "metadata"} for row in rows)
            assert all(set(row["request"]) - {"model"} <= CAMEL for row in rows)
        ids = [self.id_of(row) for row in rows]
        assert len(set(ids)) == len(ids)
        self.creates += 1
        job = self.add_job(rows, asked["displayName"], model, is_file="fileName" in config)
        self.on_create(self, job)
        self.fresh.set()
        return job.said

    def add_job(
        self, rows: list[dict[str, Any]], name: str, model: str, *, is_file: bool = False
    ) -> Job:
        id_ = f"batches/b{len(self.jobs):05}"
        said = {
            "name": id_,
            "metadata": {
                "@type": "type.googleapis.com/google.ai.generativelanguage.v1main."
                "GenerateContentBatch",
                "model": f"models/{model}",
                "displayName": name,
                "createTime": now(),
                "updateTime": now(),
                "batchStats": {
                    "requestCount": str(len(rows)),
                    "pendingRequestCount": str(len(rows)),
                },
                "state": f"{self.prefix}PENDING",
                "name": id_,
            },
        }
        job = Job(said, rows, words=self.words)
        job.said["is_file"] = is_file
        self.jobs[id_] = job
        return job

    def add_jobs(self, count: int) -> None:
        """Jobs of somebody else with the same key, in front of ours."""
        jobs, self.jobs = self.jobs, {}
        theirs = [self.add_job([], "somebody-elses", "m") for _ in range(count)]
        for number, job in enumerate(theirs):
            job.said["name"] = f"batches/theirs{number}"
        self.jobs = {**{job.said["name"]: job for job in theirs}, **jobs}

    def _list_page(
        self, name: str, all_: list[dict[str, Any]], query: dict[str, list[str]]
    ) -> dict[str, Any]:
        size = min(int(query.get("pageSize", ["50"])[0]), self.page)
        begin = int(query.get("pageToken", ["0"])[0])
        shown = all_[begin : begin + size]
        page = {name: shown} if shown else {}
        more = {"nextPageToken": str(begin + size)} if begin + size < len(all_) else {}
        return {**page, **more}

    def _of_batch(self, job: Job, verb: str) -> dict[str, Any]:
        about = job.said["metadata"]
        if verb == "cancel" and "done" not in job.said:  # at once
            self._ended(job, "cancelled")
            return {}
        if "done" not in job.said:
            job.polls += 1
            word = job.words[min(job.polls, len(job.words) - 1)]
            about["state"] = f"{self.prefix}{word}"
            if word.upper() in ENDS:
                self._ended(job, word.lower())
        return {name: value for name, value in job.said.items() if name != "is_file"}

    def _ended(self, job: Job, word: str) -> None:
        about = job.said["metadata"]
        about["state"], about["endTime"] = f"{self.prefix}{word.upper()}", now()
        job.said["done"] = True
        if word == "failed":
            job.said["error"] = {"code": 13, "message": "The job has failed."}
            return
        lines = list(self.lines(job, word))
        good = sum("response" in line for line in lines)
        stats = {"successfulRequestCount": good, "failedRequestCount": len(lines) - good}
        counted = {name: str(number) for name, number in stats.items() if number}
        about["batchStats"] = {"requestCount": str(len(job.rows)), **counted}
        if word == "expired" and not lines:
            return
        if job.said["is_file"]:
            about["output"] = {"responsesFile": self._add("", self.as_file(lines)).id}
        else:
            about["output"] = {"inlinedResponses": {"inlinedResponses": lines}}
        job.said["response"] = {"@type": "GenerateContentBatchOutput", **about["output"]}

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row["key"] if "key" in row else row["metadata"]["custom_id"])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        return str(row["request"]["contents"][-1]["parts"][-1]["text"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any] | None:
        who = {"key": custom_id} if "key" in row else {"metadata": {"custom_id": custom_id}}
        if end is None:
            return {"response": self._response(row["request"]), **who}
        if isinstance(end, tuple):
            return {"error": {"code": CODES[end[0]], "message": end[1]}, **who}
        return None  # a row that was not worked on is not there

    def _response(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        text = f"re: {self.prompt_in({'request': asked})}"
        content = {"parts": [{"text": text}], "role": "model"}
        return {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {
                "promptTokenCount": 1013,
                "cachedContentTokenCount": 1000,
                "candidatesTokenCount": 4,
                "totalTokenCount": 1057,
                "thoughtsTokenCount": 40,
                "serviceTier": "standard",
            },
            "modelVersion": "gemini-2.5-flash",
            "responseId": "r1",
        }
