"""What the recipes about tables promise: what is sent, and what stands in the output."""

import base64
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.pages import clone, openai_at, reply, shell, the_block
from support.scripted import serve

TICKETS = 12
Body = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that a fresh clone has for the commands."""
    return clone(tmp_path)


async def sent_by(phrase: str, folder: Path) -> list[Body]:
    """The requests of the block that has this phrase, whatever model it names."""
    async with serve(reply) as server:
        env = {**openai_at(server), "LLMBATCH_MODEL": "openai/gpt-4o-mini"}
        status, _, err = await shell(the_block(phrase).text, folder, env)
    assert status == 0, err
    return [json.loads(exchange.body) for exchange in server.exchanges]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def roles(body: Body) -> Sequence[str]:
    return [message["role"] for message in body["messages"]]


async def test_a_table_is_classified(folder: Path) -> None:
    """Every ticket keeps its cells, a formula as text, and has a column for each property."""
    await sent_by("-o labels.csv", folder)
    tickets, labels = table(folder / "samples" / "tickets.csv"), table(folder / "labels.csv")
    assert list(labels[0]) == [*tickets[0], "sentiment", "urgent", "error"]
    assert len(tickets) == len(labels) == TICKETS
    for ticket, label in zip(tickets, labels, strict=True):
        quote = "'" if ticket["text"].startswith(("=", "-")) else ""
        assert {name: label[name] for name in ticket} == {**ticket, "text": quote + ticket["text"]}
        assert (label["sentiment"], label["urgent"], label["error"]) == ("positive", "true", "")


def test_the_tickets_are_as_people_have_them(folder: Path) -> None:
    """Some cell has a comma, quotes, a newline, letters beyond ASCII, a formula."""
    cells = [cell for row in table(folder / "samples" / "tickets.csv") for cell in row.values()]
    for awkward in (",", '"', "\n", "ü"):
        assert any(awkward in cell for cell in cells)
    assert any(cell.startswith("=") for cell in cells)


async def test_a_template_is_filled_with_each_row(folder: Path) -> None:
    """The translation asks for the row's own product and review."""
    sent = await sent_by("-o translated.csv", folder)
    reviews = jsonl(folder / "samples" / "reviews.jsonl")
    texts = [body["messages"][-1]["content"] for body in sent]
    for review in reviews:
        (text,) = [text for text in texts if review["review"] in text]
        assert f'the product "{review["product"]["name"]}" into English' in text
    assert len(table(folder / "translated.csv")) == len(reviews)


async def test_the_examples_stand_before_the_question(folder: Path) -> None:
    """Few-shot sends the same conversation before each row's text."""
    sent = await sent_by("-o few-shot.csv", folder)
    reviews = jsonl(folder / "samples" / "reviews.jsonl")
    assert {tuple(roles(body)) for body in sent} == {("system", *("user", "assistant") * 3, "user")}
    assert len({json.dumps(body["messages"][:-1]) for body in sent}) == 1
    assert {body["messages"][-1]["content"] for body in sent} == {
        f"{row['title']}: {row['review']}" for row in reviews
    }


async def test_pictures_are_sent_with_the_question(folder: Path) -> None:
    """Each row's picture goes as its bytes, before the text."""
    sent = await sent_by("-o colours.jsonl", folder)
    asked = [body["messages"][-1]["content"] for body in sent]
    pictures = sorted((folder / "samples" / "pictures").iterdir())
    assert {parts[1]["text"] for parts in asked} == {"Which colour is this?"}
    assert {parts[0]["image_url"]["url"] for parts in asked} == {
        f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
        for picture in pictures
    }
    assert {row["metadata"]["expected"] for row in jsonl(folder / "colours.jsonl")} == {
        picture.stem for picture in pictures
    }


async def test_a_row_is_asked_several_times(folder: Path) -> None:
    """Each answer is a row of the table, and none is made of another's request."""
    sent = await sent_by("--repeat 3", folder)
    assert {body["temperature"] for body in sent} == {0.9}
    names = table(folder / "names.csv")
    assert [(row["number"], row["repeat"]) for row in names] == [
        (number, repeat) for number in "12" for repeat in "123"
    ]
    assert len(sent) == len(names)


async def test_the_second_run_costs_nothing(folder: Path) -> None:
    """With a cache every prompt is sent once, and the second output says so."""
    sent = await sent_by("-o again.jsonl\nllmbatch cache info", folder)
    again = jsonl(folder / "again.jsonl")
    assert len(sent) == len(again) == len(jsonl(folder / "first.jsonl"))
    assert {(row["cached"], row["cost"], row["attempts"]) for row in again} == {(True, 0.0, 0)}


async def test_a_killed_parquet_file_is_whole(folder: Path) -> None:
    """What the recipe kills, it finishes: every ticket once, in order, and no journal."""
    await sent_by("kill -9", folder)
    tickets = table(folder / "samples" / "tickets.csv")
    found = pq.read_table(folder / "killed.parquet").to_pylist()
    assert [(row["id"], row["answer"]) for row in found] == [
        (ticket["id"], ticket["text"]) for ticket in tickets
    ]
    assert [path.name for path in folder.iterdir() if "llmbatch" in path.name] == []


async def test_failed_rows_of_a_table_are_sent_elsewhere(folder: Path) -> None:
    """The table names what failed, and the rows that failed are those that are sent again."""
    sent = await sent_by("llmbatch errors partly.csv", folder)
    failed = [row["text"] for row in table(folder / "partly.csv") if row["error"]]
    assert 0 < len(failed) < TICKETS
    assert sorted(body["messages"][-1]["content"] for body in sent) == sorted(failed)
    assert {row["error"] for row in table(folder / "second-try.csv")} == {""}
