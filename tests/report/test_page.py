"""The page without a browser: its structure, its figures, and that it can reach nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from support.answers import HOSTILE, answer, failure

from llmbatch_cli.report.figures import figures_of
from llmbatch_cli.report.gallery import Gallery
from llmbatch_cli.report.page import MARK, page
from llmbatch_cli.report.row import row_of

VOID = {"meta", "input", "link", "img", "br", "hr"}


class Outline(HTMLParser):
    """What stands in a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        """The contents of the elements of each name, one after the other."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def having(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The elements of a name with these attributes."""
        return [
            found
            for name, found in self.elements
            if name == tag and attributes.items() <= found.items()
        ]


def page_of(rows: list[dict[str, Any]], **options: Any) -> tuple[Outline, str]:
    seen, gallery = [row_of(row, place) for place, row in enumerate(rows)], Gallery(**options)
    for row in seen:
        gallery.add(row)
    text = page("out.jsonl", figures_of(seen).as_json(), gallery).decode()
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    return outline, text


RACERS = [
    {"model": "a", "provider": "p", "status": "won", "latency": 1},
    {"model": "b", "provider": "p", "status": "lost", "latency": 2},
]
ROWS = [
    answer(0, "<b>bold</b>", finished_at=1_700_000_000.5, race=RACERS),
    answer(1, data={"a": 1}, cost=None, input=[{"role": "user", "content": "What?"}]),
    failure(2),
]


def test_the_figures_stand_in_the_page() -> None:
    """Totals, and a table each of percentiles, models, the race, failures: without a script."""
    outline, text = page_of(ROWS)
    cells = outline.texts["dd"] + outline.texts["td"] + outline.texts["th"]
    for figure in ("$0.25", "66.7 %", "openai/gpt-4o-mini", "p/a", "overloaded", "sorry 2"):
        assert figure in cells, figure
    assert outline.texts["h2"] == [
        "Totals", "Throughput over time", "Latency", "Models", "Race", "Tokens", "Finish reasons",
        "Failures", "Schema", "Slowest and dearest rows", "Answers",
    ]  # fmt: skip
    assert MARK in text[:300]


def test_what_there_is_not_has_no_section() -> None:
    """No race, no schema; a run without times says that its throughput is unknown."""
    outline, text = page_of([answer(0)])
    assert not {"Race", "Schema", "Comparison"} & set(outline.texts["h2"])
    assert "these rows do not say when they ended" in text
    assert page_of([])[0].texts["h1"] == ["out.jsonl"]


def test_the_page_can_load_nothing() -> None:
    """Its policy allows its own scripts and style by their digests, and nothing else at all."""
    outline, text = page_of(ROWS)
    (policy,) = outline.having("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.strip().split(" ", 1) for rule in policy["content"].split(";"))
    assert rules.keys() == {
        "default-src", "script-src", "style-src", "base-uri", "form-action"
    }  # fmt: skip
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert rules["script-src"].split() == [digest(script) for script in scripts]
    assert rules["style-src"] == digest(style)
    loads = {"src", "srcset", "action", "data", "poster", "style"}
    assert [name for _, found in outline.elements for name in found if name in loads] == []
    assert [one for one in outline.having("a") if not one["href"].startswith("#")] == []
    assert not any(name.startswith("on") for _, found in outline.elements for name in found)
    assert "sourceMappingURL" not in text


def digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_a_hostile_answer_adds_no_element() -> None:
    """Wherever a stranger's text stands, the page has the elements of a harmless one."""
    fields = {"model": HOSTILE, "finish_reason": HOSTILE, "id": HOSTILE}
    error = {"type": HOSTILE, "message": HOSTILE, "status": 500, "retryable": True}

    def elements(hostile: bool) -> list[str]:
        rows = [answer(0, "x"), failure(1)]
        if hostile:
            rows = [answer(0, HOSTILE, **fields), failure(1, error=error, **fields)]
        return [name for name, _ in page_of(rows)[0].elements]

    assert elements(True) == elements(False)
    outline, _ = page_of([answer(0, HOSTILE)])
    (data,) = [json.loads(one) for one in outline.texts["script"] if one.startswith("{")]
    assert data["rows"][0]["text"].startswith("</script><script>window.hacked = 1")


def test_the_data_is_the_figures() -> None:
    """What the charts draw is what the tables say; each shown row has what it answered."""
    outline, _ = page_of(ROWS)
    (data,) = [json.loads(one) for one in outline.texts["script"] if one.startswith("{")]
    seen = [row_of(row, place) for place, row in enumerate(ROWS)]
    assert data["figures"] == json.loads(json.dumps(figures_of(seen).as_json()))
    assert [row["text"] for row in data["rows"]] == ["<b>bold</b>", "yes", ""]
    assert data["rows"][1]["prompt"] == "What?"
    assert (data["rows"][2]["status"], data["rows"][2]["error"]) == ("failed", "sorry 2")


@pytest.mark.parametrize(
    ("failed", "most", "says"),
    [
        (range(0), 9, "The first 10 of 40 rows, and all 0 that failed."),
        (range(5, 15), 9, "The first 10 of 40 rows, and all 10 that failed."),
        (range(5, 40), 9, "The first 10 of 40 rows, and 14 of 35 that failed."),
    ],
)
def test_the_first_rows_and_those_that_failed(failed: range, most: int, says: str) -> None:
    """Later answers are left out; of later failures there are so many, which is said."""
    rows = [failure(place) if place in failed else answer(place) for place in range(40)]
    _, text = page_of(rows, first_rows=10, most_failures=most)
    assert says in text


def test_long_texts_are_cut_and_all_rows_said() -> None:
    """A row's answer is cut at 4,000 characters; a whole file is said to be all there."""
    outline, text = page_of([answer(0, "x" * 10_000)])
    (data,) = [json.loads(one) for one in outline.texts["script"] if one.startswith("{")]
    assert len(data["rows"][0]["text"]) == 4_000
    assert "All 1 rows." not in text
    assert "The only row." in text


def test_it_can_be_used_without_seeing() -> None:
    """Every table has a caption and headings with a scope; every control and picture a name."""
    outline, _ = page_of(ROWS)
    tables = outline.having("table")
    assert len(outline.having("caption")) == len(tables) > 8
    assert all(one.get("scope") in ("col", "row") for one in outline.having("th"))
    assert all(outline.texts["th"])
    for chart in outline.having("canvas"):
        assert chart["role"] == "img"
        assert chart["aria-label"]
    labels = "".join(outline.texts["label"])
    assert all(word in labels for word in ("Search", "End", "Model"))
    for region in outline.having("div", role="region"):
        assert (region["tabindex"], bool(region["aria-label"])) == ("0", True)
    assert outline.having("html", lang="en")
    assert outline.having("span", role="status")
    ids = [found["id"] for _, found in outline.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert all(one["aria-labelledby"] in ids for one in outline.having("section"))
