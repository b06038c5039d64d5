"""A folder goes on with what it was begun with, and refuses all else with the reason."""

from pathlib import Path

import pytest

from llmbatch_cli.cluster.fingerprint import fingerprint
from llmbatch_cli.cluster.layout import PLAN
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.plan import ClusterPlan, check_same, digest, load, save
from llmbatch_cli.core.errors import UsageError


def plan(inputs: list[Path], *, asked: str = "m", columns: bool = False) -> ClusterPlan:
    prints = {str(path): fingerprint(str(path)) for path in inputs}
    made_with = {"format": "jsonl", "include_input": columns}
    return ClusterPlan([], prints, digest(asked), asked, made_with)


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in found:
        path.write_bytes(b'{"prompt": "x"}\n' * 1_000)
    return found


def refused(folder: LocalFolder, new: ClusterPlan) -> str:
    old = load(folder)
    assert old is not None
    with pytest.raises(UsageError) as error:
        check_same(old, new)
    assert error.value.hint
    return error.value.message


def test_the_same_goes_on(folder: LocalFolder, inputs: list[Path]) -> None:
    """Also where a file was copied."""
    save(plan(inputs), folder)
    inputs[0].write_bytes(inputs[0].read_bytes())
    old = load(folder)
    assert old is not None
    check_same(old, plan(inputs))


@pytest.mark.parametrize("at", [0, 8_000, 15_990, 16_000])
def test_an_edited_input_is_refused(folder: LocalFolder, inputs: list[Path], at: int) -> None:
    save(plan(inputs), folder)
    data = bytearray(inputs[1].read_bytes())
    data[at : at + 1] = b" "
    inputs[1].write_bytes(data)
    assert refused(folder, plan(inputs)).startswith(f"{inputs[1]} has changed since the run began")


def test_other_inputs_are_refused(folder: LocalFolder, inputs: list[Path]) -> None:
    save(plan(inputs[:1]), folder)
    assert "b.jsonl was not among the inputs" in refused(folder, plan(inputs))
    save(plan(inputs), folder)
    assert "a.jsonl was among the inputs" in refused(folder, plan(inputs[1:]))


def test_other_options_are_refused(folder: LocalFolder, inputs: list[Path]) -> None:
    save(plan(inputs), folder)
    assert "with another model, prompt, parameter or choice of rows (then m)" in refused(
        folder, plan(inputs, asked="n")
    )
    assert "another format or other columns" in refused(folder, plan(inputs, columns=True))


@pytest.mark.parametrize("data", [b"", b'{"form": 1', b"[]", b'{"form": 99}', b"\0\0"])
def test_a_plan_that_cannot_be_read_is_not_overwritten(folder: LocalFolder, data: bytes) -> None:
    (folder.path / PLAN).write_bytes(data)
    with pytest.raises(UsageError):
        load(folder)
