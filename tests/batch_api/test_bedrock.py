"""What is Bedrock's own: S3 and its signatures, the role, tokens of jobs; and that boto3 takes the
simulated Amazon for the real one."""

import asyncio
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from batch_api.laws import assert_law, env_for, prompts, run_batch
from batch_api.shapes import batch
from batch_api.simulated_bedrock import BUCKET, KEY_ID, REGION, ROLE, SECRET, SimulatedBedrock
from batch_api.simulated_openai import Job, simulated
from batch_api.test_shapes import ROWS
from batch_api.wires import body_file, collected, intent_of, wire_of
from support.program import run

from llmbatch_cli.core.errors import (
    Interrupted,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    UsageError,
)
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.access import Access
from llmbatch_cli.providers.batch_api import BatchWire, Intent
from llmbatch_cli.providers.batch_storage import Storage
from llmbatch_cli.providers.batch_wires import batch_wire
from llmbatch_cli.providers.bedrock import s3
from llmbatch_cli.providers.bedrock.batch_reading import status_of
from llmbatch_cli.providers.registry import resolve

ROW = {"messages": [{"role": "user", "content": [{"text": "p0"}]}]}
HERE = Storage(bucket=f"s3://{BUCKET}/in/here", role=ROLE)
OF_AWS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}


def row(number: int = 0, intent: str = "0123456789abcdef") -> bytes:
    return orjson.dumps({"recordId": f"{intent}N{number}", "modelInput": ROW})


def wire_for(storage: Storage = HERE, **environ: str) -> BatchWire:
    """A wire that nothing is sent by."""
    access = Access(environ={**OF_AWS, **environ})
    provider = resolve(SimulatedBedrock.model, access).provider
    return batch_wire(provider, provider.build, access.setup, storage)


def intent_digested(body: Path) -> Intent:
    content = body.read_bytes()
    intent = intent_of(1, time.time(), len(content))
    return replace(intent, sha256=sha256(content).hexdigest())


# The simulator


def drive_by_boto3(provider: SimulatedBedrock) -> None:
    import boto3
    from botocore.exceptions import ClientError

    names = ("aws_access_key_id", "aws_secret_access_key")
    keys = dict(zip(names, (KEY_ID, SECRET), strict=True))
    more: dict[str, Any] = {"region_name": REGION, "endpoint_url": provider.base_url, **keys}
    storage, bedrock = boto3.client("s3", **more), boto3.client("bedrock", **more)
    content = row(0) + b"\n" + row(1) + b"\n"
    storage.put_object(Bucket=BUCKET, Key="a b/in.jsonl", Body=content)
    assert storage.head_object(Bucket=BUCKET, Key="a b/in.jsonl")["ContentLength"] == len(content)
    with pytest.raises(ClientError, match="NoSuchKey"):
        storage.get_object(Bucket=BUCKET, Key="none")
    place = {"s3InputFormat": "JSONL", "s3Uri": f"s3://{BUCKET}/a b/in.jsonl"}
    asked = {
        "modelId": "us.amazon.nova-lite-v1:0",
        "roleArn": ROLE,
        "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": place},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"}},
        "timeoutDurationInHours": 24,
    }
    made = [
        bedrock.create_model_invocation_job(jobName=name, clientRequestToken=name, **asked)
        for name in ("llmbatch-1", "llmbatch-1", "llmbatch-2")
    ]
    arn = made[0]["jobArn"]
    assert made[1]["jobArn"] == arn != made[2]["jobArn"]
    pages = bedrock.get_paginator("list_model_invocation_jobs").paginate(nameContains="batch-1")
    assert [job["jobArn"] for page in pages for job in page["invocationJobSummaries"]] == [arn]
    seen = [bedrock.get_model_invocation_job(jobIdentifier=arn) for _ in range(4)][-1]
    assert (seen["status"], seen["successRecordCount"]) == ("Completed", 2)
    assert seen["jobExpirationTime"] > seen["submitTime"]
    key = f"out/{arn.rpartition('/')[2]}/in.jsonl.out"
    part = storage.get_object(Bucket=BUCKET, Key=key, Range="bytes=1-")
    assert part["ContentRange"].startswith("bytes 1-")
    last = orjson.loads(part["Body"].read().splitlines()[-1])
    assert last["modelOutput"]["output"]["message"]["content"] == [{"text": "re: p0"}]
    with pytest.raises(ClientError, match="ConflictException"):
        bedrock.stop_model_invocation_job(jobIdentifier=arn)
    bedrock.stop_model_invocation_job(jobIdentifier=made[2]["jobArn"])
    stopped = bedrock.get_model_invocation_job(jobIdentifier=made[2]["jobArn"])
    assert stopped["status"] == "Stopped"


async def test_amazons_own_library_drives_the_simulator() -> None:
    async with simulated(kind=SimulatedBedrock, page=1) as provider:
        assert isinstance(provider, SimulatedBedrock)
        await asyncio.to_thread(drive_by_boto3, provider)
    assert provider.signed == {"s3", "bedrock"}


# Before anything is sent


@pytest.mark.parametrize(
    ("storage", "says", "hint"),
    [
        (Storage(role=ROLE), "a bucket of yours, and none is named", "--batch-bucket s3://BUCKET"),
        (Storage(bucket="gs://b-b/c", role=ROLE), "is no bucket for bedrock", "s3://BUCKET/FOLDER"),
        (
            Storage(bucket="s3://Not", role=ROLE),
            "is no bucket for bedrock",
            "LLMBATCH_BATCH_BUCKET",
        ),
        (Storage(bucket="s3://b-b/../c", role=ROLE), "is no folder", "s3://BUCKET/FOLDER"),
        (Storage(bucket="s3://b-b/a b", role=ROLE), "takes no such place", "letters, digits"),
        (
            Storage(bucket="s3://b-b"),
            "by an IAM role, and none is named",
            "--batch-role arn:aws:iam",
        ),
        (Storage(bucket="s3://b-b", role="admin"), "'admin' is no IAM role", "LLMBATCH_BATCH_ROLE"),
    ],
)
async def test_a_bucket_and_a_role_are_wanted(storage: Storage, says: str, hint: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        await wire_for(storage).ready("us.amazon.nova-lite-v1:0")
    assert hint in (caught.value.hint or "")


async def test_models_without_batches_and_plain_http_are_refused() -> None:
    provisioned = f"arn:aws:bedrock:{REGION}:123456789012:provisioned-model/abc"
    with pytest.raises(UsageError, match="no batch inference for arn"):
        await wire_for().ready(provisioned)
    profile = f"arn:aws:bedrock:{REGION}:123456789012:application-inference-profile/abc"
    await wire_for().ready(profile)
    with pytest.raises(UsageError, match=r"are not sent to http://example\.com"):
        await wire_for(AWS_ENDPOINT_URL_S3="http://example.com").ready("amazon.nova-lite-v1:0")


async def test_without_a_bucket_the_program_ends_before_it_sends_anything(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedBedrock) as provider:
        assert isinstance(provider, SimulatedBedrock)
        env = {name: text for name, text in provider.env.items() if not name.endswith("BUCKET")}
        done = await run_batch(provider.base_url, source, out, model=provider.model, key=env)
    assert done.status == 2
    assert "hint: --batch-bucket s3://BUCKET/FOLDER, or LLMBATCH_BATCH_BUCKET" in done.err
    assert not provider.requests


def test_rows_with_tools_are_refused() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    wire = wire_for()
    asked = Request(
        "us.amazon.nova-lite-v1:0", [{"role": "user", "content": "Hi"}], {"tools": [tool]}
    )
    with pytest.raises(UsageError, match="takes no tools"):
        wire.line("a-0", wire.build(asked), asked)
    plain = Request(asked.model, asked.messages, {"max_tokens": 5})
    assert orjson.loads(wire.line("a-0", wire.build(plain), plain)) == {
        "recordId": "aN0",
        "modelInput": {
            "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
            "inferenceConfig": {"maxTokens": 5},
        },
    }


# Options, keys and addresses


async def test_options_win_over_settings_and_the_environment(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    settings = tmp_path / "config.toml"
    settings.write_text(f'[batch]\nbatch-bucket = "s3://{BUCKET}/set"\nbatch-role = "ignored"\n')
    role = f"{ROLE}-by-option"
    async with simulated(kind=SimulatedBedrock) as provider:
        assert isinstance(provider, SimulatedBedrock)
        env = {**provider.env, "LLMBATCH_CONFIG": str(settings)}
        done = await run_batch(
            provider.base_url, source, out, "--batch-role", role, model=provider.model, key=env
        )
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    [asked] = provider.asked
    assert asked["roleArn"] == role
    assert asked["modelId"] == provider.model.partition("/")[2]
    where = asked["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
    assert where == f"s3://{BUCKET}/set/{asked['jobName']}.jsonl"
    assert asked["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"] == f"s3://{BUCKET}/set/"
    assert provider.signed == {"s3", "bedrock"}


async def test_a_key_of_bedrock_opens_bedrock_alone(tmp_path: Path) -> None:
    class Keyed(SimulatedBedrock):
        @property
        def env(self) -> dict[str, str]:
            return {**super().env, "AWS_BEARER_TOKEN_BEDROCK": "a-key"}

    async with simulated(kind=Keyed) as provider:
        assert isinstance(provider, SimulatedBedrock)
        intent, body = intent_of(1, time.time()), body_file(tmp_path, [row()])
        async with wire_of(provider) as (wire, http):
            upload = await wire.upload(http, intent_digested(body), body)
            await wire.create(http, intent, upload, body)
    assert provider.signed == {"s3"}
    assert "Bearer a-key" in provider.keys


@pytest.mark.parametrize(
    ("uri", "endpoint", "url"),
    [
        ("s3://b-b/in/a.jsonl", None, "https://b-b.s3.eu-west-1.amazonaws.com/in/a.jsonl"),
        ("s3://b.b/in/a.jsonl", None, "https://s3.eu-west-1.amazonaws.com/b.b/in/a.jsonl"),
        ("s3://b-b/in!(1)/a", "http://[::1]:9", "http://[::1]:9/b-b/in%21%281%29/a"),
    ],
)
def test_where_a_file_is(uri: str, endpoint: str | None, url: str) -> None:
    assert s3.url_of(uri, "eu-west-1", endpoint) == url


def test_jobs_are_beside_the_address_of_inference() -> None:
    assert wire_for().base_url == f"https://bedrock.{REGION}.amazonaws.com"
    own = wire_for(AWS_ENDPOINT_URL_BEDROCK="https://vpce-1.bedrock.vpce.amazonaws.com/")
    assert own.base_url == "https://vpce-1.bedrock.vpce.amazonaws.com"
    assert wire_for(AWS_BEARER_TOKEN_BEDROCK="one").account == wire_for().account != own.account


@pytest.mark.parametrize(
    ("status", "page", "kind", "says"),
    [
        (404, "<Code>NoSuchBucket</Code><Message>None such</Message>", Rejected, "NoSuchBucket"),
        (403, "<Code>AccessDenied</Code><Message>No</Message>", Unauthorized, "AccessDenied: No"),
        (301, "<Code>PermanentRedirect</Code>", Rejected, "in us-west-2"),
        (503, "<Code>SlowDown</Code><Message>Slow</Message>", RateLimited, "SlowDown"),
    ],
)
async def test_what_s3_says_is_understood(
    tmp_path: Path, status: int, page: str, kind: type[ProviderError], says: str
) -> None:
    class Refusing:
        async def upload(self, *args: object) -> WireReply:
            headers = {"x-amz-bucket-region": "us-west-2"}
            return WireReply(status, headers, f"<Error>{page}</Error>".encode())

    with pytest.raises(kind, match=says):
        await wire_for().upload(Refusing(), intent_of(1, 0.0), tmp_path)  # type: ignore[arg-type]


# Jobs


async def test_a_file_that_is_there_is_found_and_no_job_is_made_twice(tmp_path: Path) -> None:
    """But one that has failed, as for its role, has used up its token."""
    async with simulated(kind=SimulatedBedrock, at_once=1) as provider:
        assert isinstance(provider, SimulatedBedrock)
        body = body_file(tmp_path, [row()])
        intent = intent_digested(body)
        async with wire_of(provider) as (wire, http):
            assert await wire.find_upload(http, intent) is None
            upload = await wire.upload(http, intent, body)
            assert await wire.find_upload(http, intent) == upload
            assert await wire.find(http, intent, upload, ()) is None
            made = [await wire.create(http, intent, upload, body) for _ in range(2)]
            assert await wire.find(http, intent, upload, ()) == made[0] == made[1]
            with pytest.raises(RateLimited, match="too many batch inference jobs"):
                await wire.create(http, replace(intent, id="f" * 16), upload, body)
            job = provider.jobs[made[0]]
            job.said.update(status="Failed", message="The role is not authorized to read it")
            status = await wire.poll(http, made[0])
            assert isinstance(status.error, Unauthorized)
            assert await wire.find(http, intent, upload, ()) is None
            again = await wire.create(http, intent, upload, body)
            assert await wire.find(http, intent, upload, ()) == again != made[0]
    assert provider.creates == 2


async def test_a_job_of_another_account_is_not_taken_for_lost() -> None:
    job = f"arn:aws:bedrock:{REGION}:999999999999:model-invocation-job/abcdefghijkl"
    for done in (wire_for().poll, wire_for().cancel):
        with pytest.raises(UsageError, match="of the account 999999999999, and the role of 1234"):
            await done(None, job)  # type: ignore[arg-type]


async def test_results_are_asked_for_anew_and_may_be_none(tmp_path: Path) -> None:
    async with simulated(kind=SimulatedBedrock, stale=1) as provider:
        assert isinstance(provider, SimulatedBedrock)
        body = body_file(tmp_path, [row()])
        intent = intent_digested(body)
        async with wire_of(provider) as (wire, http):
            job = await wire.create(http, intent, await wire.upload(http, intent, body), body)
            while not (status := await wire.poll(http, job)).ended:
                pass
            with pytest.raises(Interrupted):
                await collected(wire, http, job, status)
            [result] = await collected(wire, http, job, status)
            assert result.custom_id == f"{intent.id}-0"
            for name in [one for one in provider.objects if one.endswith(".out")]:
                del provider.objects[name]
            with pytest.raises(Rejected) as gone:
                await collected(wire, http, job, status)
            assert gone.value.status == 404
            provider.jobs[job].said.update(status="Stopped", successRecordCount=0)
            assert await collected(wire, http, job, await wire.poll(http, job)) == []


def test_what_a_job_has_done_before_it_failed_is_taken() -> None:
    said = {
        "status": "Failed",
        "message": "Access to the model was denied",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{BUCKET}/in/a.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"}},
    }
    job = f"arn:aws:bedrock:{REGION}:123456789012:model-invocation-job/abcdefghijkl"
    void = status_of(job, said, wire_for().failed)
    assert isinstance(void.error, Unauthorized)
    assert void.sources == []
    worked = {**said, "totalRecordCount": 9, "successRecordCount": 4, "errorRecordCount": 0}
    status = status_of(job, worked, wire_for().failed)
    assert isinstance(status.error, Rejected)
    assert status.sources == [f"s3://{BUCKET}/out/abcdefghijkl/a.jsonl.out"]


async def test_a_run_stops_for_a_role_that_may_not_and_goes_on_with_one_that_may(
    tmp_path: Path,
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"

    def fails_first(provider: Any, job: Job) -> None:
        job.words = ("Submitted", "Failed") if provider.creates == 1 else provider.words[-1:]

    why = "The provided role does not have permission to read the bucket"
    async with simulated(kind=SimulatedBedrock, on_create=fails_first, why=why) as provider:
        assert isinstance(provider, SimulatedBedrock)
        stopped = await batch(provider, source, out)
        assert why in stopped.err
        assert "what the role of --batch-role may do" in stopped.err
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert [asked["jobName"][-2:] for asked in provider.asked][1] == "-1"


async def test_jobs_are_shown_and_cancelled_without_the_bucket(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedBedrock, words=("InProgress",)) as provider:
        assert isinstance(provider, SimulatedBedrock)
        await batch(provider, source, out, "--detach")
        env = {name: text for name, text in provider.env.items() if "LLMBATCH" not in name}
        env = {**env_for(out, env), "BEDROCK_BASE_URL": provider.base_url}
        done = await run("jobs", "cancel", str(out), env=env)
        assert done.status == 0, done.err
        [job] = provider.jobs.values()
        assert job.said["status"] == "Stopping"
        resumed = await batch(provider, source, out, "--resume", "--detach")
    assert resumed.status == 0, resumed.err
