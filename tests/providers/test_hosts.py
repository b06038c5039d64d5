"""The table of compatible hosts, and what its rows make of a request."""

import dataclasses
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.hosts import HOSTS, ROWS, Host
from llmbatch_cli.providers.openai.compatible import Compatible

HI = [{"role": "user", "content": "Hi"}]
ASKED = (
    *("groq", "together", "fireworks", "openrouter", "deepseek", "xai", "perplexity", "cerebras"),
    *("sambanova", "nvidia", "huggingface", "github", "deepinfra", "hyperbolic", "novita"),
    *("nebius", "moonshot", "zai", "dashscope", "minimax", "baseten", "vllm", "sglang"),
    *("lmstudio", "llamacpp", "litellm", "custom"),
)


def made(name: str) -> Compatible:
    return Compatible(Settings(name, HOSTS[name].base_url or "https://example.com/v1", "key"))


def body(name: str, **params: Any) -> Any:
    return orjson.loads(made(name).build(Request("m", HI, params)).body)


def test_every_promised_host_is_there() -> None:
    """The table has a row for every host that the product promises, each named once."""
    assert set(ASKED) <= set(HOSTS)
    assert len(ROWS) == len(HOSTS)


@pytest.mark.parametrize("host", ROWS, ids=lambda host: host.name)
def test_rows_are_whole(host: Host) -> None:
    """A host on the network has https, a key and a page for it; one at home runs on loopback."""
    assert host.docs.startswith("https://")
    assert host.key_variables
    if host.base_url is None or host.keyless:
        assert host.base_url is None or urlsplit(host.base_url).hostname == "localhost"
        return
    assert host.base_url.startswith("https://")
    assert not host.base_url.endswith("/")
    assert host.keys_page is not None
    assert host.keys_page.startswith("https://")


@pytest.mark.parametrize("host", ROWS, ids=lambda host: host.name)
def test_every_host_takes_a_plain_request(host: Host) -> None:
    """A plain request goes to the host's chat completions with its key, n = 1 included."""
    wire = made(host.name).build(Request("m", HI, {"n": 1}))
    base_url = host.base_url or "https://example.com/v1"
    assert wire.url == f"{base_url}/chat/completions"
    assert wire.headers["authorization"] == "Bearer key"
    assert orjson.loads(wire.body)["messages"] == HI


@pytest.mark.parametrize(
    ("host", "name"), [(host, name) for host in ROWS for name in host.refused], ids=str
)
def test_refusals_are_told(host: Host, name: str) -> None:
    """What a host refuses is told by its name; the value that says nothing is left out."""
    with pytest.raises(UnsupportedParameter, match=name):
        body(host.name, **{name: {"1": 2} if name == "logit_bias" else 2})
    assert name not in body(host.name, **{name: host.refused[name]})


def test_names_and_efforts() -> None:
    """A parameter goes by the host's name, an effort by what the host makes of it."""
    assert body("groq", max_tokens=5)["max_completion_tokens"] == 5
    assert body("together", max_tokens=5)["max_tokens"] == 5
    assert body("deepseek", reasoning_effort="none")["thinking"] == {"type": "disabled"}
    assert "reasoning_effort" not in body("deepseek", reasoning_effort="none")
    assert body("deepseek", reasoning_effort="high")["reasoning_effort"] == "high"
    own = body("deepseek", reasoning_effort="none", thinking={"type": "enabled"})
    assert own["thinking"] == {"type": "enabled"}


@pytest.mark.parametrize("name", ["groq", "together", "llamacpp", "lmstudio"])
def test_no_bound_is_left_out(name: str) -> None:
    """max_tokens of -1 is no bound, which an absent one says everywhere, llama.cpp included.

    OpenAI answers -1 with integer_below_min_value; llama.cpp takes it for the server's own
    default (`has_budget` of tools/server, read 2026-11-23).
    """
    assert body(name, max_tokens=-1).keys() == {"model", "messages"}


def test_formats() -> None:
    """A type of response_format that a host refuses is told; another goes as it is.

    DeepSeek answers json_schema with "This response_format type is unavailable now": Vane issue
    969, and api-docs.deepseek.com/guides/json_mode (read 2026-11-23).
    """
    with pytest.raises(UnsupportedParameter, match="deepseek/m does not support response_format"):
        body("deepseek", response_format={"type": "json_schema", "json_schema": {}})
    for name, kind in (("deepseek", "json_object"), ("moonshot", "json_schema")):
        assert body(name, response_format={"type": kind})["response_format"] == {"type": kind}


def test_roles() -> None:
    """The role `developer` is said as `system` to hosts that do not know it."""
    message = {"role": "developer", "content": "Brief."}
    for name, role in (("deepseek", "system"), ("openrouter", "developer")):
        wire = made(name).build(Request("m", [message, *HI], {}))
        assert orjson.loads(wire.body)["messages"][0] == {"role": role, "content": "Brief."}
    assert message["role"] == "developer"


def test_streams_are_asked_for_as_the_host_wants() -> None:
    """A host without stream_options is not sent any."""
    asked = orjson.loads(made("perplexity").build(Request("m", HI, {}, stream=True)).body)
    assert asked == {"model": "m", "messages": HI, "stream": True}


def test_headers_of_the_row() -> None:
    """A row's own headers are sent, and a request's come on top."""
    wire = made("openrouter").build(Request("m", HI, {"extra_headers": {"x-title": "mine"}}))
    assert made("openrouter").build(Request("m", HI, {})).headers["x-title"] == "llmbatch"
    assert wire.headers["x-title"] == "mine"


def test_a_row_of_ones_own() -> None:
    """A host that is in no table is one row, given to the class."""
    row = Host(
        name="mine",
        base_url="https://llm.example.com/v1",
        docs="https://example.com",
        renamed={"seed": "random_seed"},
        refused={"stop": []},
    )
    provider = Compatible(Settings(row.name, row.base_url or "", "key"), row)
    assert orjson.loads(provider.build(Request("m", HI, {"seed": 1})).body)["random_seed"] == 1
    with pytest.raises(UsageError, match="mine/m does not support stop"):
        provider.build(Request("m", HI, {"stop": ["x"]}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.name = "other"  # type: ignore[misc]  # the point of the test
