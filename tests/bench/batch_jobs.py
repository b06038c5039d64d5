"""A run by a batch API of many rows, and its memory: `batch_jobs.py [--csv] [ROWS]...`.

What else begins with `-` goes to the program, as `--include-input`.

The provider is the simulated one of tests/batch_api, in this process; the program runs in one of
its own, whose peak of resident memory is what the kernel says.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from batch_api.laws import env_for, words_for
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import PROGRAM, environment

SIZES = (100_000, 1_000_000)
ENDINGS = ("jsonl", "csv")


class Terse(SimulatedOpenAI):
    """Counts rows by number alone, so that the provider's own memory is no trouble."""

    def _work(self, row: dict[str, Any], answered: list[Any], failed: list[Any]) -> None:
        super()._work(row, answered, failed)
        row.clear()


async def measured(
    rows: int, source: Path, out: Path, options: Sequence[str]
) -> tuple[float, float, SimulatedOpenAI]:
    """Seconds, the program's peak of memory in MB, and the provider."""
    with source.open("w") as file:
        file.writelines(f'{{"prompt":"p{place}"}}\n' for place in range(rows))
    async with simulated(kind=Terse) as provider:
        began_s = time.monotonic()
        words = [*words_for(source, out, provider.url), *options]
        env = environment(env_for(out))
        process = await asyncio.to_thread(subprocess.Popen, [*PROGRAM, *words], env=env)
        peak_kb = 0
        while process.poll() is None:
            peak_kb = peak_of(process.pid) or peak_kb
            await asyncio.sleep(0.2)
        assert process.returncode == 0
        return time.monotonic() - began_s, peak_kb / 1024, provider


def peak_of(pid: int) -> int:
    """In kB; what rusage has of a child counts its parent's memory before the exec, too."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def main() -> None:
    options = [word for word in sys.argv[1:] if word.startswith("-") and word != "--csv"]
    is_table = "--csv" in sys.argv
    for rows in [int(word) for word in sys.argv[1:] if word.isdigit()] or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder, "in.jsonl"), Path(folder, f"out.{ENDINGS[is_table]}")
            seconds, peak_mb, provider = asyncio.run(measured(rows, source, out, options))
            lines = sum(1 for _ in out.open("rb"))
        assert lines == rows + is_table
        assert len(provider.worked) == rows
        assert set(provider.worked.values()) == {1}
        print(f"{rows:>9,} rows: {seconds:6.1f} s, {provider.creates} jobs, peak {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
