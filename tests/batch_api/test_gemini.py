"""What is Gemini's own: jobs inline or as a file, names in two spellings, numbers as texts."""

import asyncio
import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from batch_api.laws import assert_law, prompts, rows_of
from batch_api.shapes import batch, begun
from batch_api.simulated_gemini import SimulatedGemini, status
from batch_api.simulated_openai import Job, simulated
from batch_api.test_shapes import ALL, ROWS, Killing, answered, texts
from batch_api.wires import body_file, collected, intent_of, wire_of
from support.later import Later

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.gemini import batch as gemini_batch
from llmbatch_cli.providers.gemini.batch_rows import as_inline, as_line
from llmbatch_cli.providers.gemini.batch_schema import older_form

if TYPE_CHECKING:
    from google import genai
else:
    genai = Later("google.genai")

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
MANY = gemini_batch.INLINE_ROWS + 1
HI = [{"role": "user", "content": "Hi"}]


def request_of(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


async def test_the_sdk_judges_the_simulator(tmp_path: Path) -> None:
    async with simulated(kind=SimulatedGemini, page=1) as provider:
        assert isinstance(provider, SimulatedGemini)
        await asyncio.to_thread(by_sdk, provider, tmp_path)


def by_sdk(provider: SimulatedGemini, tmp_path: Path) -> None:
    """Everything that a job is, by Google's own client."""
    address: Any = {"base_url": provider.url.removesuffix("/v1"), "api_version": "v1beta"}
    sdk = genai.Client(api_key="k", http_options=address)
    name: Any = {"display_name": "one"}
    model = "gemini-2.5-flash"
    rows: Any = [{**request_of("a"), "metadata": {"custom_id": "0"}}]
    made = sdk.batches.create(model=model, src=rows, config=name)
    assert made.state is not None
    assert (made.name, made.display_name) == ("batches/b00000", "one")
    assert made.state.name == "JOB_STATE_PENDING"
    while not made.done:
        made = sdk.batches.get(name="batches/b00000")
    assert made.dest is not None
    assert made.dest.inlined_responses is not None
    result = made.dest.inlined_responses[0]
    assert result.response is not None
    assert (result.metadata, result.response.text) == ({"custom_id": "0"}, "re: a")
    lines = tmp_path / "rows.jsonl"
    lines.write_text(json.dumps({"key": "x-0", "request": request_of("b")}) + "\n")
    file = sdk.files.upload(file=str(lines), config={"mime_type": "jsonl", "display_name": "f"})
    assert file.size_bytes == lines.stat().st_size
    assert file.name is not None
    two = sdk.batches.create(model=model, src=file.name, config={"display_name": "two"})
    assert [one.display_name for one in sdk.batches.list(config={"page_size": 1})] == [
        "one",
        "two",
    ]
    while not two.done:
        two = sdk.batches.get(name="batches/b00001")
    assert two.dest is not None
    assert two.dest.file_name is not None
    content = json.loads(sdk.files.download(file=two.dest.file_name))
    assert content["key"] == "x-0"
    sdk.close()


# Spellings


CONFIG = {
    "topK": 3,
    "responseMimeType": "application/json",
    "thinkingConfig": {"thinkingBudget": 0},
}
OWN = {"type": "object", "properties": {"firstName": {"type": "string"}, "last_name": {}}}
PART = {"functionCall": {"name": "f", "args": {"myArg": {"innerArg": 1, "other_arg": 2}}}}
LIVE = {
    "contents": [
        {
            "role": "model",
            "parts": [PART, {"inlineData": {"mimeType": "image/png", "data": "aB_c"}}],
        }
    ],
    "systemInstruction": {"parts": [{"text": "someText in_text"}]},
    "generationConfig": {**CONFIG, "responseJsonSchema": {**OWN, "not": {}}},
    "tools": [{"functionDeclarations": [{"name": "f_g", "parametersJsonSchema": OWN}]}],
}


def test_a_line_has_the_fields_of_the_protocol_and_leaves_the_user_s_own() -> None:
    row = json.loads(as_line("a-0", json.dumps(LIVE).encode()))
    assert row["key"] == "a-0"
    request = row["request"]
    config = request["generation_config"]
    assert set(config) == {
        *("top_k", "response_mime_type", "thinking_config", "response_json_schema")
    }
    assert config["thinking_config"] == {"thinking_budget": 0}
    assert config["response_json_schema"] == {**OWN, "not": {}}
    assert request["tools"][0]["function_declarations"][0]["parameters_json_schema"] == OWN
    first, second = request["contents"][0]["parts"]
    assert first["function_call"]["args"] == PART["functionCall"]["args"]
    assert second["inline_data"] == {"mime_type": "image/png", "data": "aB_c"}
    assert request["system_instruction"] == LIVE["systemInstruction"]


def test_what_is_inline_is_what_is_sent_live(tmp_path: Path) -> None:
    lines = [as_line(f"a-{n}", json.dumps(LIVE).encode()) for n in range(2)]
    rows = json.loads(orjson.dumps(as_inline(body_file(tmp_path, lines))))["requests"]
    assert rows == [{"request": LIVE, "metadata": {"custom_id": f"a-{n}"}} for n in range(2)]


# Schemas


async def test_an_answer_of_a_schema_is_asked_for_in_the_form_that_jobs_keep_to(
    tmp_path: Path,
) -> None:
    asked: list[Any] = []

    def turn(provider: Any, job: Job) -> None:
        asked.extend(row["request"]["generationConfig"] for row in job.rows)

    _, done = await answered(
        tmp_path, SimulatedGemini, "--schema", "n int", "--max-attempts", "1", on_create=turn
    )
    assert done.status == 1, done.err  # the simulator answers in prose
    assert asked[0]["responseSchema"]["properties"]["n"]["type"] == "INTEGER"
    assert "responseJsonSchema" not in asked[0]


NAME = {"type": "string", "minLength": 1, "format": "hostname"}
FORMS: dict[str, tuple[Any, Any]] = {
    "an object": (
        {"type": "object", "properties": {"b": NAME, "a": {"type": "number"}}, "required": ["b"]},
        {
            "type": "OBJECT",
            "properties": {"b": {"type": "STRING", "minLength": 1}, "a": {"type": "NUMBER"}},
            "propertyOrdering": ["b", "a"],
            "required": ["b"],
        },
    ),
    "a list": (
        {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        {"type": "ARRAY", "items": {"type": "BOOLEAN"}, "maxItems": 3},
    ),
    "null": ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
    "null as a choice": (
        {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "d"},
        {"type": "INTEGER", "nullable": True, "description": "d"},
    ),
    "choices": (
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]},
    ),
    "words": ({"enum": ["x", "y"], "type": "string"}, {"type": "STRING", "enum": ["x", "y"]}),
    "one word": ({"const": "x", "type": "string"}, {"type": "STRING", "enum": ["x"]}),
    "a reference": (
        {"$ref": "#/$defs/N", "$defs": {"N": {"type": "string"}}, "description": "d"},
        {"type": "STRING", "description": "d"},
    ),
    "itself": ({"$ref": "#/$defs/N", "$defs": {"N": {"$ref": "#/$defs/N"}}}, None),
    "another document": ({"$ref": "https://x/y"}, None),
    "any names": ({"type": "object", "additionalProperties": {"type": "string"}}, None),
    "numbers": ({"enum": [1, 2], "type": "integer"}, None),
    "anything": ({}, None),
    "all of": ({"allOf": [{"type": "string"}]}, None),
    "no list of choices": ({"anyOf": {}}, None),
}


@pytest.mark.parametrize("what", FORMS)
def test_a_schema_has_the_older_form_or_stays_as_it_is(what: str) -> None:
    schema, form = FORMS[what]
    assert older_form(schema) == form


def test_answers_that_may_be_media_do_not_come_within_the_job() -> None:
    assert not gemini_batch._is_inline(replace(intent_of(1, 0.0), group=gemini_batch.MEDIA))
    assert gemini_batch._is_inline(intent_of(1, 0.0))


# Files


async def test_many_rows_go_as_a_file(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", MANY), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedGemini) as provider:
        assert isinstance(provider, SimulatedGemini)
        done = await batch(provider, source, out)
    assert done.status == 0, done.err
    assert [row["text"] for row in rows_of(out)] == [f"re: p{place}" for place in range(MANY)]
    assert set(provider.worked.values()) == {1}
    assert (provider.uploads, provider.creates, provider.downloads) == (1, 1, 1)


@pytest.mark.parametrize("path", ["/upload/v1beta/files$", ":batchGenerateContent$"])
async def test_after_a_kill_the_file_and_the_job_are_found(tmp_path: Path, path: str) -> None:
    source, out = prompts(tmp_path / "in.jsonl", MANY), tmp_path / "out.jsonl"
    async with simulated(kind=type("Killing", (Killing, SimulatedGemini), {})) as provider:
        assert isinstance(provider, Killing)
        provider.kill = ("POST", path, True)
        if path.startswith("/upload"):  # the second request of the upload has the file
            provider.kill_after = 1
        provider.victim = await begun(provider, source, out)
        await provider.victim.communicate()
        assert provider.victim.returncode == -signal.SIGKILL
        done = await batch(provider, source, out, "--resume")
    assert done.status == 0, done.err
    assert len(rows_of(out)) == MANY
    assert set(provider.worked.values()) == {1}
    assert (provider.uploads, provider.creates) == (1, 1)


@pytest.mark.parametrize("root", ["", "/download"])
async def test_a_file_of_results_is_read_at_either_address(
    tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemini_batch, "INLINE_ROWS", 0)
    async with simulated(kind=SimulatedGemini, download_root=root, break_after=[20, 3]) as provider:
        assert isinstance(provider, SimulatedGemini)
        async with wire_of(provider) as (wire, http):
            lines = [
                wire.line(
                    f"a-{n}", wire.build(Request("gemini-2.5-flash", HI, {})), Request("", HI, {})
                )
                for n in range(3)
            ]
            body = body_file(tmp_path, lines)
            intent = intent_of(3, time.time(), body.stat().st_size)
            assert await wire.find_upload(http, intent) is None
            upload = await wire.upload(http, intent, body)
            assert await wire.find_upload(http, intent) == upload
            assert await wire.find(http, intent, upload, ()) is None
            job = await wire.create(http, intent, upload, body)
            assert await wire.find(http, intent, upload, ()) == job
            assert await wire.find(http, intent, upload, [job]) is None
            while not (now := await wire.poll(http, job)).ended:
                pass
            results = await collected(wire, http, job, now)
    assert (now.total, now.done, now.failed) == (3, 3, None)
    assert sorted(one.custom_id for one in results) == ["a-0", "a-1", "a-2"]
    assert provider.downloads == 3


async def test_a_file_of_results_that_is_gone_is_so_at_both_addresses() -> None:
    async with simulated(kind=SimulatedGemini) as provider:
        assert isinstance(provider, SimulatedGemini)
        job = provider.add_job([{"key": "a-0", "request": request_of("x")}], "n", "m", is_file=True)
        provider._ended(job, "succeeded")
        provider.files.clear()
        async with wire_of(provider) as (wire, http):
            now = await wire.poll(http, job.said["name"])
            with pytest.raises(ProviderError) as raised:
                await collected(wire, http, job.said["name"], now)
    assert raised.value.status == 404
    assert len([path for path in provider.requests if ":download" in path]) == 2


# States


@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
async def test_states_go_by_their_ends(tmp_path: Path, prefix: str) -> None:
    words = ("QUEUED", "PAUSED", "UPDATING", "SUCCEEDED")
    _, done = await answered(tmp_path, SimulatedGemini, prefix=prefix, words=words)
    assert done.status == 0, done.err
    assert texts(tmp_path) == ALL


async def test_what_is_partially_there_is_taken(tmp_path: Path) -> None:
    def turn(provider: Any, job: Job) -> None:
        if provider.creates == 1:
            provider.answer = lambda row: "unworked" if row["prompt"] == "p4" else None
            job.words = ("PENDING", "PARTIALLY_SUCCEEDED")
        else:
            provider.answer = lambda row: None

    provider, done = await answered(tmp_path, SimulatedGemini, on_create=turn)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, 1]


async def test_a_job_that_fails_in_the_provider_s_trouble_goes_again(tmp_path: Path) -> None:
    def turn(provider: Any, job: Job) -> None:
        if provider.creates == 1:
            job.words = ("PENDING", "FAILED")

    provider, done = await answered(tmp_path, SimulatedGemini, on_create=turn)
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["failed_attempts"][0]["type"] for row in rows] == ["overloaded"] * ROWS


async def test_a_job_for_which_too_much_waits_is_submitted_later(tmp_path: Path) -> None:
    words = "Resource has been exhausted (e.g. check quota)."
    full = (429, status(429, words, "RESOURCE_EXHAUSTED"))
    provider, done = await answered(tmp_path, SimulatedGemini, refusals=[full])
    assert done.status == 0, done.err
    assert_law(provider, tmp_path / "out.jsonl", ROWS)
    assert {row["attempts"] for row in rows_of(tmp_path / "out.jsonl")} == {1}


async def test_what_was_cached_and_thought_is_counted(tmp_path: Path) -> None:
    _, done = await answered(tmp_path, SimulatedGemini)
    assert done.status == 0, done.err
    usage = rows_of(tmp_path / "out.jsonl")[0]["usage"]
    assert (usage["cached_tokens"], usage["reasoning_tokens"]) == (1000, 40)


async def test_a_cancelled_job_ends_at_once() -> None:
    async with simulated(kind=SimulatedGemini) as provider:
        assert isinstance(provider, SimulatedGemini)
        job = provider.add_job([{"key": "a-0", "request": request_of("x")}], "n", "m")
        async with wire_of(provider) as (wire, http):
            for _ in range(2):  # the second comes too late, which is no error
                await wire.cancel(http, job.said["name"])
            now = await wire.poll(http, job.said["name"])
    assert now.ended
    assert now.error is None
