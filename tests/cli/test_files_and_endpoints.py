"""Files that rows name, several servers of one model, and parameters that a wire lacks."""

import base64
import json
from pathlib import Path

from support.chat import answer, completion, echo
from support.program import jsonl, run
from support.scripted import Exchange, serve

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


async def test_a_file_is_read_only_below_the_folder_that_was_named(tmp_path: Path) -> None:
    """With --files a path becomes data; without, or outside, the row fails and nothing is read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)

    def row(path: Path) -> dict[str, object]:
        part = {"type": "image_url", "image_url": {"url": str(path)}}
        text = {"type": "text", "text": "what is it?"}
        return {"messages": [{"role": "user", "content": [text, part]}]}

    rows = jsonl([row(folder / "a.png"), row(folder / ".." / "secret.png")])

    async def answer_anything(exchange: Exchange) -> None:
        await answer(exchange, completion("a picture"))

    async with serve(answer_anything) as server:
        there = ("batch", "-m", "m", "--base-url", server.url, "--ordered")
        done = await run(*there, "--files", str(folder), stdin=rows)
        (seen,) = server.exchanges
        without = await run(*there, stdin=rows)
        assert len(server.exchanges) == 1
    url = json.loads(seen.body)["messages"][0]["content"][1]["image_url"]["url"]
    assert url == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert [row["error"] and row["error"]["type"] for row in done.rows] == [None, "invalid_row"]
    assert all("--files" in row["error"]["message"] for row in without.rows)


async def test_several_servers_share_the_rows_and_one_may_be_dead() -> None:
    """Rows are spread over every --base-url; what one refuses another answers."""
    async with serve(echo) as one, serve(echo) as other:
        done = await run(
            "batch", "-m", "m", "-c", "8", "--base-url", one.url, "--base-url", other.url,
            "--base-url", "http://127.0.0.1:9/v1",
            stdin=jsonl([f"row {index}" for index in range(60)]),
        )  # fmt: skip
        shares = len(one.exchanges), len(other.exchanges)
    assert (done.status, len(done.rows)) == (0, 60)
    assert all(row["error"] is None for row in done.rows)
    assert min(shares) >= 10


async def test_what_a_provider_cannot_say_is_refused_or_left_out() -> None:
    """A parameter without a word for it is named before anything is sent, or dropped, told once."""
    async with serve(echo) as server:
        env = {"GROQ_API_KEY": "k", "GROQ_BASE_URL": server.url}
        asked = ("batch", "-m", "groq/m", "--param", 'logit_bias={"1": 2}')
        refused = await run(*asked, stdin=jsonl(["a", "b"]), env=env)
        assert server.exchanges == []
        dropped = await run(*asked, "--drop-params", stdin=jsonl(["a", "b"]), env=env)
        assert all("logit_bias" not in json.loads(one.body) for one in server.exchanges)
    assert refused.status == 2
    assert "does not support logit_bias" in refused.err
    assert (dropped.status, dropped.err.count("logit_bias")) == (0, 1)


async def test_what_is_left_out_is_told_once_for_all_addresses() -> None:
    """Two servers of one model are one warning."""
    async with serve(echo) as one, serve(echo) as other:
        done = await run(
            "batch", "-m", "groq/m", "--param", 'logit_bias={"1": 2}', "--drop-params",
            "--base-url", one.url, "--base-url", other.url, stdin=jsonl(["a", "b"]),
        )  # fmt: skip
    assert (done.status, done.err.count("logit_bias")) == (0, 1)


async def test_a_row_sends_no_foreign_key_to_the_base_url() -> None:
    """Rows may come from strangers: naming another provider fetches no key of it."""
    keys = {"OPENAI_API_KEY": "sk-own", "ANTHROPIC_API_KEY": "sk-ant", "CO_API_KEY": "co-key"}
    rows = [{"prompt": "hi", "model": name} for name in ("anthropic/claude-x", "cohere/c", "m2")]
    async with serve(echo) as server:
        await run(
            "batch", "-m", "openai/m", "--base-url", f"{server.url}/v1", "--max-attempts", "1",
            stdin=jsonl(["one", *rows]), env=keys,
        )  # fmt: skip
        sent = "".join(str(exchange.headers) for exchange in server.exchanges)
    assert len(server.exchanges) == 4
    assert "sk-own" in sent
    assert "sk-ant" not in sent
    assert "co-key" not in sent
