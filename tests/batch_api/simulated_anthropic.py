"""A simulated provider with Anthropic's Message Batches, as recordings of 2026 show them.

Shapes after crmne/ruby_llm, spec/fixtures/vcr_cassettes/batch_with_anthropic_*, and
alexrudall/anthropic, spec/fixtures/cassettes/batch_*.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from batch_api.shapes import Shape
from batch_api.simulated_openai import File, Job
from support.scripted import Exchange

CUSTOM_ID = re.compile("[a-zA-Z0-9_-]{1,64}")
NO_COUNTS = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}


def error(kind: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, **more}}


@dataclass
class SimulatedAnthropic(Shape):
    """The provider. `words` are states; the last may be "expired" or "cancelled"."""

    model: ClassVar[str] = "anthropic/claude-haiku-4-5"
    key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"
    create_path: ClassVar[str] = "/messages/batches$"
    list_path: ClassVar[str] = "/messages/batches$"
    poll_path: ClassVar[str] = "/messages/batches/[^/]+$"
    results_path: ClassVar[str] = "/results$"
    keeps: ClassVar[str] = "29 days"
    rejected: ClassVar[tuple[Any, str]] = ("invalid_request_error", "messages.0: not right")
    trouble: ClassVar[tuple[Any, str]] = ("api_error", "Internal server error")

    words: tuple[str, ...] = ("in_progress", "in_progress", "ended")
    results: dict[str, bytes] = field(default_factory=dict)
    refusals: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """What the next creates are answered."""
    early: int = 0
    """So often results of an ended batch are not there yet."""

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        kind = {"content-type": "application/json"}
        assert exchange.header("anthropic-version")
        match exchange.method, self.parts_of(path):
            case "POST", ["messages", "batches"] if self.refusals:
                return (*self.refusals.pop(0), kind)
            case "POST", ["messages", "batches"]:
                return 200, self._made(json.loads(exchange.body)), kind
            case "GET", ["messages", "batches"]:
                return 200, self._list_page(query), kind
            case method, ["messages", "batches", id_, *rest] if id_ in self.jobs:
                status, body = self._of_batch(method, self.jobs[id_], rest)
                if self.retry_after and not rest and body["processing_status"] != "ended":
                    kind["retry-after"] = self.retry_after
                return status, body, kind
            case "POST", ["messages"]:
                return 200, self._message(json.loads(exchange.body)), kind
        return 404, error("not_found_error", f"No such thing: {path}"), kind

    def _of_batch(self, method: str, job: Job, rest: list[str]) -> tuple[int, Any]:
        id_ = job.said["id"]
        match method, rest:
            case "GET", []:
                return 200, self._polled(job)
            case "POST", ["cancel"]:
                return self._asked_to_end(job)
            case "GET", ["results"] if id_ in self.results and self.early == 0:
                return 200, File(id_, "results.jsonl", self.results[id_])
        self.early = max(0, self.early - 1)
        return 404, error("not_found_error", f"Message Batch {id_} has no available results.")

    # Jobs

    def _made(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert list(asked) == ["requests"]
        rows = asked["requests"]
        ids = [row["custom_id"] for row in rows]
        assert len(set(ids)) == len(ids)
        assert all(CUSTOM_ID.fullmatch(one) for one in ids)
        assert all(set(row) == {"custom_id", "params"} for row in rows)
        assert not any("stream" in row["params"] for row in rows)
        self.creates += 1
        job = self.add_job(rows)
        self.on_create(self, job)
        self.fresh.set()
        return job.said

    def add_job(self, rows: list[dict[str, Any]]) -> Job:
        now = datetime.now(UTC)
        said: dict[str, Any] = {
            "id": f"msgbatch_{len(self.jobs):06}",
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": {**NO_COUNTS, "processing": len(rows)},
            "ended_at": None,
            "created_at": now.isoformat(),
            "expires_at": (now + timedelta(days=1)).isoformat(),
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": None,
        }
        job = Job(said, rows, words=self.words)
        self.jobs[said["id"]] = job
        return job

    def add_jobs(self, count: int) -> None:
        """Batches of somebody else with the same key, as large as the last one."""
        rows, worked = next(reversed(self.jobs.values())).rows, self.worked.copy()
        for _ in range(count):
            theirs = [{**row, "custom_id": f"theirs-{n}"} for n, row in enumerate(rows)]
            self._ended(self.add_job(theirs), "expired")
        self.worked = worked

    def _list_page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        jobs = [job.said for job in reversed(self.jobs.values())]
        limit = int(query.get("limit", ["20"])[0])
        assert 1 <= limit <= 1000
        after = query.get("after_id", [None])[0]
        if after is not None:
            jobs = jobs[[job["id"] for job in jobs].index(after) + 1 :]
        shown = jobs[: min(limit, self.page)]
        return {
            "data": shown,
            "has_more": len(jobs) > len(shown),
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
        }

    def _polled(self, job: Job) -> dict[str, Any]:
        if job.said["processing_status"] == "canceling":
            self._ended(job, "cancelled")
        elif job.said["processing_status"] != "ended":
            job.polls += 1
            word = job.words[min(job.polls, len(job.words) - 1)]
            if word in ("ended", "expired", "cancelled"):
                self._ended(job, word)
            else:
                job.said["processing_status"] = word
        return job.said

    def _asked_to_end(self, job: Job) -> tuple[int, Any]:
        if job.said["processing_status"] == "ended":
            return 400, error("invalid_request_error", "The batch has ended.")
        job.said["processing_status"] = "canceling"
        job.said["cancel_initiated_at"] = datetime.now(UTC).isoformat()
        return 200, job.said

    def _ended(self, job: Job, word: str) -> None:
        said = job.said
        lines = list(self.lines(job, word))
        counts = dict(NO_COUNTS)
        for line in lines:
            counts[line["result"]["type"]] += 1
        counts["succeeded"] += len(job.rows) - sum(counts.values())  # those that are missing
        said["processing_status"], said["request_counts"] = "ended", counts
        said["ended_at"] = datetime.now(UTC).isoformat()
        said["results_url"] = f"{self.url}/messages/batches/{said['id']}/results"
        self.results[said["id"]] = self.as_file(lines)

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row["custom_id"])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        content = row["params"]["messages"][-1]["content"]
        return content if isinstance(content, str) else str(content[-1]["text"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any]:
        if end is None:
            result = {"type": "succeeded", "message": self._message(row["params"])}
        elif isinstance(end, tuple):
            result = {"type": "errored", "error": {**error(*end), "request_id": "req_1"}}
        else:
            result = {"type": {"cancelled": "canceled"}.get(end, end)}
        return {"custom_id": custom_id, "result": result}

    def _message(self, asked: dict[str, Any]) -> dict[str, Any]:
        text = f"re: {self.prompt_in({'params': asked})}"
        return {
            "model": asked["model"],
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "stop_details": None,
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 1000,
                "output_tokens": 5,
                "service_tier": "batch",
            },
        }
