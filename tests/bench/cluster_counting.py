"""How fast rows are numbered before any is sent: `cluster_counting.py FOLDER ROWS`.

Prints rows a second by format as JSON; rows of JSONL and CSV have 700 bytes.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from llmbatch_cli.cluster.cutting import cut_file
from llmbatch_cli.rows.input.source import Inputs

ROW_BYTES = 700
FINE_ROWS = 50
Write = Callable[[Path, int], None]


def text(number: int) -> str:
    """So long that a row of JSONL has its bytes."""
    return f"row {number:09} ".ljust(ROW_BYTES - 32, "x")


def write_jsonl(path: Path, rows: int) -> None:
    """One object a line."""
    with path.open("w") as file:
        for number in range(rows):
            file.write(f'{{"id":{number:09},"prompt":"{text(number)}"}}\n'.replace(":0", ":1"))


def write_csv(path: Path, rows: int) -> None:
    """Every tenth cell with a newline in it."""
    with path.open("w") as file:
        file.write("id,prompt\n")
        for number in range(rows):
            cell = text(number).replace("xx", "\n\n", 1) if number % 10 == 0 else text(number)
            file.write(f'{number},"{cell}"\n')


def write_parquet(path: Path, rows: int) -> None:
    """Row groups of 10,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = [*range(rows)]
    table = pa.table({"id": ids, "prompt": [text(number) for number in ids]})
    pq.write_table(table, path, row_group_size=10_000)


WRITERS: dict[str, Write] = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


def main(folder: Path, rows: int) -> dict[str, float]:
    """Rows a second of each format."""
    rates = {}
    for name, write in WRITERS.items():
        path = folder / f"counted.{name}"
        write(path, rows)
        began_s = time.perf_counter()
        cut = cut_file(str(path), Inputs([str(path)]), FINE_ROWS)
        rates[name] = rows / (time.perf_counter() - began_s)
        found = sum(piece.rows for piece in cut.pieces)
        if found != rows:
            raise SystemExit(f"{name}: {found:,} of {rows:,} rows")
        path.unlink()
    return rates


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
