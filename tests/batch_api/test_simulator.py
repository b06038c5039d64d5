"""OpenAI's own SDK against the simulated provider: what it takes for true is what is simulated."""

import json
from pathlib import Path

import pytest
from batch_api.simulated_openai import simulated

openai = pytest.importorskip("openai")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_openais_sdk_makes_watches_lists_cancels_and_reads_jobs(tmp_path: Path) -> None:
    message = {"role": "user", "content": "hi"}
    body = {"model": "gpt-4o-mini", "messages": [message]}
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    async with (
        simulated(page=1) as provider,
        openai.AsyncOpenAI(base_url=provider.url, api_key="sk-1", max_retries=0) as sdk,
    ):
        file = await sdk.files.create(file=path, purpose="batch")
        assert (file.filename, file.purpose) == ("rows.jsonl", "batch")
        assert file.bytes == path.stat().st_size
        made = [
            await sdk.batches.create(input_file_id=file.id, metadata={"llmbatch": str(n)}, **asked)
            for n in range(3)
        ]
        assert made[0].status == "validating"
        listed = [one.id async for one in sdk.batches.list(limit=2)]
        assert listed == [one.id for one in reversed(made)]
        assert (await sdk.batches.cancel(made[1].id)).status == "cancelling"
        words: list[str] = []
        while not words or words[-1] != "completed":
            job = await sdk.batches.retrieve(made[0].id)
            words.append(job.status)
        assert words == ["in_progress", "in_progress", "finalizing", "completed"]
        assert job.metadata == {"llmbatch": "0"}
        assert job.request_counts.completed == job.request_counts.total == 1
        assert job.error_file_id is None
        content = await sdk.files.content(job.output_file_id)
        answer = json.loads(content.text)
        chat = openai.types.chat.ChatCompletion.model_validate(answer["response"]["body"])
        assert (answer["custom_id"], chat.choices[0].message.content) == ("a", "re: hi")
        names = [one.filename async for one in sdk.files.list(purpose="batch", order="desc")]
        assert names[-1] == "rows.jsonl"
        with pytest.raises(openai.NotFoundError):
            await sdk.batches.retrieve("batch_nobody")
