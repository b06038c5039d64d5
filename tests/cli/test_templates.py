"""Templates and chosen rows on the command line, and what a preview shows."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.chat import echo
from support.program import jsonl, run
from support.scripted import serve

ROWS = [{"id": f"r{n}", "name": f"N{n}", "user": {"lang": "fr"}, "stars": n} for n in range(4)]
FAKE = ("-m", "fake/echo", "--ordered")


async def batch(*options: str, rows: list[Any] = ROWS, status: int = 0) -> list[Any]:
    """The rows of output."""
    done = await run("batch", *FAKE, *options, stdin=jsonl(rows))
    assert done.status == status, done.err
    return [json.loads(line) for line in done.out.splitlines()]


async def test_a_template_makes_the_prompts(tmp_path: Path) -> None:
    """From the command line or a file; all fields are carried."""
    file = tmp_path / "t.j2"
    file.write_text("Hi {{ name }} ({{ user.lang }})\n")
    for text in ("Hi {{ name }} ({{ user.lang }})", f"@{file}"):
        rows = await batch("-t", text, "--where", "stars > 1")
        assert [row["text"] for row in rows] == ["Hi N2 (fr)", "Hi N3 (fr)"]
        assert [row["id"] for row in rows] == ["r2", "r3"]
        assert rows[0]["metadata"] == {"name": "N2", "user": {"lang": "fr"}, "stars": 2}


async def test_the_system_message_and_few_shot_are_templates(tmp_path: Path) -> None:
    """As the provider gets them; without a template the system message is sent as it stands."""
    few = tmp_path / "few.yaml"
    few.write_text("- {role: user, content: a}\n- {role: assistant, content: b}\n"
                   "- {role: user, content: '{{ name }}'}\n")  # fmt: skip
    async with serve(echo) as server:
        to = (
            "-m",
            "m",
            "--base-url",
            f"{server.url}/v1",
            "-s",
            "In {{ user.lang }}",
            "--limit",
            "1",
        )
        for options, rows in (
            (("-t", "{{ name }}"), ROWS),
            (("--messages-template", f"@{few}"), ROWS),
            ((), [{"prompt": "P"}]),
        ):
            done = await run("batch", *to, *options, stdin=jsonl(rows))
            assert done.status == 0, done.err
        sent = [json.loads(one.body)["messages"] for one in server.exchanges]
    assert [[one["content"] for one in messages] for messages in sent] == [
        ["In fr", "N0"], ["In fr", "a", "b", "N0"], ["In {{ user.lang }}", "P"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-t", "{{ nmae }}"), ['no field "nmae"', "did you mean name?"]),
        (("-t", "{{ user.lnag }}"), ['no field "user.lnag"', "did you mean lang?"]),
        (("-t", "{{ name"), ["--template is no valid template"]),
        (("-t", "{{ Full name }}"), ["no valid template", '{{ row["Full name"] }}']),
        (("-t", "{{ name }}", "-s", "{{ lang }}"), ["--system: the rows of <stdin> have no field"]),
        (("-t", "a", "--prompt-field", "name"), ["exclude each other"]),
        (("--prompt-field", "nmae"), ["did you mean name?"]),
        (("--prompt-field", "name", "--where", "strs > 3"), ["did you mean stars?"]),
        (("--prompt-field", "name", "--where", "stars >"), ["no valid expression"]),
        (("--prompt-field", "name", "--image", "pic"), ["--image pic"]),
        (("--messages-template", "a: b"), ["must be a list of messages"]),
        (("--messages-template", "few.yaml"), ["@FILE reads it from a file"]),
        (
            ("--messages-template", "- role: user\n  content: {{ name }}"),
            ["on line 2", 'put a text with {{ }} in quotes: content: "{{ text }}"'],
        ),
        (("-t", "Be brief."), ["every row would be sent the same", "{{ text }}"]),
        (("-t", "Summarise: {name}"), ["every row would be sent the same"]),
        (("-t", __file__), ["every row would be sent the same", f"did you mean @{__file__}?"]),
        (
            ("--messages-template", "[{role: user, content: hi}]"),
            ["every row would be sent the same"],
        ),
    ],
)
async def test_what_does_not_fit_is_refused(
    options: tuple[str, ...], words: list[str], tmp_path: Path
) -> None:
    """Exit 2 before anything is sent, from a pipe and from a file; nothing is written."""
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(jsonl(ROWS))
    async with serve(echo) as server:
        to = ("batch", "-m", "m", "--base-url", f"{server.url}/v1", *options)
        for more, stdin in (((), jsonl(ROWS)), ((str(path), "-o", str(out)), b"")):
            done = await run(*to, *more, stdin=stdin)
            assert (done.status, done.out) == (2, b""), done.err
            for word in words:
                assert word.replace("<stdin>", str(path) if more else "<stdin>") in done.err
        assert server.exchanges == []
    assert not out.exists()


async def test_a_prompt_may_be_the_same_where_something_else_differs() -> None:
    """The system message, the model or a picture is the row's own then; or it uses all fields."""
    assert len(await batch("-t", "Go", "-s", "You are {{ name }}.")) == len(ROWS)
    models = [{"model": "fake/echo"}, {"model": "fake/lorem"}]
    assert len(await batch("-t", "Go", "--model-field", "model", rows=models)) == len(models)
    assert [row["text"] for row in await batch("-t", "{{ row | length }}")] == ["4"] * len(ROWS)


async def test_some_rows_each_several_times() -> None:
    """All is decided before anything is paid, and the text format has one answer a row."""
    options = ("--prompt-field", "name", "--offset", "1", "--limit", "2", "--repeat", "2")
    rows = await batch(*options)
    assert [(row["text"], row["repeat"]) for row in rows] == [
        ("N1", 1), ("N1", 2), ("N2", 1), ("N2", 2),
    ]  # fmt: skip
    done = await run("batch", *FAKE, *options, "-f", "text", "--one-line", stdin=jsonl(ROWS))
    assert done.out.split() == [b"N1", b"N1", b"N2", b"N2"]


async def test_resume_goes_on_where_it_was(tmp_path: Path) -> None:
    """With templates and repeats: what is there is not sent again, more repeats are."""
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(jsonl([{"q": "a"}, {"q": "b"}]))
    to = ("batch", str(path), *FAKE, "-t", "Say {{ q }}", "-o", str(out))
    assert (await run(*to, "--repeat", "2")).status == 0
    done = await run(*to, "--repeat", "2", "--resume")
    assert "4 of 4 rows answered" in done.err or "4 rows" in done.err, done.err
    assert len(out.read_bytes().splitlines()) == 4
    assert (await run(*to, "--repeat", "3", "--resume")).status == 0
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert sorted((row["id"], row["repeat"]) for row in rows) == [
        (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3),
    ]  # fmt: skip


async def test_a_preview_shows_and_sends_nothing(tmp_path: Path) -> None:
    """The first three requests, the fields, the rows and the invalid ones; no key is needed, and
    none is shown."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl([*ROWS, {"name": 5}]) + b"{broken\n")
    async with serve(echo) as server:
        to = ("-m", "m", "--base-url", f"{server.url}/v1", "-s", "Be brief.", "--max-tokens", "5")
        for inputs, stdin in (((str(path),), b""), ((), path.read_bytes())):
            done = await run(
                "preview", *inputs, *to, "--prompt-field", "name", stdin=stdin,
                env={"OPENAI_API_KEY": "sk-secret"},
            )  # fmt: skip
            text = done.out.decode()
            assert done.status == 1, done.err
            assert text.count(f"POST {server.url}/v1/chat/completions") == 3
            assert '"content": "N0"' in text
            assert '"content": "Be brief."' in text
            assert '"max_tokens": 5' in text
            assert "the fields are id, name, user, stars" in text
            assert "6 rows, 2 of them invalid" in text
            assert "sk-secret" not in text + done.err
        assert server.exchanges == []
    done = await run("preview", "-m", "gpt-4o-mini", stdin=jsonl([{"query": "Q"}]))
    assert done.status == 0, done.err
    assert 'the prompt is the field "query"' in done.out.decode()
    assert "1 row\n" in done.out.decode()


async def test_a_preview_sends_a_rows_own_model_where_a_run_does() -> None:
    """To --base-url, and to the provider of -m where its name is of no family."""
    rows = jsonl([{"prompt": "a", "model": "other"}, {"prompt": "b", "model": "gpt-4o-mini"}])
    done = await run("preview", "-m", "groq/m", "--base-url", "http://127.0.0.1:9/v1", stdin=rows)
    text = done.out.decode()
    assert text.count("POST http://127.0.0.1:9/v1/chat/completions") == 2, text
    assert '"model": "other"' in text
    done = await run("preview", "-m", "groq/m", stdin=rows)
    assert "POST https://api.groq.com/openai/v1/chat/completions" in done.out.decode()


async def test_a_preview_shows_what_answers_have_to_be(tmp_path: Path) -> None:
    """In the provider's own form, or in words where it has none; files as they would be sent."""
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    stdin = jsonl([{"q": "Q", "p": "a.png"}, *[{"q": "R", "p": ""}] * 3, {"q": "S", "p": "b.png"}])
    image = ("-t", "{{ q }}", "--image", "p", "--files", str(tmp_path))
    wanted = ("--schema", "n int", "-p", "top_k=3", "--repeat", "2")
    done = await run("preview", "-m", "gpt-4o-mini", *image, *wanted, stdin=stdin)
    text = done.out.decode()
    for words in (
        '"json_schema"',
        '"top_k": 3',
        '"url": "data:image/png;base64,iVBOR',
        "10 rows, 2",
    ):
        assert words in text, text
    for model, words in (("deepseek/deepseek-chat", "JSON"), ("claude-haiku-5-5", '"schema"')):
        options = ("--schema", "n int", "--temperature", "0", "--drop-params")
        done = await run("preview", "-m", model, *options, stdin=jsonl(["Q"]))
        assert done.status == 0, done.err
        assert words in done.out.decode()


async def test_images_of_a_field_are_sent(tmp_path: Path) -> None:
    """Read below --files, in front of the text."""
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    rows = [{"picture": "a.png"}, {"picture": "../a.png"}]
    async with serve(echo) as server:
        done = await run(
            "batch", "-m", "m", "--base-url", f"{server.url}/v1", "-t", "Which?",
            "--image", "picture", "--files", str(tmp_path), stdin=jsonl(rows),
        )  # fmt: skip
        (sent,) = [json.loads(one.body)["messages"][0]["content"] for one in server.exchanges]
    assert done.status == 1
    assert [part["type"] for part in sent] == ["image_url", "text"]
    assert sent[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert "'../a.png' has '..' in it" in done.out.decode()


async def test_failed_rows_of_data_are_found_again(tmp_path: Path) -> None:
    """`errors --rows` prints them as they stand, given the run's template."""
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(jsonl(ROWS))
    template = ("-t", "Say {{ name }}")
    failing = ("-m", "fake/echo?rejected=1", "-o", str(out), "--where", "stars > 1")
    assert (await run("batch", str(path), *template, *failing)).status == 1
    done = await run("errors", str(out), *template, "--rows", str(path))
    assert done.rows == ROWS[2:], done.err


async def test_failed_rows_of_any_run_are_found_again(tmp_path: Path) -> None:
    """Also those of repeats, of a system template, and with files; each is printed once."""
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    rows = [{"q": "a", "who": "Ada", "p": "a.png"}, {"q": "b", "who": "Bob", "p": ""}]
    path.write_bytes(jsonl(rows))
    shape = (
        *("-t", "Say {{ q }}", "--system", "For {{ who }}."),
        *("--image", "p", "--files", str(tmp_path)),
    )
    to = ("batch", str(path), "-m", "fake/echo?rejected=1", "-o", str(out), "--repeat", "3")
    assert (await run(*to, *shape)).status == 1
    assert len(out.read_bytes().splitlines()) == 6
    done = await run("errors", str(out), *shape, "--rows", str(path))
    assert (done.rows, done.err, done.status) == (rows, "", 0)
    done = await run("errors", str(out), "--rows", str(path), *shape[:2])
    assert (done.status, done.out) == (2, b"")
    assert "--system, --image, --files" in done.err


async def test_a_table_has_a_column_of_repeats(tmp_path: Path) -> None:
    """Beside a column of the input that is called so."""
    path = tmp_path / "in.csv"
    for header, expected in (
        ("q,n", "q,n,repeat,answer,error"),
        ("q,repeat", "q,repeat,repeat_2,"),
    ):
        path.write_text(f"{header}\nhi,x\n")
        done = await run("batch", str(path), *FAKE, "-t", "{{ q }}", "--repeat", "2", "-f", "csv")
        lines = done.out.decode().splitlines()
        assert lines[0].startswith(expected)
        assert [line[:7] for line in lines[1:]] == ["hi,x,1,", "hi,x,2,"]
    done = await run("batch", str(path), *FAKE, "-t", "{{ q }}", "--repeat", "2")
    assert [(row["repeat"], row["metadata"]["repeat"]) for row in done.rows] == [(1, "x"), (2, "x")]
    done = await run("batch", str(path), *FAKE, "-t", "{{ q }}")
    assert "repeat" not in done.rows[0]
