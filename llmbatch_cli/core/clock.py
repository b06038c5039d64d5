"""Moments as people read them."""

from datetime import datetime, timedelta


def time_after(wait_s: float, now: datetime | None = None) -> str:
    """The local time so many seconds from now, not too early: 15:42:07 within the next quarter of
    an hour, else 15:42, and 2026-11-27 15:42 on another day."""
    now = now or datetime.now().astimezone()
    soon = wait_s < 900
    moment = now + timedelta(seconds=wait_s)
    moment += timedelta(microseconds=-moment.microsecond % 1_000_000)
    if not soon:
        moment += timedelta(seconds=-moment.second % 60)
    day = "" if moment.date() == now.date() else f"{moment:%Y-%m-%d} "
    return day + (f"{moment:%H:%M:%S}" if soon else f"{moment:%H:%M}")
