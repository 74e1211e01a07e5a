"""GET /api/billing/explanation: why a document gave so many points.

The answer is the same as that of `twezah explain`.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from api.database import answering, bounded
from api.keys import require
from api.models import (
    DueNow,
    Explained,
    ExplainedEntry,
    InvoiceQuestion,
    PendingOfMember,
    PointsPart,
    Weighed,
)
from api.problems import Problem, described
from api.state import state_of
from sql.explain import Entry, Explanation, explained

router = APIRouter(prefix="/api/billing", tags=["billing"])
#: Reading a member's whole history again is work: so many at a time in a process.
_WORKERS = ThreadPoolExecutor(2, thread_name_prefix="explain")


@router.get(
    "/explanation",
    dependencies=[Depends(require("transactions:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="Why a document gave so many points",
)
async def explanation(request: Request, asked: Annotated[InvoiceQuestion, Query()]) -> Explained:
    """Every entry with its rule, and what is due now, rule by rule.

    Also the promotions that were considered and did not apply.
    """
    state = state_of(request)
    async with answering():
        loop = asyncio.get_running_loop()
        invoice = await loop.run_in_executor(
            _WORKERS, _explained, state.config.dsn, asked.system, asked.invoice
        )
    if invoice is None:
        raise Problem(
            404, "unknown_transaction", "Neither the ledger nor the rejects know this document."
        )
    return Explained(
        system=invoice.system, account=invoice.account, transaction_id=invoice.external_id,
        transaction_number=invoice.invoice_number,
        status=invoice.status, member_id=invoice.member_id, points=invoice.points,
        rejected=invoice.rejected,
        entries=[_entry(entry) for entry in invoice.entries], now=_now(invoice),
        pending=[PendingOfMember(**asdict(points)) for points in invoice.pending],
    )  # fmt: skip


def _explained(dsn: str, system: str, invoice: str) -> Explanation | None:
    with bounded(dsn) as connection:
        return explained(connection, system, invoice)


def _entry(entry: Entry) -> ExplainedEntry:
    return ExplainedEntry(
        entry_no=entry.entry_no, member_id=entry.member_id, kind=entry.reason, points=entry.points,
        due_before=entry.due_before,
        due_after=entry.due_after, posted_at=entry.posted_at, run_id=entry.run_id,
        program_version=entry.program_version,
        explanation=entry.rule(),
    )  # fmt: skip


def _now(invoice: Explanation) -> DueNow | None:
    now = invoice.now
    if now is None:
        return None
    return DueNow(
        due=now.due, amount=now.net_amount, currency=now.currency,
        converted_amount=now.converted_amount, converted_to=now.converted_to,
        points_per_unit=now.points_per_unit, per_full=now.per_full, tier=now.tier,
        tier_factor=now.tier_factor,
        tier_source=now.tier_source,
        program_version=now.program_version, rounding=now.rounding,
        parts=[PointsPart(**asdict(part)) for part in now.parts],
        considered=[Weighed(**asdict(part)) for part in now.considered], problem=now.problem,
        waiting_points=None if now.due is None else now.due - invoice.posted_to_owner,
    )  # fmt: skip
