"""Azure: deployments, versions, and its own header for the key."""

from collections.abc import Mapping

import orjson
import pytest

from llmbatch_cli.core.errors import Rejected
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.azure import Azure

HI = [{"role": "user", "content": "Hi"}]
RESOURCE = "https://example.openai.azure.com"
V1 = f"{RESOURCE}/openai/v1/chat/completions"
OLD = f"{RESOURCE}/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"
VERSION = {"AZURE_OPENAI_API_VERSION": "2024-10-21"}


@pytest.mark.parametrize(
    ("base_url", "environ", "url"),
    [
        (RESOURCE, {}, V1),
        (f"{RESOURCE}/", {}, V1),
        (f"{RESOURCE}/openai", {}, V1),
        (f"{RESOURCE}/openai/v1", {}, V1),
        (f"{RESOURCE}/openai/v1/", VERSION, V1),
        (RESOURCE, VERSION, OLD),
        (f"{RESOURCE}/openai", {"OPENAI_API_VERSION": "2024-10-21"}, OLD),
        (RESOURCE, {"AZURE_OPENAI_API_VERSION": ""}, V1),
        (f"{V1}", VERSION, V1),
        (f"{RESOURCE}/openai/deployments/other/chat/completions?api-version=2024-10-21", {}, OLD),
        (
            f"{RESOURCE}/openai/deployments/other/chat/completions?api-version=2025-01-01",
            VERSION,
            OLD,
        ),
        (f"{RESOURCE}/openai/responses?api-version=2024-10-21", {}, OLD),
        (f"{RESOURCE}/openai/deployments/other", {}, V1),
    ],
)
def test_where_a_request_goes(base_url: str, environ: Mapping[str, str], url: str) -> None:
    """With an API version a deployment's own path is asked, without one the newer /openai/v1."""
    provider = Azure(Settings("azure", base_url, "key", environ))
    wire = provider.build(Request("my gpt", HI, {"max_tokens": 3}))
    assert wire.url == url
    assert orjson.loads(wire.body) == {
        "model": "my gpt",
        "messages": HI,
        "max_completion_tokens": 3,
    }


@pytest.mark.parametrize("version", ["2024-02-01", "2024-06-01", "2024-08-01-preview"])
def test_what_older_versions_do_not_know(version: str) -> None:
    """An api-version before 2024-09-01-preview knows neither max_completion_tokens nor
    stream_options: "Unrecognized request argument", openai-python issue 1724.
    """
    provider = Azure(Settings("azure", RESOURCE, "key", {"OPENAI_API_VERSION": version}))
    wire = provider.build(Request("gpt", HI, {"max_tokens": 3}, stream=True))
    assert orjson.loads(wire.body) == {
        "model": "gpt",
        "messages": HI,
        "max_tokens": 3,
        "stream": True,
    }


def test_the_key_has_its_own_header() -> None:
    """The key is sent as `api-key` and nowhere else."""
    wire = Azure(Settings("azure", RESOURCE, "the-key")).build(Request("m", HI, {}))
    assert [name for name, value in wire.headers.items() if "the-key" in value] == ["api-key"]
    without = Azure(Settings("azure", RESOURCE)).build(Request("m", HI, {}))
    assert not {"api-key", "authorization"} & set(without.headers)


@pytest.mark.parametrize("code", [["x"], {"x": 1}, None, 5])
def test_a_strange_inner_code_is_no_traceback(code: object) -> None:
    """What the inner error calls itself may have any shape."""
    body = orjson.dumps({"error": {"message": "no", "innererror": {"code": code}}})
    provider = Azure(Settings("azure", RESOURCE))
    with pytest.raises(Rejected, match="no"):
        provider.parse(Request("m", HI, {}), WireReply(400, {}, body))
