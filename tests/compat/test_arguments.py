"""What litellm's names and arguments mean here."""

from typing import Any

import pytest
from compat.loopback import Loopback
from pydantic import BaseModel

from llmbatch_cli import (
    APIConnectionError,
    BadRequestError,
    UnsupportedParamsError,
    batch_completion,
    batch_completion_models,
    batch_completion_models_all_responses,
    completion,
)
from llmbatch_cli.compat.arguments import (
    SPELLINGS,
    environment,
    model_call,
    named,
    sampling,
    spelled,
    timeout_s,
)
from llmbatch_cli.providers.registry import PROVIDERS

HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("theirs", "ours"), SPELLINGS.items())
def test_a_spelling_leads_to_a_registered_provider(theirs: str, ours: str) -> None:
    """litellm's name becomes ours, which is not one of litellm's other names."""
    assert ours in PROVIDERS
    assert theirs not in PROVIDERS
    assert spelled(f"{theirs}/some/model") == f"{ours}/some/model"


def test_spellings_that_are_known() -> None:
    """Those of the registered providers, and the names that need no change."""
    assert spelled("cohere_chat/command-r") == "cohere/command-r"
    assert spelled("ollama_chat/llama3.2") == "ollama/llama3.2"
    assert spelled("bedrock/converse/anthropic.claude-v2") == "bedrock/anthropic.claude-v2"
    assert spelled("gpt-4o") == "openai/gpt-4o"  # also where api_base moves it
    assert spelled("claude-opus-5-5") == "anthropic/claude-opus-5-5"
    for name in ("openai/gpt-4o", "some/gpt-4o", "ollama_chat"):
        assert spelled(name) == name


def test_the_provider_can_stand_apart() -> None:
    """custom_llm_provider goes in front, once; a deployment_id is Azure's."""
    assert named("m", {"custom_llm_provider": "openai"}) == "openai/m"
    assert named("openai/m", {"custom_llm_provider": "openai"}) == "openai/m"
    assert named("m", {"deployment_id": "mine"}) == "azure/mine"


@pytest.mark.parametrize("name", ["hosted_vllm/m", "custom_openai/m", "lm_studio/m"])
def test_an_own_server_never_sees_openais_key(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """OPENAI_API_KEY goes to OpenAI's models, not to a server that is only like it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    completion(name, HI, api_base=loopback.api_base)
    assert loopback.keys() == {"m": None}
    completion(name, HI, api_base=loopback.api_base, api_key="own")
    assert loopback.keys() == {"m": "Bearer own"}


def test_litellms_variables_count() -> None:
    """X_API_BASE moves the address as X_BASE_URL does, and some have a name of their own here;
    ours wins where both are set."""
    assert environment({"HOSTED_VLLM_API_BASE": "a"})["VLLM_BASE_URL"] == "a"
    assert (
        environment({"AZURE_API_KEY": "a", "AZURE_OPENAI_API_KEY": "b"})["AZURE_OPENAI_API_KEY"]
        == "b"
    )
    assert environment({"OPENAI_API_BASE": "a"})["OPENAI_BASE_URL"] == "a"
    assert environment({"OPENAI_API_BASE": "a", "OPENAI_BASE_URL": "b"})["OPENAI_BASE_URL"] == "b"


def test_credentials_take_their_variables_place() -> None:
    """For this call alone, and never in the request."""
    params = {"aws_access_key_id": "id", "aws_secret_access_key": "secret", "temperature": 0}
    options = model_call("bedrock/m", params, {"AWS_REGION": "r"}).options
    assert options.access.environ == {
        "AWS_REGION": "r",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    assert options.params == {"temperature": 0}


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "api_base", "num_retries", "stream", "mock_response", "metadata", "cache"),
        *("vertex_credentials", "azure_client_secret", "litellm_call_id", "client_secret", "id"),
        *("dd_api_key", "gcs_path_service_account", "input_cost_per_token", "_private", "rpm"),
    ],
)
def test_what_is_not_for_the_model_is_dropped(name: str) -> None:
    """Secrets, prices, logging, and how to call."""
    assert sampling({name: "x"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("top_k", "seed", "tools", "prompt_cache_key", "service_tier", "store", "verbosity"),
        *("reasoning_effort", "thinking", "safety_identifier", "min_p", "guided_json", "user"),
    ],
)
def test_other_names_are_sent(name: str) -> None:
    """Also names that are unknown here."""
    assert sampling({name: "x"}) == {name: "x"}


@pytest.mark.parametrize(
    ("params", "seconds"),
    [
        ({}, 600),
        ({"timeout": 5}, 5),
        ({"timeout": "2.5"}, 2.5),
        ({"timeout": 600, "request_timeout": 7}, 7),
    ],
)
def test_the_time_is_in_seconds(params: dict[str, Any], seconds: float) -> None:
    """request_timeout, else timeout, else ten minutes."""
    assert timeout_s(params) == seconds


@pytest.mark.parametrize(
    "params", [{"timeout": "soon"}, {"timeout": 0}, {"num_retries": -1}, {"num_retries": "x"}]
)
def test_an_invalid_number_is_refused(params: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(BadRequestError):
        completion("gpt-4o", HI, api_key="sk-x", **params)


@pytest.mark.parametrize("name", ["fallbacks", "model_list", "guardrails"])
def test_what_changes_the_answer_is_refused(name: str) -> None:
    """Rather than answered as if it had not been said; None failedthing."""
    options: dict[str, Any] = {name: ["x"]}
    with pytest.raises(UnsupportedParamsError, match=name):
        completion("gpt-4o", HI, api_key="sk-x", **options)
    options[name] = None
    completion("gpt-4o", HI, mock_response="x", **options)


def test_a_parameter_that_is_unsupported() -> None:
    """Is refused before anything is sent, or with drop_params left out."""
    options: dict[str, Any] = {
        "api_base": "http://127.0.0.1:1",
        "api_key": "k",
        "logit_bias": {"1": 1},
    }
    with pytest.raises(UnsupportedParamsError, match="logit_bias") as caught:
        completion("anthropic/claude-x", HI, num_retries=0, **options)
    assert (caught.value.llm_provider, caught.value.model) == ("anthropic", "claude-x")
    with pytest.raises(APIConnectionError):
        completion("anthropic/claude-x", HI, num_retries=0, drop_params=True, **options)


def test_after_the_messages_arguments_are_named() -> None:
    """A value whose meaning would depend on its place is refused."""
    call: Any = completion
    with pytest.raises(TypeError, match="positional"):
        call("gpt-4o", HI, 30, mock_response="x")


def test_a_pydantic_class_is_a_response_format(loopback: Loopback) -> None:
    """As litellm documents it, in each function."""

    class Answer(BaseModel):
        city: str

    how: Any = {"api_base": loopback.api_base, "api_key": "k", "response_format": Answer}
    completion("openai/m", HI, **how)
    batch_completion("openai/m", [HI], **how)
    batch_completion_models(models=["openai/m"], messages=HI, **how)
    batch_completion_models_all_responses(models=["openai/m"], messages=HI, **how)
    formats = [body["response_format"] for body in loopback.bodies()]
    assert len(formats) == 4
    for one in formats:
        assert one["json_schema"]["name"] == "Answer"
        assert one["json_schema"]["schema"]["required"] == ["city"]
