"""`llmbatch providers`: every provider, its key's variable and its address, and never a key."""

import asyncio
import json
import os
import sys

import pytest
from support.program import run, start

from llmbatch_cli.cli.providers_command import (
    HEADS,
    _cells,
    _print_table,
    known,
    without_password,
)
from llmbatch_cli.providers.registry import PROVIDERS

SECRET = "sk-never-to-be-shown"
ENV = {
    "OPENAI_API_KEY": SECRET,
    "CO_API_KEY": SECRET,
    "GROQ_BASE_URL": f"https://me:{SECRET}@groq.example/v1?token={SECRET}",
    "OLLAMA_HOST": "box:1234",
    "AWS_REGION": "eu-west-1",
}


async def test_every_provider_is_listed_once() -> None:
    """One object a provider, with what is set here and where it would be asked."""
    done = await run("providers", "--json", env=ENV)
    assert (done.status, done.err) == (0, "")
    rows = {row["provider"]: row for row in done.rows}
    assert list(rows) == list(PROVIDERS)
    assert rows["openai"] == {
        "provider": "openai",
        "key_variables": ["OPENAI_API_KEY"],
        "key_set": True,
        "key_variable": "OPENAI_API_KEY",
        "key_needed": True,
        "base_url": "https://api.openai.com/v1",
        "batch_api": True,
    }
    assert rows["cohere"]["key_variable"] == "CO_API_KEY"
    assert (rows["anthropic"]["key_set"], rows["anthropic"]["key_variable"]) == (False, None)
    assert rows["groq"]["base_url"] == "https://groq.example/v1"
    assert rows["ollama"]["base_url"] == "http://box:1234"
    assert rows["bedrock"]["base_url"] == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert (rows["azure"]["base_url"], rows["local"]["base_url"]) == (None, None)
    assert SECRET not in done.out.decode()


async def test_the_list_is_for_people_too() -> None:
    """Off a terminal: aligned plain text, a provider a line, without colours and without keys."""
    done = await run("providers", env=ENV)
    lines = done.out.decode().splitlines()
    assert (done.status, len(lines)) == (0, len(PROVIDERS) + 1)
    start = lines[0].index("base URL")
    assert lines[0].split() == ["provider", "key", "set", "batch", "base", "URL"]
    by_name = {line.split()[0]: line for line in lines[1:]}
    assert by_name["openai"][start:] == "https://api.openai.com/v1"
    assert "yes, OPENAI_API_KEY" in by_name["openai"]
    column = lines[0].index("batch")
    batch = {name: line[column:].split()[0] for name, line in by_name.items()}
    assert [batch[name] for name in ("openai", "fake", "ollama")] == ["yes", "yes", "-"]
    assert " no " in by_name["anthropic"]
    assert "not needed" in by_name["vllm"]
    assert by_name["bedrock"].split()[2:4] == ["AWS", "credentials"]
    assert by_name["vertex"].split()[2:4] == ["Google", "credentials"]
    assert by_name["azure"][start:] == "set AZURE_OPENAI_ENDPOINT or AZURE_BASE_URL"
    assert by_name["local"][start:] == "in this process"
    assert "\x1b" not in done.out.decode()
    assert SECRET not in done.out.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_a_narrow_terminal_shows_all_of_it() -> None:
    """Addresses fold where they are too long, and a variable stands whole in its line."""
    from support.terminal import all_of

    ours, theirs = os.openpty()
    env = {"COLUMNS": "80", "NO_COLOR": "1"}
    process = await start("providers", env=env, stdout=theirs)
    os.close(theirs)
    try:
        shown = await asyncio.to_thread(all_of, ours)
    finally:
        os.close(ours)
    assert await process.wait() == 0
    assert "AWS_BEARER_TOKEN_BEDROCK" in shown
    assert "\u2026" not in shown


def test_an_address_shows_no_secret() -> None:
    """User, password, query and fragment are cut off; what is no URL is not repeated."""
    assert without_password("https://u:p@h:1/v1?k=s#f") == "https://h:1/v1"
    assert without_password("http://[broken") == "(no URL)"
    hostile = known("groq", PROVIDERS["groq"], {"GROQ_BASE_URL": "https://h/\udcff\x1b[2J"})
    assert json.dumps(hostile.base_url)
    assert "\udcff" not in str(hostile.base_url)


@pytest.mark.parametrize("columns", [72, 80, 100, 160])
def test_a_narrow_table_folds_what_it_cannot_show_in_one_line(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is cut off at the edge of the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.delenv("GEMINI_BASE_URL", raising=False)
    entries = {name: known(name, PROVIDERS[name], ENV) for name in ("vercel", "gemini", "cohere")}
    _print_table(HEADS, [_cells(one) for one in entries.values()])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    start = lines[0].index("base URL")
    addresses = "".join(line[start:].strip() for line in lines)
    for one in entries.values():
        assert one.base_url is not None
        assert one.base_url in addresses
    assert any("VERCEL_AI_GATEWAY_API_KEY " in line for line in lines)
