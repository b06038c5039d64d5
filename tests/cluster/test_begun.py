"""How a folder and a --merge file are taken, before anything is started."""

import gzip
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from llmbatch_cli.cli.cluster_checks import check_cluster
from llmbatch_cli.cli.cluster_command import cluster
from llmbatch_cli.cluster.folder import NEW
from llmbatch_cli.cluster.layout import PLAN, ROWS, WORK
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.merge import merge
from llmbatch_cli.cluster.plan import ClusterPlan
from llmbatch_cli.cluster.run import Asked, plan_of
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import Cluster, DisplayOptions, InputOptions, OutputOptions, Sending
from llmbatch_cli.job import Job
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.plans import Batch
from llmbatch_cli.providers.access import Access
from llmbatch_cli.rows.input.source import Inputs

ATTENDING: Sequence[Literal["attach", "stop"]] = ("attach", "stop")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "x"}\n' * 3)
    return path


def job(rows: Path, *, overwrite: bool = False) -> Job:
    output = OutputOptions(output=rows.with_name("out"), overwrite=overwrite)
    given = InputOptions(inputs=[str(rows)])
    return Job(Inputs([str(rows)]), Batch(model="fake/echo"), CallOptions(Access()), output, given)


def planned(job: Job, model: str = "fake/echo") -> ClusterPlan:
    assert job.output.output is not None
    folder = LocalFolder(job.output.output)
    return plan_of(job, Asked(model, (model,)), folder, 2, lambda _: None)


def refused(job: Job, merge: Path) -> str:
    with pytest.raises(UsageError) as error:
        check_cluster(job, Sending(cluster=Cluster(engine="ray", merge=merge)))
    return error.value.message


def test_overwrite_begins_anew(rows: Path) -> None:
    """Also with a plan that cannot be gone on with, or read."""
    planned(job(rows))
    out = rows.with_name("out")
    out.joinpath("part-00000.jsonl").write_text("{}\n")
    out.joinpath("mine.txt").write_text("x")
    with pytest.raises(UsageError, match="begun with another model"):
        planned(job(rows), "fake/other")
    planned(job(rows, overwrite=True), "fake/other")
    assert sorted(one.name for one in out.iterdir()) == [WORK, "mine.txt"]
    (out / PLAN).write_text("{")
    assert planned(job(rows, overwrite=True)).rows == 3


def test_overwrite_of_what_cannot_be_read_deletes_nothing(rows: Path) -> None:
    planned(job(rows))
    part = rows.with_name("out") / "part-00000.jsonl"
    part.write_text("{}\n")
    rows.unlink()
    with pytest.raises((UsageError, OSError)):
        planned(job(rows, overwrite=True))
    assert part.exists()


def test_killed_before_the_plan_was_there(rows: Path) -> None:
    out = rows.with_name("out")
    (out / ROWS).mkdir(parents=True)
    (out / f"{PLAN}.1{NEW}").write_text("{")
    assert planned(job(rows)).rows == 3


def test_a_folder_of_somebody_else(rows: Path) -> None:
    out = rows.with_name("out")
    (out / WORK).mkdir(parents=True)
    (out / WORK / "mine.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is not empty, and no run"):
            planned(job(rows, overwrite=overwrite))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("in.jsonl", "is also an input"),
        ("mine.jsonl", "there is something else in it"),
        ("mine.jsonl.gz", "there is something else in it"),
        ("no/all.jsonl", "no directory"),
        ("", "is a directory"),
    ],
)
def test_a_file_that_is_not_for_the_parts(rows: Path, name: str, said: str) -> None:
    for own in ("mine.jsonl", "mine.jsonl.gz"):
        rows.with_name(own).write_text("x")
    assert said in refused(job(rows), rows.parent / name)
    assert "--merge writes a file" in refused(job(rows), Path("-"))


def test_a_run_that_goes_on_replaces_its_file(rows: Path) -> None:
    merged = rows.with_name("all.jsonl.gz")
    merged.write_text("packed")
    planned(job(rows))
    check_cluster(job(rows), Sending(cluster=Cluster(engine="ray", merge=merged)))


def test_a_packed_file_of_all_parts(rows: Path) -> None:
    planned(job(rows))
    out = rows.with_name("out")
    out.joinpath("part-00000.jsonl").write_text("{}\n")
    merge(LocalFolder(out), "", OutputOptions(), rows.with_name("all.jsonl.gz"))
    assert gzip.decompress(rows.with_name("all.jsonl.gz").read_bytes()) == b"{}\n"


def test_where_ray_is_not_installed(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The folder says how its run stands; nothing else can be done."""
    planned(job(rows))
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "llmbatch_cli.cluster.ray_engine", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    out, display = rows.with_name("out"), DisplayOptions()
    assert cluster("status", out, display=display) == 0
    assert "not at work, 0 of 3 rows finished" in capfd.readouterr().out
    for action in ATTENDING:
        with pytest.raises(UsageError, match="needs ray, which is not installed"):
            cluster(action, out, display=display)


def test_ray_is_started_here_whatever_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cluster of this machine, and one that RAY_ADDRESS names, are not asked."""
    ray = pytest.importorskip("ray")
    from llmbatch_cli.cluster.ray_engine import Cluster as Engine

    given: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", lambda **words: given.update(words))
    Engine(None, 2).connect()
    assert (given["address"], given["num_cpus"]) == ("local", 2)
