"""A simulated provider with Mistral's batch jobs, as a recording of 2026 and its SDK show them.

Shapes after crmne/ruby_llm, spec/fixtures/vcr_cassettes/batch_with_mistral_*; that of a line in the
error file after the SDK, as nobody has recorded one.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from batch_api.shapes import Shape
from batch_api.simulated_openai import File, Job
from support.scripted import Exchange

ENDS = {"success": "SUCCESS", "expired": "TIMEOUT_EXCEEDED", "cancelled": "CANCELLED"}


def uuid_of(number: int) -> str:
    return str(UUID(int=number))


@dataclass
class SimulatedMistral(Shape):
    """The provider. `words` are states; the last may be "expired" or "cancelled"."""

    model: ClassVar[str] = "mistral/mistral-small-latest"
    key_variable: ClassVar[str] = "MISTRAL_API_KEY"
    create_path: ClassVar[str] = "/batch/jobs$"
    list_path: ClassVar[str] = "/batch/jobs$"
    poll_path: ClassVar[str] = "/batch/jobs/[^/]+$"
    results_path: ClassVar[str] = "/content$"
    upload_path: ClassVar[str | None] = "/files$"
    keeps: ClassVar[str] = "24 hours"
    rejected: ClassVar[tuple[Any, str]] = (422, "messages is not right")
    trouble: ClassVar[tuple[Any, str]] = (500, "Internal server error")

    words: tuple[str, ...] = ("QUEUED", "RUNNING", "SUCCESS")
    obeys: bool = False
    """Whether the list goes by the metadata that it is asked for."""
    inline: bool = False
    """Whether results stand within the job, and in no file."""
    nameless: bool = False
    """Whether lines of the error file go without a custom_id."""
    reasons: tuple[str, ...] = ()
    """Why the next job fails as a whole."""

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        kind = {"content-type": "application/json; charset=utf-8"}
        match exchange.method, self.parts_of(path):
            case "POST", ["files"]:
                return 200, self._file_shown(self._uploaded(exchange)), kind
            case "GET", ["files"]:
                return 200, self._files_page(query), kind
            case "GET", ["files", id_, "content"] if id_ in self.files:
                return 200, self.files[id_], kind
            case "POST", ["batch", "jobs"]:
                return 200, self._made(json.loads(exchange.body)), kind
            case "GET", ["batch", "jobs"]:
                return 200, self._list_page(query), kind
            case _, ["batch", "jobs", id_, *rest] if id_ in self.jobs:
                if rest == ["cancel"]:
                    self._cancelled(self.jobs[id_])
                    return 200, self.jobs[id_].said, kind
                return 200, self._polled(self.jobs[id_]), kind
            case "POST", ["chat", "completions"]:
                return 200, self._completion(json.loads(exchange.body)), kind
        return 404, {"detail": f"Not here: {path}"}, kind

    # Files

    def add_file(self, filename: str, content: bytes, purpose: str = "batch") -> File:
        id_ = uuid_of(1000 + len(self.files))
        self.files[id_] = File(id_, filename, content, purpose, int(time.time()))
        return self.files[id_]

    def _file_shown(self, file: File) -> dict[str, Any]:
        return {
            "id": file.id,
            "object": "file",
            "bytes": len(file.content),
            "created_at": file.created_at,
            "filename": file.filename,
            "purpose": "batch",
            "sample_type": "batch_request",
            "num_lines": file.content.count(b"\n"),
            "source": "upload",
        }

    def _files_page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        search = query.get("search", [""])[0]
        found = [one for one in reversed(self.files.values()) if search in one.filename]
        shown = [self._file_shown(one) for one in found[: int(query["page_size"][0])]]
        return {"data": shown, "object": "list", "total": len(found)}

    # Jobs

    def _made(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["endpoint"] == "/v1/chat/completions"
        assert all(len(k) <= 32 and len(v) <= 512 for k, v in (asked.get("metadata") or {}).items())
        content = self.files[asked["input_files"][0]].content
        rows = [json.loads(line) for line in content.splitlines()]
        assert all(set(row) == {"custom_id", "body"} for row in rows)
        assert not any({"model", "stream"} & set(row["body"]) for row in rows)
        ids = [row["custom_id"] for row in rows]
        assert len(set(ids)) == len(ids)
        self.creates += 1
        job = self.add_job(rows, asked["model"], asked["input_files"], asked.get("metadata"))
        self.on_create(self, job)
        self.fresh.set()
        return job.said

    def add_job(
        self, rows: list[dict[str, Any]], model: str, files: list[str], metadata: Any = None
    ) -> Job:
        said: dict[str, Any] = {
            "id": uuid_of(len(self.jobs)),
            "object": "batch",
            "input_files": files,
            "metadata": metadata,
            "endpoint": "/v1/chat/completions",
            "model": model,
            "agent_id": None,
            "output_file": None,
            "error_file": None,
            "errors": [],
            "outputs": None,
            "status": "QUEUED",
            "created_at": int(time.time()),
            "total_requests": 0,
            "completed_requests": 0,
            "succeeded_requests": 0,
            "failed_requests": 0,
            "started_at": None,
            "completed_at": None,
        }
        job = Job(said, rows, words=self.words)
        self.jobs[said["id"]] = job
        return job

    def add_jobs(self, count: int) -> None:
        """Jobs of somebody else with the same key."""
        for _ in range(count):
            self.add_job([], "m", [uuid_of(1)], {"llmbatch": "somebody-elses"})

    def _list_page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        assert query["order_by"] == ["-created"]
        jobs = [job.said for job in reversed(self.jobs.values())]
        if self.obeys:
            mark = {"llmbatch": query["llmbatch"][0]}
            jobs = [job for job in jobs if job["metadata"] == mark]
        size = min(int(query["page_size"][0]), self.page)
        begin = int(query["page"][0]) * size
        return {"data": jobs[begin : begin + size], "object": "list", "total": len(jobs)}

    def _polled(self, job: Job) -> dict[str, Any]:
        said = job.said
        if said["status"] == "CANCELLATION_REQUESTED":
            self._ended(job, "cancelled")
        elif said["completed_at"] is None:
            job.polls += 1
            word = job.words[min(job.polls, len(job.words) - 1)]
            said["status"], said["total_requests"] = word, len(job.rows)
            if self.reasons:
                said["errors"] = [{"message": one, "count": 1} for one in self.reasons]
                said["status"], said["completed_at"] = "FAILED", int(time.time())
                self.reasons = ()
            elif word.lower() in ENDS:
                self._ended(job, word.lower())
        return said

    def _cancelled(self, job: Job) -> dict[str, Any]:
        if job.said["completed_at"] is None:
            job.said["status"] = "CANCELLATION_REQUESTED"
        return job.said

    def _ended(self, job: Job, word: str) -> None:
        said, lines = job.said, list(self.lines(job, word))
        good = [one for one in lines if one["response"] and one["response"]["status_code"] == 200]
        bad = [one for one in lines if one not in good]
        if self.nameless:
            bad = [{**one, "custom_id": None} for one in bad]
        counts = {"completed": len(lines), "succeeded": len(good), "failed": len(bad)}
        said.update({f"{name}_requests": number for name, number in counts.items()})
        said["status"], said["completed_at"] = ENDS[word], int(time.time())
        if self.inline:
            said["outputs"] = lines
            return
        for name, some in (("output", good), ("error", bad)):
            file = self.add_file(f"{name}.jsonl", self.as_file(some)) if some else None
            said[f"{name}_file"] = file.id if file else self.empty_id

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row["custom_id"])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        return str(row["body"]["messages"][-1]["content"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any] | None:
        if isinstance(end, str):
            return None  # a row that was not worked on is in no file
        status, body = (200, self._completion(row["body"])) if end is None else (end[0], None)
        if body is None:
            body = {"object": "error", "message": end[1], "type": "invalid_request_error"}
        response = {"status_code": status, "body": body}
        id_ = f"batch-{custom_id}"
        return {"id": id_, "custom_id": custom_id, "response": response, "error": None}

    def _completion(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        text = f"re: {self.prompt_in({'body': asked})}"
        message = {"role": "assistant", "content": text, "tool_calls": None}
        return {
            "id": "c1",
            "object": "chat.completion",
            "model": "mistral-small-latest",
            "usage": {
                "prompt_tokens": 1027,
                "completion_tokens": 3,
                "total_tokens": 1030,
                "prompt_tokens_details": {"cached_tokens": 1000, "audio_tokens": 0},
                "service_tier": None,
            },
            "created": 1_787_150_442,
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
