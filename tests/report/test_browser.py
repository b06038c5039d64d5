"""The page in a real browser: it draws, it can be used, and it asks for nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.answers import HOSTILE, answer, failure
from support.browser import BROWSER, Tab, tab
from support.scripted import Exchange, serve

from llmbatch_cli.report.figures import figures_of
from llmbatch_cli.report.gallery import Gallery
from llmbatch_cli.report.page import page
from llmbatch_cli.report.row import row_of

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

TEXT = "document.querySelector({!r}).textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def clean(browser: Tab) -> Tab:
    """The browser, with nothing said and nothing asked for so far."""
    browser.said.clear()
    browser.requests.clear()
    return browser


def write_page(folder: Path, bait: str = "http://127.0.0.1:9") -> Path:
    """A report on 130 rows, of which some want to be run, to be fetched or to be seen."""
    pull = f"<img src='{bait}/a.png'><link rel=stylesheet href='{bait}/b.css'>{HOSTILE}"
    rows = [
        answer(place, f"answer {place}", finished_at=1_700_000_000 + place, latency=place / 100)
        for place in range(120)
    ]
    rows += [answer(120, pull, id=pull, model=pull), answer(121, HOSTILE, data={"x": HOSTILE})]
    rows += [failure(place, error={"type": "refused", "message": pull}) for place in range(8)]
    seen, gallery = [row_of(row, place) for place, row in enumerate(rows)], Gallery()
    for row in seen:
        gallery.add(row)
    path = folder / "report.html"
    path.write_bytes(page("out.jsonl", figures_of(seen).as_json(), gallery))
    return path


async def test_it_runs_and_fetches_nothing_of_what_was_answered(clean: Tab, tmp_path: Path) -> None:
    """No request, no message in the console, no script of an answer, in light and in dark."""

    async def bait(exchange: Exchange) -> None:
        await exchange.reply(b"")

    async with serve(bait) as server:
        path = write_page(tmp_path, server.url)
        for dark in (False, True):
            await asyncio.to_thread(clean.open, path, dark=dark)
            assert await asyncio.to_thread(clean.value, "typeof window.hacked") == "undefined"
        assert server.exchanges == []
    assert clean.said == []
    assert clean.requests == []


def test_its_policy_is_in_force(clean: Tab, tmp_path: Path) -> None:
    """Even a script that got in could neither fetch nor add another one."""
    clean.open(write_page(tmp_path))
    clean.value("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/'}))")
    clean.value("document.body.append(Object.assign(document.createElement('script'),"
                "{textContent: 'window.hacked = 3'}))")  # fmt: skip
    assert clean.value("typeof window.hacked") == "undefined"
    assert clean.said
    assert all("Content Security Policy" in one for one in clean.said)


def test_the_figures_are_drawn(clean: Tab, tmp_path: Path) -> None:
    """Each chart is there with the figures of the rows, and the totals are the file's."""
    clean.open(write_page(tmp_path))
    sums = (
        "[...document.querySelectorAll('canvas')].map((canvas) => Chart.getChart(canvas)"
        ".data.datasets.map((set) => set.data.reduce((a, b) => a + b, 0)))"
    )
    span = "JSON.parse(document.getElementById('data').textContent).figures.time.span_s"
    assert clean.value(span) == 1
    assert clean.value(sums) == [[120, 0], [122]]
    painted = (
        "[...document.querySelectorAll('canvas')].every((canvas) => canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.some((one) => one))"
    )
    assert clean.value(painted) is True
    assert clean.value(TEXT.format("#totals dd")) == "130"


def test_answers_are_searched_filtered_and_sorted(clean: Tab, tmp_path: Path) -> None:
    """What is typed, chosen and clicked decides which rows are shown, 50 on a page."""
    clean.open(write_page(tmp_path))
    found = TEXT.format("#found")
    assert clean.value(found) == "130 of these 130 rows"
    assert clean.value("document.querySelectorAll('#rows tbody tr').length") == 50
    clean.value("document.getElementById('next').click()")
    assert clean.value(TEXT.format("#place")) == "Page 2 of 3"
    clean.value("document.querySelector('[data-sort=latency] button').click()")
    assert clean.value(TEXT.format("#rows tbody tr td:last-child")) == "1.19 s"
    assert clean.value("document.querySelector('[data-sort=latency]').ariaSort") == "descending"
    choose = (
        "for (const [id, value, event] of {}) {{ const one = document.getElementById(id);"
        "one.value = value; one.dispatchEvent(new Event(event)); }}"
    )
    clean.value(choose.format("[['reason', 'failed', 'change']]"))
    assert clean.value(found) == "8 of these 130 rows"
    clean.value(choose.format("[['reason', '', 'change'], ['search', 'ANSWER 11', 'input']]"))
    assert clean.value(found) == "11 of these 130 rows"


def test_the_keyboard_is_enough(clean: Tab, tmp_path: Path) -> None:
    """The first tab stop skips to the answers; Enter opens a row, and closes it."""
    clean.open(write_page(tmp_path))
    clean.press("Tab", 9)
    assert clean.value("document.activeElement.className") == "skip"
    clean.value("document.querySelector('#rows tbody button').focus()")
    for is_open in ("true", "false"):
        clean.press("Enter", 13, "\r")
        assert clean.value("document.activeElement.ariaExpanded") == is_open
        shown = clean.value("document.querySelectorAll('#rows .whole').length")
        assert shown == (is_open == "true")
    assert clean.said == []


@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_the_window(clean: Tab, tmp_path: Path, width: int) -> None:
    """No window is so narrow that the whole page is scrolled sideways; only tables are."""
    clean.open(write_page(tmp_path), width=width)
    assert clean.value("document.documentElement.scrollWidth") <= width


CONTRAST = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((one) => {
    const part = one / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const light = (text) => {
    const [r, g, b] = parts(text);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (!color.endsWith(", 0)")) return color;
    }
  };
  return Math.min(...[...document.querySelectorAll("body *")]
    .filter((one) => one.firstChild?.nodeType === 3 && one.offsetParent && !one.disabled)
    .map((one) => {
      const pair = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => b - a);
      return (pair[0] + 0.05) / (pair[1] + 0.05);
    }));
})()
"""
"""The lowest contrast of a text and what is behind it, as WCAG 2.2 defines it."""


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read(clean: Tab, tmp_path: Path, dark: bool) -> None:
    """Every text has a contrast of 4.5 at least, in light and in dark."""
    clean.open(write_page(tmp_path), dark=dark)
    assert clean.value(CONTRAST) >= 4.5
