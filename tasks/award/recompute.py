"""The award step without a synchronisation.

It posts the points of members whose history somebody changed by hand.
"""

from settings import settings
from tasks.award.members import Awarded, award_members
from tasks.database_errors import without_row_data
from tasks.run_database import RunDatabase
from tasks.steps import step


@step("award", retry_when_busy=True)
def post_waiting(run_id: str, *, dry_run: bool = False) -> Awarded:
    """Post the points of every member who waits for it."""
    run = RunDatabase(settings().dsn(), run_id, dry_run=dry_run)
    with without_row_data(), run.scope():
        return award_members(run, None)
