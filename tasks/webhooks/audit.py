"""What the audit log says of a batch of webhooks.

It is one entry for a batch: an entry for each webhook would make them wait for each other.
"""

from collections.abc import Mapping, Sequence

from sql import audit
from sql.db import DbConnection
from sql.webhooks import ClaimedEvent
from tasks.webhooks.counts import Counts
from tasks.webhooks.documents import Failed


def record_batch(
    connection: DbConnection,
    run_id: str,
    claimed: Sequence[ClaimedEvent],
    counts: Counts,
    failures: Mapping[Failed, Sequence[int]],
) -> None:
    """Records the claimed deliveries of an endpoint in one entry.

    `failures` are the numbers of the deliveries that failed, by why.
    """
    parked = sum(len(those) for failed, those in failures.items() if failed.for_good)
    worst = max(failures, key=lambda failed: len(failures[failed]), default=None)
    first, last = claimed[0], claimed[-1]
    details = {
        "new": counts.new, "changed": counts.changed, "parked": parked,
        "failed": sum(map(len, failures.values())) - parked,
        "first_event": first.event_no, "last_event": last.event_no,
    }  # fmt: skip
    audit.record(
        connection,
        "webhooks",
        first.connection,
        status="error" if failures else "success",
        details=details,
        system=first.system,
        account=first.account,
        records=len(claimed),
        points=counts.points,
        error=None if worst is None else worst.reason,
        run_id=run_id,
    )
