"""The open jobs of a batch API in words."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from llmbatch_cli.core.events import JobShown
from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.ui.report import format_about, format_duration

_WORD_CHARS = 30


def jobs_fields(jobs: Sequence[JobShown], clock: Callable[[], float] = time.time) -> dict[str, str]:
    """`2 jobs (1 in_progress, 1 validating), 1,200 of 5,000 rows done there, oldest 3 min old,
    the first expires in 23 h`, by field: whole, without the age, and without both times.

    What the provider does not tell is left out.
    """
    now_s = clock()
    one = len(jobs) == 1
    what = f"{format_count(len(jobs), 'job')} ({_states(jobs)}), {_rows(jobs)}"
    age_s = now_s - min(job.since_s for job in jobs)
    age = f"{'' if one else 'oldest '}{format_duration(age_s, whole=True)} old"
    expire = [job.expires_s for job in jobs if job.expires_s is not None]
    ends = ""
    if expire:
        left = format_about(max(0.0, min(expire) - now_s))
        ends = f", {'' if one else 'the first '}expires in {left}"
    return {"held": f"{what}, {age}{ends}", "held_short": f"{what}{ends}", "held_alone": what}


def _states(jobs: Sequence[JobShown]) -> str:
    words = Counter(clean(job.state, _WORD_CHARS) for job in jobs)
    return ", ".join(
        word if len(words) == 1 else f"{format_count(count)} {word}"
        for word, count in sorted(words.items())
    )


def _rows(jobs: Sequence[JobShown]) -> str:
    rows = format_count(sum(job.rows for job in jobs), "row")
    told = [job for job in jobs if job.done is not None]
    if not told:
        return rows
    unknown = "" if len(told) == len(jobs) else " (unknown for some)"
    return f"{format_count(sum(job.done or 0 for job in told))} of {rows} done there{unknown}"
