"""Budgets of promotions: claims use them up in the order of the sales.

What a sale would get from a promotion is a claim.

Claims depend on their member's own history only, so they are computed member by member; dividing a
budget looks at all claims of one promotion, from the earliest that changed. Both are functions of
stored sales: in whatever order they were stored, the same sales get the same points.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from sql.copying import copy_in
from sql.db import DbConnection
from sql.named_queries import query


def share(connection: DbConnection) -> None:
    """Until the transaction ends, nobody divides a budget.

    To be called before members are claimed, never after.
    """
    connection.execute(query("member_history", "share_budgets"))


def save_claims(connection: DbConnection, members: Sequence[int], claims: pl.DataFrame) -> None:
    """Replaces the members' claims by what they claim now (loyalty.inputs.CLAIMS).

    The caller holds their claim (lock).
    """
    connection.execute(query("member_history", "stage_claims"))
    connection.execute(query("member_history", "empty_claim_stage"))
    # The earlier one by `ordered_at` is served first, so that is its time here.
    staged = claims.rename({"ordered_at": "issued_at"})
    copy_in(connection, "pg_temp.claim_stage", staged)
    connection.execute(query("member_history", "withdraw_claims"), {"members": list(members)})
    connection.execute(query("member_history", "save_claims"))


def settle(connection: DbConnection, budgets: Mapping[tuple[str, int], int]) -> set[int]:
    """Divides the budgets whose claims changed; returns the members whose points change by it.

    The caller commits.

    Waits for the transactions that `share`, and they for this one: it marks members afterwards,
    whom they may hold. A version of a promotion that does not speak any more has no budget.
    """
    members: set[int] = set()
    connection.execute(query("member_history", "lock_budgets"))
    for promotion_id, version, _ in connection.execute(
        query("member_history", "unsettled")
    ).fetchall():
        which = {"promotion_id": promotion_id, "version": version}
        budget = budgets.get((promotion_id, version))
        members.update(
            row[0]
            for row in connection.execute(
                query("member_history", "settle"), which | {"budget": budget}
            ).fetchall()
        )
        connection.execute(query("member_history", "forget_withdrawn"), which)
    return members


def left(
    connection: DbConnection, budgets: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """What of each budget, by promotion and version, nobody was granted so far."""
    if not budgets:
        return {}
    rows = connection.execute(query("member_history", "granted_in_all")).fetchall()
    granted = {(name, version): int(points) for name, version, points in rows}
    return {key: max(0, budget - granted.get(key, 0)) for key, budget in budgets.items()}
