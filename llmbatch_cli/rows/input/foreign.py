"""Inputs that are no prompts as they stand: tables, packed files, documents. No I/O.

Sending a header line or packed bytes as prompts would cost money for nothing, so such an input is
refused by its name, its first bytes, or the shape of its first lines.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.lines import Unreadable


class Kind(NamedTuple):
    """One kind of file."""

    name: str
    way: str
    """The way from it to rows, as a hint."""


_AS_A_TABLE: Final = "--input-format {} reads its columns"
CSV: Final = Kind(
    "a table (CSV)",
    f"{_AS_A_TABLE.format('csv')}; --input-format text sends every line as it stands",
)
TSV: Final = Kind("a table (TSV)", CSV.way.replace("csv", "tsv"))
_PARQUET: Final = Kind("Parquet", _AS_A_TABLE.format("parquet"))
_ARROW: Final = Kind("an Arrow file", _AS_A_TABLE.format("arrow"))
_ZIP: Final = Kind(
    "a zip archive or an Office file", "unpack it, or save it as JSONL or text first"
)
_ARCHIVE: Final = Kind("an archive", "unpack it first, and name the files in it")
_DOCUMENT: Final = Kind("a document", "save its text as a .md file (one prompt) or as JSONL first")
_MARKUP: Final = Kind(
    "HTML or XML", "save its text first; --input-format whole sends it as one prompt"
)
_YAML: Final = Kind("YAML", "convert it to JSONL: yq -o json -I 0 '.[]' FILE")
_JSON: Final = Kind(
    "text with JSON in it",
    "--input-format jsonl reads its rows; --input-format text sends every line as it stands",
)
_DATABASE: Final = Kind("a database", "export its rows as JSONL first")
_BINARY: Final = Kind("binary data", "write its rows as JSONL first, as with Python's json.dumps")
_MEDIA: Final = Kind("an image, audio or video", "name it in a field: --image FIELD --files DIR")
_MODEL: Final = Kind("a model's weights", "name it as a model, as in -m local/PATH.gguf")
_LFS_POINTER: Final = Kind("a Git LFS pointer", "fetch the file that it stands for: git lfs pull")
_PROGRAM: Final = Kind("a program", "name a file of prompts")


def _packed(name: str, program: str) -> Kind:
    return Kind(f"packed with {name}", f"unpack it: {program} -dc FILE | llmbatch batch ...")


_LZ4: Final = _packed("lz4", "lz4")

_BY_KIND: Final[Sequence[tuple[Kind, str]]] = (
    (_ZIP, "zip"),
    (_ARCHIVE, "7z rar tar tgz tbz2 txz"),
    (_LZ4, "lz4"),
    (_packed("brotli", "brotli"), "br"),
    (_packed("compress", "gzip"), "z"),
    (_DOCUMENT, "pdf doc docx odt rtf ppt pptx epub"),
    (_MARKUP, "html htm xml"),
    (_YAML, "yaml yml"),
    (_DATABASE, "db sqlite sqlite3 duckdb"),
    (_BINARY, "pkl pickle npy npz h5 hdf5 pt pth avro orc"),
    (_MEDIA, "png jpg jpeg gif webp mp3 wav mp4"),
    (_MODEL, "gguf safetensors"),
)
_SUFFIXES: Final[Mapping[str, Kind]] = {
    f".{suffix}": kind for kind, suffixes in _BY_KIND for suffix in suffixes.split()
}

_MAGIC: Final[Sequence[tuple[bytes, Kind]]] = (
    (rb"version https://git-lfs\.github\.com/", _LFS_POINTER),
    (rb"PAR1[\x00-\x1f]", _PARQUET),
    (rb"(?:ARROW1|FEA1)\0", _ARROW),
    (rb"PK\x03\x04|PK\x05\x06", _ZIP),
    (rb"\x04\x22\x4d\x18", _LZ4),
    (rb"\x1f[\x9d\xa0]", _packed("compress", "gzip")),
    (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|.{257}ustar[\0 ]", _ARCHIVE),
    (rb"%PDF-|\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1|\{\\rtf", _DOCUMENT),
    (rb"SQLite format 3\0|.{8}DUCK.\0", _DATABASE),
    (rb"\x93NUMPY|\x89HDF\r\n|\x80[\x02-\x05]|Obj\x01", _BINARY),
    (
        rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}(?:WAVE|WEBP|AVI )"
        rb"|ID3[\x02-\x04]|OggS\0|fLaC\0|\0\0.{2}ftyp",
        _MEDIA,
    ),
    (rb"GGUF[\x01-\x09]\0", _MODEL),
    (rb"\x7fELF|MZ\x90\0|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe", _PROGRAM),
)
_WORKBOOK: Final = re.compile(
    rb"PK\x03\x04.{26}(?:\[Content_Types\]\.xml|xl/|_rels/|docProps/|mimetypeapplication/"
    rb"vnd\.oasis\.opendocument\.spreadsheet)",
    re.DOTALL,
)
_MAGIC_PATTERNS: Final = tuple((re.compile(magic, re.DOTALL), kind) for magic, kind in _MAGIC)
MAGIC_BYTES: Final = 265
"""So many first bytes show any of them."""

_BYTES: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text has."""
_ONE_COLUMN: Final = ("prompt", "prompts", "question", "questions")
_COLUMNS: Final = frozenset(
    (
        *("id", "prompt", "prompts", "question", "questions", "query", "text", "instruction"),
        *("instructions", "input", "output", "answer", "response", "completion", "label"),
        *("messages", "system", "content", "title", "category", "context", "target"),
    )
)
_COMMENT: Final = (b"#", b"//")
_ROWS_CHECKED: Final = 4
_COLUMN_NAME: Final = re.compile(r"(?=.{1,41}$)[^\W\d][\w.-]*(?: [\w.-]+){0,2}")
_MARKED_UP: Final = re.compile(rb"<(?:!doctype html|html[ >]|\?xml )", re.IGNORECASE)
_YAML_LIST: Final = re.compile(
    rb"(?:---[^\n]*\n\s*)?- (?:%s): " % b"|".join(name.encode() for name in sorted(_COLUMNS))
)


class Foreign(Unreadable):
    """An input that is no prompts as it stands."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(f"it is {kind.name}, which cannot be read as prompts", hint=kind.way)


def refused(error: Unreadable, name: str) -> UsageError:
    """The same as the end of a run that has not begun."""
    return UsageError(f"{name}: {error.message}", hint=error.hint)


def by_suffix(suffix: str) -> Kind | None:
    """The kind that a name's last suffix shows, in lower case and with its dot."""
    return _SUFFIXES.get(suffix)


def by_magic(head: bytes) -> Kind | None:
    """The kind that the first bytes show, whatever the name says."""
    return next((kind for magic, kind in _MAGIC_PATTERNS if magic.match(head)), None)


def table_by_magic(head: bytes) -> Literal["parquet", "arrow", "xlsx"] | None:
    """The kind of table that the first bytes show, of those that are no text."""
    if (kind := by_magic(head)) in (_PARQUET, _ARROW):
        return "parquet" if kind is _PARQUET else "arrow"
    return "xlsx" if _WORKBOOK.match(head) else None


def by_shape(lines: Sequence[bytes]) -> Kind | None:
    """The kind that the first lines of a text show; only what is unmistakable."""
    head = b"\n".join(lines).lstrip()
    if _MARKED_UP.match(head):
        return _MARKUP
    if _YAML_LIST.match(head):
        return _YAML
    if head.partition(b"\n")[0].strip() in (b"{", b"[") or _begins_with_row(lines):
        return _JSON
    if _BYTES.search(head) and not _is_utf8(head):
        return _BINARY
    texts = [line.decode(errors="replace") for line in lines if line.strip()]
    if len(texts) > 1 and _is_one_column(texts[0]):
        return CSV
    for delimiter, kind in ((",", CSV), ("\t", TSV), (";", CSV), ("|", CSV)):
        if _is_table(texts, delimiter):
            return kind
    return None


def may_be_header(line: bytes) -> bool:
    """Whether this line may be the first of a table, or a comment, so that the next line is worth a
    wait."""
    text = line.decode(errors="replace").strip()
    is_clear = _is_one_column(text) or line.startswith(_COMMENT)
    return is_clear or any(_columns(text, delimiter) for delimiter in ",\t;|")


def _is_one_column(line: str) -> bool:
    return line.strip().lower() in _ONE_COLUMN


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _begins_with_row(lines: Sequence[bytes]) -> bool:
    """Whether the first line is a row in JSON, but for comments."""
    first = next((line for line in lines if not line.startswith(_COMMENT)), b"")
    return _is_row(first)


def _is_row(line: bytes) -> bool:
    """Whether this line is a row in JSON."""
    try:
        value = orjson.loads(line) if line[:1] == b"{" else None
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and not {"prompt", "messages", "custom_id"}.isdisjoint(value)


def _is_table(lines: Sequence[str], delimiter: str) -> bool:
    """Whether the first line names columns, and the next ones have as many fields."""
    header = _columns(lines[0], delimiter) if lines else ()
    if not header:
        return False
    import csv

    try:
        rows = list(islice(csv.reader(lines[1:], delimiter=delimiter), _ROWS_CHECKED))
    except csv.Error:
        return False
    is_usual = not _COLUMNS.isdisjoint(header)
    is_quoted = len(rows) > 1 and any(f'{delimiter}"' in line for line in lines[1:])
    is_clear = len(header) > 1 and _COLUMNS.issuperset(header)
    checked = rows[:1] if is_clear else rows[:-1] or rows
    fits = all(len(row) == len(header) for row in checked)
    return bool(rows) and fits and (is_usual or is_quoted)


def _columns(line: str, delimiter: str) -> Sequence[str]:
    """The names of columns in the first line of a table, in lower case; none where it may be a
    sentence."""
    if delimiter not in line:
        return ()
    names = [name.strip('"') for name in line.strip().lower().split(delimiter)]
    if f"{delimiter} " in line and _COLUMNS.issuperset(name.strip() for name in names):
        names = [name.strip() for name in names]
    if len(set(names)) < len(names) or not all(map(_COLUMN_NAME.fullmatch, names)):
        return ()
    return names
