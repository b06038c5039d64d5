"""The open jobs of a batch API in words."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from llmbatch_cli.core.events import JobShown
from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.ui.report import format_about, format_duration

_WORD_CHARS = 30


def jobs_text(jobs: Sequence[JobShown], clock: Callable[[], float] = time.time) -> str:
    """`2 jobs (1 in_progress, 1 validating), 1,200 of 5,000 rows done there, oldest 3 min old,
    the first expires in 23 h`; what the provider does not tell is left out."""
    now_s = clock()
    words = Counter(clean(job.state, _WORD_CHARS) for job in jobs)
    states = ", ".join(
        word if len(words) == 1 else f"{format_count(count)} {word}"
        for word, count in sorted(words.items())
    )
    parts = [f"{format_count(len(jobs), 'job')} ({states})"]
    told = [job for job in jobs if job.done is not None]
    rows = format_count(sum(job.rows for job in jobs), "row")
    if told:
        done = format_count(sum(job.done or 0 for job in told))
        unknown = "" if len(told) == len(jobs) else " (unknown for some)"
        parts.append(f"{done} of {rows} done there{unknown}")
    else:
        parts.append(rows)
    oldest_s = min(job.since_s for job in jobs)
    parts.append(f"oldest {format_duration(now_s - oldest_s, whole=True)} old")
    expire = [job.expires_s for job in jobs if job.expires_s is not None]
    if expire:
        first = "the first " if len(jobs) > 1 else ""
        parts.append(f"{first}expires in {format_about(max(0.0, min(expire) - now_s))}")
    return ", ".join(parts)
