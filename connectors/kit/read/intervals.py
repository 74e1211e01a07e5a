"""Lists that are read every few hours only, because every run would cost too many requests."""

from datetime import datetime


def is_due(since: datetime | None, now: datetime, every_hours: int) -> bool:
    """Whether a job that runs every so many hours is due; 0 hours: always.

    It is due if a new interval began since the last run. The first read of an account is none of
    its runs.
    """
    if since is None or every_hours <= 0:
        return since is not None
    interval = every_hours * 3600
    return int(since.timestamp()) // interval != int(now.timestamp()) // interval
