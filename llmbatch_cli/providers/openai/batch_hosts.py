"""The hosts whose batch API has OpenAI's shape, a row each; what a row leaves out is as there.

Sources, read on 2026-11-26 where nothing else is said: OpenAI's Python SDK 3.57.0 (batches.py,
files.py: 50,000 rows, 200 MB, words, metadata, list) and platform.openai.com/docs/guides/batch;
learn.microsoft.com/azure/ai-foundry/openai/how-to/batch (limits; "we do not expire the jobs");
groq 1.7.0's SDK (files up to 100 MB, chat completions only); deepinfra.com/docs/batch (limits, 20 %
off); novita.ai/docs (upper case words, PROGRESS; files are kept for 15 days);
alibabacloud.com/help/en/model-studio/batch-interfaces-compatible-with-openai (one model and one
thinking mode a file); together 3.1.1's SDK.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from llmbatch_cli.providers.batch_api import DAY_S, BatchLimits

MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHost:
    """How one host's batch API differs from OpenAI's."""

    limits: BatchLimits = field(
        default_factory=lambda: BatchLimits(rows=50_000, bytes=190 * MEGABYTE)
    )
    endpoints: Sequence[str] = ("/chat/completions", "/responses")
    """Of which requests can be in a job."""
    window: str = "24h"
    """completion_window."""
    metadata: bool = True
    """Whether jobs keep metadata."""
    newest_first: bool = True
    """Whether its lists are known to be in that order, so that they need not be read to the end."""
    groups: Sequence[str] = ()
    """Fields of the body that must be alike in all rows of a job."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Its words for a job's state, folded: ours."""


BATCH_HOSTS: Final[Mapping[str, BatchHost]] = {
    "openai": BatchHost(),
    "azure": BatchHost(
        # Azure gives a job up by itself never.
        limits=BatchLimits(rows=50_000, bytes=190 * MEGABYTE, jobs_at_once=20),
    ),
    "groq": BatchHost(
        limits=BatchLimits(rows=50_000, bytes=95 * MEGABYTE),
        endpoints=("/chat/completions",),
    ),
    "deepinfra": BatchHost(endpoints=("/chat/completions",), newest_first=False),
    "novita": BatchHost(
        limits=BatchLimits(rows=50_000, bytes=95 * MEGABYTE, kept="15 days"),
        endpoints=("/chat/completions",),
        newest_first=False,
        words={"progress": "inprogress"},
    ),
    "dashscope": BatchHost(
        limits=BatchLimits(rows=50_000, bytes=190 * MEGABYTE),
        endpoints=("/chat/completions",),
        newest_first=False,
        groups=("enable_thinking",),
    ),
    "together": BatchHost(
        limits=BatchLimits(rows=50_000, bytes=95 * MEGABYTE),
        endpoints=("/chat/completions",),
        metadata=False,
        newest_first=False,
    ),
    "fireworks": BatchHost(
        # A job may take 72 hours, and cannot be cancelled once it has begun.
        limits=BatchLimits(
            rows=50_000, bytes=140 * MEGABYTE, settles_s=4 * DAY_S, deadline_s=4 * DAY_S
        ),
        endpoints=("/chat/completions",),
        metadata=False,
    ),
    "openrouter": BatchHost(
        # 5,000 rows and 200 MB, but the results come in one piece. With no way to cancel, a job is
        # waited for until it ends: within 96 hours where Vertex works on it.
        limits=BatchLimits(
            rows=2_000, bytes=50 * MEGABYTE, settles_s=5 * DAY_S, deadline_s=5 * DAY_S
        ),
        endpoints=("/chat/completions",),
        metadata=False,
    ),
}
OTHER: Final = BatchHost(newest_first=False)
"""A server of the user's own that has such an API."""
