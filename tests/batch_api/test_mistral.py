"""What is Mistral's own: its list, its two files, results within the job, its words."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from batch_api.laws import assert_law, rows_of
from batch_api.simulated_mistral import SimulatedMistral, uuid_of
from batch_api.simulated_openai import simulated
from batch_api.test_shapes import ALL, ROWS, answered, texts
from batch_api.wires import intent_of, wire_of
from mistralai.client import Mistral

from llmbatch_cli.core.errors import NotAnswered


def row(custom_id: str, text: str = "Hi") -> dict[str, Any]:
    return {"custom_id": custom_id, "body": {"messages": [{"role": "user", "content": text}]}}


async def test_the_sdk_judges_the_simulator() -> None:
    async with simulated(kind=SimulatedMistral, page=1) as provider:
        assert isinstance(provider, SimulatedMistral)
        provider.answer = lambda asked: (422, "no") if asked["prompt"] == "bad" else None
        async with Mistral(api_key="k", server_url=provider.url.removesuffix("/v1")) as sdk:
            lines = [json.dumps(row("a")), json.dumps(row("b", "bad"))]
            file: Any = {"file_name": "f.jsonl", "content": "\n".join(lines).encode()}
            upload = await sdk.files.upload_async(file=file, purpose="batch")
            assert upload.size_bytes == len(file["content"])
            made = await sdk.batch.jobs.create_async(
                input_files=[upload.id],
                endpoint="/v1/chat/completions",
                model="mistral-small-latest",
                metadata={"llmbatch": "x"},
            )
            assert made.status == "QUEUED"
            listed = await sdk.batch.jobs.list_async(page_size=1, order_by="-created")
            assert listed.total == 1
            assert listed.data is not None
            assert listed.data[0].metadata == {"llmbatch": "x"}
            while made.status != "SUCCESS":
                made = await sdk.batch.jobs.get_async(job_id=made.id)
            assert (made.succeeded_requests, made.failed_requests) == (1, 1)
            results = [
                json.loads(await (await sdk.files.download_async(file_id=str(id_))).aread())
                for id_ in (made.output_file, made.error_file)
            ]
            again = await sdk.batch.jobs.cancel_async(job_id=made.id)
            assert again.status == "SUCCESS"
    assert [one["custom_id"] for one in results] == ["a", "b"]


@pytest.mark.parametrize("obeys", [True, False])
async def test_the_list_is_gone_through_whether_it_goes_by_the_mark_or_not(obeys: bool) -> None:
    async with simulated(kind=SimulatedMistral, page=2, obeys=obeys) as provider:
        assert isinstance(provider, SimulatedMistral)
        intent = intent_of(1, time.time())
        provider.add_job([], "m", [uuid_of(7)], {"llmbatch": intent.id})
        provider.add_jobs(4)
        async with wire_of(provider) as (wire, http):
            assert await wire.find(http, intent, None, ()) == uuid_of(0)
            assert await wire.find(http, intent, None, [uuid_of(0)]) is None


async def test_results_within_the_job_are_taken(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedMistral, inline=True)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.downloads == 0


async def test_an_error_without_an_id_is_a_row_that_is_sent_again_bounded(tmp_path: Path) -> None:
    fails = lambda asked: (500, "no") if asked["prompt"] == "p1" else None  # noqa: E731
    provider, done = await answered(
        tmp_path, SimulatedMistral, "--max-attempts", "2", answer=fails, nameless=True
    )
    assert done.status == 1, done.err
    assert rows_of(tmp_path / "out.jsonl")[1]["error"]["type"] == "not_answered"
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, 1]


@pytest.mark.parametrize("empty", [None, ""])
async def test_a_file_id_that_is_empty_is_no_file(tmp_path: Path, empty: Any) -> None:
    provider, done = await answered(tmp_path, SimulatedMistral, empty_id=empty)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.downloads == 1


async def test_a_job_that_fails_for_all_its_rows_fails_them(tmp_path: Path) -> None:
    reasons = ("Invalid model: mistral-small-latest",)
    provider, done = await answered(tmp_path, SimulatedMistral, reasons=reasons)
    assert done.status == 1, done.err
    rows = rows_of(tmp_path / "out.jsonl")
    assert {one["error"]["type"] for one in rows} == {"unknown_model"}
    assert provider.creates == 1


async def test_a_job_that_fails_in_the_provider_s_trouble_goes_again(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedMistral, reasons=("Internal server error",))
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL
    assert provider.creates == 2


async def test_a_job_that_is_asked_to_end_is_waited_for() -> None:
    async with simulated(kind=SimulatedMistral) as provider:
        assert isinstance(provider, SimulatedMistral)
        job = provider.add_job([row("a-0"), row("a-1")], "m", [uuid_of(7)])
        async with wire_of(provider) as (wire, http):
            queued = wire.status(job.said)  # type: ignore[attr-defined]
            await wire.cancel(http, job.said["id"])
            asked = wire.status(job.said)  # type: ignore[attr-defined]
            ended = await wire.poll(http, job.said["id"])
            await wire.cancel(http, job.said["id"])
    assert (queued.total, queued.done, queued.ended) == (None, None, False)
    assert (asked.word, asked.ended) == ("CANCELLATION_REQUESTED", False)
    assert (ended.word, ended.ended, len(ended.sources)) == ("CANCELLED", True, 1)
    assert queued.expires_s == pytest.approx(time.time() + 86_400, abs=600)


async def test_the_error_of_a_line_may_be_a_text_alone() -> None:
    async with simulated(kind=SimulatedMistral) as provider:
        assert isinstance(provider, SimulatedMistral)
        async with wire_of(provider) as (wire, _):
            line = {"id": "x", "custom_id": "a-0", "response": None, "error": "Internal error"}
            result = wire.result(json.dumps(line).encode())  # type: ignore[attr-defined]
    assert result.custom_id == "a-0"
    assert "Internal error" in result.error.message
    assert result.error.retry
    assert not isinstance(result.error, NotAnswered)


async def test_what_was_cached_is_counted(tmp_path: Path) -> None:
    _, done = await answered(tmp_path, SimulatedMistral)
    assert done.status == 0, done.err
    assert rows_of(tmp_path / "out.jsonl")[0]["usage"]["cached_tokens"] == 1000
