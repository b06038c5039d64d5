"""Together's batch API: what differs from OpenAI's."""

import asyncio
import json
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from batch_api.laws import assert_law, env_for, prompts, run_batch, words_for
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import start
from support.scripted import Exchange

ROWS = 4
MODEL = "together/meta-llama/Llama-3.3-70B"
KEY = {"TOGETHER_API_KEY": "tg-test"}


class SimulatedTogether(SimulatedOpenAI):
    """As the SDK 3.1.1 speaks with it: the upload by a signed address, bare lists, ISO times."""

    victim: asyncio.subprocess.Process | None = None
    kill_at: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[str, tuple[str, str]] = {}
        self.stored_keys: set[str | None] = set()

    async def _answered(
        self, exchange: Exchange, path: str, query: dict[str, list[str]]
    ) -> tuple[int, Any, dict[str, str]]:
        tail = path.partition("/v1")[2] or path
        answered = self._file(exchange, tail)
        if answered is None:
            status, body, kind = await super()._answered(exchange, path, query)
            answered = status, self._in_its_shape(exchange.method, tail, body), kind
        if self.kill_at == f"{exchange.method} {tail}" and self.victim is not None:
            self.kill_at = None
            self.victim.send_signal(signal.SIGKILL)
            await self.victim.wait()
        return answered

    def _file(self, exchange: Exchange, tail: str) -> tuple[int, Any, dict[str, str]] | None:
        if (exchange.method, tail) == ("POST", "/files"):
            fields = dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', exchange.body.decode()))
            assert (fields["purpose"], fields["file_type"]) == ("batch-api", "jsonl")
            for id_, (_, checksum) in self.named.items():
                if checksum == fields["checksum"] and id_ in self.files:
                    return 409, {"file_id": id_}, {}
            id_ = f"file-tg{len(self.named)}"
            self.named[id_] = (fields["file_name"], fields["checksum"])
            place = self.url.removesuffix("/v1") + f"/storage/{id_}?signature=1"
            return 302, {}, {"location": place, "x-together-file-id": id_}
        if exchange.method == "PUT":
            id_ = tail.rpartition("/")[2]
            self.stored_keys.add(exchange.header("authorization"))
            self.uploads += 1
            made = self.add_file(self.named[id_][0], exchange.body)
            made.id = id_
            self.files[id_] = self.files.pop(f"file-{len(self.files) - 1:06}")
            return 200, {}, {}
        if tail.endswith("/preprocess"):
            return 200, self.files[tail.split("/")[2]].shown, {}
        return None

    def _in_its_shape(self, method: str, tail: str, body: Any) -> Any:
        if tail == "/batches" and method == "GET":
            return [self._said(one) for one in body["data"]]
        if tail == "/batches" and "id" in body:
            return {"job": self._said(body), "warning": None}
        return self._said(body) if tail.startswith("/batches/") else body

    def _said(self, job: dict[str, Any]) -> dict[str, Any]:
        kept = ("id", "input_file_id", "output_file_id", "error_file_id", "endpoint")
        if "created_at" not in job:
            return job
        made = datetime.fromtimestamp(job["created_at"], UTC).isoformat()
        said = {name: job.get(name) for name in kept}
        return {**said, "status": job["status"].upper(), "created_at": made, "progress": 50.0}


async def test_rows_go_through_together(tmp_path: Path) -> None:
    """The key goes to Together, and not to the storage."""
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedTogether) as provider:
        assert isinstance(provider, SimulatedTogether)
        done = await run_batch(provider.url, source, out, model=MODEL, key=KEY)
        assert done.status == 0, done.err
        assert_law(provider, out, ROWS)
        assert provider.stored_keys == {None}
        body = json.loads(provider.files["file-tg0"].content.splitlines()[0])
        assert body["body"]["model"] == "meta-llama/Llama-3.3-70B"


@pytest.mark.parametrize("moment", ["POST /files", "PUT /storage/file-tg0", "POST /batches"])
async def test_after_a_kill_nothing_is_done_twice(tmp_path: Path, moment: str) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=SimulatedTogether) as provider:
        assert isinstance(provider, SimulatedTogether)
        provider.kill_at = moment
        asked = words_for(source, out, provider.url, MODEL)
        provider.victim = await start(*asked, env=env_for(out, KEY))
        await provider.victim.communicate()
        assert provider.victim.returncode == -signal.SIGKILL
        done = await run_batch(provider.url, source, out, "--resume", model=MODEL, key=KEY)
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.creates == 1
