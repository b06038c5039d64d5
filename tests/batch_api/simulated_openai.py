"""A simulated provider with OpenAI's batch API, as recordings of 2026 show it; times are short.

A job moves on by one word with each time that it is asked for. It counts what was made and which
rows were worked on, so that a test can say that nothing was done twice.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.scripted import Exchange, abort, serve

WORDS = ("validating", "in_progress", "in_progress", "finalizing", "completed")
ENDS = ("completed", "failed", "expired", "cancelled")

NOTHING = 404, {"error": {"message": "No such thing", "type": "invalid_request_error"}}


@dataclass
class File:
    """One uploaded or made file."""

    id: str
    filename: str
    content: bytes
    purpose: str = "batch"
    created_at: int = 0

    @property
    def shown(self) -> dict[str, Any]:
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.content),
            "created_at": self.created_at,
            "expires_at": self.created_at + 2_592_000,
            "status": "processed",
            "status_details": None,
        }


@dataclass
class Job:
    """One batch."""

    said: dict[str, Any]
    rows: list[dict[str, Any]]
    polls: int = 0
    worked: bool = False
    words: tuple[str, ...] = WORDS


@dataclass
class SimulatedOpenAI:
    """The provider. What is set here says how it behaves."""

    words: tuple[str, ...] = WORDS
    answer: Callable[[dict[str, Any]], Any] = lambda row: None
    """A row's result line in place of the usual one: a dict of its fields, "missing", "double",
    "error" (in the error file), "unknown" (another's id)."""
    on_create: Callable[["SimulatedOpenAI", Job], None] = lambda server, job: None
    faults: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, regular expression of the path, and what happens in place, once: a status, "lost"
    (it acts, and the reply is lost), or "refused" (nothing is done, the connection breaks)."""
    break_after: list[int] = field(default_factory=list)
    """Of the next downloads: the connection breaks after so many bytes."""
    ranges: bool = True
    retry_after: str | None = None
    page: int = 100
    empty_id: Any = None
    """For a file that there is none of."""
    files: dict[str, File] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    creates: int = 0
    uploads: int = 0
    downloads: int = 0
    worked: Counter[str] = field(default_factory=Counter)
    """How often each row was worked on, by its last message."""
    requests: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    url: str = ""
    fresh: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by each create."""

    async def handle(self, exchange: Exchange) -> None:
        parts = urlsplit(exchange.path)
        path, query = parts.path, parse_qs(parts.query)
        self.requests[f"{exchange.method} {path}"] += 1
        self.keys.add(exchange.header("authorization") or exchange.header("api-key") or "")
        fault = self._fault(exchange.method, path)
        if fault == "refused":
            abort(exchange)
            return
        if isinstance(fault, int):
            body = {"error": {"message": f"scripted {fault}", "type": "server_error"}}
            await exchange.reply(json.dumps(body).encode(), fault)
            return
        status, body, headers = await self._answered(exchange, path, query)
        if fault == "lost":
            abort(exchange)
            return
        if isinstance(body, File):
            await self._download(exchange, body)
            return
        await exchange.reply(json.dumps(body).encode(), status, headers)

    def _fault(self, method: str, path: str) -> Any:
        for place, (wanted, pattern, what) in enumerate(self.faults):
            if wanted == method and re.search(pattern, path):
                del self.faults[place]
                return what
        return None

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        kind = {"content-type": "application/json"}
        if self.retry_after is not None:
            kind["retry-after"] = self.retry_after
        tail = path.partition("/v1/")[2].split("/")
        match exchange.method, tail:
            case "POST", ["files"]:
                return 200, self._uploaded(exchange).shown, kind
            case "GET", ["files"]:
                shown = [one.shown for one in reversed(self.files.values())]
                limit = int(query.get("limit", ["10000"])[0])
                return 200, {"object": "list", "data": shown[:limit], "has_more": False}, kind
            case "GET", ["files", id_, "content"] if id_ in self.files:
                return 200, self.files[id_], kind
            case "GET", ["files", id_] if id_ in self.files:
                return 200, self.files[id_].shown, kind
            case "POST", ["batches"]:
                return (*self._created(json.loads(exchange.body)), kind)
            case _, ["batches", *_]:
                return (*self._of_job(exchange.method, tail[1:], query), kind)
            case "POST", ["chat", "completions"]:
                return 200, self._body("/v1/chat/completions", json.loads(exchange.body)), kind
        return *NOTHING, kind

    def _of_job(self, method: str, rest: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        match method, rest:
            case "GET", []:
                return 200, self._list(query)
            case "GET", [id_] if id_ in self.jobs:
                return 200, self._polled(self.jobs[id_])
            case "POST", [id_, "cancel"] if id_ in self.jobs:
                return 200, self._cancelled(self.jobs[id_])
        return NOTHING

    # Files

    def _uploaded(self, exchange: Exchange) -> File:
        self.uploads += 1
        kind = exchange.header("content-type") or ""
        boundary = re.search(r'boundary="?([^";]+)', kind)
        assert boundary is not None
        fields: dict[str, tuple[str | None, bytes]] = {}
        for part in exchange.body.split(b"--" + boundary[1].encode())[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            said = head.decode().lower() if b"filename" not in head else head.decode()
            name = re.search(r'name="([^"]+)"', said)
            filename = re.search(r'filename="([^"]+)"', said)
            assert name is not None
            fields[name[1]] = (filename[1] if filename else None, content.removesuffix(b"\r\n"))
        assert fields["purpose"][1] == b"batch"
        return self.add_file(fields["file"][0] or "upload", fields["file"][1])

    def add_file(self, filename: str, content: bytes, purpose: str = "batch") -> File:
        id_ = f"file-{len(self.files):06}"
        made = File(id_, filename, content, purpose, int(time.time()))
        self.files[id_] = made
        return made

    async def _download(self, exchange: Exchange, file: File) -> None:
        self.downloads += 1
        content, status, headers = file.content, 200, {"content-type": "application/octet-stream"}
        asked = re.match(r"bytes=(\d+)-", exchange.header("range") or "")
        if asked and self.ranges:
            begin = int(asked[1])
            if begin >= len(content):
                await exchange.reply(b"", 416)
                return
            headers["content-range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            content, status = content[begin:], 206
        if self.break_after:
            sent = content[: self.break_after.pop(0)]
            lines = [f"HTTP/1.1 {status} OK", f"content-length: {len(content)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            await exchange.raw("\r\n".join([*lines, "", ""]).encode() + sent)
            exchange.writer.close()
            return
        await exchange.reply(content, status, headers)

    # Jobs

    def _created(self, asked: dict[str, Any]) -> tuple[int, Any]:
        file = self.files.get(asked["input_file_id"])
        if file is None:
            return NOTHING
        assert asked["completion_window"] == "24h"
        self.creates += 1
        now = int(time.time())
        said = {
            "id": f"batch_{len(self.jobs):06}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "model": None,
            "errors": None,
            "input_file_id": file.id,
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "in_progress_at": None,
            "expires_at": now + 86_400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"),
        }
        rows = [json.loads(line) for line in file.content.splitlines()]
        assert len({row["custom_id"] for row in rows}) == len(rows)
        assert all(row["url"] == asked["endpoint"] for row in rows)
        assert len({row["body"]["model"] for row in rows}) == 1
        job = Job(said, rows, words=self.words)
        self.jobs[said["id"]] = job
        self.on_create(self, job)
        self.fresh.set()
        return 200, said

    def add_jobs(self, count: int) -> None:
        """Jobs of somebody else with the same key."""
        for _ in range(count):
            id_ = f"batch_other{len(self.jobs):06}"
            said = {"id": id_, "created_at": int(time.time()), "status": "completed"}
            self.jobs[id_] = Job({**said, "metadata": {"llmbatch": "somebody"}}, [])

    def _list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        jobs = [job.said for job in reversed(self.jobs.values())]
        limit = min(int(query.get("limit", ["20"])[0]), self.page)
        after = query.get("after", [None])[0]
        if after is not None:
            ids = [job["id"] for job in jobs]
            jobs = jobs[ids.index(after) + 1 :]
        shown = jobs[:limit]
        return {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": len(jobs) > limit,
        }

    def _polled(self, job: Job) -> dict[str, Any]:
        if job.said["status"] == "cancelling":
            self._end(job, "cancelled")
        elif job.said["status"] not in ENDS:
            job.polls += 1
            word = job.words[min(job.polls, len(job.words) - 1)]
            job.said["status"] = word
            if word != "validating":
                job.said["model"] = job.rows[0]["body"]["model"] + "-2026-01-01"
                job.said["request_counts"]["total"] = len(job.rows)
            if word in ENDS:
                self._end(job, word)
        return job.said

    def _cancelled(self, job: Job) -> dict[str, Any]:
        if job.said["status"] not in ENDS:
            job.said["status"] = "cancelling"
        return job.said

    def _end(self, job: Job, word: str) -> None:
        job.said["status"] = word
        if word == "failed":
            return
        answered: list[Any] = []
        failed: list[Any] = []
        for number, row in enumerate(job.rows):
            if word in ("expired", "cancelled") and number >= len(job.rows) // 2:
                code = f"batch_{word}"
                error = {"code": code, "message": f"This request could not be executed: {word}."}
                failed.append(self._line(row, None, error))
                continue
            self._work(row, answered, failed)
        counts = {"completed": len(answered), "failed": len(failed), "total": len(job.rows)}
        job.said["request_counts"] = counts
        for name, lines in (("output", answered), ("error", failed)):
            content = b"".join(json.dumps(one).encode() + b"\n" for one in lines)
            filename = f"{job.said['id']}_{name}.jsonl"
            made = self.add_file(filename, content, "batch_output") if lines else None
            job.said[f"{name}_file_id"] = made.id if made else self.empty_id

    def _work(self, row: dict[str, Any], answered: list[Any], failed: list[Any]) -> None:
        said = self.answer(row)
        if said == "unworked":
            failed.append(self._line(row, None, {"code": "batch_expired", "message": "expired"}))
            return
        self.worked[prompt_of(row["body"])] += 1
        line = self._line(row, {"status_code": 200, "request_id": "req", "body": None}, None)
        line["response"]["body"] = self._body(row["url"], row["body"])
        if said == "missing":
            return
        if said == "unknown":
            line["custom_id"] = "somebody-elses"
        if isinstance(said, dict):
            line.update(said)
        (failed if said == "error" or (said and "error" in said) else answered).append(line)
        if said == "double":
            answered.append(line)

    def _line(self, row: dict[str, Any], response: Any, error: Any) -> dict[str, Any]:
        id_ = f"batch_req_{row['custom_id']}"
        return {"id": id_, "custom_id": row["custom_id"], "response": response, "error": error}

    def _body(self, url: str, asked: dict[str, Any]) -> dict[str, Any]:
        text = f"re: {prompt_of(asked)}"
        tokens = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        if url.endswith("/responses"):
            content = [{"type": "output_text", "text": text, "annotations": []}]
            return {
                "id": "resp_1",
                "object": "response",
                "status": "completed",
                "model": asked["model"],
                "output": [
                    {
                        "id": "msg_1",
                        "type": "message",
                        "role": "assistant",
                        "status": "completed",
                        "content": content,
                    }
                ],
                "service_tier": "default",
                "usage": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13},
            }
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_787_150_602,
            "model": asked["model"],
            "choices": [choice],
            "usage": tokens,
            "service_tier": "default",
        }


def prompt_of(body: dict[str, Any]) -> str:
    """The last message of a request."""
    said = body.get("messages") or body["input"]
    text: str = said[-1]["content"]
    return text


@asynccontextmanager
async def simulated(
    kind: type[SimulatedOpenAI] = SimulatedOpenAI, **behaviour: Any
) -> AsyncIterator[SimulatedOpenAI]:
    """The provider on loopback; `url` is its base URL."""
    provider = kind(**behaviour)
    async with serve(provider.handle) as server:
        provider.url = f"{server.url}/v1"
        yield provider
