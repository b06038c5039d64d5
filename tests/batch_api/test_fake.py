"""The fake provider's batch API, with which jobs are rehearsed, in this process."""

from pathlib import Path

import pytest
from batch_api.laws import prompts, rows_of

from llmbatch_cli.cli.app import run_app
from llmbatch_cli.core.types import Request
from llmbatch_cli.drivers.provider_batch.http import open_batch_http
from llmbatch_cli.providers.batch_api import JobStatus
from llmbatch_cli.providers.fake.batch import FakeBatch
from llmbatch_cli.providers.fake.options import FakeOptions
from llmbatch_cli.providers.fake.provider import Fake

ROWS = 4


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMBATCH_STATE_DIR", str(tmp_path / "state"))
    return prompts(tmp_path / "in.jsonl", ROWS)


def batch(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    given = ("in.jsonl", "-o", "out.jsonl", "--batch-api", *words)
    monkeypatch.setattr("sys.argv", ["llmbatch", "batch", *given])
    return run_app()


@pytest.mark.usefixtures("source")
def test_jobs_that_are_for_nothing_any_more_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another model by mistake would pay for all rows a second time."""
    assert batch(monkeypatch, "-m", "fake/echo", "--detach") == 0
    capsys.readouterr()
    assert batch(monkeypatch, "-m", "fake/echo", "--resume", "--detach") == 0
    assert "of the open jobs" not in capsys.readouterr().err
    assert batch(monkeypatch, "-m", "fake/lorem", "--resume", "--detach") == 2
    told = capsys.readouterr().err
    assert "4 rows of the open jobs of out.jsonl are not in this input as it is asked now" in told


def test_rows_in_open_jobs_are_not_told_as_rows_to_send(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(monkeypatch, "-m", "fake/echo", "--limit", "1") == 0
    assert batch(monkeypatch, "-m", "fake/echo", "--resume", "--detach") == 0
    assert "1 of 4 rows answered, 3 to send" in capsys.readouterr().err
    assert batch(monkeypatch, "-m", "fake/echo", "--resume") == 0
    assert "1 of 4 rows answered, 3 in open jobs or to send" in capsys.readouterr().err
    assert len(rows_of(source.with_name("out.jsonl"))) == ROWS


async def test_a_row_s_latency_is_the_job_s(source: Path) -> None:
    """A row that hangs is one without an answer, and no other waits for it."""

    async def never(_: float) -> None:
        raise AssertionError("collecting waits for nothing")

    options = FakeOptions(latency=1e6, hang=0.5)
    provider = Fake(options, sleep=never)
    wire = FakeBatch(provider, provider.build)
    lines = source.parent / "state" / "fake-jobs" / "job.jsonl"
    lines.parent.mkdir(parents=True)
    requests = [Request("echo", [{"role": "user", "content": f"{n}"}], {}) for n in range(ROWS * 5)]
    lines.write_bytes(b"\n".join(wire.line("x", provider.build(one), one) for one in requests))
    status = JobStatus(word="completed", ended=True, sources=[str(len(requests))])
    async with open_batch_http(0.2) as http:
        found = [result async for result in wire.collect(http, "job", status)]
    assert len(found) == len(requests)
    assert {str(result.error) for result in found} == {
        "None",
        "the fake provider has no answer to this row",
    }
