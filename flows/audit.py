"""The page of the audit log.

It shows settings that were changed in Prefect, whether the log is whole, and the newest entries.
"""

from typing import Any

import psycopg
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from panel.operator_changes import record_operator_changes
from panel.reports.audit import markdown
from settings import settings
from sql import audit
from sql.db import connect
from tasks.database_errors import without_row_data

#: The page, at /artifacts/key/audit-log.
PAGE = "audit-log"
#: What was looked for last.
SEARCH = "audit-log-search"
#: Entries shown; `twezah audit list` and GET /api/audit have all.
SHOWN = 100


@flow(name="audit-log", flow_run_name="audit-log", persist_result=False, retries=0)
def audit_log(operation: str = "", actor: str = "") -> State[Any]:
    """Look for changed settings, check that the audit log is whole, and show its newest entries.

    Args:
        operation: Show only these: sync, webhooks, key, settings, points, member, export, ...
            Empty: all.
        actor: Show only what they did: schedule, operator, user ana, key twz_... Empty: everybody.
    """
    config = settings()
    try:
        with without_row_data():
            changes = record_operator_changes(config.dsn(), config.fernet_key())
            with connect(config.dsn()) as connection:
                verdict = audit.verify(connection)
                wanted = audit.Filter(operation=operation or None, actor=actor or None)
                entries = audit.entries(connection, wanted, limit=SHOWN)
                totals = audit.counts(connection, hours=24)
                pending = audit.pending(connection)
    except psycopg.OperationalError as error:
        return Failed(
            message=f"The database could not be used: {error}. Press Retry once it is back."
        )
    asked = " and ".join(
        f"{name} {value}" for name, value in (("operation", operation), ("actor", actor)) if value
    )
    page = markdown(verdict, entries, totals, pending)
    if asked:  # a search of its own, beside the page that everybody reads
        page = (
            f"# Audit log: {asked}\n\nOnly these entries; "
            f"all are on the [page](/artifacts/key/{PAGE}).\n\n{page}"
        )
    key = SEARCH if asked else PAGE
    create_markdown_artifact(key=key, markdown=page, description=(asked or verdict.to_text())[:200])
    message = f"{verdict.to_text()}. {changes} settings changed since the last look"
    get_run_logger().info(message)
    return Completed(message=message) if verdict.ok else Failed(message=message)
