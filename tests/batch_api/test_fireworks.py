"""What is Fireworks' own: its account, datasets, jobs by our name, signed addresses, no way to end
a job that has begun."""

import time
from pathlib import Path
from typing import Any

from batch_api.laws import assert_law, env_for, prompts, rows_of
from batch_api.shapes import batch
from batch_api.simulated_fireworks import ACCOUNT, SimulatedFireworks
from batch_api.simulated_openai import simulated
from batch_api.test_shapes import ROWS, answered
from batch_api.wires import body_file, intent_of, wire_of
from support.program import run

from llmbatch_cli.providers.access import Access
from llmbatch_cli.providers.batch_wires import batch_wire
from llmbatch_cli.providers.registry import resolve


async def test_the_key_goes_to_fireworks_and_not_to_the_storage(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedFireworks)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.stored_keys == {None}
    assert "Bearer key-of-the-test" in provider.keys


def test_jobs_are_beside_the_address_of_inference() -> None:
    access = Access(environ={"FIREWORKS_API_KEY": "k"})
    provider = resolve(SimulatedFireworks.model, access).provider
    wire = batch_wire(provider, provider.build, access.setup)
    assert wire.base_url == "https://api.fireworks.ai/v1"


async def test_an_address_that_is_not_good_any_more_is_asked_for_anew(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedFireworks, unsigned=2)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert provider.creates == 1


async def test_a_key_of_several_accounts_is_refused(tmp_path: Path) -> None:
    accounts = (ACCOUNT, "accounts/other")
    provider, done = await answered(tmp_path, SimulatedFireworks, accounts=accounts)
    assert done.status != 0
    assert "the key is of 2 accounts" in done.err
    assert (provider.uploads, provider.creates) == (0, 0)


async def test_a_dataset_that_is_not_filled_is_filled_and_then_found(tmp_path: Path) -> None:
    row = b'{"custom_id":"a-0","body":{"messages":[{"role":"user","content":"p0"}]}}'
    async with simulated(kind=SimulatedFireworks) as provider:
        assert isinstance(provider, SimulatedFireworks)
        intent, body = intent_of(1, time.time()), body_file(tmp_path, [row])
        provider._dataset({"datasetId": intent.mark, "dataset": {"userUploaded": {}}})
        async with wire_of(provider) as (wire, http):
            assert await wire.find_upload(http, intent) is None
            name = await wire.upload(http, intent, body)
            assert await wire.find_upload(http, intent) == name
            assert provider.contents[intent.mark] == row + b"\n"
            assert await wire.find(http, intent, name, ()) is None
            made = [await wire.create(http, intent, name, body) for _ in range(2)]
            assert await wire.find(http, intent, name, ()) == made[0] == made[1]
    assert (provider.uploads, provider.creates) == (1, 1)
    assert made[0] == f"{ACCOUNT}/batchInferenceJobs/{intent.mark}"


async def test_a_job_that_fails_gives_its_reason_to_each_row(tmp_path: Path) -> None:
    provider, done = await answered(tmp_path, SimulatedFireworks, words=("VALIDATING", "FAILED"))
    assert done.status == 1, done.err
    errors = [one["error"] for one in rows_of(tmp_path / "out.jsonl")]
    assert all("Row 1 is not valid" in one["message"] for one in errors)
    assert provider.creates == 1


async def cancelled(tmp_path: Path, word: str) -> tuple[Any, Any, Any]:
    """A job in this state that is cancelled, and then collected."""
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    words = (word,) * 4
    async with simulated(kind=SimulatedFireworks, words=words) as provider:
        assert isinstance(provider, SimulatedFireworks)
        await batch(provider, source, out, "--detach")
        done = await run("jobs", "cancel", str(out), env=env_for(out, provider.env))
        for job in provider.jobs.values():
            job.words = (word, "COMPLETED")
        return provider, done, await batch(provider, source, out, "--resume", "--detach")


async def test_a_job_that_waits_is_deleted_to_cancel_it(tmp_path: Path) -> None:
    provider, done, _ = await cancelled(tmp_path, "PENDING")
    assert done.status == 0, done.err
    assert (provider.deleted, provider.jobs, dict(provider.worked)) == (1, {}, {})


async def test_a_job_that_has_begun_is_not_cancelled_and_collected(tmp_path: Path) -> None:
    provider, done, resumed = await cancelled(tmp_path, "RUNNING")
    assert done.status == 1
    assert "no way to end a job that has begun" in done.err
    assert provider.deleted == 0
    assert resumed.status == 0, resumed.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
