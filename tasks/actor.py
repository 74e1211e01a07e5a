"""Who started a flow run, for the audit log.

That is the name in a label of the run, the schedule, or an operator in Prefect's UI.
"""

import sys
import threading
from typing import Any, Final

from sql.actor import LABEL, LENGTH_MAX

#: Who started a run of the schedule...
SCHEDULE: Final = "schedule"
#: ...what a billing system announced...
WEBHOOK: Final = "webhook"
#: ...and one that somebody started in Prefect's UI, whoever that was.
OPERATOR: Final = "operator"
#: A run's threads do not inherit its context; a process serves one run.
_latest: dict[str, str] = {}


def of_this_run() -> str | None:
    """Who started the run that is under way; None outside of runs."""
    # Not imported: a command that runs no flow must not pay for it.
    context = sys.modules.get("prefect.context")
    if context is None:
        return None
    run_context = context.FlowRunContext.get()
    if run_context is None:
        task = context.TaskRunContext.get()
        return _latest.get("actor") if task is None and not _in_main_thread() else None
    if run_context.flow_run is None:
        return None
    _latest["actor"] = of_run(run_context.flow_run)
    return _latest["actor"]


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def of_run(run: Any) -> str:
    """Who started a run of Prefect."""
    label = (run.labels or {}).get(LABEL)
    if label:
        return str(label)[:LENGTH_MAX]
    if run.auto_scheduled:
        return SCHEDULE
    creator = run.created_by
    if creator is not None and (creator.display_value or creator.type):
        name = f"{(creator.type or 'prefect').lower()} {creator.display_value or ''}"
        return name.strip()[:LENGTH_MAX]
    return OPERATOR
