"""The embedded llama.cpp server answers for real over three wires, each by this package's own file.

What llama.cpp does not do on its other two wires is stated here, so that a version that does
will show it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
import pytest_asyncio

from llmbatch_cli.core.errors import ContextLength, Unauthorized
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Completion, Params, Request
from llmbatch_cli.providers.anthropic.provider import Anthropic
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.local.provider import SLOT_TOKENS, Local
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.responses.provider import Responses
from llmbatch_cli.transport import Connection, Network, open_network

pytestmark = [
    pytest.mark.local,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

WIRES: dict[str, type[Provider]] = {
    "chat/completions": OpenAI,
    "messages": Anthropic,
    "responses": Responses,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "people": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["city", "people"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
QUESTION = "What is the capital of France?"


@dataclass
class Server:
    """The embedded server, to be asked over any wire."""

    base_url: str
    api_key: str
    network: Network

    def wire(self, name: str, api_key: str | None = None) -> Provider:
        return WIRES[name](Settings("llamacpp", self.base_url, api_key or self.api_key))

    async def ask(self, name: str, text: str = QUESTION, **params: object) -> Completion:
        return await self.send(self.wire(name), text, params)

    async def send(self, wire: Provider, text: str, params: Params) -> Completion:
        request = Request("smollm2", [{"role": "user", "content": text}], params)
        return wire.parse(request, await self.network.send(wire.build(request)))

    async def streamed(self, name: str, text: str = QUESTION, **params: object) -> Completion:
        request = Request("smollm2", [{"role": "user", "content": text}], params, stream=True)
        wire = self.wire(name)
        async with self.network.stream(wire.build(request)) as reply:
            assert reply.status == 200
            stream = wire.stream(request, reply.headers)
            shown = "".join([stream.feed(chunk) async for chunk in reply.chunks])
        completion = stream.finish()
        assert completion.text == shown
        return completion


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local() -> AsyncIterator[Local]:
    """One server for all wires."""
    local = Local("smollm2")
    async with local.serving(ignore):
        yield local


@pytest_asyncio.fixture(loop_scope="module")
async def server(local: Local) -> AsyncIterator[Server]:
    """With connections of a test's own: nothing runs between two tests that sees one closed."""
    async with open_network(Connection()) as network:
        yield Server(local.base_url, str(local._api_key), network)


@pytest.mark.parametrize("name", WIRES)
async def test_it_answers_over_every_wire(name: str, server: Server) -> None:
    """The same question has its answer on each wire: text, a finish, tokens and the model."""
    got = await server.ask(name, max_tokens=60)
    assert got.text is not None
    assert "Paris" in got.text
    assert (got.finish_reason, got.model) == ("stop", "smollm2")
    assert got.usage is not None
    assert got.usage.prompt_tokens
    assert got.usage.completion_tokens
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens
    assert got.response_id


async def test_every_wire_gives_the_same_answer(server: Server) -> None:
    """At temperature 0 the wire makes no difference to the words."""
    said = {(await server.ask(name, temperature=0, max_tokens=60)).text for name in WIRES}
    assert len(said) == 1


@pytest.mark.parametrize("name", WIRES)
async def test_it_streams_over_every_wire(name: str, server: Server) -> None:
    """A streamed answer is the whole one, piece by piece."""
    whole = await server.ask(name, temperature=0, max_tokens=60)
    got = await server.streamed(name, temperature=0, max_tokens=60)
    assert (got.text, got.finish_reason) == (whole.text, whole.finish_reason)


@pytest.mark.parametrize("name", WIRES)
async def test_an_answer_is_bounded_over_every_wire(name: str, server: Server) -> None:
    """max_tokens arrives; llama.cpp's Responses calls the cut answer completed all the same."""
    got = await server.ask(name, "Count to one hundred.", max_tokens=5)
    assert got.usage is not None
    assert got.usage.completion_tokens == 5
    assert got.finish_reason == ("stop" if name == "responses" else "length")


@pytest.mark.parametrize("name", WIRES)
async def test_errors_are_told_over_every_wire(name: str, server: Server) -> None:
    """A wrong key is Unauthorized and a prompt beyond a slot ContextLength, on each wire."""
    with pytest.raises(Unauthorized):
        await server.send(server.wire(name, "sk-wrong"), QUESTION, {})
    with pytest.raises(ContextLength):
        await server.ask(name, "word " * (SLOT_TOKENS + 1), max_tokens=5)


async def test_a_schema_holds_on_the_chat_wire(server: Server) -> None:
    """response_format json_schema is kept, whatever is asked: the grammar leaves no other way."""
    for text in (QUESTION, "Say hello.", "Write a poem about the sea."):
        got = await server.ask("chat/completions", text, response_format=FORMAT, max_tokens=60)
        found = orjson.loads(got.text or "")
        assert found.keys() == {"city", "people"}
        assert found["city"] in ("Paris", "Rome")
        assert 0 <= found["people"] <= 9


@pytest.mark.parametrize("name", ["messages", "responses"])
async def test_a_schema_is_not_kept_on_the_other_wires(name: str, server: Server) -> None:
    """llama.cpp ignores Anthropic's output_config and Responses' text.format: it is plain text.

    When this fails, llama.cpp has learned it, and the law above holds for this wire, too.
    """
    got = await server.ask(name, "Say hello.", response_format=FORMAT, max_tokens=40)
    assert got.text
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(got.text)
