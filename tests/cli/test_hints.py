"""Usage errors name what was probably meant, or what to do."""

from pathlib import Path

import pytest

from llmbatch_cli.cli.app import run_app

FAKE = ("-m", "fake/echo")

HINTS = {
    ("batch", "promts.jsonl", *FAKE): (
        "no such file: promts.jsonl\nhint: did you mean prompts.jsonl?"
    ),
    ("batch", "in/promts.jsonl", *FAKE): "hint: did you mean in/prompts.jsonl?",
    ("errors", "promts.jsonl"): "hint: did you mean prompts.jsonl?",
    ("batch", "What is 2 + 2?", *FAKE): "hint: prompts come from files or standard input: echo",
    ("batch", "quite-else.jsonl", *FAKE): "; - is standard input",
    ("race", "my promts.jsonl", "-m", "fake/echo"): "no such file: my promts.jsonl",
    ("race", "notes of mine.tx", "-m", "fake/echo", "--wins", "2"): (
        "--wins 2, but only 1 model races\nhint: add models with -m"
    ),
    ("race", "the notes.txt", "-m", "fake/echo"): "hint: did you mean notes.txt?",
    ("batch", "prompts.jsonl", *FAKE, "-o", "nodir/x"): (
        "cannot write nodir/x: no directory nodir\nhint: mkdir -p nodir makes it"
    ),
    ("batch", "prompts.jsonl", *FAKE, "-o", "x.xls"): (
        "cannot write x.xls: .xls is not supported\nhint: name it .xlsx"
    ),
    ("batch", "prompts.jsonl", *FAKE, "-o", "x.jsonl.zst"): ".zst is not supported\nhint: use .gz",
    ("batch", "prompts.jsonl", "-m", "local/smol.guf"): "hint: it is local/smollm2",
    ("batch", "prompts.jsonl", "-m", "local/smoll.gguf"): "hint: did you mean local/smol.gguf?",
    ("batch", "prompts.jsonl", "-m", "local/other-one.gguf"): "hint: local/PATH.gguf names a file",
    ("batch", "prompts.jsonl", "-m", "anthropc/claude-x"): (
        "unknown model 'anthropc/claude-x': no provider 'anthropc'\n"
        "hint: did you mean anthropic/claude-x?"
    ),
    ("batch", "prompts.jsonl", "-m", "org/llama"): "hint: write it as PROVIDER/org/llama;",
    ("batch", "prompts.jsonl", "-m", "gpt4o"): "hint: did you mean gpt-4o or",
    ("models", "opnai"): "unknown provider 'opnai'\nhint: did you mean openai",
    ("models", "openai", "--base-url", "http://a", "--base-url", "http://b"): "one --base-url at",
    ("jobs", "out.csv"): "'[list|show|wait|cancel]': 'out.csv' is not one of 'list', 'show',",
    ("keys",): "missing argument 'set|list|remove'\nhint: llmbatch keys --help",
    ("batch", "prompts.jsonl", "-o", "x.jsonl", "--batch-api", "-m", "deepseek/deepseek-chat"): (
        "deepseek has no batch API that llmbatch speaks\nhint: -m names another, of these: openai,"
    ),
    ("batch", "prompts.jsonl", "-o", "x.jsonl", "--batch-api", "-m", "gpt-4o-mini"): (
        "then export it or run llmbatch keys set openai; without a key"
    ),
    ("prompts.jsonl",): "no such command 'prompts.jsonl'\nhint: llmbatch batch prompts.jsonl ...",
}  # fmt: skip


@pytest.mark.parametrize("words", HINTS, ids=" ".join)
def test_a_hint_names_what_was_meant(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2, and the nearest name that there is."""
    (tmp_path / "in").mkdir()
    for name in ("prompts.jsonl", "in/prompts.jsonl", "notes.txt", "smol.gguf"):
        (tmp_path / name).write_text('"a"\n')
    monkeypatch.chdir(tmp_path)
    for key in ("OPENAI_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr("sys.argv", ["llmbatch", *words])
    assert run_app() == 2
    told = capsys.readouterr()
    assert HINTS[words] in told.err
    assert told.out == ""
