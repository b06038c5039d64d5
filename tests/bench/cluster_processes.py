"""What the processes of a run on Ray cost, by their roles, as /proc tells it."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
ROLES: Final = {"ray::WorkerActor": "worker", "ray::CoordinatorA": "coordinator"}
"""By how the command line begins."""
_STARTED, _UTIME, _STIME = 19, 11, 12
"""Fields of /proc/PID/stat, counted from the state."""


@dataclass(slots=True)
class Process:
    """One process of the run."""

    role: str
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    """Resident, in MB of 10^6 bytes."""
    own_mb: float = 0.0
    """At its end or now, what it shares with others counted in parts."""


@dataclass(slots=True)
class Watch:
    """The driver and all that descends from it; one that has ended keeps what it had."""

    driver: int
    seen: dict[tuple[int, int], Process] = field(default_factory=dict)
    """By process id and start."""

    def look(self) -> Mapping[str, float]:
        """Seconds of CPU by role, so far. What a process did since the last look before its end
        is not seen."""
        family = {self.driver}
        stats = dict(_stats())
        grown = True
        while grown:
            more = {pid for pid, (parent, _, _) in stats.items() if parent in family} - family
            family |= more
            grown = bool(more)
        for pid in family:
            if pid in stats:
                _, started, cpu_s = stats[pid]
                self._take(pid, started, cpu_s)
        return self.cpu_s()

    def cpu_s(self) -> Mapping[str, float]:
        """Seconds of CPU by role, at the last look."""
        sums: dict[str, float] = defaultdict(float)
        for process in self.seen.values():
            sums[process.role] += process.cpu_s
        return sums

    def peaks_mb(self, role: str) -> list[float]:
        """Of each process of the role."""
        return [one.peak_mb for one in self.seen.values() if one.role == role]

    def own_mb(self, role: str) -> float:
        """Of all processes of the role, the most each has had at a look; shared memory once."""
        return sum(one.own_mb for one in self.seen.values() if one.role == role)

    def weigh(self) -> None:
        """Read what the processes hold, which costs more than a look."""
        for (pid, _), process in self.seen.items():
            process.own_mb = max(process.own_mb, _kilobytes(pid, "smaps_rollup", "Pss:") / 1e3)

    def _take(self, pid: int, started: int, cpu_s: float) -> None:
        known = self.seen.get((pid, started))
        role = "driver" if pid == self.driver else _role(pid)
        if known is None:
            known = self.seen[pid, started] = Process(role)
        if known.role == "ray":  # a process of Ray's that waits becomes an actor
            known.role = role
        known.cpu_s = cpu_s
        known.peak_mb = max(known.peak_mb, _kilobytes(pid, "status", "VmHWM:") / 1e3)


def _role(pid: int) -> str:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "ray"
    return next((role for begin, role in ROLES.items() if said.startswith(begin)), "ray")


def _stats() -> Iterator[tuple[int, tuple[int, int, float]]]:
    """Of each process its parent, start and CPU."""
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        cpu_s = (int(fields[_UTIME]) + int(fields[_STIME])) / TICKS
        yield int(place.name), (int(fields[1]), int(fields[_STARTED]), cpu_s)


def _kilobytes(pid: int, file: str, name: str) -> int:
    """A line of /proc; 0 for a process that has ended. In units of 1,000 bytes."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 // 1000 for line in lines if line.startswith(name)), 0)
