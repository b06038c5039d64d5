"""What is Vertex's own: a bucket of the user's, rows that are told by labels, Claude's beside
Gemini's, tokens that end."""

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from batch_api.laws import assert_law, env_for, prompts, rows_of, words_for
from batch_api.shapes import batch, begun
from batch_api.simulated_openai import Job, simulated
from batch_api.simulated_vertex import NAMED, PARENT, SimulatedVertex
from batch_api.test_shapes import ROWS, Killing
from batch_api.wires import body_file, collected, intent_of
from providers.oracle.test_vertex_sdk import account
from support.later import Later
from support.program import run
from support.scripted import Exchange

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError, UsageError
from llmbatch_cli.core.types import Request
from llmbatch_cli.drivers.provider_batch.http import BatchHttp, open_batch_http
from llmbatch_cli.providers.access import Access
from llmbatch_cli.providers.batch_api import BatchWire, Intent
from llmbatch_cli.providers.batch_storage import Storage
from llmbatch_cli.providers.batch_wires import batch_wire
from llmbatch_cli.providers.gemini.pages import pages
from llmbatch_cli.providers.registry import resolve
from llmbatch_cli.providers.vertex.batch import VertexBatch
from llmbatch_cli.providers.vertex.batch_rows import (
    claude_line,
    gemini_line,
    labels_of,
    number_of,
    result_in,
)
from llmbatch_cli.providers.vertex.storage import Place, storage_of

if TYPE_CHECKING:
    from google import genai
    from google.oauth2 import credentials
else:
    genai, credentials = Later("google.genai"), Later("google.oauth2.credentials")

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
HI = [{"role": "user", "content": "Hi"}]
FOLDER = "some/folder/llmbatch-0123456789abcdef"


@asynccontextmanager
async def wired(
    provider: SimulatedVertex, model: str = SimulatedVertex.model
) -> AsyncIterator[tuple[BatchWire, BatchHttp]]:
    """The provider's wire, and its network."""
    access = Access(environ=provider.env, base_url=provider.base_url)
    target = resolve(model, access)
    storage = Storage().or_of(provider.env)
    async with open_batch_http(base_s=0.01) as http:
        build = target.provider.build
        yield batch_wire(target.provider, build, access.setup, storage), http


def wire_at(base_url: str | None = None, **environ: str) -> VertexBatch:
    access = Access(
        environ={"GOOGLE_OAUTH_ACCESS_TOKEN": "t", "GOOGLE_CLOUD_PROJECT": "p-1", **environ},
        base_url=base_url,
    )
    provider = resolve(SimulatedVertex.model, access).provider
    return VertexBatch(provider, provider.build)


async def test_the_sdk_judges_the_simulator() -> None:
    async with simulated(kind=SimulatedVertex, page=1) as provider:
        assert isinstance(provider, SimulatedVertex)
        row = gemini_line("0-0", b'{"contents":[{"role":"user","parts":[{"text":"a"}]}]}')
        provider.put("in.jsonl", row + b"\n")
        await asyncio.to_thread(by_sdk, provider)


def by_sdk(provider: SimulatedVertex) -> None:
    """What Google's own client has of jobs; it leaves files to others."""
    address: Any = {"base_url": provider.url.removesuffix("/v1"), "api_version": "v1"}
    sdk = genai.Client(
        vertexai=True,
        project="p-1",
        location="global",
        credentials=credentials.Credentials("token-of-the-test"),  # type: ignore[no-untyped-call]
        http_options=address,
    )
    config: Any = {"display_name": "one", "dest": "gs://a-bucket/out"}
    made = sdk.batches.create(model="gemini-2.5-flash", src="gs://a-bucket/in.jsonl", config=config)
    assert made.state is not None
    assert made.name is not None
    assert made.name.startswith(f"{NAMED}/")
    assert (made.display_name, made.state.name) == ("one", "JOB_STATE_PENDING")
    assert made.model == "publishers/google/models/gemini-2.5-flash"
    provider.add_jobs(1)
    wanted: Any = {"page_size": 1, "filter": 'displayName="one"'}
    assert [job.name for job in sdk.batches.list(config=wanted)] == [made.name]
    while not made.done:
        made = sdk.batches.get(name=made.name or "")
    assert made.completion_stats is not None
    assert made.completion_stats.successful_count == 1
    assert made.dest is not None
    assert made.dest.gcs_uri == "gs://a-bucket/out"
    assert made.output_info is not None
    folder = made.output_info.gcs_output_directory or ""
    assert folder.startswith("gs://a-bucket/out/prediction-model-")
    sdk.batches.cancel(name=made.name or "")
    sdk.close()


# Rows


@pytest.mark.parametrize("number", [0, 7, 99, 100, 199_999, 999_999])
def test_a_row_is_told_by_labels_of_few_values(number: int) -> None:
    labels = labels_of(number)
    assert number_of(labels) == number
    assert {len(value) for value in labels.values()} == {2}


def test_a_line_is_the_live_request_with_its_labels() -> None:
    body = b'{"contents":[1],"seed":123456789012345678901}'
    assert gemini_line("0123456789abcdef-201", body) == (
        b'{"request":{"labels":{"llmbatch-0":"01","llmbatch-1":"02","llmbatch-2":"00"},'
        b'"contents":[1],"seed":123456789012345678901}}'
    )
    own = json.loads(gemini_line("a-0", b'{"contents":[1],"labels":{"team":"x"}}'))
    assert own["request"]["labels"] == {"team": "x", **labels_of(0)}
    claude = json.loads(claude_line("a-0", b'{"messages":[]}'))
    assert claude == {"custom_id": "a-0", "request": {"messages": []}}


GOOGLE = {"code": 400, "message": "use a valid role", "status": "INVALID_ARGUMENT"}
SLOW = {"type": "rate_limit_error", "message": "slow down"}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"status": f"Bad Request: {json.dumps({'error': GOOGLE})}", "response": {}}, "rejected"),
        ({"status": 'Bad Request: {"error": {"code": 400, "mess'}, "rejected"),
        ({"status": "RESOURCE_EXHAUSTED: too much"}, "rate_limited"),
        ({"status": "INTERNAL"}, "overloaded"),
        ({"status": "something new"}, "overloaded"),
        ({"status": {"code": 3, "message": "bad"}}, "rejected"),
        ({"status": "ERROR", "error": {"code": 400, "message": "bad"}}, "rejected"),
        ({"status": "", "response": {"error": GOOGLE}}, "rejected"),
        ({"status": "", "response": {}}, "overloaded"),
        ({"status": ""}, "overloaded"),
        ({"response": {"type": "error", "error": SLOW}, "custom_id": "x"}, "rate_limited"),
    ],
)
def test_a_row_s_status_is_an_error_of_its_kind(said: dict[str, Any], kind: str) -> None:
    line = orjson.dumps({"request": {"labels": labels_of(5)}, **said})
    result = result_in(line, "i")
    assert result.custom_id == said.get("custom_id", "i-5")
    error = result.error
    if result.reply is not None:
        model = "claude-haiku-4-5" if "custom_id" in said else "gemini-2.5-flash"
        with pytest.raises(ProviderError) as caught:
            wire_at().provider.parse(Request(model, HI, {}), result.reply)
        error = caught.value
    assert error is not None
    assert error.kind == kind


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"{}", b'{"request":{"labels":{"llmbatch-0":"1"}},"response":{"a":1}}']
)
def test_a_line_that_is_nobody_s_has_no_id(line: bytes) -> None:
    assert result_in(line, "i").custom_id == ""


async def test_rows_of_claude_are_in_anthropic_s_form(tmp_path: Path) -> None:
    model = "vertex/claude-haiku-4-5"
    ends = {"p1": (400, "messages: bad"), "p2": None}
    async with simulated(
        kind=SimulatedVertex, answer=lambda row: ends.get(row["prompt"])
    ) as provider:
        assert isinstance(provider, SimulatedVertex)
        async with wired(provider, model) as (wire, http):
            intent = replace(intent_of(2, time.time()), model="claude-haiku-4-5")
            lines = []
            for number in (1, 2):
                request = Request(intent.model, [{"role": "user", "content": f"p{number}"}], {})
                lines.append(
                    wire.line(f"{intent.id}-{number}", wire.provider.build(request), request)
                )
            job = await submitted(wire, http, intent, body_file(tmp_path, lines))
            (one,) = provider.jobs.values()
            assert one.said["model"] == "publishers/anthropic/models/claude-haiku-4-5"
            while not (status := await wire.poll(http, job)).ended:
                pass
            assert (status.total, status.done, status.failed) == (2, 1, 1)
            good, bad = await collected(wire, http, job, status)
            assert (good.custom_id, bad.custom_id) == (f"{intent.id}-2", f"{intent.id}-1")
            assert good.reply is not None
            assert bad.reply is not None
            assert wire.provider.parse(request, good.reply).text == "re: p2"
            with pytest.raises(ProviderError, match="messages: bad") as caught:
                wire.provider.parse(request, bad.reply)
            assert caught.value.kind == "rejected"


async def submitted(wire: BatchWire, http: BatchHttp, intent: Intent, body: Path) -> str:
    sized = replace(intent, bytes=body.stat().st_size)
    upload = await wire.upload(http, sized, body)
    return await wire.create(http, sized, upload, body)


# The bucket


async def test_nothing_is_sent_without_a_bucket(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedVertex) as provider:
        assert isinstance(provider, SimulatedVertex)
        env = env_for(out, {**provider.env, "LLMBATCH_BATCH_BUCKET": ""})
        done = await run(*words_for(source, out, provider.base_url, provider.model), env=env)
    assert done.status == 2
    assert "none is named" in done.err
    assert "hint: --batch-bucket gs://BUCKET/FOLDER" in done.err
    assert not provider.requests


async def test_the_files_of_a_job_are_in_the_bucket_s_folder(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedVertex) as provider:
        assert isinstance(provider, SimulatedVertex)
        done = await batch(provider, source, out, "--batch-bucket", "gs://a-bucket/mine/")
        assert done.status == 0, done.err
    (job,) = provider.jobs.values()
    mark = job.said["displayName"]
    assert job.said["inputConfig"]["gcsSource"] == {"uris": [f"gs://a-bucket/mine/{mark}.jsonl"]}
    assert all(name.startswith(f"mine/{mark}") for name in provider.files)


async def test_a_bucket_that_is_not_there_ends_the_run_with_a_hint(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedVertex) as provider:
        assert isinstance(provider, SimulatedVertex)
        done = await batch(provider, source, out, "--batch-bucket", "gs://another")
    assert done.status not in (0, 1)
    assert "The specified bucket does not exist" in done.err
    assert "is --batch-bucket right?" in done.err
    assert provider.creates == 0


# Uploads


@pytest.mark.parametrize(
    ("behaviour", "parts"),
    [
        ({"break_upload": [0, 4]}, [10, 10, 6]),
        ({"break_upload": [10]}, [10]),
        ({"faults": [("PUT", "/upload/", 503)]}, [10]),
        ({"faults": [("PUT", "/upload/", "lost")]}, [10]),
        ({"faults": [("PUT", "/upload/", "refused"), ("PUT", "/upload/", 500)]}, [10]),
    ],
    ids=["breaks", "breaks at the end", "unavailable", "reply lost", "refused"],
)
async def test_an_upload_goes_on_where_it_was(
    tmp_path: Path, behaviour: dict[str, Any], parts: list[int]
) -> None:
    body = body_file(tmp_path, [b"123456789"])
    async with simulated(kind=SimulatedVertex, **behaviour) as provider:
        assert isinstance(provider, SimulatedVertex)
        intent = intent_of(1, time.time(), 10)
        async with wired(provider) as (wire, http):
            assert await wire.find_upload(http, intent) is None
            place = await wire.upload(http, intent, body)
            assert place == f"gs://a-bucket/{FOLDER}.jsonl"
            assert await wire.find_upload(http, intent) == place
            assert await wire.find_upload(http, replace(intent, bytes=9)) is None
        assert provider.files[f"{FOLDER}.jsonl"].content == body.read_bytes()
    assert provider.parts == parts
    assert len(provider.sessions) == 1
    assert provider.put_with == {None}  # its address is the right to it


async def test_an_upload_that_never_gets_further_ends(tmp_path: Path) -> None:
    body = body_file(tmp_path, [b"123456789"])
    async with simulated(kind=SimulatedVertex, break_upload=[0] * 9) as provider:
        assert isinstance(provider, SimulatedVertex)
        async with wired(provider) as (wire, http):
            with pytest.raises(Interrupted, match="again and again"):
                await wire.upload(http, intent_of(1, time.time(), 10), body)
    assert len(provider.parts) == 4


async def test_after_a_kill_behind_the_upload_it_is_found(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=type("Killing", (Killing, SimulatedVertex), {})) as provider:
        assert isinstance(provider, Killing)
        provider.kill = ("PUT", "^/upload/", True)
        provider.victim = await begun(provider, source, out)
        await provider.victim.communicate()
        assert provider.victim.returncode == -signal.SIGKILL
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert (provider.uploads, provider.creates) == (1, 1)


# Jobs


async def test_a_job_that_failed_is_an_error_of_each_row(tmp_path: Path) -> None:
    """One that passes, so that the rows go into another."""

    def fails(provider: Any, job: Job) -> None:
        if provider.creates == 1:
            job.words = ("PENDING", "FAILED")

    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedVertex, on_create=fails) as provider:
        assert isinstance(provider, SimulatedVertex)
        done = await batch(provider, source, out)
    assert done.status == 0, done.err
    assert provider.creates == 2
    kinds = {row["failed_attempts"][0]["type"] for row in rows_of(out)}
    assert kinds == {"overloaded"}


async def test_jobs_are_ended_with_what_they_have(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedVertex, words=("PENDING", "RUNNING")) as provider:
        assert isinstance(provider, SimulatedVertex)
        await batch(provider, source, out, "--detach")
        done = await run("jobs", "cancel", str(out), env=env_for(out, provider.env))
        assert done.status == 0, done.err
        (job,) = provider.jobs.values()
        assert job.said["state"] == "JOB_STATE_CANCELLING"
        provider.words = ("PENDING", "SUCCEEDED")
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, 4)
    assert [len(job.rows) for job in provider.jobs.values()] == [4, 2]


@pytest.mark.parametrize(
    ("said", "total", "done", "failed"),
    [
        ({}, None, None, None),
        ({"successfulCount": "3", "failedCount": "1"}, 4, 3, 1),
        ({"successfulCount": "3", "incompleteCount": "2"}, 5, 3, 0),
        ({"failedCount": "1", "incompleteCount": "-1"}, None, 0, 1),
    ],
)
def test_rows_are_counted_as_far_as_they_are_known(
    said: dict[str, str], total: int | None, done: int | None, failed: int | None
) -> None:
    job = {"state": "JOB_STATE_RUNNING", "completionStats": said}
    status = wire_at().status(job)
    assert (status.total, status.done, status.failed) == (total, done, failed)
    assert not status.ended


def test_a_job_is_given_up_a_day_after_it_began_or_three_in_the_queue() -> None:
    made = {"state": "JOB_STATE_QUEUED", "createTime": "2026-11-26T00:00:00Z"}
    queued, begun_ = (
        wire_at().status(made),
        wire_at().status({**made, "startTime": made["createTime"]}),
    )
    assert queued.expires_s is not None
    assert begun_.expires_s is not None
    assert queued.expires_s - begun_.expires_s == 2 * 24 * 3600


async def test_a_refusal_of_claude_without_a_region_says_what_to_set(tmp_path: Path) -> None:
    refusal = 400, {"error": {"code": 400, "message": "not supported", "status": "INVALID"}}
    async with simulated(kind=SimulatedVertex, refusals=[refusal]) as provider:
        assert isinstance(provider, SimulatedVertex)
        async with wired(provider, "vertex/claude-haiku-4-5") as (wire, http):
            intent = replace(intent_of(1, time.time()), model="claude-haiku-4-5")
            with pytest.raises(ProviderError) as caught:
                await submitted(wire, http, intent, body_file(tmp_path, [b"{}"]))
    assert "GOOGLE_CLOUD_LOCATION" in (caught.value.hint or "")


async def test_a_model_of_another_publisher_is_refused_before_anything_is_read() -> None:
    wire = wire_at()
    wire.storage = Storage(bucket="gs://a-bucket")
    await wire.ready("claude-haiku-4-5")
    with pytest.raises(UsageError, match="meta"):
        await wire.ready("meta/llama-4")
    wire.storage = Storage(bucket="s3://a-bucket")
    with pytest.raises(UsageError, match="no bucket for vertex"):
        await wire.ready("gemini-2.5-flash")


async def test_a_list_whose_pages_go_round_is_no_list() -> None:
    """Nothing can be said of what is not in it, so no job is made again for it."""

    async def ask(more: Mapping[str, str]) -> Mapping[str, Any]:
        return {"nextPageToken": "again"}

    with pytest.raises(BadReply, match="no end"):
        _ = [page async for page in pages(ask, "jobs")]


# Accounts


def test_the_account_is_the_project_s_and_not_the_token_s() -> None:
    ours = wire_at()
    assert ours.account == wire_at(GOOGLE_OAUTH_ACCESS_TOKEN="another").account
    assert ours.account != wire_at(GOOGLE_CLOUD_PROJECT="p-2").account
    assert ours.account != wire_at(GOOGLE_CLOUD_LOCATION="us-east5").account
    assert ours.account != wire_at("http://localhost:1/v1").account


def test_a_new_token_is_sent_at_once() -> None:
    wire = wire_at()
    sent = [wire.request("GET", f"/{PARENT}").headers["authorization"]]
    wire.provider._hold("t-2")  # type: ignore[attr-defined]
    sent.append(wire.request("GET", f"/{PARENT}").headers["authorization"])
    assert sent == ["Bearer t", "Bearer t-2"]


class WithTokens(SimulatedVertex):
    """Gives out tokens, another one each time, and takes them all."""

    given: int = 0

    @property
    def env(self) -> dict[str, str]:
        return {"LLMBATCH_BATCH_BUCKET": "gs://a-bucket/some/folder"}

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        if path == "/token":
            self.given += 1
            token = {"access_token": f"token-{self.given}", "expires_in": 3600}
            return 200, token, {"content-type": "application/json"}
        known = re.fullmatch(r"Bearer token-\d", exchange.header("authorization") or "")
        taken = [(name, value) for name, value in exchange.headers if name != "authorization"]
        if known:
            taken.append(("authorization", "Bearer token-of-the-test"))
        return await super()._answered(replace(exchange, headers=taken), path, query)


async def test_a_run_goes_on_with_credentials_whose_tokens_change(tmp_path: Path) -> None:
    """A service account's, of which each process fetches its own; so does `llmbatch jobs`."""
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=WithTokens) as provider:
        assert isinstance(provider, WithTokens)
        account(tmp_path / "account.json", f"{provider.url.removesuffix('/v1')}/token")
        more = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "account.json")}
        more["GOOGLE_CLOUD_PROJECT"] = "p-1"
        env = env_for(out, {**provider.env, **more})
        words = words_for(source, out, provider.base_url, provider.model)
        done = await run(*words, "--detach", env=env)
        assert done.status == 0, done.err
        done = await run("jobs", "wait", str(out), env=env)
        assert done.status == 0, done.err
        done = await run(*words, "--resume", env=env)
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.given >= 3
    assert provider.creates == 1


async def test_results_are_read_on_with_the_next_token(tmp_path: Path) -> None:
    """A download that breaks where its token has ended is come back to."""
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    ended = [("GET", SimulatedVertex.results_path, "as usual"), ("GET", "predictions.jsonl", 401)]
    async with simulated(kind=SimulatedVertex, break_after=[1500], faults=ended) as provider:
        assert isinstance(provider, SimulatedVertex)
        done = await batch(provider, source, out)
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert (provider.downloads, provider.creates) == (2, 1)


@pytest.mark.parametrize(
    ("base_url", "root"),
    [
        ("https://aiplatform.googleapis.com/v1", "https://storage.googleapis.com"),
        ("https://us-east5-aiplatform.googleapis.com/v1", "https://storage.googleapis.com"),
        ("https://aiplatform.eu.rep.googleapis.com/v1", "https://storage.googleapis.com"),
        ("https://gateway.example.com/vertex/v1", "https://gateway.example.com"),
        ("https://eviltogoogleapis.com/v1", "https://eviltogoogleapis.com"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
    ],
)
def test_the_storage_is_google_s_or_where_the_token_goes_anyway(base_url: str, root: str) -> None:
    assert storage_of(base_url) == root


@pytest.mark.parametrize("uri", ["", "gs://", "gs://bucket", "s3://b/n", "/b/n"])
def test_what_is_no_file_in_the_storage_is_refused(uri: str) -> None:
    with pytest.raises(ProviderError):
        Place.of(uri)
