"""What is said of a file of settings that is wrong: what, where, what to do; nothing is sent."""

from collections.abc import Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest
from support.program import jsonl
from support.settings import Home

from llmbatch_cli.cli.config_command import all_options
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.settings.read import read
from llmbatch_cli.settings.source import Source

SECRET = "sk-secret-0123456789"

WRONG = {
    'modle = "x"': ("config.toml:1: unknown setting modle", "did you mean model or models?"),
    "model = 3": ("config.toml:1: model must be a text", ""),
    "model = gpt-4o": ("config.toml:1:9: no valid TOML: invalid value", "a text stands in quotes"),
    'model = "a"\nmodel = "b"': ("config.toml:2:12: no valid TOML: cannot overwrite", "once"),
    "[batch\nquiet = true": ("config.toml:1:7: no valid TOML", ""),
    "[batch]\nstop = [\n": ("config.toml:2:9: no valid TOML", ""),
    "\n[batch]\nconcurency = 5": (
        "config.toml:3: unknown setting batch.concurency", "did you mean concurrency?",
    ),
    "[batch]\nconcurrency = '5'": ("config.toml:2: batch.concurrency must be a whole number", ""),
    "[batch]\nconcurrency = true": ("config.toml:2: batch.concurrency must be a whole number", ""),
    "[batch]\nconcurrency = 0": ("config.toml:2: batch.concurrency must be at least 1", ""),
    "[batch]\nrpm = nan": ("config.toml:2: batch.rpm must be a number", ""),
    "[batch]\nordered = 1": ("config.toml:2: batch.ordered must be true or false", ""),
    "[batch]\nformat = 'jsnl'": (
        "config.toml:2: batch.format must be one of jsonl, csv", "did you mean jsonl?",
    ),
    "[batch]\nstop = ['a', 1]": ("config.toml:2: batch.stop must be a text, or a list of", ""),
    "[batch]\nmax-tokens = 1\nmax_tokens = 2": ("config.toml:3: batch.max_tokens is set twice", ""),
    "batch = 5": ("config.toml:1: batch must be a table", "[batch]"),
    "[errors]\nx = 1": ("config.toml:2: unknown setting errors.x", ""),
    "[batch]\nenv-file = '.env'": ("config.toml:2: unknown setting batch.env-file", ""),
    "[aliases]\n'a/b' = 'gpt-4o'": ("config.toml:2: aliases.\"a/b\" cannot be an alias", ""),
    "[aliases]\na = 'b'\nb = 'gpt-4o'": ("config.toml:2: aliases.a names another alias", ""),
    "[providers.grok]\nrpm = 5": ("config.toml:1: unknown setting providers.grok", "groq"),
    "[providers.local]\nrpm = 5": ("config.toml:1: providers.local runs in this process", ""),
    "[providers.groq]\nrpm = 0": ("config.toml:2: providers.groq.rpm must be above 0", ""),
    "[providers.groq]\nbase_url = 'groq.com'": (
        "config.toml:2: 'groq.com' is not a base URL for groq", "it begins with http",
    ),
    "[providers.groq]\nheaders = { 'a b' = 'c' }": (
        "config.toml:2: providers.groq.headers.\"a b\" is not the name of a header", "",
    ),
    "[providers.groq.headers]\nx = \"a\\nb\"": ("config.toml:2: providers.groq.headers.x must", ""),
    "[providers.groq.headers]\nHost = 'a'": ("Host is set by each request itself", "remove it"),
    "[prices]\n'gpt-4.1' = [1]": ('config.toml:2: prices."gpt-4.1" must be two numbers', "a mill"),
    "[prices]\nm = [1, -1]": ("config.toml:2: prices.m must be two numbers from 0", ""),
    "[hosts.groq]\nbase_url = 'http://a'": ("hosts.groq: groq is a provider already", "another"),
    "[hosts.Mine]\nbase_url = 'http://a'": ("'Mine' cannot name a host", "a-z"),
    "[hosts.mine]\nrpm = 5": ("config.toml:1: hosts.mine has no base_url", "as in base_url"),
    "[hosts.mine]\nbase_url = 'http://a'\nbase-url = 'b'": (
        "config.toml:3: unknown setting hosts.mine.base-url", "did you mean base_url?",
    ),
    "[hosts.mine]\nbase_url = 'http://a'\nkey_variable = 'OPENAI_API_KEY'": (
        "config.toml:3: OPENAI_API_KEY holds the key of openai", "move openai: [providers.openai]",
    ),
    "[hosts.co]\nbase_url = 'http://a'": ("CO_API_KEY holds the key of cohere", "key_variable"),
    "[hosts.mine]\nbase_url = 'http://a'\nstatuses = { 498 = 'overload' }": (
        "config.toml:3: hosts.mine.statuses.498 must be one of", "did you mean overloaded?",
    ),
    "[hosts.mine]\nbase_url = 'http://a'\nwords = { '(' = 'rejected' }": (
        "is no regular expression", "",
    ),
    "[hosts.mine]\nbase_url = 'http://a'\n[providers.mine]\nrpm = 5": (
        "config.toml:3: providers.mine is a host of your own", "put it into [hosts.mine]",
    ),
    f"[providers.groq]\napi_key = '{SECRET}'": (
        "config.toml:2: providers.groq.api_key: keys are not kept in the settings",
        "llmbatch keys set groq",
    ),
    f"[keys]\ngroq = '{SECRET}'": ("config.toml:1: unknown setting keys", ""),
    f"[batch]\napi-key = '{SECRET}'": ("batch.api-key: keys are not kept", "llmbatch keys set"),
    f"[batch]\nrpm = '{SECRET}'": ("config.toml:2: batch.rpm must be a number", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def options() -> Mapping[str, Mapping[str, Field[Any]]]:
    return all_options()


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_its_place(
    text: str, options: Mapping[str, Mapping[str, Field[Any]]]
) -> None:
    """Also what to do, and never a value, which may be a secret."""
    message, hint = WRONG[text]
    with pytest.raises(UsageError) as caught:
        read(Source(Path("config.toml"), text), options)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert SECRET not in str(caught.value)


async def test_nothing_is_sent_with_wrong_settings(home: Home) -> None:
    home.write("[batch]\nconcurrency = 'x'")
    done = await home.run("batch", "-m", "fake/echo", stdin=jsonl(["hi"]))
    assert (done.status, done.out) == (2, b"")
    assert done.err == (
        f"llmbatch: error: {home.config}:2: batch.concurrency must be a whole number\n"
        "hint: llmbatch config edit opens it\n"
    )


async def test_a_file_that_cannot_be_read_is_an_error(home: Home) -> None:
    """Where LLMBATCH_CONFIG names none, where it is no file, and where it is not UTF-8."""
    rows = jsonl(["hi"])
    run = ("batch", "-m", "fake/echo")
    done = await home.run(*run, stdin=rows, env={"LLMBATCH_CONFIG": "none.toml"})
    assert (done.status, "LLMBATCH_CONFIG names none.toml" in done.err) == (2, True)
    home.config.mkdir(parents=True)
    done = await home.run(*run, stdin=rows)
    assert (done.status, "cannot read the settings in" in done.err) == (2, True)
    home.config.rmdir()
    home.config.write_bytes(b'model = "x"\n# \xff\n')
    done = await home.run(*run, stdin=rows)
    assert (done.status, "config.toml:2: no valid UTF-8" in done.err) == (2, True)


async def test_another_file_may_be_named(home: Home) -> None:
    """By LLMBATCH_CONFIG, in place of the usual one; also one of Windows, with a BOM."""
    home.write("nonsense = 1")
    other = home.folder.parent / "other.toml"
    other.write_bytes(b'\xef\xbb\xbfmodel = "fake/echo"\r\n[batch]\r\nquiet = true\r\n')
    env = {"LLMBATCH_CONFIG": "other.toml"}
    done = await home.run("batch", stdin=jsonl(["hi"]), env=env)
    assert (done.status, done.err, len(done.rows)) == (0, "", 1)


async def test_another_commands_table_does_not_hold_up_a_run(home: Home) -> None:
    """Its options are checked where it runs, and by config show."""
    home.write("[race]\nhegde = 1\n")
    rows = jsonl(["hi"])
    assert (await home.run("batch", "-m", "fake/echo", stdin=rows)).status == 0
    for words in (("race", "-m", "fake/echo", "hi"), ("config", "show")):
        done = await home.run(*words)
        assert (done.status, "race.hegde" in done.err) == (2, True)
