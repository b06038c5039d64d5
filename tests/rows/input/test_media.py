"""Fields that are images, sounds and documents."""

from base64 import b64encode
from typing import Any

import pytest

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.types import Prompt
from llmbatch_cli.rows.input.media import Media
from llmbatch_cli.rows.input.shape import Shape, Shaper

PNG = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(90)).decode()
WAV = b64encode(b"RIFF\0\0\0\0WAVE" + bytes(90)).decode()
ASK = [{"role": "system", "content": "S"}, {"role": "user", "content": "Which?"}]
TEXT = {"type": "text", "text": "Which?"}


def parts(value: Any, kind: str = "images") -> list[Any]:
    """What is before the text of the last message."""
    before, last = Media(**{kind: ["f"]}).added(ASK, {"f": value})
    assert before == ASK[0]
    assert last["content"][-1] == TEXT
    found: list[Any] = last["content"][:-1]
    return found


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("a/b.png", "a/b.png"),
        ("https://h/a.png", "https://h/a.png"),
        (PNG, f"data:image/png;base64,{PNG}"),
        (f"{PNG[:76]}\n{PNG[76:]}", f"data:image/png;base64,{PNG}"),
        (f"data:image/png;base64,{PNG}", f"data:image/png;base64,{PNG}"),
    ],
)
def test_an_image_is_a_path_a_url_or_base64(value: str, url: str) -> None:
    """Which, its form shows."""
    assert parts(value) == [{"type": "image_url", "image_url": {"url": url}}]


def test_sounds_and_documents() -> None:
    """In OpenAI's shapes."""
    sound = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
    assert parts(WAV, "audio") == parts(f"data:audio/wav;base64,{WAV}", "audio") == [sound]
    assert parts("a.mp3", "audio") == [{"type": "input_audio", "input_audio": {"path": "a.mp3"}}]
    assert parts("a.pdf", "files") == [{"type": "file", "file": {"path": "a.pdf"}}]
    (part,) = parts("https://h/x/a.pdf", "files")
    assert part["file"] == {"filename": "a.pdf", "file_data": "https://h/x/a.pdf"}


def test_several_and_none() -> None:
    """A list is each of its items, and an empty field adds nothing."""
    assert len(parts(["a.png", "b.png"])) == 2
    nothing: list[Any] = [None, "", []]
    for empty in nothing:
        assert Media(images=["f"]).added(ASK, {"f": empty}) == ASK


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (5, "images", "must be a path, a URL or base64, not 5"),
        (WAV, "images", "is no image, but audio/wav"),
        (PNG, "audio", "is not wav or mp3, but image/png"),
        ("https://h/a.wav", "audio", "is a URL"),
    ],
)
def test_what_it_cannot_be(value: Any, kind: str, words: str) -> None:
    """An error row says which field."""
    with pytest.raises(InputError, match=words) as caught:
        parts(value, kind)
    assert '"f"' in caught.value.message


def test_a_row_with_an_image() -> None:
    """Beside the field that is its prompt; a path is carried to the output, bytes are not."""
    shape = Shape(media=Media(images=["picture", "scan"]))
    shaper = Shaper(shape)
    shaper.begin("in.jsonl")
    row = shaper.row({"question": "Which?", "picture": "a.png", "scan": PNG}, index=0, line=1)
    assert isinstance(row, Prompt)
    assert [part["type"] for part in row.messages[0]["content"]] == ["image_url"] * 2 + ["text"]
    assert row.metadata == {"picture": "a.png"}
