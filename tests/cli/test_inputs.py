"""Inputs of every kind through the real program: what is sent, refused and found again."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.chat import echo
from support.program import jsonl, run
from support.scripted import serve

ROWS = [{"id": f"q{number}", "prompt": f"one {number}"} for number in range(4)]
HI = [{"role": "user", "content": "hi"}]


async def bodies(rows: bytes, *arguments: str) -> list[dict[str, Any]]:
    """What is sent for these rows, in their order."""
    async with serve(echo) as server:
        done = await run(
            "batch", "-m", "m", "--base-url", f"{server.url}/v1", "-c", "1", *arguments, stdin=rows
        )
        assert done.status == 0, done.err
        return [json.loads(exchange.body) for exchange in server.exchanges]


async def test_a_parameter_goes_out_under_the_name_it_was_written() -> None:
    """In a row, in a batch line, and by -p (mnfst/llm-gateway 1878, sgl-project/sglang 28179);
    a row's own limit wins over the run's, whichever name either has."""
    line = {"messages": HI, "max_completion_tokens": 9}
    rows = [
        {"prompt": "a", "max_completion_tokens": 7, "top_k": 5, "min_p": 0.1},
        {"prompt": "b", "max_tokens": 8, "chat_template_kwargs": {"enable_thinking": False}},
        {"custom_id": "c", "method": "POST", "url": "/chat/completions", "body": line},
        "d",
    ]
    for written, limit in (("-p", "max_completion_tokens"), ("--max-tokens", "max_tokens")):
        value = "max_completion_tokens=100" if written == "-p" else "100"
        seen = await bodies(jsonl(rows), written, value)
        expected: list[dict[str, Any]] = [
            {"max_completion_tokens": 7, "top_k": 5, "min_p": 0.1},
            {"max_tokens": 8, "chat_template_kwargs": {"enable_thinking": False}},
            {"max_completion_tokens": 9},
            {limit: 100},
        ]
        for body, fields in zip(seen, expected, strict=True):
            assert {k: v for k, v in body.items() if k not in ("model", "messages")} == fields


async def test_a_line_of_the_responses_api_is_answered() -> None:
    """On chat completions as on Responses (openai/openai-python 2497)."""
    body = {"instructions": "be brief", "input": "hi", "max_output_tokens": 9}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
    (sent,) = await bodies(jsonl([line]))
    messages = [{"role": "system", "content": "be brief"}, *HI]
    assert sent == {"model": "m", "messages": messages, "max_tokens": 9}


async def test_the_lines_of_azure_name_its_deployments() -> None:
    """A deployment may have any name, also a model's: it is asked for at Azure, with its key."""
    body = {"messages": HI}
    rows = [
        {"custom_id": "a", "url": "/chat/completions", "body": {"model": "gpt-4o", **body}},
        {"custom_id": "b", "url": "/chat/completions", "body": {"model": "mine", **body}},
        {"custom_id": "c", "url": "/openai/deployments/other/chat/completions", "body": body},
    ]
    async with serve(echo) as server:
        env = {"AZURE_OPENAI_ENDPOINT": server.url, "AZURE_OPENAI_API_KEY": "a-key-of-this-test"}
        done = await run("batch", "-m", "azure/first", "-c", "1", stdin=jsonl(rows), env=env)
        seen = [json.loads(exchange.body)["model"] for exchange in server.exchanges]
        assert {exchange.header("api-key") for exchange in server.exchanges} == {
            "a-key-of-this-test"
        }
    assert done.status == 0, done.err
    assert seen == ["gpt-4o", "mine", "other"]


async def test_an_array_goes_on_and_its_failures_are_found(tmp_path: Path) -> None:
    """--resume and `errors --rows` know the rows of an array by their content, pretty or packed."""
    first, later, out = tmp_path / "a.json", tmp_path / "b.json.gz", tmp_path / "out.jsonl"
    first.write_text(json.dumps(ROWS))
    later.write_bytes(gzip.compress(json.dumps([*ROWS[::-1], "new"], indent=2).encode()))
    failing = ("batch", "-m", "fake/echo?rejected=1", "-o", str(out))
    done = await run(*failing, str(first))
    assert (done.status, len(out.read_bytes().splitlines())) == (1, 4), done.err
    again = await run("errors", str(out), "--rows", str(later))
    assert again.rows == ROWS[::-1], again.err
    out.unlink()
    answering = ("batch", "-m", "fake/echo", "-o", str(out))
    assert (await run(*answering, str(first))).status == 0
    done = await run(*answering, str(later), "--resume", "--ordered")
    assert "4 of 5 rows answered, 1 to send" in done.err
    ids = [json.loads(row)["id"] for row in out.read_bytes().splitlines()]
    assert ids == ["q3", "q2", "q1", "q0", 4]


@pytest.mark.parametrize("command", ["batch", "race"])
async def test_rows_without_a_prompt_end_the_run(command: str, tmp_path: Path) -> None:
    """Exit 2 with the fields there are and the way, no output, instead of an error row each."""
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(jsonl([{"title": "hi", "body": "ho", "label": 1}] * 5))
    for inputs, stdin in (((str(path), "-o", str(out)), b""), ((), path.read_bytes())):
        done = await run(command, "-m", "fake/echo", *inputs, stdin=stdin)
        assert (done.status, done.out) == (2, b"")
        assert not out.exists()
        assert "several fields may be the prompt: title, body" in done.err
        assert "there are: title, body, label" in done.err
        assert "hint: name it, as in --prompt-field title" in done.err


async def test_a_table_costs_nothing(tmp_path: Path) -> None:
    """By name and from a pipe: exit 2, nothing sent, and the way."""
    table = b'id,question\n1,"What is 2+2?"\n2,"Name a city, please"\n'
    path = tmp_path / "a.csv"
    path.write_bytes(table)
    async with serve(echo) as server:
        for arguments, stdin in (((str(path),), b""), ((), table)):
            done = await run(
                "batch", "-m", "m", "--base-url", f"{server.url}/v1", *arguments, stdin=stdin
            )
            assert (done.status, done.out) == (2, b"")
            assert "a table (CSV), which cannot be read as prompts" in done.err
            assert "hint: convert it to JSONL" in done.err
        assert server.exchanges == []


@pytest.mark.parametrize("models", [("-m", "a", "-m", "b"), ("-m", "a,b")])
async def test_batch_asks_one_model(models: tuple[str, ...]) -> None:
    """Several are not silently one: it says which command is meant."""
    done = await run("batch", *models, stdin=b'"a"\n')
    assert (done.status, done.out) == (2, b"")
    assert "-m names 2: a, b" in done.err
    assert "llmbatch race" in done.err
    assert "--fallback" in done.err


async def test_a_comma_behind_a_parameter_is_between_models() -> None:
    """`race -m 'a?temperature=0,b'` is two models, the first with a parameter."""
    async with serve(echo) as server:
        done = await run(
            "race", "-m", "a?temperature=0,b", "--base-url", f"{server.url}/v1", "--all", "hi"
        )
        seen = sorted((json.loads(one.body) for one in server.exchanges), key=lambda b: b["model"])
    assert done.status == 0, done.err
    assert seen == [
        {"model": "a", "messages": HI, "temperature": 0},
        {"model": "b", "messages": HI},
    ]
