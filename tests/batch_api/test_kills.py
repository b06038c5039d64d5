"""The program is killed at every moment of a job; after --resume each row has one answer, and the
provider has worked on each row once."""

import asyncio
import signal
from pathlib import Path

import pytest
from batch_api.laws import assert_law, env_for, prompts, run_batch, words_for
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import start
from support.scripted import Exchange

ROWS = 6


class Killing(SimulatedOpenAI):
    """Kills the program at the n-th request of a kind, before or after the request is acted upon,
    and never answers it."""

    kill: tuple[str, str, int, bool] | None = None
    victim: asyncio.subprocess.Process | None = None

    async def handle(self, exchange: Exchange) -> None:
        path = exchange.path.partition("?")[0].removeprefix("/v1")
        kind = f"{exchange.method} {path.split('_')[0].split('-')[0]}"
        if self.kill is None or kind != f"{self.kill[0]} {self.kill[1]}":
            await super().handle(exchange)
            return
        method, rest, number, acts = self.kill
        if number > 1:
            self.kill = (method, rest, number - 1, acts)
            await super().handle(exchange)
            return
        self.kill = None
        if acts:
            self.faults.insert(0, (exchange.method, ".", "lost"))
            await super().handle(exchange)
        assert self.victim is not None
        self.victim.send_signal(signal.SIGKILL)
        await self.victim.wait()


MOMENTS = {
    "before the upload is there": ("POST", "/files", 1, False),
    "between upload and create": ("POST", "/files", 1, True),
    "before the create is there": ("POST", "/batches", 1, False),
    "between create and journal": ("POST", "/batches", 1, True),
    "while it is worked on": ("GET", "/batches/batch", 2, True),
    "before the download": ("GET", "/files/file", 1, False),
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_after_a_kill_each_row_has_one_answer_and_was_worked_on_once(
    tmp_path: Path, moment: str
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=Killing) as provider:
        assert isinstance(provider, Killing)
        provider.kill = MOMENTS[moment]
        provider.victim = await start(*words_for(source, out, provider.url), env=env_for(out))
        await provider.victim.communicate()
        assert provider.victim.returncode == -signal.SIGKILL
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.creates == 1


async def test_a_kill_in_the_middle_of_the_download(tmp_path: Path) -> None:
    """Some rows stand in the output then, the others are taken by the next run."""
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(kind=HalfDownload) as provider:
        assert isinstance(provider, HalfDownload)
        victim = await start(*words_for(source, out, provider.url), env=env_for(out))
        provider.victim = victim
        waiting = asyncio.ensure_future(victim.communicate())
        await provider.half.wait()
        while len(out.read_bytes().splitlines()) < ROWS // 2:
            await asyncio.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        await waiting
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)


class HalfDownload(SimulatedOpenAI):
    """Gives half of the first download, and no more of it."""

    victim: asyncio.subprocess.Process | None = None

    def __init__(self) -> None:
        super().__init__()
        self.half = asyncio.Event()

    async def _download(self, exchange: Exchange, file: object) -> None:
        if self.half.is_set():
            await super()._download(exchange, file)  # type: ignore[arg-type]
            return
        lines = file.content.splitlines(keepends=True)  # type: ignore[attr-defined]
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(b''.join(lines))}\r\n\r\n"
        await exchange.raw(head.encode() + b"".join(lines[: ROWS // 2]))
        self.half.set()
        assert self.victim is not None
        await self.victim.wait()


async def test_a_lost_reply_to_the_create_makes_no_second_job(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated() as provider:
        provider.faults.append(("POST", "/batches$", "lost"))
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.creates == 1


@pytest.mark.parametrize("fault", ["refused", 500, 503, 429])
async def test_a_create_that_fails_is_made_again_only_where_the_list_lacks_the_job(
    tmp_path: Path, fault: int | str
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated() as provider:
        provider.faults.append(("POST", "/batches$", fault))
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    asked = provider.requests["GET /v1/batches"]
    assert asked == 0 if fault == 429 else asked > 0


async def test_no_create_while_the_list_cannot_be_read_to_its_end(tmp_path: Path) -> None:
    """The job of the lost reply is on the second page, which fails at first."""
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"

    def later(provider: SimulatedOpenAI, job: object) -> None:
        if provider.creates == 1:
            provider.add_jobs(2)

    async with simulated(page=1, on_create=later) as provider:
        provider.faults.append(("POST", "/batches$", "lost"))
        provider.faults += [("GET", "/batches$", what) for what in ("refused", 503)]
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert provider.creates == 1
