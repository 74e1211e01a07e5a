"""What the API says, as OpenAPI publishes it.

Amounts are decimal texts: no client loses a cent to a float.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from sql.redemptions import HoldSeconds, Points, Reference, Why

Amount = Annotated[Decimal, PlainSerializer(str, return_type=str), Field(examples=["150.00"])]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
#: A member in an address or a body: the number, or the public id.
MEMBER: Final = r"^([1-9][0-9]{0,18}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"
System = Annotated[str, Field(examples=["quickbooks"])]
AccountName = Annotated[str, Field(examples=["4620816365"])]
Zulu = Annotated[datetime, Field(examples=["2026-05-20T08:30:00Z"])]


class PointsPart(BaseModel):
    """Points of one rule, in words."""

    rule: str = Field(description="base, tier, or a promotion and its version.", examples=["tier"])
    points: int = Field(examples=[300])
    words: str = Field(examples=["silver earns 1.2 times as much"])


class Transaction(BaseModel):
    """A sale, credit note or refund, and the points it gave."""

    system: System
    account: AccountName
    id: str = Field(description="Id at the billing system.", examples=["130"])
    number: str | None = Field(description="Number printed on the document.", examples=["INV-001"])
    kind: Literal["invoice", "sale", "credit_note", "refund"]
    status: Literal["draft", "open", "paid", "void"]
    member_id: int | None = Field(description="Who earned the points.", examples=[42])
    currency: str = Field(examples=["AOA"])
    total: Amount
    subtotal: Amount | None
    tax: Amount | None
    refunded: Amount
    points: int = Field(
        description="Posted to the member, all corrections included.", examples=[1500]
    )
    issued_at: Zulu
    updated_at: Zulu
    stored_at: Zulu
    explanation: str = Field(
        description="Why so many points, by the latest entry of the ledger; or why none.",
        examples=[
            (
                "150.00 AOA x 10 points per unit x 1.2 (silver), rounded down = "
                "base 1500 + tier 300 = 1800"
            )
        ],
    )
    parts: list[PointsPart] = Field(description="The same rule by rule; they sum to `points`.")


Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class TransactionFilter(BaseModel):
    """Which transactions are wanted: those that meet all conditions."""

    model_config = ConfigDict(extra="forbid")

    system: Word | None = None
    account: Word | None = None
    member_id: Id | None = None
    status: Literal["draft", "open", "paid", "void"] | None = None
    kind: Literal["invoice", "sale", "credit_note", "refund"] | None = None
    number: Word | None = Field(default=None, description="Number printed on the document.")
    issued_from: datetime | None = Field(
        default=None, description="From this instant on; UTC unless it says."
    )
    issued_to: datetime | None = Field(default=None, description="Before this instant.")
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: Annotated[str, Field(max_length=2000)] | None = Field(
        default=None, description="`next_cursor` of the last page."
    )


class Transactions(BaseModel):
    """A page, the latest first."""

    items: list[Transaction]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class SyncRequest(BaseModel):
    """What to synchronise."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"system": "quickbooks"}, {"system": "xero", "dry_run": True}]
        },
    )

    system: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,63}$",
        description="The connection: a billing system, or the name of a further account's block.",
    )
    since: datetime | None = Field(
        default=None, description="Read again from here on, instead of from the last end."
    )
    until: datetime | None = Field(default=None, description="Up to here.")
    dry_run: bool = Field(default=False, description="Fetch, map and validate, and keep nothing.")


class SyncStarted(BaseModel):
    """A run was started; it goes on by itself."""

    system: System
    run_id: str = Field(examples=["0690b1f4-5a6e-7c3a-8000-0d6f2c1f9b11"])
    run_name: str = Field(examples=["wise-otter"])
    state: str = Field(examples=["Scheduled"])
    ui_url: str = Field(
        examples=["http://127.0.0.1:4200/runs/flow-run/0690b1f4-5a6e-7c3a-8000-0d6f2c1f9b11"]
    )


class SyncRun(BaseModel):
    """How a synchronisation is doing, or how it ended."""

    run_id: str = Field(examples=["0690b1f4-5a6e-7c3a-8000-0d6f2c1f9b11"])
    run_name: str = Field(examples=["wise-otter"])
    system: System
    state: str = Field(description="Prefect's name of it.", examples=["Completed"])
    ended: bool
    succeeded: bool | None = Field(description="null: it goes on.")
    message: str | None = Field(description="What the run says about itself.")
    started_at: Zulu | None
    ended_at: Zulu | None
    ui_url: str = Field(
        examples=["http://127.0.0.1:4200/runs/flow-run/0690b1f4-5a6e-7c3a-8000-0d6f2c1f9b11"]
    )


class ResponseTime(BaseModel):
    """Times within the window, in milliseconds; null where there are none."""

    p50_ms: int | None = Field(examples=[180])
    p95_ms: int | None = Field(examples=[640])


class AccountStatus(BaseModel):
    """One account of one billing system."""

    system: System
    account: AccountName
    connection: Literal["ok", "failing", "needs_operator", "syncing"] = Field(
        description=(
            "failing: goes on by itself, or see `error`; "
            "needs_operator: credentials or permissions are refused."
        )
    )
    error: str | None = Field(description="Why the last synchronisation failed.")
    last_sync_at: Zulu = Field(description="When the latest began.")
    last_success_at: Zulu | None
    complete_up_to: Zulu | None = Field(
        description="Every change before this instant is in the ledger."
    )
    run_id: str
    run_url: str
    succeeded: int = Field(description="Runs of the window.", examples=[287])
    failed: int = Field(examples=[1])
    success_rate: float | None = Field(
        description="Of the runs that ended; null if none did.", examples=[0.9965]
    )
    error_rate: float | None = Field(examples=[0.0035])
    reject_rate: float | None = Field(
        description="Share of the records that could not be used.", examples=[0.001]
    )
    throttled_rate: float | None = Field(
        description="Share of calls that were told to slow down.", examples=[0.0]
    )
    open_rejects: int = Field(examples=[3])
    response_time: ResponseTime = Field(
        description=(
            "Of the billing system's API: the median of the runs' medians, "
            "the 95th percentile of their 95th percentiles."
        )
    )


class WebhookStatus(BaseModel):
    """Events of one connection: waiting ones, and those received within the window."""

    system: System
    account: str | None
    connection: str = Field(examples=["quickbooks"])
    waiting: int = Field(examples=[0])
    parked: int = Field(
        description="Given up: they wait for a correction and a replay.", examples=[0]
    )
    oldest_at: Zulu | None = Field(description="When the oldest of those that wait arrived.")
    received: int = Field(description="Within the window.", examples=[412])
    error_rate: float | None = Field(
        description="Share of these that are parked or wait to be tried again; null if none came.",
        examples=[0.0],
    )
    to_ledger: ResponseTime = Field(description="From their arrival to the ledger.")


class DeploymentStatus(BaseModel):
    """A connection as Prefect knows it."""

    connection: str = Field(examples=["quickbooks"])
    connected: bool = Field(description="Its block was complete at some time.")
    scheduled: bool = Field(description="It is polled.")


class Status(BaseModel):
    """The state of the integration."""

    window_hours: int
    accounts: list[AccountStatus]
    webhooks: list[WebhookStatus]
    deployments: list[DeploymentStatus] | None = Field(
        description="null: the Prefect server does not answer."
    )


class ExpiringPoints(BaseModel):
    """Points that expire next, if nothing is spent or given until then."""

    expires_at: Zulu
    points: int = Field(examples=[300])


class PendingPoints(BaseModel):
    """Points of a sale that cannot be spent yet; they are in the balance."""

    points: int = Field(
        description="Of all entries of the sale together, as it is now.", examples=[1800]
    )
    available_at: Zulu | None = Field(
        description="When the days are over; null: they are over, or there are none."
    )
    awaits_payment: bool = Field(description="They wait until the sale is paid.")


class PendingOfMember(PendingPoints):
    """Whose points of a sale cannot be spent yet."""

    member_id: int = Field(examples=[42])


class Balance(BaseModel):
    """A member's points now."""

    member_id: int = Field(examples=[42])
    tier: str = Field(examples=["silver"])
    balance_points: int = Field(
        description="added_points - taken_back_points - spent_points. May be negative.",
        examples=[1300],
    )
    added_points: int = Field(examples=[2000])
    taken_back_points: int = Field(examples=[200])
    spent_points: int = Field(description="Less those given back.", examples=[500])
    held_points: int = Field(description="Reserved by holds.", examples=[100])
    pending_points: int = Field(
        description=(
            "In the balance, and not to be spent before days are over or a purchase is paid."
        ),
        examples=[0],
    )
    available_points: int = Field(
        description=(
            "What can be spent: the balance without held and pending points and without points "
            "whose time is over. Never negative."
        ),
        examples=[1200],
    )
    entries: int = Field(examples=[3])
    last_posted_at: Zulu | None
    changing: bool = Field(description="Something changed and the points are being computed anew.")
    merged_into: int | None = Field(
        description="Member who earns for this one since they were merged."
    )
    expiring_next: ExpiringPoints | None = Field(description="null: no points expire.")
    below_zero: str | None = Field(
        description="Why the balance is negative; null: it is not.",
        examples=[
            (
                "900 points were spent, and more was taken than is left: "
                "refund of xero INV-1 on 2026-05-20 (-1000)"
            )
        ],
    )


class Words(BaseModel):
    """One text that an app can show, in both languages."""

    en: str = Field(examples=["You earn 1.2 times as many points."])
    pt: str = Field(examples=["Ganha 1,2 vezes os pontos."])


class KeepTier(BaseModel):
    """What a member must still buy to keep their tier."""

    missing: Amount = Field(description="0: it is kept.", examples=["800"])
    before: Zulu = Field(description="What is bought before this instant counts.")
    ends_at: Zulu = Field(description="The tier is in force until then at least.")


class TierProgress(BaseModel):
    """Where a member stands between two tiers, if nothing more is bought or returned."""

    metric: Literal["points", "spend"] = Field(
        description="points: amounts here are points; spend: they are money in `currency`."
    )
    currency: str | None = Field(examples=[None])
    window_days: int = Field(description="Purchases of so many days count.", examples=[365])
    reached: Amount = Field(examples=["4200"])
    next_tier: str | None = Field(description="null: there is none above.", examples=["gold"])
    missing_to_next: Amount | None = Field(examples=["15800"])
    keep: KeepTier | None = Field(
        description="null: nothing ends the tier. It is the lowest, or was set by hand."
    )


class Promotion(BaseModel):
    """A promotion in force."""

    promotion_id: str = Field(examples=["black-november"])
    title: str = Field(description="As its author calls it; may be empty.")
    ends_at: Zulu | None = Field(description="null: no end is set.")
    words: Words


class MemberPoints(Balance):
    """A member's points now, and what an app shows beside them."""

    tier_multiplier: Amount | None = Field(
        description="How many times as much the tier earns.", examples=["1.2"]
    )
    unpaid_points: int = Field(
        description="For purchases that earn once they are paid. Not in the balance.",
        examples=[150],
    )
    tier_progress: TierProgress | None = Field(
        description="null: tiers do not follow from purchases."
    )
    promotions: list[Promotion] = Field(
        description="In force now, without those that this member cannot use or has used up."
    )


class EarningRate(BaseModel):
    """How many points money earns."""

    points_per_unit: Amount = Field(examples=["10"])
    currencies: list[str] = Field(description="Empty: every other currency.", examples=[["AOA"]])
    words: Words
    per_full: Amount | None = Field(
        description="Only full ones of this amount earn `points_per_unit`; null: every unit does.",
        examples=[None],
    )


class ProgramTier(BaseModel):
    """A tier of the program, the lowest first."""

    tier: str = Field(examples=["silver"])
    multiplier: Amount = Field(examples=["1.2"])
    threshold: Amount | None = Field(
        description="What reaches it, as in `tier_progress`; null: it is the first, or set by hand."
    )
    words: Words


class EventReward(BaseModel):
    """What earns points beside purchases."""

    name: str = Field(
        description="As your app tells it; sign_up and birthday are noted by themselves.",
        examples=["review"],
    )
    points: int = Field(examples=[50])
    words: Words


class ProgramWords(BaseModel):
    """The points program in force now, in words that an app can show."""

    version: int
    valid_from: Zulu | None = Field(description="null: it has no beginning.")
    earning: list[EarningRate]
    tiers: list[ProgramTier]
    keeping_tiers: Words | None = Field(description="null: tiers do not follow from purchases.")
    expiry: Words
    spending: Words
    promotions: list[Promotion]
    events: list[EventReward]


class HistoryEntry(BaseModel):
    """Something that moved the balance, explained.

    An entry of a sale, an adjustment by hand, points of an earlier program or of an event, points
    that expired, were spent or given back.
    """

    kind: Literal[
        "award",
        "edit",
        "refund",
        "void",
        "moved",
        "referral",
        "duplicate",
        "adjustment",
        "adjustment void",
        "opening balance",
        "opening balance void",
        "event",
        "event void",
        "expiry",
        "redemption",
        "redemption reversal",
    ]
    posted_at: Zulu
    points: int = Field(description="What it added, or took back.", examples=[1800])
    balance_points: int = Field(description="The balance after it.", examples=[3600])
    event_at: Zulu = Field(
        description=(
            "When the sale happened, which decides tier and promotions; or from when on it counts."
        )
    )
    explanation: str = Field(
        examples=[
            (
                "150.00 AOA x 10 points per unit x 1.2 (silver), rounded down = "
                "base 1500 + tier 300 = 1800"
            )
        ]
    )
    reason: str | None = Field(
        description=(
            "What was entered with it, as it was written: why points were given by hand, or on "
            "what they were spent. null: of a sale, or of an expiry."
        ),
        examples=[None],
    )
    run_id: str
    sale: "SaleEntry | None" = Field(description="null: it is about no sale.")


class SaleEntry(BaseModel):
    """What an entry of the ledger says about its sale."""

    system: System
    account: AccountName
    transaction_id: str = Field(examples=["130"])
    transaction_number: str | None = Field(examples=["INV-001"])
    entry_no: int = Field(description="Of this sale and member, from 1.", examples=[1])
    due_before: int = Field(examples=[0])
    due_after: int = Field(examples=[1800])
    amount: Amount = Field(description="The amount that earned, refunds taken off.")
    currency: str = Field(examples=["AOA"])
    tier: str = Field(examples=["silver"])
    parts: list[PointsPart] = Field(description="Points per rule; they sum to due_after.")
    program_version: int = Field(examples=[1])
    pending: PendingPoints | None = Field(description="null: nothing of the sale is pending.")


class History(BaseModel):
    """A page of a member's ledger, the latest first."""

    member_id: int
    items: list[HistoryEntry]
    next_cursor: str | None


class InvoiceQuestion(BaseModel):
    """Which document."""

    model_config = ConfigDict(extra="forbid")

    system: Word
    invoice: Word = Field(description="Its id at the billing system, or the number printed on it.")


class Weighed(BaseModel):
    """A promotion that spoke at the time of the sale, and what became of it."""

    promotion: str = Field(examples=["black-november"])
    version: int
    outcome: str = Field(examples=["minimum"])
    points: int
    words: str = Field(examples=["below the minimum purchase"])


class DueNow(BaseModel):
    """What is due by the stored rules."""

    due: int | None = Field(description="null: it cannot be computed; see `problem`.")
    amount: Amount
    currency: str
    converted_amount: Amount | None
    converted_to: str | None
    points_per_unit: Amount | None
    per_full: Amount | None = Field(
        description="The amount of which only full ones earn; null: every unit does."
    )
    tier: str | None
    tier_factor: Amount | None
    tier_source: str = Field(examples=["set by the loyalty app"])
    program_version: int | None
    rounding: str | None
    parts: list[PointsPart]
    considered: list[Weighed]
    problem: str | None
    waiting_points: int | None = Field(description="What the next synchronisation will post.")


class Explained(BaseModel):
    """A document, every entry posted for it, and what is due now: what `twezah explain` tells."""

    system: System
    account: AccountName | None
    transaction_id: str
    transaction_number: str | None
    status: str | None
    member_id: int | None
    points: int
    rejected: str | None = Field(description="Why its newest version could not be used.")
    entries: list["ExplainedEntry"]
    pending: list["PendingOfMember"] = Field(description="What of the points cannot be spent yet.")
    now: DueNow | None = Field(description="null: nobody earns for it, or nothing is due.")


class ExplainedEntry(BaseModel):
    """One entry of the ledger."""

    entry_no: int
    member_id: int
    kind: str = Field(examples=["award"])
    points: int
    due_before: int
    due_after: int
    posted_at: Zulu
    run_id: str
    program_version: int
    explanation: str


class RedemptionBody(BaseModel):
    """Points to spend, or to hold for a while."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"points": 1000, "reference": "order 5512", "reason": "Free 5 L bottle"},
                {
                    "points": 1000,
                    "reference": "basket 99",
                    "reason": "Discount at the till",
                    "hold_seconds": 900,
                },
            ]
        },
    )

    points: Points
    reference: Reference = Field(description="What they are spent on, as you number it.")
    reason: Why = Field(description="The member reads it. No names, no phone numbers.")
    hold_seconds: HoldSeconds | None = Field(
        default=None,
        description=(
            "Reserve the points for so long, to be confirmed or cancelled; then they are free "
            "again by themselves. Absent: spend them at once."
        ),
    )


class ReleaseBody(BaseModel):
    """Why points are given back or no longer held."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "Not in stock"}]}
    )

    reason: Why = Field(description="The member reads it. No names, no phone numbers.")


State = Literal["held", "redeemed", "cancelled", "ended", "reversed"]


class Redemption(BaseModel):
    """Points that were spent or reserved, and what became of them."""

    redemption_id: int = Field(examples=[12])
    member_id: int = Field(description="As named in the request.", examples=[42])
    counts_for: int = Field(
        description="Member whose points they are: another one after a merge.", examples=[42]
    )
    points: int = Field(examples=[1000])
    state: State = Field(description="ended: a hold that was neither confirmed nor cancelled.")
    reference: str = Field(examples=["order 5512"])
    reason: str = Field(examples=["Free 5 L bottle"])
    requested_at: Zulu
    hold_ends_at: Zulu | None = Field(description="null: it never was a hold.")
    redeemed_at: Zulu | None
    cancelled_at: Zulu | None
    reversed_at: Zulu | None
    released_why: str | None = Field(description="Why it was cancelled or reversed.")


class RedemptionDone(BaseModel):
    """A redemption as it is now, and the balance with it."""

    redemption: Redemption
    balance: Balance


class PageFilter(BaseModel):
    """How much is wanted at once."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=2000)] | None = Field(
        default=None, description="`next_cursor` of the last page."
    )


class RedemptionFilter(PageFilter):
    """Which redemptions are wanted."""

    state: State | None = None


class Redemptions(BaseModel):
    """A page, the latest first."""

    items: list[Redemption]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class PhoneQuestion(BaseModel):
    """Whose points are asked for. In the body, because addresses are logged along the way."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"phone": "+244 923 456 789"}]}
    )

    phone: str = Field(
        min_length=3, max_length=40, description="As people write it; with country code, or local."
    )


class Health(BaseModel):
    """Whether the process is there, and can do its work."""

    status: Literal["ok", "unavailable"]
    database: Literal["ok", "away"] | None = None
