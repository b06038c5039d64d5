"""The programs under measure, each started as a process of its own on the same rows."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Run, RunFailedError, run_process
from bench.peers import PINS, peer_python
from bench.servers import Server

RUN_LIMIT_S = 1_800.0
"""The longest any one process may take: the million rows want some minutes."""
PEER_LOOPS = Path(__file__).with_name("peer_loops.py")
PATH_LOOP = Path(__file__).with_name("path_loop.py")
LLMBATCH = str(Path(sys.executable).with_name("llmbatch"))


@dataclass(frozen=True, slots=True)
class Throughput:
    """One program's run over some rows."""

    rows: int
    wall_s: float
    cpu_s: float
    peak_bytes: int

    @property
    def prompts_per_s(self) -> float:
        """Rows answered a second."""
        return self.rows / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a prompt."""
        return self.cpu_s / self.rows * 1e6

    @property
    def peak_mb(self) -> float:
        """Peak resident memory in MB of 10^6 bytes."""
        return self.peak_bytes / 1e6


@dataclass(slots=True)
class Bench:
    """What every scenario is given: a folder that is removed, and how thorough to be."""

    folder: Path
    pairs: int = 3
    """How often two programs take turns; figures are medians over these."""
    full: bool = False
    """Whether to run what takes many minutes too."""
    _inputs: dict[int, Path] = field(default_factory=dict)

    def rows(self, count: int) -> Path:
        """A JSONL file of `count` short prompts, made once."""
        if count not in self._inputs:
            self._inputs[count] = self.folder / f"rows-{count}.jsonl"
            write_rows(self._inputs[count], count)
        return self._inputs[count]

    def llmbatch(self, count: int, server: Server, in_flight: int) -> Throughput:
        """`llmbatch batch` over `count` rows, whole process."""
        return self._ours("batch", "openai/bench-model", count, server, in_flight)

    def race(self, count: int, server: Server, in_flight: int, models: Sequence[str]) -> Throughput:
        """`llmbatch race` of the models over `count` rows, whole process."""
        return self._ours("race", ",".join(models), count, server, in_flight)

    def _ours(
        self, name: str, models: str, count: int, server: Server, in_flight: int
    ) -> Throughput:
        command = [LLMBATCH, name, str(self.rows(count)), "-m", models, "-o", str(self._answers)]
        command += ["--base-url", server.base_url, "-c", str(in_flight), "--overwrite", "-q"]
        return self._run(f"llmbatch {name}", command, count, server.environment)

    def path(self, count: int, in_flight: int, reply: str) -> Throughput:
        """`llmbatch batch` over `count` rows, with this reply in the place of the network."""
        body = self.folder / "reply.json"
        body.write_text(reply)
        command = [sys.executable, str(PATH_LOOP), str(self.rows(count)), str(self._answers)]
        return self._run("path", [*command, str(body), str(in_flight)], count)

    def peer(self, name: str, count: int, server: Server, in_flight: int) -> Throughput | None:
        """A peer of peer_loops.py over `count` rows; None when its environment is not there."""
        python = peer_python(name) if name in PINS else Path(sys.executable)
        if not python.exists():
            return None
        self._answers.unlink(missing_ok=True)  # flexllm resumes from what it finds
        command = [str(python), str(PEER_LOOPS), name, str(self.rows(count)), str(self._answers)]
        command += [server.base_url, str(in_flight)]
        return self._run(name, command, count, server.environment)

    @property
    def _answers(self) -> Path:
        return self.folder / "answers.jsonl"

    def _run(
        self, name: str, command: Sequence[str], count: int, env: Mapping[str, str] | None = None
    ) -> Throughput:
        run = run_process(command, limit_s=RUN_LIMIT_S, extra_env=env)
        if (found := count_lines(self._answers)) != count:
            raise RunFailedError(f"{name} wrote {found:,} lines for {count:,} rows")
        self._answers.unlink()
        say(f"{name}: {count:,} rows in {run.wall_s:.2f} s")
        return _throughput(run, count)


def _throughput(run: Run, count: int) -> Throughput:
    """Over a peer's own clock where it printed one, else over the whole process."""
    work = json.loads(run.stdout.splitlines()[-1]) if run.stdout.strip() else {}
    return Throughput(
        count, work.get("work_s", run.wall_s), work.get("work_cpu_s", run.cpu_s), run.peak_bytes
    )


def write_rows(path: Path, count: int) -> None:
    """Write `count` rows of about 90 bytes, one at a time."""
    with path.open("w") as out:
        for i in range(count):
            out.write(
                f'{{"id":"q{i}","prompt":"In one sentence: what is the capital of country {i}?"}}\n'
            )


def count_lines(path: Path) -> int:
    """Lines of a file that may be larger than memory; 0 for a file that is not there."""
    if not path.exists():
        return 0
    with path.open("rb") as source:
        return sum(1 for _ in source)


def say(text: str) -> None:
    """One line of news on standard error, so that a long benchmark does not look dead."""
    print(f"  {text}", file=sys.stderr, flush=True)
