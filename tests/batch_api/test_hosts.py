"""The hosts that have taken OpenAI's shape over: each with its key, its words, its limits."""

from pathlib import Path

import pytest
from batch_api.laws import assert_law, prompts, run_batch
from batch_api.simulated_openai import WORDS, SimulatedOpenAI, simulated
from support.program import jsonl

from llmbatch_cli.providers.openai.batch_hosts import BATCH_HOSTS
from llmbatch_cli.providers.registry import PROVIDERS

ROWS = 3
HOSTS = {
    "groq/llama-3.3-70b": ("GROQ_API_KEY", "Bearer k"),
    "deepinfra/meta-llama/Llama-3.3-70B": ("DEEPINFRA_API_KEY", "Bearer k"),
    "novita/deepseek/deepseek-v3": ("NOVITA_API_KEY", "Bearer k"),
    "dashscope/qwen-plus": ("DASHSCOPE_API_KEY", "Bearer k"),
    "azure/my-deployment": ("AZURE_OPENAI_API_KEY", "k"),
    "litellm/gpt-4o": ("LITELLM_API_KEY", "Bearer k"),
}


@pytest.mark.parametrize("model", HOSTS)
async def test_rows_go_through_the_jobs_of_a_host(tmp_path: Path, model: str) -> None:
    variable, sent = HOSTS[model]
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    words = ("VALIDATING", "PROGRESS", "completed") if "novita" in model else WORDS
    async with simulated(words=words) as provider:
        url = provider.url
        if model.startswith("azure/"):
            url = url.replace("/v1", "/openai/v1")
        done = await run_batch(url, source, out, model=model, key={variable: "k"})
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.keys == {sent}
    (job,) = provider.jobs.values()
    assert job.rows[0]["body"]["model"] == model.partition("/")[2]


def test_every_row_of_the_table_is_a_provider_that_has_it() -> None:
    assert {name for name in BATCH_HOSTS if PROVIDERS[name].batch is None} == set()


async def test_rows_of_another_thinking_mode_are_a_job_of_their_own(tmp_path: Path) -> None:
    """As Alibaba wants it."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    thinking = {"extra_body": {"enable_thinking": True}}
    source.write_bytes(jsonl([{"prompt": "p0"}, {"prompt": "p1", **thinking}, {"prompt": "p2"}]))
    async with simulated() as provider:
        key = {"DASHSCOPE_API_KEY": "k"}
        done = await run_batch(provider.url, source, out, model="dashscope/qwen-plus", key=key)
    assert done.status == 0, done.err
    assert sorted(len(job.rows) for job in provider.jobs.values()) == [1, 2]


class AtResponses(SimulatedOpenAI):
    """OpenAI where it answers on both APIs."""


async def test_rows_for_the_responses_api_are_a_job_of_it(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=AtResponses) as provider:
        done = await run_batch(provider.url, source, out, "--api", "responses")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    (job,) = provider.jobs.values()
    assert job.said["endpoint"] == "/v1/responses"
    assert "input" in job.rows[0]["body"]


async def test_a_host_refuses_what_its_jobs_do_not_answer(tmp_path: Path) -> None:
    """Each row fails by itself, and nothing is uploaded."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    headers = {"extra_headers": {"x-a": "b"}}
    source.write_bytes(jsonl([{"prompt": "p0"}, {"prompt": "p1", **headers}]))
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out)
    assert done.status == 1, done.err
    assert provider.worked == {"p0": 1}
    assert b"extra_headers cannot be sent by a batch API" in out.read_bytes()
