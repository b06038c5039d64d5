"""A simulated provider with xAI's batch API, as a recording of August 2026 shows it.

Shapes after crmne/ruby_llm, spec/fixtures/vcr_cassettes/batch_with_xai_*; the list, cancelling and
errors after xai-sdk 1.21.0 (proto/v6/batch_pb2.pyi) and litellm 1.110.2 (llms/xai/batches).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from batch_api.shapes import Shape
from batch_api.simulated_openai import ENDS, File, Job, prompt_of
from support.scripted import Exchange

NO_COUNTS = {
    "num_requests": 0,
    "num_pending": 0,
    "num_success": 0,
    "num_error": 0,
    "num_cancelled": 0,
}


@dataclass
class SimulatedXAI(Shape):
    """The provider. It has no words: `words` say how many polls a batch takes, and the last how it
    ends, if it does."""

    model: ClassVar[str] = "xai/grok-4.3"
    key_variable: ClassVar[str] = "XAI_API_KEY"
    upload_path: ClassVar[str | None] = "/batches$"
    create_path: ClassVar[str] = "/requests$"
    list_path: ClassVar[str] = "/batches/[^/]+$"
    """Where rows are looked for."""
    poll_path: ClassVar[str] = "/batches/[^/]+$"
    results_path: ClassVar[str] = "/results$"
    rejected: ClassVar[tuple[Any, str]] = (3, "messages: not right")
    trouble: ClassVar[tuple[Any, str]] = (14, "The model is at capacity")

    words: tuple[str, ...] = ("pending", "pending", "completed")
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        kind = {"content-type": "application/json"}
        match exchange.method, self.parts_of(path):
            case "POST", ["batches"]:
                asked = json.loads(exchange.body)
                assert list(asked) == ["name"]
                return 200, self.add_batch(asked["name"]).said, kind
            case "GET", ["batches"]:
                batches = [job.said for job in self.jobs.values()]
                return 200, self._paged("batches", batches, query), kind
            case "GET", ["batches", id_] if id_ in self.jobs:
                return 200, self._polled(self.jobs[id_]), kind
            case "POST", ["batches", id_, "requests"] if id_ in self.jobs:
                return (*self._added(self.jobs[id_], json.loads(exchange.body)), kind)
            case "GET", ["batches", id_, "results"] if id_ in self.jobs:
                page = self._paged("results", self.results.get(id_, []), query)
                return 200, File(id_, "page", json.dumps(page).encode()), kind
            case "POST", ["batches", named] if named.removesuffix(":cancel") in self.jobs:
                return 200, self._asked_to_end(self.jobs[named.removesuffix(":cancel")]), kind
            case "POST", ["chat", "completions"]:
                return 200, self._completion(json.loads(exchange.body)), kind
        return 404, {"code": "Some requested entity was not found", "error": "No such batch"}, kind

    def _paged(self, name: str, items: list[Any], query: dict[str, list[str]]) -> dict[str, Any]:
        begin = int(query.get("pagination_token", ["0"])[0])
        end = begin + min(int(query.get("limit", ["100"])[0]), self.page)
        return {name: items[begin:end], "pagination_token": str(end) if end < len(items) else None}

    # Batches

    def add_batch(self, name: str) -> Job:
        self.uploads += 1
        today = datetime.now(UTC).date()
        said: dict[str, Any] = {
            "batch_id": f"batch_{len(self.jobs):06}",
            "name": name,
            "create_time": today.isoformat(),
            "expire_time": (today + timedelta(days=30)).isoformat(),
            "create_api_key_id": "3a17dfeb",
            "cancel_time": None,
            "cancel_by_xai_message": None,
            "state": dict(NO_COUNTS),
        }
        job = Job(said, [], words=self.words)
        self.jobs[said["batch_id"]] = job
        return job

    def add_jobs(self, count: int) -> None:
        """Batches of somebody else with the same key."""
        for _ in range(count):
            self.add_batch("somebody-elses")

    def _added(self, job: Job, asked: dict[str, Any]) -> tuple[int, Any]:
        rows = asked["batch_requests"]
        ids = [row["batch_request_id"] for row in rows]
        if {self.id_of(row) for row in job.rows} & set(ids) or len(set(ids)) < len(ids):
            return 400, {"code": "Client specified an invalid argument", "error": "Doubled ids"}
        assert all(list(row["batch_request"]) == ["chat_get_completion"] for row in rows)
        job.rows += rows
        job.said["state"] |= {"num_requests": len(job.rows), "num_pending": len(job.rows)}
        self.creates += 1
        self.on_create(self, job)
        self.fresh.set()
        return 200, None

    def _polled(self, job: Job) -> dict[str, Any]:
        state = job.said["state"]
        if state["num_pending"]:
            job.polls += 1
            if job.said["cancel_time"]:
                self._end(job, "cancelled")
            elif job.words[-1] in ENDS and job.polls >= len(job.words) - 1:
                self._end(job, job.words[-1])
        return job.said

    def _asked_to_end(self, job: Job) -> dict[str, Any]:
        job.said["cancel_time"] = datetime.now(UTC).date().isoformat()
        return job.said

    def _end(self, job: Job, word: str) -> None:
        results = list(self.lines(job, word))
        failed = sum("error" in one["batch_result"] for one in results)
        cancelled = len(job.rows) - len(job.rows) // 2 if word == "cancelled" else 0
        job.said["state"] |= {
            "num_pending": 0,
            "num_success": len(job.rows) - failed - cancelled,
            "num_error": failed,
            "num_cancelled": cancelled,
        }
        if word == "cancelled":
            self._asked_to_end(job)
        self.results[job.said["batch_id"]] = results

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row["batch_request_id"])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        return prompt_of(row["batch_request"]["chat_get_completion"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any] | None:
        if end == "cancelled":
            return None
        if end is None:
            answer = self._completion(row["batch_request"]["chat_get_completion"])
            result: dict[str, Any] = {"response": {"chat_get_completion": answer}}
        else:
            code, message = end if isinstance(end, tuple) else (4, "Deadline expired")
            result = {"error": {"code": code, "message": message}}
        return {"batch_request_id": custom_id, "batch_result": result}

    def _completion(self, asked: dict[str, Any]) -> dict[str, Any]:
        reply = self._body("/v1/chat/completions", asked)
        usage = {
            "prompt_tokens": 204,
            "completion_tokens": 1,
            "total_tokens": 287,
            "prompt_tokens_details": {"text_tokens": 204, "cached_tokens": 192},
            "completion_tokens_details": {"reasoning_tokens": 82},
            "num_sources_used": 0,
            "cost_in_usd_ticks": 2_087_200,
        }
        return {**reply, "usage": usage, "service_tier": "default"}
