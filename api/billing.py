"""GET /api/billing/transactions and /api/billing/status."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from api.cursors import Cursors
from api.database import answering, rows
from api.keys import require
from api.models import (
    AccountStatus,
    DeploymentStatus,
    PointsPart,
    ResponseTime,
    Status,
    Transaction,
    TransactionFilter,
    Transactions,
    WebhookStatus,
)
from api.problems import Problem, described
from api.runs import PrefectAwayError
from api.state import State, state_of
from sql.explain import NOTHING_DUE, Entry

router = APIRouter(prefix="/api/billing", tags=["billing"])
_PLACE = ("after_at", "after_id", "after_account", "after_system")
#: What the errors of a run that an operator must see to begin with.
_OPERATOR = (
    "CredentialsRejected",
    "PermissionMissing",
    "Misconfigured",
    "NotConnectedError",
    "TokenUnreadableError",
)


@router.get(
    "/transactions",
    dependencies=[Depends(require("transactions:read"))],
    responses=described(400, 401, 403, 422, 429, 503),
    summary="Sales and the points they gave",
)
async def transactions(
    request: Request, wanted: Annotated[TransactionFilter, Query()]
) -> Transactions:
    """The latest first, a page at a time. New sales do not move the pages that follow."""
    state = state_of(request)
    filters = wanted.model_dump(exclude={"limit", "cursor"})
    filters |= {"issued_from": utc(wanted.issued_from), "issued_to": utc(wanted.issued_to)}
    limit, cursor = wanted.limit, wanted.cursor
    cursors = Cursors(state.config.key, "transactions")
    place = (
        dict.fromkeys(_PLACE)
        if cursor is None
        else dict(zip(_PLACE, cursors.read(cursor, filters), strict=True))
    )
    async with answering():
        stored = await rows(
            state.readers, "api", "transactions", {**filters, **place, "limit": limit + 1}
        )
        words = dict(await rows(state.readers, "api", "promotion_words", {})) if stored else {}
    items = [_transaction(sale, words) for sale in stored[:limit]]
    return Transactions(
        items=items,
        next_cursor=cursors.write(_place(items[-1]), filters) if len(stored) > limit else None,
    )


def _transaction(row: Sequence[Any], words: Mapping[str, str]) -> Transaction:
    names = list(Transaction.model_fields)[:-2]
    values, rest = dict(zip(names, row, strict=False)), row[len(names) :]
    entry = None if rest[0] is None else Entry(*rest)
    if entry is not None:
        explanation, parts = (
            entry.rule(),
            [PointsPart(**asdict(part)) for part in entry.parts(words)],
        )
    elif values["member_id"] is None:
        explanation, parts = "nobody is known to whom it belongs", []
    else:
        explanation, parts = (
            NOTHING_DUE.get(values["status"], "nothing is due, or it has not been computed yet"),
            [],
        )
    return Transaction(**values, explanation=explanation, parts=parts)


def _place(last: Transaction) -> list[str]:
    return [last.issued_at.isoformat(), last.id, last.account, last.system]


def utc(moment: datetime | None) -> datetime | None:
    """In UTC. Raises Problem (422) for an instant that no calendar has there."""
    if moment is None or moment.tzinfo is None:
        return None if moment is None else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise Problem(422, "invalid_request", "A time is out of range.") from None


@router.get(
    "/status",
    dependencies=[Depends(require("status:read"))],
    responses=described(401, 403, 422, 429, 503),
    summary="How the integration is doing",
)
async def status(
    request: Request,
    window_hours: Annotated[
        int, Query(ge=1, le=720, description="Rates and times are of so many hours.")
    ] = 24,
) -> Status:
    """Synchronisations per account, and events that wait.

    Per account: connection, last synchronisation, rates, response times of the billing system.
    """
    state = state_of(request)
    async with answering():
        runs = await rows(state.readers, "api", "status", {"hours": window_hours})
        events = await rows(state.readers, "api", "event_status", {"hours": window_hours})
    return Status(
        window_hours=window_hours,
        accounts=[_account(state, run) for run in runs],
        webhooks=[
            _webhooks(event_row)
            for event_row in events
        ],
        deployments=await _deployments(state),
    )  # fmt: skip


async def _deployments(state: State) -> list[DeploymentStatus] | None:
    try:
        deployments = await state.runs.connections()
    except PrefectAwayError:
        return None
    return [
        DeploymentStatus(
            connection=deployment.connection,
            connected=deployment.connected,
            scheduled=deployment.scheduled,
        )
        for deployment in deployments
    ]


def _webhooks(row: Sequence[Any]) -> WebhookStatus:
    system, account, connection, waiting, parked, oldest, received, wrong, p50, p95 = row
    return WebhookStatus(
        system=system, account=account or None, connection=connection, waiting=waiting,
        parked=parked, oldest_at=oldest,
        received=received, error_rate=_share(wrong, received),
        to_ledger=ResponseTime(p50_ms=p50, p95_ms=p95),
    )  # fmt: skip


def _account(state: State, row: Sequence[Any]) -> AccountStatus:
    system, account, last, started_at, _, error, run_id, success_at, complete, *counts = row
    succeeded, failed, calls, throttled, fetched, rejected, p50, p95, open_rejects = counts
    ended = succeeded + failed
    return AccountStatus(
        system=system,
        account=account,
        connection=_connection(last, error),
        error=error if last == "failed" else None,
        last_sync_at=started_at,
        last_success_at=success_at,
        complete_up_to=complete,
        run_id=run_id,
        run_url=f"{state.config.ui_url}/runs/flow-run/{run_id}",
        succeeded=succeeded,
        failed=failed,
        success_rate=_share(succeeded, ended),
        error_rate=_share(failed, ended),
        reject_rate=_share(rejected, fetched),
        throttled_rate=_share(throttled, calls),
        open_rejects=open_rejects,
        response_time=ResponseTime(p50_ms=p50, p95_ms=p95),
    )


def _connection(state: str, error: str | None) -> Any:
    if state == "failed":
        return "needs_operator" if (error or "").startswith(_OPERATOR) else "failing"
    return "ok" if state in ("stored", "abandoned") else "syncing"


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
