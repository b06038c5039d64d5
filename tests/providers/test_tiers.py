"""--tier: who sells it, and what is sent for it."""

import json
from typing import Any

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Request
from llmbatch_cli.engine.calls import with_params
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.bedrock.provider import Bedrock
from llmbatch_cli.providers.gemini.provider import Gemini
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.registry import PROVIDERS
from llmbatch_cli.providers.tiers import SOLD, tier_params
from llmbatch_cli.providers.vertex.provider import Vertex

ASKED = Request("gemini-2.5-flash", [{"role": "user", "content": "hi"}], {"max_tokens": 5})
AWS = {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "us-east-1"}
GOOGLE = {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "global"}


@pytest.mark.parametrize(
    ("wire", "settings", "sent"),
    [
        (OpenAI, Settings("openai", "https://api.openai.com/v1", "k"), ("service_tier", "flex")),
        (Gemini, Settings("gemini", "https://g/v1beta", "k"), ("serviceTier", "flex")),
        (
            Bedrock,
            Settings("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com", "k", AWS),
            ("serviceTier", {"type": "flex"}),
        ),
    ],
)
def test_the_body_asks_for_the_tier(wire: Any, settings: Settings, sent: tuple[str, Any]) -> None:
    """By each wire's own field, beside the row's parameters."""
    provider = wire(settings)
    build = with_params(provider.build, tier_params(provider.name, ASKED.model, "flex"))
    body = json.loads(build(ASKED).body)
    assert body[sent[0]] == sent[1]
    assert sent[0] not in json.loads(provider.build(ASKED).body)


def test_vertex_is_asked_by_a_header() -> None:
    """For Gemini; it sells no other model so."""
    vertex = Vertex(Settings("vertex", "https://aiplatform.googleapis.com/v1", "k", GOOGLE))
    build = with_params(vertex.build, tier_params("vertex", ASKED.model, "priority"))
    headers = {name.lower(): value for name, value in build(ASKED).headers.items()}
    assert headers["x-vertex-ai-llm-shared-request-type"] == "priority"
    with pytest.raises(UsageError, match="is not sold as --tier flex"):
        tier_params("vertex", "claude-sonnet-5-5", "flex")


def test_a_rows_own_tier_wins() -> None:
    """It is a parameter of the row."""
    build = with_params(
        OpenAI(Settings("openai", "https://o", "k")).build, {"service_tier": "flex"}
    )
    own = Request("m", ASKED.messages, {"service_tier": "default"})
    assert json.loads(build(own).body)["service_tier"] == "default"


def test_every_seller_is_a_provider() -> None:
    """And who sells nothing refuses."""
    assert SOLD.keys() <= PROVIDERS.keys()
    for name in PROVIDERS.keys() - SOLD.keys():
        with pytest.raises(UsageError):
            tier_params(name, "m", "flex")
        assert tier_params(name, "m", None) == {}
