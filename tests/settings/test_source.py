"""Where each name stands in the text of the settings."""

from pathlib import Path

from llmbatch_cli.settings.source import MOST_BYTES, Source

TEXT = '''\
# a comment
model = """
[batch]
a = 1
"""

[batch]  # this is the table
stop = [
  "a",  # [race]
]
"max-tokens" = 5
[providers.groq]
headers = { x-a = "1", x-b = "2" }
hedge.deep = 1
'''

PLACES = {
    ("model",): 2,
    ("batch",): 7,
    ("batch", "stop"): 8,
    ("batch", "max-tokens"): 11,
    ("providers",): 12,
    ("providers", "groq"): 12,
    ("providers", "groq", "headers"): 13,
    ("providers", "groq", "headers", "x-b"): 13,
    ("providers", "groq", "hedge", "deep"): 14,
    ("batch", "unknown"): 7,
}


def test_each_name_has_the_line_where_it_begins() -> None:
    """Also behind values of several lines, which may look like tables; else its table's line."""
    source = Source(Path("c.toml"), TEXT)
    for keys, line in PLACES.items():
        assert source.place(keys) == f"c.toml:{line}", keys
    assert source.place(("nowhere",)) == "c.toml"


def test_a_long_file_is_read_in_linear_time() -> None:
    """Thousands of tables: each statement is read once more for its line."""
    text = "".join(f"[providers.p{n}]\nrpm = 1\n" for n in range(5_000))
    assert len(text) < MOST_BYTES
    assert Source(Path("c.toml"), text).place(("providers", "p4999", "rpm")) == "c.toml:10000"
