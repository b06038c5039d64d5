"""Files that rows name: what is read, what is refused, and what is left alone."""

import base64
import copy
import os
import socket
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.types import Message
from llmbatch_cli.rows.input.attachments import MAX_FILE_BYTES, inline, names_files, type_of

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
SAMPLES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "image/gif": b"GIF89a\x01\x00",
    "image/webp": b"RIFF\n\x00\n\x00WEBPVP8 ",
    "application/pdf": b"%PDF-1.7\n",
    "audio/wav": b"RIFF\n\x00\n\x00WAVEfmt ",
    "audio/mpeg": b"\xff\xfb\x90\x64\x00",
}
SECRET = b"\x89PNG\r\n\x1a\n of somebody else"


def image(url: str) -> list[Message]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def one(kind: str, **held: Any) -> list[Message]:
    return [
        {"role": "user", "content": [{"type": "text", "text": "?"}, {"type": kind, kind: held}]}
    ]


def held(messages: Any) -> dict[str, Any]:
    part = messages[0]["content"][-1]
    found: dict[str, Any] = part[part["type"]]
    return found


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that may be read, next to one that may not, with every kind of trap in it."""
    top = tmp_path_factory.mktemp("files")
    root, outside = top / "root", top / "root-too"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.png").write_bytes(SECRET)
    (root / "a.png").write_bytes(PNG)
    (root / "sub" / "b c.png").write_bytes(PNG)
    (root / "notes.txt").write_text("no picture")
    (root / "empty.png").touch()
    with (root / "huge.png").open("wb") as file:
        file.write(PNG)
        file.truncate(MAX_FILE_BYTES + 1)
    with (root / "full.png").open("wb") as file:
        file.write(PNG)
        file.truncate(MAX_FILE_BYTES)
    (root / "link.png").symlink_to("a.png")
    (root / "escape.png").symlink_to(outside / "secret.png")
    (root / "way").symlink_to(outside)
    (root / "nowhere.png").symlink_to(outside / "none.png")
    (root / "round.png").symlink_to("round.png")
    (root / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(root)  # a socket's path must be short
        listening.bind("socket.png")
        os.chdir(here)
        yield root


@pytest.mark.parametrize(("kind", "data"), SAMPLES.items())
def test_a_file_is_typed_by_its_content(kind: str, data: bytes, tmp_path: Path) -> None:
    """Whatever a file is called, its first bytes say what it is sent as."""
    (tmp_path / "some.thing").write_bytes(data)
    got = held(inline(one("file", path="some.thing"), tmp_path))
    assert got == {"filename": "some.thing", "file_data": data_url(kind, data)}


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe a text", b"RIFF\x00\x00\x00\x00AVI ", b"\xff\xff\xff\xff", b"GIF88a"]
)
def test_what_only_looks_like_a_known_type_is_none(data: bytes) -> None:
    """A UTF-16 text, another RIFF, a broken frame: none of them is taken for media."""
    assert type_of(data) is None


def test_an_image_takes_the_place_of_its_path(folder: Path) -> None:
    """A path becomes a data: URL; the part's other fields, and the row itself, stay as they are."""
    asked = one("image_url", url="sub/b c.png", detail="low")
    before = copy.deepcopy(asked)
    got = inline(asked, folder)
    assert held(got) == {"url": data_url("image/png", PNG), "detail": "low"}
    assert got[0]["content"][0] is asked[0]["content"][0]
    assert asked == before


def test_audio_gets_its_format_from_its_content(tmp_path: Path) -> None:
    """A wav called mp3 is sent as wav."""
    wav = SAMPLES["audio/wav"]
    (tmp_path / "a.mp3").write_bytes(wav)
    for named in ({"path": "a.mp3"}, {"data": "a.mp3", "format": "mp3"}):
        got = held(inline(one("input_audio", **named), tmp_path))
        assert got == {"data": base64.b64encode(wav).decode(), "format": "wav"}


def test_a_document_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    """A file's own name is sent unless the row gives another; its folder never is."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.pdf").write_bytes(SAMPLES["application/pdf"])
    plain = held(inline(one("file", file_data="deep/a.pdf"), tmp_path))
    named = held(inline(one("file", file_data="deep/a.pdf", filename="b.pdf"), tmp_path))
    assert (plain["filename"], named["filename"]) == ("a.pdf", "b.pdf")
    assert plain["file_data"] == data_url("application/pdf", SAMPLES["application/pdf"])


@pytest.mark.parametrize(
    "form", ["{root}/a.png", "./a.png", "link.png", "file:{root}/a.png", "file://{root}/a.png"]
)
def test_every_way_to_name_a_file_inside(form: str, folder: Path) -> None:
    """Relative, absolute, by a link that stays inside, or as a file: URL."""
    assert held(inline(image(form.format(root=folder)), folder))["url"] == data_url(
        "image/png", PNG
    )


def test_a_bare_image_url_may_be_a_path(folder: Path) -> None:
    """`"image_url": "a.png"`, the short form, is read just as well."""
    part = {"type": "image_url", "image_url": "a.png"}
    got = inline([{"role": "user", "content": [part]}], folder)
    assert held(got) == {"url": data_url("image/png", PNG)}


def test_the_files_of_a_row_have_a_cap_together(folder: Path) -> None:
    """Three of the largest are read, a fourth is refused; each row begins anew."""
    part = image("full.png")[0]["content"][0]
    for _ in range(2):
        inline([{"role": "user", "content": [part] * 3}], folder)
    with pytest.raises(InputError, match="larger than 64 MiB together"):
        inline([{"role": "user", "content": [part]}] * 4, folder)


def test_a_file_of_just_the_cap_is_read(folder: Path) -> None:
    """The cap itself is still allowed."""
    assert len(held(inline(image("full.png"), folder))["url"]) > MAX_FILE_BYTES


REFUSED = [
    ("../root-too/secret.png", "has '..' in it"),
    ("sub/../a.png", "has '..' in it"),
    ("..\\a.png", "has '..' in it"),
    ("/etc/passwd", "outside the --files folder"),
    ("/etc/no-such-file", "outside the --files folder"),
    ("file:///etc/passwd", "outside the --files folder"),
    ("file://elsewhere/a.png", "outside the --files folder"),
    ("file:%2e%2e/secret.png", "has '..' in it"),
    ("{root}-too/secret.png", "outside the --files folder"),
    ("escape.png", "outside the --files folder"),
    ("way/secret.png", "outside the --files folder"),
    ("nowhere.png", "outside the --files folder"),
    ("zero.png", "outside the --files folder"),
    ("/dev/stdin", "outside the --files folder"),
    ("round.png", "not a regular file"),
    ("pipe.png", "not a regular file"),
    ("socket.png", "not a regular file"),
    ("sub", "not a regular file"),
    (".", "not a regular file"),
    ("none.png", "No such file"),
    ("a.png/b.png", "Not a directory"),
    ("~/a.png", "No such file"),
    ("huge.png", "larger than 20 MiB"),
    ("notes.txt", "not of a known type"),
    ("empty.png", "not of a known type"),
    ("a\0.png", "not a valid file name"),
    ("\ud800.png", "not a valid file name"),
    ("x" * 300, "too long"),
    ("x/" * 3000, "too long"),
    ("", "empty"),
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(("name", "words"), REFUSED)
def test_what_may_not_or_cannot_be_read_is_refused(name: str, words: str, folder: Path) -> None:
    """Whatever a stranger's row names, it is an InputError in words, at once, and no file."""
    with pytest.raises(InputError) as caught:
        inline(image(name.format(root=folder)), folder)
    assert words in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (one("image_url", url="a.pdf"), "not an image, but application/pdf"),
        (one("input_audio", path="a.pdf"), "not wav or mp3, but application/pdf"),
    ],
)
def test_a_part_holds_what_it_says(asked: list[Message], words: str, tmp_path: Path) -> None:
    """A document where an image or a sound belongs is refused."""
    (tmp_path / "a.pdf").write_bytes(SAMPLES["application/pdf"])
    with pytest.raises(InputError, match=words):
        inline(asked, tmp_path)


def test_without_the_option_no_file_is_read(folder: Path) -> None:
    """A path is an error that names --files, whether or not the file exists."""
    for name in (str(folder / "a.png"), "none.png"):
        with pytest.raises(InputError, match="--files DIR"):
            inline(image(name), None)


ALONE: list[list[Message]] = [
    [{"role": "user", "content": "see /etc/passwd"}],
    [{"role": "assistant", "content": None, "tool_calls": []}],
    image("https://example.com/a.png"),
    image("HTTP://example.com/a.png"),
    image("data:image/png;base64,AAAA"),
    image("gs://bucket/a.png"),
    one("input_audio", data=base64.b64encode(b"sound").decode(), format="wav"),
    one("file", file_data="/9j/4AAQSkZJRgABAQ=="),
    one("file", file_data="data:application/pdf;base64,AAAA", filename="a.b.pdf"),
    one("file", file_id="file-1.2"),
    one("text", path="a.png"),
    [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "a.png"}]}],
]


@pytest.mark.parametrize("messages", ALONE)
def test_what_names_no_file_is_the_same_object(messages: list[Message]) -> None:
    """URLs, data and texts pass untouched, with and without a folder."""
    assert inline(messages, None) is messages
    assert inline(messages, Path("/nonexistent")) is messages
    assert not names_files(messages)


def test_plain_text_costs_next_to_nothing() -> None:
    """A row of text alone is through in far less than a microsecond."""
    messages: list[Message] = [{"role": "user", "content": "hi"}]
    best_s = min(timeit.repeat(lambda: inline(messages, None), number=20_000, repeat=7)) / 20_000
    assert best_s < 1.5e-6  # 0.2 us on an idle machine


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(["image_url", "input_audio", "file", "text"])
HELD = st.dictionaries(st.sampled_from(["url", "data", "file_data", "path", "format"]), ANY)
PARTS = st.builds(lambda kind, value: {"type": kind, kind: value}, KINDS, HELD | ANY) | ANY


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": ANY | st.lists(PARTS)})))
@example([{"role": "user", "content": [{"type": "file", "file": {"path": {"a": 1}}}]}])
def test_any_message_is_filled_or_refused(folder: Path, messages: list[Message]) -> None:
    """Whatever JSON a message holds: messages or an InputError, never another error."""
    try:
        got = inline(messages, folder)
    except InputError:
        return
    assert len(got) == len(messages)


PIECES = st.lists(
    st.sampled_from(
        ["..", ".", "", "~", "way", "sub", "root-too", "secret.png", "escape.png", "a.png",
         "link.png", "%2e%2e", "\\", "nowhere.png"]
    ),
    max_size=6,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PIECES, st.sampled_from(["", "/", "file:", "file://", "file:///"]), st.booleans())
def test_no_name_leads_outside(folder: Path, pieces: list[str], start: str, whole: bool) -> None:
    """However names and links are put together, what lies outside is never sent."""
    name = start + (str(folder.parent) if whole else "") + "/".join(pieces)
    try:
        got = inline(image(name), folder)
    except InputError:
        return
    assert held(got)["url"] == data_url("image/png", PNG)
