"""A long run on Ray whose processes are killed: `cluster_soak.py FOLDER ROWS ANSWER_S`.

Every ten seconds a worker, the coordinator, a node or the command itself is killed, in turn, as
soon as requests are sent again; the same command goes on. Prints as JSON what became of the
rows.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.measure import clean_environment
from bench.programs import LLMBATCH, say, write_rows
from bench.servers import Server, delayed_server
from cluster.on_ray import Nodes, kill, processes, ray_nodes

EVERY_S = 10.0
LOOK_S = 0.3
WORKERS = 4
IN_FLIGHT = 1_000


class Soak:
    """One job, its victims, and what was in flight when they were killed."""

    def __init__(self, nodes: Nodes, server: Server, folder: Path, rows: int) -> None:
        self.nodes, self.server, self.rows = nodes, server, rows
        self.out = folder / "out"
        self.kills: list[str] = []
        self.in_flight = 0
        """Of all workers killed, when they were, at most."""
        write_rows(folder / "rows.jsonl", rows)
        self._command = [
            LLMBATCH, "batch", str(folder / "rows.jsonl"), "-m", "openai/bench-model",
            "--base-url", server.base_url, "-c", str(IN_FLIGHT), "-o", str(self.out), "-q",
            "--engine", "ray", "--address", nodes.address, "--workers", str(WORKERS),
        ]  # fmt: skip
        self._driver = self._begin()

    def run(self) -> None:
        """To the end of the job."""
        victims = cycle([self._worker, self._coordinator, self._node, self._command_itself])
        victim, killed_at, then, before = next(victims), time.monotonic(), 0, 0
        while (status := self._driver.poll()) is None:
            time.sleep(LOOK_S)
            now = self._asked()
            is_busy, before = now > max(before, then + IN_FLIGHT), now
            if is_busy and time.monotonic() - killed_at > EVERY_S and self._kill(victim):
                victim, killed_at, then = next(victims), time.monotonic(), now
        if status:
            raise SystemExit(f"the command ended with {status}")

    def end(self) -> None:
        """Leave no process behind."""
        self._driver.kill()
        self._driver.wait()

    def found(self) -> dict[str, Any]:
        """What became of the rows."""
        seen = bytearray(self.rows)
        twice = 0
        for part in self.out.glob("part-*.jsonl"):
            for line in part.open("rb"):
                row = json.loads(line)
                twice += seen[row["index"]]
                seen[row["index"]] = row["error"] is None
        asked = self._asked()
        return {
            "kills": len(self.kills),
            "lost": seen.count(0),
            "twice": twice,
            "asked": asked,
            "extra": asked - self.rows,
            "in_flight": self.in_flight,
        }

    def _begin(self) -> "subprocess.Popen[bytes]":
        env = {**clean_environment(), "RAY_AUTH_MODE": "disabled"}
        return subprocess.Popen(self._command, env=env, stdin=subprocess.DEVNULL)

    def _kill(self, victim: Callable[[], bool]) -> bool:
        before = self._asked()
        workers = set(processes("WorkerActor"))
        if not victim():
            return False
        name = victim.__name__.strip("_")
        time.sleep(0.5)
        gone = workers - set(processes("WorkerActor"))
        self.in_flight += len(gone) * IN_FLIGHT // WORKERS
        self.kills.append(name)
        say(f"killed: {name}, with {len(gone)} workers, after {before:,} requests")
        return True

    def _worker(self) -> bool:
        return _kill_one("WorkerActor")

    def _coordinator(self) -> bool:
        return _kill_one("CoordinatorActor")

    def _node(self) -> bool:
        self.nodes.lose(self.nodes.nodes[0])
        self.nodes.add()
        return True

    def _command_itself(self) -> bool:
        self._driver.kill()
        self._driver.wait()
        self._driver = self._begin()
        return True

    def _asked(self) -> int:
        url = f"http://127.0.0.1:{self.server.port}/counts"
        with urllib.request.urlopen(url, timeout=30) as reply:
            return int(json.load(reply)["requests"])


def _kill_one(name: str) -> bool:
    found = processes(name)
    with suppress(ProcessLookupError):
        if found:
            kill(found[-1])
            return True
    return False


def main(folder: Path, rows: int, answer_s: float) -> dict[str, Any]:
    """Run it."""
    with delayed_server(folder, answer_s) as server, ray_nodes() as nodes:
        began_s = time.monotonic()
        soak = Soak(nodes, server, folder, rows)
        try:
            soak.run()
        finally:
            soak.end()
        return {**soak.found(), "wall_s": time.monotonic() - began_s}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
