"""The options of the providers' batch APIs."""

import re
from typing import ClassVar, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.option import option

_UNITS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")


@frozen(kw_only=True)
class BatchApi:
    """Whether rows are answered by jobs of the provider's batch API."""

    section: ClassVar[str] = "Batch API"

    batch_api: bool = option(
        False,
        "Send the rows as jobs of the provider's batch API: mostly half the price, within a day. "
        "Ctrl-C leaves the jobs running; --resume collects them.",
        everyday=True,
    )
    detach: bool = option(
        False,
        "With --batch-api: return once all is submitted; --resume collects it later. With "
        "--engine ray: return once the workers are started.",
    )
    live_after: str | None = option(
        None,
        "With --batch-api: after so long (90m, 6h, 1d) cancel what has not ended, and send the "
        "rest live.",
        metavar="TIME",
    )
    batch_bucket: str | None = option(
        None,
        "With --batch-api at bedrock or vertex: the folder of your own storage that jobs are read "
        "from and written to, as s3://BUCKET/FOLDER or gs://BUCKET/FOLDER.",
        metavar="URL",
        shown="LLMBATCH_BATCH_BUCKET",
    )
    batch_role: str | None = option(
        None,
        "With --batch-api at bedrock: the IAM role by which it reads and writes the bucket.",
        metavar="ARN",
        shown="LLMBATCH_BATCH_ROLE",
    )

    @property
    def live_after_s(self) -> float | None:
        """In seconds; None for never. Raises UsageError."""
        if self.live_after is None:
            return None
        found = _SPAN.fullmatch(self.live_after.strip().lower())
        if found is None:
            raise UsageError(
                f"--live-after {self.live_after!r} is not a time", hint="as in 90m, 6h or 1d"
            )
        return float(found[1]) * _UNITS[found[2]]
