"""The award step without a synchronisation: points of members whose history somebody changed by hand."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from settings import settings
from tasks.award.members import Awarded, award_members
from tasks.steps import BUSY, without_row_data
from tasks.work import Work


@task(name="award", cache_policy=NO_CACHE, persist_result=False, **BUSY)  # type: ignore[call-overload, untyped-decorator]
def post_waiting(run_id: str, *, dry_run: bool = False) -> Awarded:
    """Post the points of every member who waits for it."""
    work = Work(settings().dsn(), run_id, dry_run=dry_run)
    with without_row_data(), work.scope():
        return award_members(work, None)
