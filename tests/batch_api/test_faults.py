"""What a provider may do with a job: each row ends once, and nothing is lost."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from batch_api.laws import prompts, rows_of, run_batch
from batch_api.simulated_openai import Job, SimulatedOpenAI, prompt_of, simulated
from support.program import Done, jsonl

ROWS = 6


async def answered(tmp_path: Path, *more: str, **behaviour: Any) -> tuple[SimulatedOpenAI, Done]:
    """A run over six rows at a provider that behaves so."""
    source = prompts(tmp_path / "in.jsonl", ROWS)
    async with simulated(**behaviour) as provider:
        return provider, await run_batch(provider.url, source, tmp_path / "out.jsonl", *more)


def texts(tmp_path: Path) -> list[str | None]:
    return [row["text"] for row in rows_of(tmp_path / "out.jsonl")]


ALL = [f"re: p{place}" for place in range(ROWS)]


@pytest.mark.parametrize("word", ["expired", "cancelled"])
async def test_what_a_job_has_is_taken_and_the_rest_sent_again(tmp_path: Path, word: str) -> None:
    def turn(provider: SimulatedOpenAI, job: Job) -> None:
        if provider.creates == 1:
            job.words = ("validating", "in_progress", word)

    provider, done = await answered(tmp_path, on_create=turn)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 2
    assert len(provider.jobs["batch_000001"].rows) == ROWS // 2
    assert set(provider.worked.values()) == {1}
    again = [row for row in rows_of(tmp_path / "out.jsonl") if row["attempts"] == 2]
    assert [row["failed_attempts"][0]["type"] for row in again] == ["not_answered"] * (ROWS // 2)


async def test_a_row_that_never_comes_fails_after_as_many_jobs_as_attempts(tmp_path: Path) -> None:
    lost = lambda row: "missing" if prompt_of(row["body"]) == "p2" else None  # noqa: E731
    provider, done = await answered(tmp_path, "--max-attempts", "3", answer=lost)
    assert done.status == 1
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["error"] is None for row in rows] == [n != 2 for n in range(ROWS)]
    assert rows[2]["error"]["type"] == "not_answered"
    assert rows[2]["error"]["retryable"]
    assert provider.creates == 3


STATUS_0 = {"response": {"status_code": 0, "request_id": "", "body": {}}}
NO_RESPONSE = {"response": None, "error": {"code": "server_error", "message": "it broke"}}


@pytest.mark.parametrize(
    "first", ["missing", "unknown", "unworked", STATUS_0, NO_RESPONSE], ids=str
)
async def test_a_row_without_an_answer_is_sent_again(tmp_path: Path, first: Any) -> None:
    seen: set[str] = set()

    def once(row: dict[str, Any]) -> Any:
        prompt = prompt_of(row["body"])
        is_first = prompt == "p3" and prompt not in seen
        seen.add(prompt)
        return first if is_first else None

    provider, done = await answered(tmp_path, answer=once)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 2
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, 1]
    assert ("unknown ids" in done.err) == (first == "unknown")


async def test_a_row_that_comes_twice_is_written_once(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, answer=lambda row: "double")
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 1


async def test_a_row_of_the_error_file_is_a_failed_row_of_its_kind(tmp_path: Path) -> None:
    said = {"message": "maximum context length is 128 tokens", "code": "context_length_exceeded"}
    response = {"status_code": 400, "request_id": "r", "body": {"error": said}}
    bad = {"response": response, "error": None}  # with which it stands in the error file
    fails = lambda row: bad if prompt_of(row["body"]) == "p1" else None  # noqa: E731
    provider, done = await answered(tmp_path, answer=fails)
    assert done.status == 1
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["error"] and row["error"]["type"] for row in rows] == [
        None,
        "context_length",
        *[None] * 4,
    ]
    assert (provider.creates, provider.downloads) == (1, 2)


@pytest.mark.parametrize("empty", [None, ""])
async def test_a_file_id_that_is_empty_is_no_file(tmp_path: Path, empty: Any) -> None:
    provider, done = await answered(tmp_path, empty_id=empty)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.downloads == 1


async def test_unknown_words_are_a_job_that_goes_on(tmp_path: Path) -> None:
    words = ("queued_somewhere", "PAUSED", "In-Progress", "validated?", "completed")
    _, done = await answered(tmp_path, words=words)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL


class Late(SimulatedOpenAI):
    """Says that a job is complete before it names its files."""

    asked = 0

    def _polled(self, job: Job) -> dict[str, Any]:
        said = super()._polled(job)
        if said["status"] != "completed":
            return said
        self.asked += 1
        return said if self.asked > 2 else {**said, "output_file_id": None}


async def test_results_that_are_not_named_yet_are_waited_for(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, kind=Late)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 1


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_download_that_breaks_goes_on(tmp_path: Path, ranges: bool) -> None:
    provider, done = await answered(tmp_path, break_after=[700, 10, 0, 3], ranges=ranges)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.downloads == 5
    assert provider.creates == 1


@pytest.mark.parametrize("status", [502, 429, "refused"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/files$"), ("GET", "/batches/"), ("GET", "/content$")],
    ids=["upload", "poll", "download"],
)
async def test_trouble_of_a_moment_is_borne(
    tmp_path: Path, method: str, path: str, status: Any
) -> None:
    provider, done = await answered(tmp_path, faults=[(method, path, status)])
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 1
    assert set(provider.worked.values()) == {1}


@pytest.mark.parametrize("status", [404, 410])
async def test_rows_whose_results_are_gone_are_sent_again_and_that_is_said(
    tmp_path: Path, status: int
) -> None:
    provider, done = await answered(tmp_path, faults=[("GET", "/content$", status)] * 3)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 2
    assert "are gone: openai keeps them for 30 days" in done.err


class Refusing(SimulatedOpenAI):
    """Fails the first jobs in its check of the file, for these reasons."""

    reasons: ClassVar[list[list[dict[str, Any]]]] = []

    def _polled(self, job: Job) -> dict[str, Any]:
        if self.reasons and job.said["status"] == "validating":
            job.said["status"] = "failed"
            job.said["errors"] = {"object": "list", "data": self.reasons.pop(0)}
        return super()._polled(job)


def refusing(*reasons: list[dict[str, Any]]) -> type[Refusing]:
    return type("Refusing", (Refusing,), {"reasons": list(reasons)})


FULL = {
    "code": "token_limit_exceeded",
    "message": "Enqueued token limit reached for gpt-4o-mini in organization org-1. "
    "Limit: 2,000,000 enqueued tokens. Please try again once some in_progress batches end.",
    "line": None,
    "param": None,
}


async def test_a_job_for_which_too_much_waits_is_submitted_again_later(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, kind=refusing([FULL]))
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert "too much waits at the provider" in done.err
    assert (provider.uploads, provider.creates) == (1, 2)
    assert {row["attempts"] for row in rows_of(tmp_path / "out.jsonl")} == {1}


async def test_a_job_that_is_larger_than_what_may_wait_is_cut(tmp_path: Path) -> None:
    small = {**FULL, "message": "Limit: 120 enqueued tokens."}
    provider, done = await answered(tmp_path, kind=refusing([small]))
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates > 2
    assert max(len(job.rows) for job in list(provider.jobs.values())[1:]) < ROWS


async def test_rows_that_a_check_refuses_fail_and_the_others_go_again(tmp_path: Path) -> None:
    reason = {"code": "invalid_request", "message": "messages is not right", "line": 2}
    provider, done = await answered(tmp_path, kind=refusing([reason]))
    assert done.status == 1, done.err
    rows = rows_of(tmp_path / "out.jsonl")
    assert rows[1]["error"]["type"] == "rejected"
    assert "messages is not right" in rows[1]["error"]["message"]
    assert [row["text"] for row in rows if row["error"] is None] == [ALL[0], *ALL[2:]]
    assert provider.creates == 2


async def test_a_job_that_fails_for_all_its_rows_fails_them(tmp_path: Path) -> None:
    reason = {"code": "model_not_found", "message": "The model `gpt-4o-mini` does not exist"}
    provider, done = await answered(tmp_path, kind=refusing([reason]))
    assert done.status == 1, done.err
    kinds = {row["error"]["type"] for row in rows_of(tmp_path / "out.jsonl")}
    assert kinds == {"unknown_model"}
    assert provider.creates == 1


async def test_an_account_without_money_stops_the_run_and_keeps_the_job(tmp_path: Path) -> None:
    reason = {"code": "billing_hard_limit_reached", "message": "Billing hard limit was reached"}
    reason["type"] = "insufficient_quota"
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=refusing([reason])) as provider:
        done = await run_batch(provider.url, source, out)
        assert done.status == 3, done.err
        assert "Billing hard limit" in done.err
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.uploads == 1


async def test_a_key_that_is_refused_stops_the_run(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, faults=[("POST", "/files$", 401)])
    assert done.status == 3
    assert "OPENAI_API_KEY" in done.err
    assert provider.creates == 0


async def test_several_models_are_several_jobs(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    names = ["gpt-4o", "gpt-4o-mini", "gpt-4o"]
    source.write_bytes(jsonl([{"prompt": f"p{n}", "model": m} for n, m in enumerate(names)]))
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    assert [row["model"] for row in rows_of(out)] == names
    assert sorted(len(job.rows) for job in provider.jobs.values()) == [1, 2]


async def test_an_answer_that_does_not_fit_is_asked_for_again_with_the_reason(
    tmp_path: Path,
) -> None:
    """The first job answers in prose; what is asked in the second one ends in the reason."""
    seen: list[str] = []

    def in_prose(row: dict[str, Any]) -> Any:
        messages = row["body"]["messages"]
        seen.append(messages[-1]["content"])
        text = '{"n": 7}' if len(messages) > 1 else "seven"
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        body = {"id": "c", "choices": [choice], "usage": usage, "model": "m"}
        return {"response": {"status_code": 200, "request_id": "r", "body": body}}

    provider, done = await answered(tmp_path, "--schema", "n int", answer=in_prose)
    assert done.status == 0, done.err
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["data"] for row in rows] == [{"n": 7}] * ROWS
    assert {row["attempts"] for row in rows} == {2}
    assert provider.creates == 2
    assert "cannot be used" in seen[-1]
