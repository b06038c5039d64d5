"""`llmbatch report` and `llmbatch compare` as their users run them."""

import asyncio
import gzip
import importlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support.answers import answer, failure, write
from support.program import PROGRAM, Done, environment, run

ZSTD = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)
ROWS = [answer(0), answer(1, cost=None), failure(2)]


async def report(*arguments: object, stdin: bytes = b"") -> Done:
    return await run("report", *map(str, arguments), stdin=stdin)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write(tmp_path / "out.jsonl", ROWS)


async def test_a_page_is_written_beside_the_output(out: Path) -> None:
    """Without -o it has the output's name; standard output stays empty."""
    done = await report(out)
    assert (done.status, done.out) == (0, b"")
    assert done.err == f"llmbatch: 3 rows reported in {out.with_suffix('.html')}\n"
    page = out.with_suffix(".html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>" in page
    assert '<script type="application/json"' in page


async def test_only_a_report_is_replaced(out: Path) -> None:
    """An earlier report is written again; any other file needs --overwrite, an input never goes."""
    page = out.with_suffix(".html")
    assert [(await report(out)).status for _ in range(2)] == [0, 0]
    page.write_text("<p>mine</p>")
    done = await report(out)
    assert (done.status, page.read_text()) == (2, "<p>mine</p>")
    assert "hint: --overwrite replaces it" in done.err
    assert (await report(out, "--overwrite")).status == 0
    assert (await report(out, "-o", out, "--overwrite")).status == 2
    assert len(out.read_bytes().splitlines()) == 3


async def test_main_figures_as_text(out: Path) -> None:
    """--text prints lines of at most 80 columns and leaves no file; in a pipe bars are plain."""
    done = await report(out, "--text")
    text = done.out.decode()
    assert (done.status, done.err, [*out.parent.iterdir()]) == (0, "", [out])
    for line in (
        "rows        3", "answered    2 (66.7 %)", "cost        $0.25, and unknown for 2 rows",
        "tokens      20 in, 8 out", "failed      1 (33.3 %)", "         1 overloaded: sorry 2",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert "0.5 s 2 ###" in text
    assert text.isascii()


def test_a_terminal_shows_bars(out: Path) -> None:
    """On a terminal the histogram is of block characters."""
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "report", str(out), "--text"]
    env = environment({"PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"})
    subprocess.run(command, stdout=theirs, env=env, check=True, timeout=40)
    os.close(theirs)
    assert "0.5 s 2 █████" in os.read(ours, 2**16).decode()
    os.close(ours)


async def test_all_figures_as_json(out: Path) -> None:
    """--json prints one object; with -o the page is written as well."""
    done = await report(out, "--json", "-o", out.parent / "new.html")
    (figures,) = done.rows
    assert (figures["file"], figures["rows"], figures["failed"]) == (str(out), 3, 1)
    nothing = {"attempts": 0, "up_to": 0.0, "unknown_attempts": 0}
    assert figures["cost"] == {"usd": 0.25, "unknown_rows": 2, "maybe_billed": nothing}
    assert (out.parent / "new.html").stat().st_size > 200_000


async def test_standard_input_and_output(out: Path) -> None:
    """- is standard input, and with -o standard output; a page needs a name for its file."""
    done = await report("-", "-o", "-", stdin=out.read_bytes())
    assert (done.status, done.out[:15]) == (0, b"<!DOCTYPE html>")
    done = await report("-", stdin=out.read_bytes())
    assert (done.status, "hint: add -o report.html" in done.err) == (2, True)


async def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """A line that is being written, or is damaged, is left out and said; so is packed data cut
    short; a row with half a surrogate pair is a row."""
    out = write(tmp_path / "out.jsonl", [*ROWS, answer(3, "\ud800")])
    out.write_bytes(out.read_bytes() + b'{"index": 4, "te')
    done = await report(out, "--json")
    assert (done.rows[0]["rows"], done.rows[0]["unreadable_lines"]) == (4, 1)
    assert done.err == f"llmbatch: 1 line of {out} could not be read and is left out\n"
    (tmp_path / "out.jsonl.zst").write_bytes(ZSTD.compress(out.read_bytes()))
    assert (await report(tmp_path / "out.jsonl.zst", "--json")).rows[0]["rows"] == 4
    packed = tmp_path / "out.jsonl.gz"
    packed.write_bytes(gzip.compress(out.read_bytes())[:-9])
    done = await report(packed, "--json")
    assert (done.rows[0]["rows"], "ends too early" in done.err) == (4, True)


@pytest.mark.parametrize(
    "content", [b'"a prompt"\n"another"\n', b"Hello,\nhow are you?\n", b'{"prompt": "x"}\n' * 3]
)
async def test_what_is_no_output_is_refused(content: bytes, tmp_path: Path) -> None:
    """A file of prompts or of anything else is no output; nothing is written."""
    (tmp_path / "in.jsonl").write_bytes(content)
    done = await report(tmp_path / "in.jsonl")
    assert (done.status, [*tmp_path.iterdir()]) == (2, [tmp_path / "in.jsonl"])
    assert "this is not an output\nhint: name a file that was written with --format" in done.err


async def test_an_empty_output_is_reported(tmp_path: Path) -> None:
    """A run without rows has a page that says so."""
    done = await report(write(tmp_path / "out.jsonl", []))
    assert (done.status, "0 rows reported" in done.err) == (0, True)


RUN = ("-m", "fake/echo?latency=0.01", "--quiet", "--overwrite")


@pytest.mark.parametrize(
    "options",
    [
        ("out.jsonl",), ("out.jsonl.gz",), ("out.csv", "--columns", "answer,error,tokens,latency"),
        ("out.parquet", "--columns", "answer,error,tokens"), ("out.jsonl", "-f", "openai"),
        ("out.jsonl", "-f", "chat"), ("out.xlsx",), ("out.tsv",),
    ],
)  # fmt: skip
async def test_what_a_run_writes_can_be_reported(options: tuple[str, ...], tmp_path: Path) -> None:
    """Each format that has an answer a row: same rows, same failures, same tokens where it has
    them; a run's rows say when they ended."""
    prompts = tmp_path / "in.jsonl"
    prompts.write_text('{"id": "a", "prompt": "Hello, you"}\n{"id": "b", "prompt": 5}\n"two"\n')
    out = tmp_path / options[0]
    done = await run("batch", str(prompts), *RUN, "-o", str(out), *options[1:])
    assert done.status == 1, done.err
    (figures,) = (await report(out, "--json")).rows
    assert (figures["rows"], figures["answered"], figures["failed"]) == (3, 2, 1)
    if options[0].endswith((".jsonl", ".gz")) or "tokens" in str(options):
        assert figures["tokens"]["prompt_tokens"] > 0
    if options in {("out.jsonl",), ("out.jsonl.gz",)}:
        assert figures["time"]["rows_without_time"] == 0
        assert figures["time"]["rows_per_s"] > 0


def test_many_rows_take_no_memory(tmp_path: Path) -> None:
    """Ten times the rows take the same memory, to some megabytes: none of them is kept."""
    line = json.dumps(answer(0, "word " * 100, finished_at=1_700_000_000.5)).encode() + b"\n"
    peaks = []
    for rows in (2_000, 20_000):
        path = tmp_path / "out.jsonl"
        path.write_bytes(line * rows)
        peaks.append(peak_bytes([*PROGRAM, "report", str(path)], tmp_path))
    assert peaks[1] - peaks[0] < 6 * 2**20


def peak_bytes(command: list[str], folder: Path) -> int:
    """The most memory that the command had."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "sys.stdout.write('\\n' + str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, check=True, timeout=50,
        cwd=folder, env=environment(),
    )  # fmt: skip
    return int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


# Two runs


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another run: in another order, one answer differs, one row is new."""
    return write(tmp_path / "other.jsonl", [answer(3), failure(2), answer(1), answer(0, "no")])


async def test_two_runs_are_compared(out: Path, other: Path) -> None:
    """As a text, and as one object with the same figures."""
    done = await run("compare", str(out), str(other))
    lines = [line.split() for line in done.out.decode().splitlines()]
    assert (done.status, done.err) == (0, "")
    assert ["rows", "in", "both", "3"] in lines
    assert ["only", "in", "the", "second", "1"] in lines
    assert ["text,", "where", "there", "is", "no", "data", "1", "2", "50", "%"] in lines
    assert lines[-2:] == [["first", "yes"], ["second", "no"]]
    (found,) = (await run("compare", str(out), str(other), "--json")).rows
    assert (found["in_both"], found["text"]) == (3, {"agree": 1, "rows": 2})
    assert (found["first_file"], found["second_file"]) == (str(out), str(other))


async def test_a_table_is_compared_with_its_rows(out: Path, tmp_path: Path) -> None:
    """The formats of both may differ, as their ids are the same."""
    (tmp_path / "out.csv").write_text("id,answer,error\nq1,yes,\nq0,no,\nq2,,overloaded: no\n")
    (found,) = (await run("compare", str(out), str(tmp_path / "out.csv"), "--json")).rows
    assert (found["in_both"], found["text"]) == (3, {"agree": 1, "rows": 2})
    assert found["both_failed"] == 1


async def test_a_report_with_a_comparison(out: Path, other: Path) -> None:
    """--compare adds a section to the page, lines to the text, and an object to the JSON."""
    assert (await report(out, "--compare", other)).status == 0
    assert '<section id="comparison"' in out.with_suffix(".html").read_text()
    done = await report(out, "--compare", other, "--text")
    assert "where both have an answer" in done.out.decode()
    (figures,) = (await report(out, "--compare", other, "--json")).rows
    assert figures["comparison"]["first_file"] == str(other)


async def test_a_comparison_needs_two_files(out: Path) -> None:
    """The first is read twice, so it cannot be a pipe; the second may be one."""
    data = out.read_bytes()
    assert (await run("compare", str(out), "-", "--json", stdin=data)).rows[0]["in_both"] == 3
    done = await run("compare", "-", str(out), stdin=data)
    assert (done.status, "must be a file" in done.err) == (2, True)
    done = await run("compare", str(out), str(out.parent / "none.jsonl"))
    assert (done.status, "no such file" in done.err) == (2, True)


def test_a_comparison_takes_the_memory_that_its_help_says(tmp_path: Path) -> None:
    """Some 200 bytes for each row of the first file, however long its answer is."""
    peaks = []
    for rows in (1_000, 11_000):
        path = write(
            tmp_path / "out.jsonl", [answer(place, "word " * 100) for place in range(rows)]
        )
        peaks.append(peak_bytes([*PROGRAM, "compare", str(path), str(path)], tmp_path))
    assert (peaks[1] - peaks[0]) / 10_000 < 400


async def test_a_reader_that_leaves_is_no_error(out: Path) -> None:
    """`| head -1` ends quietly."""
    command = f"{' '.join(PROGRAM)} report {out.name} --text | head -1"
    process = await asyncio.create_subprocess_exec(
        "bash", "-o", "pipefail", "-c", command, env=environment(), cwd=out.parent,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out_bytes, err = await process.communicate()
    assert (process.returncode, out_bytes, err) == (0, b"out.jsonl\n", b"")


@pytest.mark.parametrize(("columns", "is_told"), [("answer", True), ("answer,cost", False)])
async def test_a_table_without_figures_says_how_to_get_them(
    tmp_path: Path, columns: str, is_told: bool
) -> None:
    """Else a paid run looks as if nobody knew what it has cost."""
    table = tmp_path / "out.csv"
    cells = "a,b," if is_told else "a,b,0.1,"
    table.write_text(f"text,{columns},error\n{cells}\n")
    done = await report(table, "--text")
    assert done.status == 0
    assert ("a run writes them with --columns answer,tokens,cost,latency" in done.err) == is_told
