"""Decisions about members, from a form: points by hand and spent, tiers, referrals, merges."""

from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

import psycopg
from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field, ValidationError

from connectors.kit.mapping.parse import dialled
from loyalty.corrections import Adjustment, Decision
from loyalty.redemptions import RedemptionRequest
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from panel.runs.member_decision import Result, decided, utc
from panel.runs.private_parameters import forget_parameters
from panel.runs.refused_state import refused_state, why_refused
from settings import DatabaseNotRunning, settings
from sql import corrections, members, merge_preview, redemptions
from sql.actor import acting_as
from sql.corrections import CorrectionRefusedError, MergedTiers
from sql.db import DbConnection, connect
from tasks.award.recompute import post_waiting
from tasks.award.tier_review import evaluate
from tasks.database_errors import without_row_data
from tasks.erase import erase_everywhere
from tasks.program.change_limit import check_confirmed


@changing_flow(name="adjust-points", flow_run_name="adjust points of member {member}")
def adjust_points(
    member: Annotated[int, Field(ge=1)],
    points: int,
    reason: str,
    author: str,
    key: str = "",
    void: int | None = None,
    confirm_points: Annotated[int, Field(ge=0)] = 0,
) -> State[Any]:
    """Give a member points, or take some, by hand. A run that is retried counts once.

    Args:
        member: The member's number.
        points: What to add; negative: to take. To take an adjustment back, leave it at 0 and name
            it in `void`.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        key: Safe to repeat: the same key never counts twice. Empty: this run's own.
        void: Number of an adjustment of this member to take back, whole.
        confirm_points: Agree to so many points, where they are above the limit for changes.
    """
    run_id = _run_id()
    own_key = key or run_id
    try:
        with without_row_data(), connect(settings().dsn()) as connection:
            if void is None:
                check_confirmed(points, confirm_points)
                wanted = Adjustment(
                    member_id=member, points=points, reason=reason, author=author, key=own_key
                )
                correction = corrections.adjust(connection, wanted, run_id)
            elif points:
                return refused_state("either points or an adjustment to void, not both")
            else:
                decision = Decision(reason=reason, author=author)
                correction = corrections.void_adjustment(
                    connection, void, decision, own_key, run_id, of_member=member
                )
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    get_run_logger().info(correction.to_text())
    return Completed(message=correction.to_text())


@changing_flow(name="redeem-points", flow_run_name="redeem points of member {member}")
def redeem_points(
    member: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    points: Annotated[int, Field(ge=0)] = 0,
    reference: str = "",
    reverse: int | None = None,
    key: str = "",
) -> State[Any]:
    """Spend points of a member by hand, or give spent points back. A retried run counts once.

    Args:
        member: The member's number.
        reason: Why, in words that the member reads; kept for good. No names, no phone numbers.
        author: Who decided it; kept for good.
        points: What to spend, never more than the member has. Leave it at 0 to give points back.
        reference: What the points are spent on: the number of a reward or an order.
        reverse: Number of a redemption of this member to give back: all of it, once.
        key: Safe to repeat: the same key never spends twice. Empty: this run's own.
    """
    run_id = _run_id()
    try:
        decision = Decision(reason=reason, author=author)
        with (
            without_row_data(),
            acting_as(decision.author),
            connect(settings().dsn()) as connection,
        ):
            if reverse is None:
                asked = RedemptionRequest(
                    member_id=member, points=points, reference=reference, reason=decision.reason,
                    key=key or run_id,
                )  # fmt: skip
                result = redemptions.redeem(connection, asked, run_id)
            elif points or reference:
                return refused_state("either points to spend or a redemption to reverse, not both")
            else:
                result = redemptions.reverse(
                    connection, member, reverse, key or run_id, decision.reason, run_id
                )
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    except psycopg.errors.LockNotAvailable:
        return Failed(message="Others spend points of this member at this moment. Press Retry.")
    get_run_logger().info(result.to_text())
    return Completed(message=result.to_text())


@changing_flow(name="merge-members", flow_run_name="merge member {member} into {into}")
def merge_members(
    member: Annotated[int, Field(ge=1)],
    into: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    tiers: MergedTiers = "better",
    dry_run: bool = False,
    undo: bool = False,
) -> State[Any]:
    """Say that two members are one customer.

    All that the first earned, and will earn, is the second's.

    The sales stay as they are; the points move by entries of their own, at once.

    Args:
        member: The member who is somebody else, by number.
        into: The member who earns for both from now on.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        tiers: Of the tiers that were set for them, better: the better one of both at each instant;
            into: those of the second alone.
        dry_run: Only say what would change, in points and tiers.
        undo: Take such a merge back: everybody has the points they would have without it.
    """
    run_id = _run_id()
    try:
        decision = Decision(reason=reason, author=author)
        with without_row_data(), connect(settings().dsn()) as connection:
            if undo:
                correction = corrections.unmerge(
                    connection, member, decision, run_id, of_member=into
                )
            elif dry_run:
                shown = merge_preview.preview(
                    connection, member, into, decision, run_id, tiers=tiers
                )
                return Completed(message=f"Not merged: {shown.to_text()}")
            else:
                correction = corrections.merge(
                    connection, member, into, decision, run_id, tiers=tiers
                )
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    message = f"{correction.to_text()}. {post_waiting(run_id).posted_in_words()}"
    get_run_logger().info(message)
    return Completed(message=message)


@changing_flow(name="member-phone", flow_run_name="phone of a member")
def member_phone(
    phone: str,
    reason: str,
    author: str,
    member: Annotated[int, Field(ge=1)] | None = None,
    give_up_former: bool = False,
) -> State[Any]:
    """Register a member before the first sale, or give a member another phone.

    The phone is taken out of this run's parameters as soon as it was read: to try again, start
    another run.

    Args:
        phone: With country code, or local.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        member: The member's number, to change their phone. Empty: register whoever has the phone.
        give_up_former: Sales under the former number are a new customer's from now on. Otherwise
            they still count here.
    """
    forget_parameters("phone")
    number = dialled(phone, settings().region)
    if number is None:
        return refused_state("that is not a phone number as billing systems write it")

    def act(connection: DbConnection, decision: Decision, run_id: str) -> Result:
        if member is None:
            return members.register(connection, number, run_id)
        return corrections.change_phone(
            connection, member, number, decision, run_id, keep_former=not give_up_former
        )

    return decided(reason, author, act)


@changing_flow(name="set-tier", flow_run_name="tier of member {member}")
def set_tier(
    member: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    tier: str = "",
    valid_from: datetime | None = None,
) -> State[Any]:
    """Set a member's tier from an instant on, or end the one that is set.

    Sales since then are computed again.

    Args:
        member: The member's number.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        tier: E.g. gold. Empty: end the tier that is set; then the entry tier counts, or the one
            that the program evaluates.
        valid_from: Sales from here on. Empty: now. To correct a tier, name its own instant.
    """
    at = utc(valid_from)

    def act(connection: DbConnection, decision: Decision, run_id: str) -> Result:
        return members.set_tier(connection, member, tier or None, at, decision, run_id)

    return decided(reason, author, act)


@changing_flow(name="set-referral", flow_run_name="referral of member {member}")
def set_referral(
    member: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    referrer: Annotated[int, Field(ge=1)] | None = None,
    referred_at: datetime | None = None,
) -> State[Any]:
    """Enter who referred a member, correct it, or withdraw it.

    Rewards that another referrer was given are taken back. Referrals in a circle give nothing.

    Args:
        member: The member who was referred, by number.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        referrer: Who referred them, by number. Empty: nobody did after all.
        referred_at: Sales from here on count. Empty: as entered before, or now.
    """
    at = utc(referred_at)

    def act(connection: DbConnection, decision: Decision, run_id: str) -> Result:
        return members.set_referral(connection, member, referrer, at, decision, run_id)

    return decided(reason, author, act)


@changing_flow(name="award-waiting", flow_run_name="award waiting members")
def award_waiting() -> State[Any]:
    """Post the points of members who wait for it. The API starts it after a change of a member."""
    try:
        posted = post_waiting(_run_id())
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")
    return Completed(message=f"{posted.members} members, {posted.posted_in_words()}")


@changing_flow(name="erase-member", flow_run_name="erase member {member}")
def erase_member(
    member: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    dry_run: bool = True,
) -> State[Any]:
    """Remove a member's personal data. It cannot be undone.

    That is the phone, and what stored records, runs and logs say of the member.

    Sales and points stay under the number. A sale that comes later under that phone makes a new
    member: remove the customer at the billing system first.

    Args:
        member: The member's number.
        reason: Why, e.g. the number of the request; kept for good. No names, no phone numbers.
        author: Who decided it; kept for good.
        dry_run: Only say what would be removed. Switch it off to do it.
    """
    try:
        decision = Decision(reason=reason, author=author)
        with without_row_data():
            erased = erase_everywhere(settings(), member, decision, _run_id(), dry_run=dry_run)
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    get_run_logger().info(erased.to_text())
    return Completed(message=erased.to_text())


@changing_flow(name="evaluate-tiers", flow_run_name="evaluate tiers")
def evaluate_tiers(everyone: bool = False, dry_run: bool = False) -> State[Any]:
    """Bring the tiers up to date of members whose period or grace ended without a sale.

    That is their history, and the tier shown now.

    Points need none of this: the tier of a sale is computed for its own instant. Where the loyalty
    app sets tiers there is nothing to do.

    Args:
        everyone: Look at all members who ever bought, as after a tier policy was set for the past.
        dry_run: Only say what would change.
    """
    try:
        with without_row_data():
            review = evaluate(settings().dsn(), _run_id(), everyone=everyone, dry_run=dry_run)
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")
    message = f"{'Not kept: ' if dry_run else ''}{review.to_text()}"
    get_run_logger().info(message)
    return Completed(message=message)


def _run_id() -> str:
    return str(flow_run.id or uuid4())
