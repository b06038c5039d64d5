"""`-o s3://...`, as users write it."""

import asyncio
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.moto import SECRET, Bucket
from support.program import jsonl, run, start

from llmbatch_cli.cli.app import run_app
from llmbatch_cli.rows.stored import shipping

ROWS = jsonl([{"id": f"r{n}", "prompt": f"question {n}"} for n in range(60)])
IDS = [f"r{n}" for n in range(60)]


@dataclass
class Here:
    """How a run in this process has ended."""

    status: int
    out: str
    err: str


Command = Callable[..., Here]


@pytest.fixture
def llmbatch(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Command:
    """The command line in this process, with a state folder of its own."""
    bucket.put("in/rows.jsonl", ROWS)
    monkeypatch.setenv("LLMBATCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null")

    def command(*arguments: str) -> Here:
        monkeypatch.setattr(sys, "argv", ["llmbatch", *arguments])
        status = run_app(lambda: None)
        return Here(status, *capfd.readouterr())

    return command


def ids(data: bytes) -> list[Any]:
    return [json.loads(line)["id"] for line in data.splitlines()]


def batch(bucket: Bucket, *more: str, out: str = "out.jsonl", model: str = "echo") -> Sequence[str]:
    source = f"{bucket.address}/in/rows.jsonl"
    return ["batch", source, "-m", f"fake/{model}", "-o", f"{bucket.address}/{out}", *more]


def test_an_output_is_one_object(llmbatch: Command, bucket: Bucket, tmp_path: Path) -> None:
    """With nothing beside it, here or there."""
    done = llmbatch(*batch(bucket))
    assert (done.status, sorted(ids(bucket.get("out.jsonl")))) == (0, sorted(IDS))
    assert bucket.names == ["in/rows.jsonl", "out.jsonl"]
    assert [*(tmp_path / "state" / "outputs").iterdir()] == []


def test_an_output_that_is_there_is_refused(llmbatch: Command, bucket: Bucket) -> None:
    """Unless an option says what becomes of it."""
    bucket.put("out.jsonl", b"mine\n")
    done = llmbatch(*batch(bucket))
    assert done.status == 2
    assert f"{bucket.address}/out.jsonl is not empty" in done.err
    assert "--overwrite replaces it, --resume continues it" in done.err
    assert bucket.get("out.jsonl") == b"mine\n"
    assert llmbatch(*batch(bucket, "--overwrite", "--limit", "3")).status == 0
    assert sorted(ids(bucket.get("out.jsonl"))) == IDS[:3]


def test_a_resumed_run_sends_what_is_left(llmbatch: Command, bucket: Bucket) -> None:
    """And puts the rows in order where asked; one that has nothing to do changes nothing."""
    llmbatch(*batch(bucket, "--limit", "20"))
    done = llmbatch(*batch(bucket, "--resume", "--ordered"))
    assert f"resuming {bucket.address}/out.jsonl: 20 of 60 rows answered, 40 to send" in done.err
    assert ids(bucket.get("out.jsonl")) == IDS
    before = bucket.modified("out.jsonl")
    time.sleep(1)  # what a store tells apart
    assert "nothing to send" in llmbatch(*batch(bucket, "--resume")).err
    assert before == bucket.modified("out.jsonl")


@pytest.mark.parametrize("out", ["out.csv", "out.parquet", "out.jsonl.gz"])
def test_every_format_is_written(llmbatch: Command, bucket: Bucket, out: str) -> None:
    """Tables and packed files, whole at the end; resumed too."""
    assert llmbatch(*batch(bucket, "--limit", "20", out=out)).status == 0
    assert llmbatch(*batch(bucket, "--resume", out=out)).status == 0
    data = bucket.get(out)
    if out.endswith("parquet"):
        assert pq.read_table(io.BytesIO(data)).column("id").to_pylist() == IDS
    elif out.endswith("csv"):
        assert [line.partition(b",")[0].decode() for line in data.splitlines()] == ["id", *IDS]
    else:
        import gzip

        assert sorted(ids(gzip.decompress(data))) == sorted(IDS)
    assert bucket.names == ["in/rows.jsonl", out]


def test_failed_rows_of_a_table_are_kept_for_resume(llmbatch: Command, bucket: Bucket) -> None:
    """Beside the table, as of a file; the commands that look into outputs read them there."""
    done = llmbatch(*batch(bucket, out="out.csv", model="echo?rejected=0.3"))
    journal = f"{bucket.address}/out.csv.llmbatch.jsonl"
    assert done.status == 1
    assert f"llmbatch errors {journal} lists the failed rows" in done.err
    assert bucket.names == ["in/rows.jsonl", "out.csv", "out.csv.llmbatch.jsonl"]
    assert llmbatch("errors", f"{bucket.address}/out.csv").status == 0
    again = llmbatch(*batch(bucket, "--resume", "--retry-failed", "all", out="out.csv"))
    assert again.status == 0
    assert bucket.names == ["in/rows.jsonl", "out.csv"]


def test_outputs_in_a_store_are_reported_and_compared(
    llmbatch: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The page goes to the current folder; what is no answers cannot go to a store."""
    monkeypatch.chdir(tmp_path)
    out = f"{bucket.address}/out.jsonl"
    llmbatch(*batch(bucket))
    assert "60" in llmbatch("compare", out, out).out
    assert llmbatch("report", out).status == 0
    assert "out.jsonl" in (tmp_path / "out.html").read_text()
    bucket.put("parts/_work/plan.json", b"{}")
    bucket.put("parts/part-00000.jsonl", bucket.get("out.jsonl"))
    assert llmbatch("report", f"{bucket.address}/parts/").status == 0
    assert "parts/" in (tmp_path / "parts.html").read_text()
    page = llmbatch("report", out, "-o", f"{bucket.address}/page.html")
    summary = llmbatch(*batch(bucket, "--overwrite", "--summary", f"{bucket.address}/s.json"))
    for refused in (page, summary):
        assert refused.status == 2
        assert "only answers go to a store" in refused.err


def test_an_estimate_knows_what_is_answered(llmbatch: Command, bucket: Bucket) -> None:
    """It reads the output in the store, and leaves it as it is."""
    llmbatch(*batch(bucket, "--limit", "20"))
    done = llmbatch(*batch(bucket, "--resume", "--dry-run"))
    assert f"60 rows, 20 of them answered in {bucket.address}/out.jsonl" in done.out
    assert bucket.names == ["in/rows.jsonl", "out.jsonl"]


def test_edited_rows_go_beside_the_output(llmbatch: Command, bucket: Bucket) -> None:
    """Under the first number that is free there."""
    llmbatch(*batch(bucket, "--limit", "2"))
    bucket.put("out.jsonl.replaced-1", b"older\n")
    bucket.put("in/rows.jsonl", jsonl([{"id": "r0", "prompt": "edited"}]))
    done = llmbatch(*batch(bucket, "--resume"))
    assert "is called out.jsonl.replaced-2 in the store" in done.err
    assert bucket.get("out.jsonl.replaced-1") == b"older\n"
    assert ids(bucket.get("out.jsonl.replaced-2")) == ["r0"]


def test_a_run_without_a_row_touches_nothing(llmbatch: Command, bucket: Bucket) -> None:
    """As one whose key is wrong, with --overwrite."""
    bucket.put("out.jsonl", b"mine\n")
    done = llmbatch(*batch(bucket, "--overwrite", model="echo?unauthorized=1"))
    assert done.status == 3
    assert bucket.get("out.jsonl") == b"mine\n"
    assert bucket.names == ["in/rows.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    ("out", "more", "words"),
    [
        ("in/out.jsonl", (), "would be an input of the next run"),
        ("in/rows.jsonl", (), "is also an input"),
        ("out.jsonl", ("--batch-api",), "--batch-api keeps its jobs beside the output"),
        ("out.jsonl.zst", (), "is not supported"),
        ("a//b.jsonl/..", (), "one of dots"),
    ],
)
def test_an_output_that_cannot_be_is_refused(
    llmbatch: Command, bucket: Bucket, out: str, more: Sequence[str], words: str
) -> None:
    """Before anything is sent."""
    source = f"{bucket.address}/in/"
    address = f"{bucket.address}/{out}"
    if "rows" in out:
        source += "rows.jsonl"
    done = llmbatch("batch", source, "-m", "fake/echo", "-o", address, *more)
    assert done.status == 2
    assert words in done.err


def test_a_missing_bucket_is_named(llmbatch: Command, bucket: Bucket) -> None:
    """With no row sent."""
    source = f"{bucket.address}/in/rows.jsonl"
    done = llmbatch("batch", source, "-m", "fake/echo", "-o", "s3://nobody-has-it/out.jsonl")
    assert done.status == 2
    assert "cannot write s3://nobody-has-it/out.jsonl: no such bucket" in done.err


def test_a_store_that_goes_away_loses_no_row(
    llmbatch: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are here, which the error says, and --resume uploads them."""
    from llmbatch_cli.storage import StorageError
    from llmbatch_cli.storage.cloud import CloudStorage

    def away(*_: object) -> None:
        raise StorageError(5, "the store does not answer", "out.jsonl")

    with monkeypatch.context() as patch:
        patch.setattr(CloudStorage, "writer", away)
        done = llmbatch(*batch(bucket))
    assert done.status == 3
    assert "the store does not answer; no row is lost: " in done.err
    assert bucket.names == ["in/rows.jsonl"]
    refused = llmbatch(*batch(bucket))
    assert (refused.status, "that never reached the store are in" in refused.err) == (2, True)
    done = llmbatch(*batch(bucket, "--resume"))
    assert "60 of 60 rows answered, 0 to send" in done.err
    assert sorted(ids(bucket.get("out.jsonl"))) == sorted(IDS)


def test_a_resumed_run_that_never_reached_the_store_loses_no_row(
    llmbatch: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local copy goes on, since the store has only what it has begun from."""
    from llmbatch_cli.storage import StorageError
    from llmbatch_cli.storage.cloud import CloudStorage

    llmbatch(*batch(bucket, "--limit", "20"))

    def away(*_: object) -> None:
        raise StorageError(5, "the store does not answer", "out.jsonl")

    with monkeypatch.context() as patch:
        patch.setattr(CloudStorage, "writer", away)
        assert llmbatch(*batch(bucket, "--resume", "--limit", "50")).status == 3
    done = llmbatch(*batch(bucket, "--resume"))
    assert "50 of 60 rows answered, 10 to send" in done.err
    assert "newer rows" not in done.err
    assert sorted(ids(bucket.get("out.jsonl"))) == sorted(IDS)


def test_rows_that_are_sent_again_stand_once(
    llmbatch: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped run's failures are rewritten before their parts go on; a kill then keeps all."""
    from llmbatch_cli.rows.stored.output import StoredOutput

    def killed(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(shipping, "SHIP_S", 0.05)
    for number, model in enumerate(("echo?latency=0.2&rejected=0.3", "echo?latency=0.2", "echo")):
        again = ("--resume", "--retry-failed", "all") if number else ()
        with monkeypatch.context() as patch:
            if number < 2:
                patch.setattr(StoredOutput, "finish", killed)
            with suppress(RuntimeError):
                llmbatch(*batch(bucket, "--limit", "20", *again, model=model))
            if number < 2:
                assert "out.jsonl.parts/0001-head" in bucket.names
        shutil.rmtree(os.environ["LLMBATCH_STATE_DIR"])
    rows = [json.loads(line) for line in bucket.get("out.jsonl").splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(IDS[:20])
    assert not any(row["error"] for row in rows)


def test_a_run_that_another_has_overtaken_stops(
    llmbatch: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for dead: it sends nothing more, and does not touch the output."""
    from llmbatch_cli.rows.stored.parts import Parts

    def add(parts: Parts, *_: object) -> None:
        raise parts.overtaken()

    monkeypatch.setattr(shipping, "SHIP_S", 0.1)
    monkeypatch.setattr(Parts, "add", add)
    done = llmbatch(*batch(bucket, "-c", "1", model="echo?latency=0.3"))
    assert done.status == 3
    assert f"another run has taken over {bucket.address}/out.jsonl" in done.err
    assert "out.jsonl" not in bucket.names


async def test_a_killed_run_goes_on_on_another_machine(bucket: Bucket, tmp_path: Path) -> None:
    """After kill -9 each row is in the output once, and of the answers that were in the store
    none is asked for again. Nobody's secret is in what is said or written."""
    bucket.put("in/rows.jsonl", ROWS)
    here = {**bucket.variables, "LLMBATCH_STATE_DIR": str(tmp_path / "here")}
    there = {**bucket.variables, "LLMBATCH_STATE_DIR": str(tmp_path / "there")}
    process = await start(*batch(bucket, "-c", "2", model="echo?latency=0.3"), env=here)
    async with asyncio.timeout(30):
        while "out.jsonl.parts/0001-000001" not in bucket.names:
            await asyncio.sleep(0.1)
    process.kill()
    await process.wait()
    parts = [name for name in bucket.names if name.startswith("out.jsonl.parts/0001-0")]
    kept = sum(bucket.get(name).count(b"\n") for name in parts)
    assert 0 < kept < 60
    assert "out.jsonl" not in bucket.names
    done = await run(*batch(bucket), env=there)
    assert done.status == 2
    assert "has the rows of a run that was stopped" in done.err
    done = await run(*batch(bucket, "--resume"), env=there)
    assert f"{kept} of 60 rows answered, {60 - kept} to send" in done.err
    assert sorted(ids(bucket.get("out.jsonl"))) == sorted(IDS)
    assert bucket.names == ["in/rows.jsonl", "out.jsonl"]
    assert SECRET not in done.err
