"""`-s @FILE`, `-p NAME=@FILE`, and the input beside the answer."""

import json
from pathlib import Path

import pytest
from support.chat import echo
from support.program import jsonl, run
from support.scripted import Exchange, serve

from llmbatch_cli.core.at_file import text_of
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import Sampling


def test_an_at_sign_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's text without its last newline; two at signs are one; JSON is read as JSON."""
    monkeypatch.chdir(tmp_path)
    Path("system.txt").write_bytes(b"\xef\xbb\xbfBe brief.\nBe kind.\r\n\n")
    Path("tools.json").write_text('[{"type": "function"}]\n')
    Path("plain.txt").write_text("[not JSON\n")
    assert Sampling(system="@system.txt").system_text() == "Be brief.\nBe kind."
    assert [text_of(one, "-s") for one in ("@@all", "a@b", "")] == ["@all", "a@b", ""]
    params = Sampling(param=("tools=@tools.json", "user=@@me", "x=1")).params()
    assert params == {"tools": [{"type": "function"}], "user": "@me", "x": 1}
    with pytest.raises(UsageError, match="is not valid JSON"):
        Sampling(param=("x=@plain.txt",)).params()


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ("@sytem.txt", "no such file: sytem.txt", "did you mean @system.txt?"),
        ("@everyone", "no such file: everyone", "written with two: @@everyone"),
        ("@empty.txt", "empty.txt is empty", "leave the option out"),
        ("@bytes.txt", "bytes.txt is not UTF-8", "convert it"),
        ("@", "cannot read", "written with two"),
        ("@a\0b", "cannot read", "written with two"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(
    value: str, message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A usage error with a hint, before anything is sent."""
    monkeypatch.chdir(tmp_path)
    Path("system.txt").write_text("x")
    Path("empty.txt").write_text("\n")
    Path("bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=message) as caught:
        text_of(value, "--system")
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("command", ["batch", "race"])
async def test_the_input_stands_beside_the_answer(command: str, tmp_path: Path) -> None:
    """--include-input adds the row's own messages; a run that goes on has to do the same."""
    (tmp_path / "system.txt").write_text("SYSTEM\n")
    (tmp_path / "in.jsonl").write_bytes(jsonl(["one", {"prompt": 5}]))
    sent: list[str] = []

    async def handler(exchange: Exchange) -> None:
        sent.append(json.loads(exchange.body)["messages"][0]["content"])
        await echo(exchange)

    async with serve(handler) as server:
        here = (
            command, "in.jsonl", "-m", "m", "--base-url", server.url, "-s", "@system.txt",
            "-o", "out.jsonl",
        )  # fmt: skip
        first = await run(*here, "--include-input", cwd=tmp_path)
        (tmp_path / "in.jsonl").write_bytes(jsonl(["one", "two"]))
        other = await run(*here, "--resume", cwd=tmp_path)
        again = await run(*here, "--resume", "--include-input", cwd=tmp_path)
        text = await run(*here, "--overwrite", "--include-input", "-f", "text", cwd=tmp_path)
    assert (first.status, other.status, text.status) == (1, 2, 2)
    assert "have the field input\nhint: add --include-input" in other.err
    assert "has no place for it" in text.err
    assert again.status == 0, again.err
    assert sent == ["SYSTEM"] * 2
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    inputs = {row["text"]: row["input"] for row in rows if row["text"]}
    assert inputs == {
        "ONE": [{"role": "user", "content": "one"}], "TWO": [{"role": "user", "content": "two"}],
    }  # fmt: skip
