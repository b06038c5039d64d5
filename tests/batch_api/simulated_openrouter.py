"""A simulated provider with OpenRouter's batch API, in the shapes of its SDK 1.3.84
(components/batchobject.py, batchlistitem.py, batchsubmitbody.py) and its quickstart."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from batch_api.shapes import Shape
from batch_api.simulated_openai import ENDS, Job, prompt_of
from support.scripted import Exchange


@dataclass
class SimulatedOpenRouter(Shape):
    """The provider. A job moves on by one word with each poll."""

    model: ClassVar[str] = "openrouter/google/gemini-2.5-flash"
    key_variable: ClassVar[str] = "OPENROUTER_API_KEY"
    create_path: ClassVar[str] = "/batches$"
    list_path: ClassVar[str] = "/batches$"
    poll_path: ClassVar[str] = "/batches/[^/]+$"
    results_path: ClassVar[str] = "/batches/[^/]+$"
    rejected: ClassVar[tuple[Any, str]] = ("invalid_request", "messages: not right")
    trouble: ClassVar[tuple[Any, str]] = ("provider_overloaded", "Upstream is busy")

    words: tuple[str, ...] = ("validating", "in_progress", "finalizing", "completed")
    late: int = 0
    """So often the results of an ended job are still null."""

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        kind = {"content-type": "application/json"}
        match exchange.method, self.parts_of(path):
            case "POST", ["batches"]:
                return (*self._made(exchange.body), kind)
            case "GET", ["batches"]:
                page = self._list(query)
                data = [{**one, "results": None} for one in page["data"]]
                return 200, {**page, "data": data}, kind
            case "GET", ["batches", id_] if id_ in self.jobs:
                return 200, self._polled(self.jobs[id_]), kind
            case "POST", ["chat", "completions"]:
                return 200, self._reply(json.loads(exchange.body)), kind
        return 404, {"error": {"code": 404, "message": "Not found"}}, kind

    # Jobs

    def _made(self, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        names = list(asked)
        if names.index("requests") < max(names.index("endpoint"), names.index("model")):
            message = "endpoint and model must stand before requests"
            return 400, {"error": {"code": 400, "message": message}}
        assert asked["endpoint"] == "/v1/chat/completions"
        assert asked["completion_window"] == "24h"
        rows = asked["requests"]
        assert len({row["custom_id"] for row in rows}) == len(rows) <= 5000
        assert all(row["body"].get("model", asked["model"]) == asked["model"] for row in rows)
        assert not any("provider" in row["body"] for row in rows)
        self.creates += 1
        job = self.add_job(rows, asked["model"])
        job.said["asked_provider"] = asked.get("provider")
        self.on_create(self, job)
        self.fresh.set()
        return 202, job.said

    def add_job(self, rows: list[dict[str, Any]], model: str) -> Job:
        said: dict[str, Any] = {
            "id": f"batch_{len(self.jobs):06}",
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "model": model,
            "completion_window": "24h",
            "status": "validating",
            "provider": None,
            "created_at": int(time.time()),
            "expires_at": None,
            "finalized_at": None,
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
            "error": None,
            "usage": None,
            "results": None,
        }
        job = Job(said, rows, words=self.words)
        self.jobs[said["id"]] = job
        return job

    def add_jobs(self, count: int) -> None:
        """Jobs of somebody else with the same key, as large as the last one."""
        last, worked = next(reversed(self.jobs.values())), self.worked.copy()
        for _ in range(count):
            theirs = [{**row, "custom_id": f"theirs-{n}"} for n, row in enumerate(last.rows)]
            self._end(self.add_job(theirs, last.said["model"]), "completed")
        self.worked = worked

    def _polled(self, job: Job) -> dict[str, Any]:
        said = job.said
        if said["status"] not in ENDS:
            job.polls += 1
            word = job.words[min(job.polls, len(job.words) - 1)]
            said["status"] = word
            if word in ENDS:
                self._end(job, word)
        if said["status"] in ENDS and self.late:
            self.late -= 1
            return {**said, "results": None}
        return said

    def _end(self, job: Job, word: str) -> None:
        said = job.said
        said["status"], said["finalized_at"] = word, int(time.time())
        if word == "failed":
            said["error"] = said["error"] or {"message": "The rows are not valid."}
            return
        results = list(self.lines(job, word))
        failed = sum(one["error"] is not None for one in results)
        completed = len(job.rows) - failed
        said["request_counts"] = {"total": len(job.rows), "completed": completed, "failed": failed}
        said["usage"] = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "cost": 1}
        said["results"] = results

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row["custom_id"])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        return prompt_of(row["body"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any]:
        said = {"id": f"req-{custom_id}", "custom_id": custom_id, "response": None, "error": None}
        if end is None:
            body = self._reply(row["body"])
            return {**said, "response": {"status_code": 200, "request_id": "gen-1", "body": body}}
        kind, message = end if isinstance(end, tuple) else ("batch_" + end, f"The row is {end}.")
        error = {"message": message, "type": kind, "param": None, "error_type": kind}
        return {**said, "error": error}

    def _reply(self, asked: dict[str, Any]) -> dict[str, Any]:
        reply = self._body("/v1/chat/completions", asked)
        choices = [{**one, "native_finish_reason": "STOP"} for one in reply["choices"]]
        reply = {**reply, "choices": choices, "system_fingerprint": None}
        return {**reply, "provider": "Google", "usage": {**reply["usage"], "cost": 0.00025}}
