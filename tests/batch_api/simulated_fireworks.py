"""A simulated provider with Fireworks' batch inference, in the shapes of fireworks-ai 1.2.30
(types/batch_inference_job.py, dataset.py, account.py) and of its guide."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from batch_api.shapes import Shape
from batch_api.simulated_openai import File, Job, prompt_of
from support.scripted import Exchange

ACCOUNT = "accounts/acme"
NOTHING = 404, {"error": {"code": 404, "message": "Not found", "status": "NOT_FOUND"}}
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "EXPIRED")


@dataclass
class SimulatedFireworks(Shape):
    """The provider. A job moves on by one word with each poll."""

    model: ClassVar[str] = "fireworks/accounts/fireworks/models/gpt-oss-120b"
    key_variable: ClassVar[str] = "FIREWORKS_API_KEY"
    upload_path: ClassVar[str | None] = ":upload$"
    create_path: ClassVar[str] = "/batchInferenceJobs$"
    list_path: ClassVar[str] = "/batchInferenceJobs/[^/]+$"
    """A job is looked for by its name."""
    poll_path: ClassVar[str] = "/batchInferenceJobs/[^/]+$"
    results_path: ClassVar[str] = "/storage/"
    rejected: ClassVar[tuple[Any, str]] = (400, "messages: not right")
    trouble: ClassVar[tuple[Any, str]] = (503, "Overloaded")

    words: tuple[str, ...] = ("VALIDATING", "PENDING", "RUNNING", "WRITING_RESULTS", "COMPLETED")
    accounts: tuple[str, ...] = (ACCOUNT,)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    stored_keys: set[str | None] = field(default_factory=set)
    deleted: int = 0
    unsigned: int = 0
    """So often a signed address is not good any more."""

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        tail = path.removeprefix("/v1").removeprefix(f"/{ACCOUNT}").split("/")[1:]
        match exchange.method, tail:
            case "GET", ["accounts"]:
                said: tuple[int, Any] = 200, {"accounts": [{"name": one} for one in self.accounts]}
            case _, ["datasets", *rest]:
                said = self._of_datasets(exchange, rest)
            case "POST", ["batchInferenceJobs"]:
                said = self._made(query["batchInferenceJobId"][0], json.loads(exchange.body))
            case _, ["batchInferenceJobs", id_] if id_ in self.jobs:
                said = self._of_job_named(exchange.method, id_)
            case "GET", ["storage", id_]:
                said = self._stored(exchange, id_)
            case "POST", ["chat", "completions"]:
                said = 200, self._body("/v1/chat/completions", json.loads(exchange.body))
            case _:
                said = NOTHING
        return *said, {"content-type": "application/json"}

    def _of_datasets(self, exchange: Exchange, rest: list[str]) -> tuple[int, Any]:
        match exchange.method, rest:
            case "POST", []:
                return self._dataset(json.loads(exchange.body))
            case "POST", [named] if named.removesuffix(":upload") in self.datasets:
                return self._filled(named.removesuffix(":upload"), exchange)
            case "GET", [id_] if id_ in self.datasets:
                return 200, self.datasets[id_]
            case "GET", [named] if named.endswith(":getDownloadEndpoint"):
                return self._endpoint(named.removesuffix(":getDownloadEndpoint"))
        return NOTHING

    def _of_job_named(self, method: str, id_: str) -> tuple[int, Any]:
        if method == "DELETE":
            del self.jobs[id_]
            self.deleted += 1
            return 200, {}
        return 200, self._polled(self.jobs[id_])

    def _stored(self, exchange: Exchange, id_: str) -> tuple[int, Any]:
        self.stored_keys.add(exchange.header("authorization"))
        if self.unsigned:
            self.unsigned -= 1
            return 403, {"error": "Request has expired"}
        return 200, File(id_, "results.jsonl", self.contents[id_])

    # Datasets

    def _dataset(self, asked: dict[str, Any]) -> tuple[int, Any]:
        assert asked["dataset"] == {"userUploaded": {}}
        id_ = asked["datasetId"]
        assert re.fullmatch("[a-z][a-z0-9-]{0,62}", id_)
        if id_ in self.datasets:
            return 409, {"error": {"code": 409, "message": "There already"}}
        said = {"name": f"{ACCOUNT}/datasets/{id_}", "state": "UPLOADING", "userUploaded": {}}
        self.datasets[id_] = said
        return 200, said

    def _filled(self, id_: str, exchange: Exchange) -> tuple[int, Any]:
        self.uploads += 1
        kind = exchange.header("content-type") or ""
        boundary = kind.partition("boundary=")[2].encode()
        part = exchange.body.split(b"--" + boundary)[1]
        head, _, content = part.partition(b"\r\n\r\n")
        assert b'name="file"' in head
        self.contents[id_] = content.removesuffix(b"\r\n")
        self.datasets[id_]["state"] = "READY"
        return 200, {}

    def _endpoint(self, id_: str) -> tuple[int, Any]:
        root = self.url.removesuffix("/v1")
        names = [name for name in self.contents if name.startswith(f"{id_}.")]
        return 200, {"filenameToSignedUrls": {name: f"{root}/storage/{name}" for name in names}}

    # Jobs

    def _made(self, id_: str, asked: dict[str, Any]) -> tuple[int, Any]:
        if id_ in self.jobs:
            return 409, {"error": {"code": 409, "message": "There already"}}
        dataset = asked["inputDatasetId"].rpartition("/")[2]
        assert self.datasets[dataset]["state"] == "READY"
        rows = [json.loads(line) for line in self.contents[dataset].splitlines()]
        assert len({row["custom_id"] for row in rows}) == len(rows)
        assert all(set(row) == {"custom_id", "body"} for row in rows)
        assert not any("model" in row["body"] for row in rows)
        self.creates += 1
        said = {
            "name": f"{ACCOUNT}/batchInferenceJobs/{id_}",
            "displayName": asked["displayName"],
            "state": "JOB_STATE_CREATING",
            "status": {"code": "OK", "message": ""},
            "model": asked["model"],
            "inputDatasetId": asked["inputDatasetId"],
            "outputDatasetId": f"{ACCOUNT}/datasets/out-{id_}",
            "jobProgress": None,
        }
        job = self.jobs[id_] = Job(said, rows, words=self.words)
        self.on_create(self, job)
        self.fresh.set()
        return 200, said

    def add_jobs(self, count: int) -> None:
        """Others are of no concern where a job has its name."""

    def _polled(self, job: Job) -> dict[str, Any]:
        state = job.said["state"].removeprefix("JOB_STATE_")
        if state not in ENDED:
            job.polls += 1
            word = job.words[min(job.polls, len(job.words) - 1)].upper()
            job.said["state"] = f"JOB_STATE_{word}"
            if word in ENDED:
                self._end(job, word)
        return job.said

    def _end(self, job: Job, word: str) -> None:
        if word == "FAILED":
            job.said["status"] = {"code": "INVALID_ARGUMENT", "message": "Row 1 is not valid"}
            return
        lines = list(self.lines(job, word.lower()))
        failed = [line for line in lines if line.get("error")]
        job.said["jobProgress"] = {
            "totalInputRequests": len(job.rows),
            "successfullyProcessedRequests": len(lines) - len(failed),
            "failedRequests": len(failed),
        }
        dataset = job.said["outputDatasetId"].rpartition("/")[2]
        answered = [line for line in lines if not line.get("error")]
        for name, part in (("results", answered), ("error", failed)):
            if part:
                self.contents[f"{dataset}.{name}.jsonl"] = self.as_file(part)

    # Rows

    def id_of(self, row: Mapping[str, Any]) -> str:
        return str(row["custom_id"])

    def prompt_in(self, row: Mapping[str, Any]) -> str:
        return prompt_of(row["body"])

    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any] | None:
        if end is None:
            body = self._body("/v1/chat/completions", {"model": "gpt-oss-120b", **row["body"]})
            return {"custom_id": custom_id, "response": body}
        if not isinstance(end, tuple):
            return None
        code, message = end
        return {"custom_id": custom_id, "error": {"code": code, "message": message}}
