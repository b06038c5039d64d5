"""How a run elsewhere has ended, as the end of a command is told."""

from dataclasses import dataclass
from pathlib import Path

from llmbatch_cli.core.errors import LlmbatchError


@dataclass(slots=True)
class RemoteRun:
    """What is known of it here; what it has written stays, whatever becomes of this process."""

    error: LlmbatchError | None = None
    has_begun: bool = False
    """Whether there is a plan to go on with."""
    failed_before: int = 0
    failures_kept: int = 0
    looked_ahead: bool = False

    @property
    def can_go_on(self) -> bool:
        """Whether the same command goes on."""
        return self.has_begun

    @property
    def aside(self) -> Path | None:
        """Nothing is put aside."""
        return None

    def rows_lost(self, finished: int) -> int:
        """Finished rows that were not written: workers write what they have."""
        return 0
