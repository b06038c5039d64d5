"""The report as one HTML page that needs no network and can reach none.

Its policy allows the scripts and the style that are in it, by their digests, and nothing else; an
answer stands in it as data, and is shown as text only.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from llmbatch_cli import __version__
from llmbatch_cli.core.text import clean
from llmbatch_cli.report import sections
from llmbatch_cli.report.gallery import Gallery
from llmbatch_cli.rows.output.render import dump_value

MARK: Final = '<meta name="generator" content="llmbatch '
"""In the first 300 bytes of every report."""
_ASSETS: Final = files("llmbatch_cli.report") / "assets"


def page(
    name: str,
    figures: Mapping[str, Any],
    gallery: Gallery,
    *,
    notes: Sequence[str] = (),
    comparison: str = "",
) -> bytes:
    """The page of a file's figures and rows; `comparison` is a further section of it."""
    return "".join(_parts(name, figures, gallery, notes, comparison)).encode()


def _parts(
    name: str,
    figures: Mapping[str, Any],
    gallery: Gallery,
    notes: Sequence[str],
    comparison: str,
) -> Iterator[str]:
    library, script, style = (_asset(one) for one in ("chart.umd.min.js", "page.js", "page.css"))
    title = escape(clean(name, 200))
    policy = (
        f"default-src 'none'; script-src {_digest(library)} {_digest(script)}; "
        f"style-src {_digest(style)}; base-uri 'none'; form-action 'none'"
    )
    yield f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{MARK}{__version__}">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title} - llmbatch report</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#answers">Skip to the answers</a>
<header>
<h1><bdi>{title}</bdi></h1>
{"".join(map(sections.note, notes))}</header>
<main>
"""
    for make in sections.ALL:
        yield make(figures) + "\n"
    yield comparison
    yield _answers(gallery)
    yield f'</main>\n<footer class="note">llmbatch {__version__}</footer>\n'
    data = {"figures": figures, "rows": gallery.rows}
    yield f'<script type="application/json" id="data">{as_script_data(data)}</script>\n'
    yield f"<script>{library}</script>\n<script>{script}</script>\n</body>\n</html>\n"


def as_script_data(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or begins one."""
    text = dump_value(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _digest(content: str) -> str:
    """A source of the page's policy: this content and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _answers(gallery: Gallery) -> str:
    says = gallery.says()
    heads = (
        ("id", "id", ""), ("model", "model", ""), ("reason", "end", ""), ("text", "answer", ""),
        ("tokens", "tokens out", "number"), ("usd", "cost", "number"),
        ("latency", "latency", "number"),
    )  # fmt: skip
    columns = "".join(
        f'<th scope="col" class="{kind}" data-sort="{key}">'
        f'<button type="button">{head}</button></th>'
        for key, head, kind in heads
    )
    body = f"""
<noscript><p class="note">The table of answers and the charts need scripts.</p></noscript>
<div class="filters" role="search" aria-label="Filter the answers">
<label>Search <input type="search" id="search" autocomplete="off"></label>
<label>End <select id="reason"><option value="">all</option></select></label>
<label>Model <select id="model"><option value="">all</option></select></label>
<span id="found" role="status" aria-live="polite"></span>
</div>
<div class="scroll" role="region" tabindex="0" aria-label="Answers"><table id="rows">
<caption>Answers</caption>
<thead><tr>{columns}</tr></thead>
<tbody></tbody></table></div>
<nav aria-label="Pages of answers"><button type="button" id="back">Previous</button>
<span id="place"></span> <button type="button" id="next">Next</button></nav>"""
    return sections.section("Answers", sections.note(says), body, name="answers") + "\n"
