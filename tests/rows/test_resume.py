"""Going on with an output: what is done stays done, and every row ends with one answer."""

import os
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Prompt, Request
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.keys import request_key
from llmbatch_cli.rows.output.settle import settle
from llmbatch_cli.rows.resume import prepare, read_back, resuming

Fate = Literal["answered", "retryable", "final"]


@dataclass(frozen=True)
class Line:
    """One line of input: what is asked, and the row's own id, if it has one."""

    text: str
    id: str | None = None


def prompts(lines: list[Line]) -> list[Prompt]:
    found = [
        Prompt(index, [{"role": "user", "content": line.text}], line.id or index)
        for index, line in enumerate(lines)
    ]
    for prompt in found:
        prompt.key = key_of(prompt)
    return found


def key_of(prompt: Prompt) -> str:
    return request_key("p", Request("m", prompt.messages, {}), prompt)


def row_of(prompt: Prompt, fate: Fate = "answered") -> bytes:
    failed = fate != "answered"
    error = {"type": "x", "message": "m", "status": None, "retryable": fate == "retryable"}
    return orjson.dumps(
        {
            "index": prompt.index,
            "id": prompt.id,
            "metadata": {},
            "key": key_of(prompt),
            "text": None if failed else f"é {prompt.messages[0]['content']}",
            "error": error if failed else None,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def read(path: Path) -> bytes:
    """What the output holds, unpacked as far as it goes."""
    data = path.read_bytes() if path.exists() else b""
    if path.suffix != ".gz":
        return data
    plain = b""
    while data:
        member = zlib.decompressobj(31)
        plain += member.decompress(data)
        data = member.unused_data
    return plain


def rows(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in read(path).splitlines()]


def append(path: Path, lines: list[bytes]) -> None:
    """As the sink does it: for gzip, a member of its own, each row flushed."""
    packer = zlib.compressobj(wbits=31)
    with path.open("ab") as file:
        for line in lines:
            if path.suffix == ".gz":
                line = packer.compress(line) + packer.flush(zlib.Z_SYNC_FLUSH)
            file.write(line)
        if path.suffix == ".gz":
            file.write(packer.flush())


def go_on(path: Path, lines: list[Line], retry: RetryFailed = "retryable") -> "Resumed":
    finished = prepare(path, retry)
    return Resumed(finished, [row for row in prompts(lines) if not finished.claim(row)])


@dataclass
class Resumed:
    """A resumed run that has read its input and sent nothing yet."""

    finished: FinishedRows
    sent: list[Prompt] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [prompt.messages[0]["content"] for prompt in self.sent]


LINES = [Line("a"), Line("b", "id-b"), Line("a"), Line("c", "id-c"), Line("a", "id-a")]


def written(path: Path, lines: list[Line] = LINES, fates: dict[int, Fate] | None = None) -> Path:
    found = [row_of(row, (fates or {}).get(row.index, "answered")) for row in prompts(lines)]
    append(path, found)
    return path


@pytest.fixture(params=["out.jsonl", "out.jsonl.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def others(path: Path) -> dict[str, bytes]:
    """The files beside it."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file != path}


def test_without_an_output_everything_is_new(path: Path) -> None:
    """No file and an empty file hold no finished row, and are left alone."""
    assert len(go_on(path, LINES).sent) == 5
    assert not path.exists()
    path.touch()
    assert len(go_on(path, LINES).sent) == 5
    assert path.read_bytes() == b""


def test_what_is_finished_is_not_sent(path: Path) -> None:
    """With the same input nothing is left to do, and the file is not touched."""
    before = written(path).read_bytes()
    resumed = go_on(path, LINES)
    assert (resumed.sent, resumed.finished.rows, resumed.finished.untaken) == ([], 5, 0)
    assert (path.read_bytes(), others(path)) == (before, {})


def test_only_what_is_new_or_changed_is_sent(path: Path) -> None:
    """Rows may be added, edited, deleted and put in another order."""
    written(path)
    resumed = go_on(path, [Line("new"), LINES[3], Line("B", "id-b"), *LINES[:1], LINES[4]])
    assert resumed.texts == ["new", "B"]
    assert resumed.finished.untaken == 2


@pytest.mark.parametrize("done", range(3))
def test_equal_rows_are_told_apart(path: Path, done: int) -> None:
    """Of three rows that ask the same, two are sent, and each has its own row in the end."""
    same = [Line("a"), Line("a"), Line("a")]
    append(path, [row_of(prompts(same)[done])])
    resumed = go_on(path, same)
    assert len(resumed.sent) == 2
    append(path, [row_of(row) for row in resumed.sent])
    settle(path, resumed.finished, ordered=True)
    assert [row["index"] for row in rows(path)] == [0, 1, 2]


def test_equal_requests_keep_their_ids_in_another_order(path: Path) -> None:
    """Answers that are there stay with their ids, wherever their rows stand now."""
    append(path, [row_of(row) for row in prompts([Line("a", "x"), Line("a", "y")])])
    resumed = go_on(path, [Line("z"), Line("a", "y"), Line("a", "x")])
    assert resumed.texts == ["z"]
    settle(path, resumed.finished, ordered=False)
    assert [(row["id"], row["index"]) for row in rows(path)] == [("x", 2), ("y", 1)]


def test_a_renamed_row_is_done(path: Path) -> None:
    """The same request under another id is not paid for again."""
    append(path, [row_of(row) for row in prompts([Line("a", "x"), Line("b", "y")])])
    assert go_on(path, [Line("b", "v"), Line("a", "w")]).sent == []


def test_another_model_is_new_work(path: Path) -> None:
    """A changed request is not done, and its old row is counted as nobody's."""
    finished = prepare(written(path))
    for row in prompts(LINES):
        row.key = request_key("p", Request("other", row.messages, {}), row)
        assert not finished.claim(row)
    assert (finished.untaken, finished.rows) == (5, 5)


@pytest.mark.parametrize(
    ("retry", "sent", "kept"), [("all", [0, 3], 3), ("retryable", [0], 4), ("none", [], 5)]
)
def test_failed_rows_are_tried_again_as_asked(
    path: Path, retry: RetryFailed, sent: list[int], kept: int
) -> None:
    """A row that is tried again leaves the output before, a row that is not stays in it."""
    written(path, fates={0: "retryable", 3: "final"})
    path.chmod(0o640)
    resumed = go_on(path, LINES, retry)
    assert sorted(resumed.texts) == [LINES[index].text for index in sent]
    assert [row["index"] for row in rows(path)] == [i for i in range(5) if i not in sent]
    finished = resumed.finished
    assert (finished.rows, finished.failed_again, finished.failed) == (
        kept,
        len(sent),
        2 - len(sent),
    )
    assert (path.stat().st_mode & 0o777, others(path)) == (0o640, {})


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_loses_what_is_cut_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """After a kill at any byte, whole rows are done, and what was cut off is kept beside it."""
    name = data.draw(st.sampled_from(["out.jsonl", "out.jsonl.gz"]))
    path = written(tmp_path_factory.mktemp("cut") / name)
    written(path, [Line("d"), Line("e")])
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
    left = read(path)
    whole, _, rest = left.rpartition(b"\n")
    if rest.endswith(b"}") and rest.count(b"{") == rest.count(b"}"):
        whole, rest = left, b""
    resumed = go_on(path, LINES)
    assert resumed.finished.rows == len(whole.splitlines())
    assert read(path) == whole + b"\n" * bool(whole)
    assert others(path) == ({f"{name}.torn-1": rest} if rest else {})
    append(path, [row_of(row) for row in resumed.sent])
    assert go_on(path, LINES).sent == []


def test_each_torn_line_is_kept(path: Path) -> None:
    """A second torn line does not take the first one's place."""
    for number in (1, 2):
        written(path)
        torn = row_of(prompts(LINES)[0])[: 30 + number]
        append(path, [torn])
        prepare(path)
        assert others(path)[f"{path.name}.torn-{number}"] == torn
    assert len(rows(path)) == 10


def test_a_crash_of_the_machine_leaves_zeros(tmp_path: Path) -> None:
    """Zeros at the end, which a file system may leave there, are cut off like a torn line."""
    path = written(tmp_path / "out.jsonl")
    append(path, [b"\0" * 100])
    assert go_on(path, LINES).sent == []
    assert len(rows(path)) == 5


GOOD = row_of(prompts(LINES)[0])
STRANGE = {
    "text": (b"What is this?\n", 1),
    "text without a newline": (b"What is this?", 1),
    "an input": (b'{"prompt": "a"}\n{"prompt": "b"}\n', 1),
    "openai": (b'{"id": "x", "custom_id": "1", "response": null, "error": {"code": "x"}}\n', 1),
    "an older row": (GOOD + b'{"index": 1, "id": 1, "text": "x", "error": null}\n', 2),
    "a broken row": (GOOD + b'{"index":\n' + GOOD, 2),
    "a bad key": (GOOD + b'{"index": 1, "key": "12", "error": null}\n', 2),
    "a bad index": (GOOD.replace(b'"index":0', b'"index":"0"'), 1),
    "a failed row of another program": (GOOD + b'{"error": {"retryable": true}}\n', 2),
    "no object": (GOOD + b"[1]\n", 2),
}


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("retry", ["all", "retryable", "none"])
def test_what_is_no_output_is_refused(path: Path, what: str, retry: RetryFailed) -> None:
    """A file of anything else is named with its line, and not a byte of it is touched."""
    content, line = STRANGE[what]
    append(path, [content])
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"{path.name}:{line}: ") as caught:
        prepare(path, retry)
    assert caught.value.hint
    assert (path.read_bytes(), others(path)) == (before, {})


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    """Damage amid a gzip file, which is no torn end, is told, and nothing is lost by it."""
    path = written(tmp_path / "out.jsonl.gz")
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UsageError, match="damaged"):
        prepare(path)
    assert path.read_bytes() == data


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """Only a file can be gone on with."""
    with pytest.raises(UsageError, match="not a regular file"):
        prepare(tmp_path)


def test_reading_back_changes_nothing(path: Path) -> None:
    """`read_back` says what is there and leaves it as it is."""
    written(path, fates={1: "retryable"})
    append(path, [b'{"index":7'])
    before = path.read_bytes()
    finished = read_back(path)
    assert (finished.rows, finished.failed_again) == (4, 1)
    assert (path.read_bytes(), others(path)) == (before, {})


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """A rewrite changes the file that a link names, not the link."""
    path = written(tmp_path / "out.jsonl", fates={0: "retryable"})
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    prepare(link)
    assert link.is_symlink()
    assert len(rows(path)) == 4


@pytest.mark.parametrize("moment", ["chmod", "fsync", "replace"])
def test_a_failed_rewrite_leaves_the_old_file(
    path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk amid a rewrite loses nothing and leaves nothing behind."""
    before = written(path, fates={0: "retryable"}).read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = {"chmod": (Path, "chmod"), "fsync": (os, "fsync"), "replace": (Path, "replace")}
    monkeypatch.setattr(*target[moment], fail)
    with pytest.raises(UsageError, match="No space left"):
        prepare(path)
    assert (path.read_bytes(), others(path)) == (before, {})


def test_what_a_killed_rewrite_left_is_cleared_away(path: Path) -> None:
    """The unfinished new file of a run that was killed is gone at the next start."""
    written(path)
    path.with_name(f".{path.name}.new").write_bytes(b"half a fi")
    assert go_on(path, LINES).sent == []
    assert others(path) == {}


def test_the_start_is_told_in_numbers(tmp_path: Path) -> None:
    """The first words say how much is answered, and what failed and is not tried again."""
    path = written(tmp_path / "out.jsonl", fates={0: "retryable", 1: "final"})
    told = resuming(path, read_back(path), None)
    assert told == f"resuming {path}: 3 answers, 1 failed before"
    assert resuming(path, read_back(path, "all"), None) == f"resuming {path}: 3 answers"


# Any input, any history

ids = st.none() | st.sampled_from(["x", "y", "z"])
line_lists = st.lists(st.builds(Line, st.sampled_from("abc"), ids), max_size=12)


@given(line_lists, line_lists, st.data())
@settings(max_examples=200, deadline=None)
def test_no_finished_request_is_sent_again(
    before: list[Line], now: list[Line], data: st.DataObject
) -> None:
    """Of each request exactly as many rows are sent as the input has more than the output."""
    done = data.draw(st.lists(st.sampled_from(prompts(before)), unique_by=id)) if before else []
    finished = FinishedRows()
    for row in done:
        finished.add(key_of(row), row.index)
    sent = [row for row in prompts(now) if not finished.claim(row)]
    asked = Counter(line.text for line in now)
    there = Counter(row.messages[0]["content"] for row in done)
    assert Counter(row.messages[0]["content"] for row in sent) == asked - there
    assert finished.untaken == (there - asked).total()


@given(st.lists(st.sampled_from("ab"), max_size=12), st.data())
@settings(max_examples=150, deadline=None)
def test_an_unchanged_input_is_done_as_it_is(texts: list[str], data: st.DataObject) -> None:
    """In whatever order all rows are there, nothing is sent and nothing changes, twice over."""
    given_ids = data.draw(st.lists(ids, min_size=len(texts), max_size=len(texts)))
    lines = prompts([Line(*both) for both in zip(texts, given_ids, strict=True)])
    finished = FinishedRows()
    for row in data.draw(st.permutations(lines)):
        finished.add(key_of(row), row.index)
    for _ in range(2):
        assert all(map(finished.claim, lines))
        assert (finished.changed, finished.untaken) == (0, 0)
        finished.release()


class Job(RuleBasedStateMachine):
    """One job over many runs, whose input changes and whose runs are killed."""

    @initialize(
        lines=st.lists(st.sampled_from("abcd"), max_size=8), name=st.sampled_from(["o", "o.gz"])
    )
    def start(self, lines: list[str], name: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / name
        self.number = 0
        self.lines = [self.line(text) for text in lines]
        self.answers: Counter[str] = Counter()
        """Those that were in the file, whole, when the last run ended."""

    def line(self, text: str) -> Line:
        """A row with an id that no other row has had."""
        self.number += 1
        return Line(text, f"id-{self.number}")

    @rule(place=st.integers(0, 20), text=st.sampled_from("abcd"))
    def insert(self, place: int, text: str) -> None:
        self.lines.insert(place, self.line(text))

    @rule(place=st.integers(0, 20))
    def delete(self, place: int) -> None:
        del self.lines[place : place + 1]

    @rule(place=st.integers(0, 20))
    def duplicate(self, place: int) -> None:
        self.lines += self.lines[place : place + 1]

    @rule(place=st.integers(0, 20), text=st.sampled_from("abcd"))
    def edit(self, place: int, text: str) -> None:
        if place < len(self.lines):
            self.lines[place] = replace(self.lines[place], text=text)

    @rule(source=st.randoms(use_true_random=False))
    def reorder(self, source: Any) -> None:
        source.shuffle(self.lines)

    @rule(
        fates=st.lists(st.sampled_from(["answered", "answered", "retryable"]), max_size=8),
        cut=st.none() | st.integers(0, 400),
        source=st.randoms(use_true_random=False),
    )
    def run_and_die(self, fates: list[Fate], cut: int | None, source: Any) -> None:
        resumed = self.resume()
        source.shuffle(resumed.sent)
        begun = list(zip(resumed.sent, fates, strict=False))
        append(self.path, [row_of(row, fate) for row, fate in begun])
        if cut is not None and self.path.exists():
            os.truncate(self.path, max(0, self.path.stat().st_size - cut))
        lines = read(self.path).split(b"\n") if self.path.exists() else []
        self.answers = Counter(key["text"] for key in self.whole(lines) if key["error"] is None)

    def whole(self, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                assert line == lines[-1]

    def resume(self) -> Resumed:
        resumed = go_on(self.path, self.lines)
        wanted = Counter(f"é {line.text}" for line in self.lines)
        assert Counter(f"é {text}" for text in resumed.texts) == wanted - self.answers
        return resumed

    @rule(ordered=st.booleans())
    def run_to_the_end(self, ordered: bool) -> None:
        resumed = self.resume()
        append(self.path, [row_of(row) for row in reversed(resumed.sent)])
        settle(self.path, resumed.finished, ordered=ordered)
        kept = [row_of(row) for row in prompts(self.lines)]
        there = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows(self.path)]
        assert Counter(kept) <= Counter(there)
        if ordered:
            assert kept == there[: len(self.lines)]
        self.answers = Counter(row["text"] for row in rows(self.path))
        wanted = Counter(f"é {line.text}" for line in self.lines)
        assert wanted <= self.answers
        assert go_on(self.path, self.lines).sent == []

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @invariant()
    def nothing_is_left_behind(self) -> None:
        if hasattr(self, "path"):
            beside = {file.name for file in self.folder.iterdir() if file != self.path}
            assert all(".torn-" in name for name in beside), beside


def test_any_history_of_a_job() -> None:
    """Through edits and kills, no answer in the file is paid for again, and in the end every
    row of the input has its own."""
    run_state_machine_as_test(
        Job, settings=settings(max_examples=60, stateful_step_count=12, deadline=None)
    )
