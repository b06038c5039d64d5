"""The benchmark: `python tests/bench/run.py`. It needs no network but loopback.

Every program is a process of its own, reads the same JSONL file and writes one JSON line a row.
The exit status is 0 even when a target is missed, unless `--check` is given.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.programs import Bench, say
from bench.scenarios import SCENARIOS
from bench.table import Section, missed, render

ENDED = 143


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=list(SCENARIOS), metavar="NAME",
        help="this scenario; may be repeated; of: " + ", ".join(SCENARIOS),
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    parser.add_argument("--full", action="store_true", help="the million rows too: some minutes")
    parser.add_argument("--pairs", type=int, default=3, help="turns of two programs (3)")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args()


def measure(names: Sequence[str], *, pairs: int, full: bool) -> list[Section]:
    """Run the scenarios called `names`, in order, in a folder that is removed afterwards."""
    sections = []
    for name in names:
        say(f"{name} ...")
        with tempfile.TemporaryDirectory(prefix="llmbatch-bench-") as folder:
            sections.append(SCENARIOS[name](Bench(Path(folder), pairs=pairs, full=full)))
    return sections


def machine() -> dict[str, str | int | None]:
    """What the figures depend on besides the code."""
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }


def as_json(sections: Sequence[Section]) -> str:
    """The machine, and every figure with its verdict, for programs that compare runs."""
    figures = [
        {"scenario": section.name, **asdict(figure), "verdict": figure.verdict}
        for section in sections
        for figure in section.figures
    ]
    return json.dumps({"machine": machine(), "figures": figures}, indent=2)


def main() -> int:
    """Measure, show the table; see the module for the exit status."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))  # as Ctrl-C: leave nothing behind
    names = arguments.only or list(SCENARIOS)
    sections = measure(names, pairs=arguments.pairs, full=arguments.full)
    print("{system}, {cpus} CPUs, Python {python}".format(**machine()))
    print(render(sections))
    if arguments.json:
        arguments.json.write_text(as_json(sections) + "\n")
    return 1 if arguments.check and missed(sections) else 0


if __name__ == "__main__":
    sys.exit(main())
