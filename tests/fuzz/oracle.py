"""What the ledger must say in the end, in plain integers. It imports nothing that it judges."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.fuzz.events import Rule, State, Tier

#: Digits behind the point of each currency.
DIGITS = {"AOA": 2, "JPY": 0, "KWD": 3}
TIER_BPS = {"lead": 10_000, "silver": 12_000, "gold": 15_000, "platinum": 20_000}
BPS = 10_000
TAKES = ("credit_note", "refund")
#: What the world begins with: ten points a unit, everybody Lead, rounded down.
INSTALLED = Rule(-1_000_000, 100_000, "down", "lead", minute=0)


@dataclass
class Truth:
    """Everything that decides the points, whatever came when."""

    #: The last state of each document; None: deleted.
    documents: dict[tuple[str, int], State | None] = field(default_factory=dict)
    tiers: list[Tier] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    #: Who earns for a customer who was merged.
    merged: dict[int, int] = field(default_factory=dict)
    adjustments: dict[str, tuple[int, int]] = field(default_factory=dict)

    def owner(self, customer: int) -> int:
        """Who earns for the customer."""
        return self.merged.get(customer, customer)


def points(truth: Truth) -> dict[tuple[str, int, int], int]:
    """Points per account, document and owner; the zeros left out."""
    found = {}
    for (account, document), state in truth.documents.items():
        if state is None or state.customer is None:
            continue
        owner = truth.owner(state.customer)
        due = due_for(truth, state, owner)
        if due:
            found[account, document, owner] = due
    return found


def balances(truth: Truth) -> dict[int, int]:
    """Points per owner, with adjustments and before anything expires."""
    found: dict[int, int] = {}
    for (_, _, owner), due in points(truth).items():
        found[owner] = found.get(owner, 0) + due
    for customer, adjusted in truth.adjustments.values():
        owner = truth.owner(customer)
        found[owner] = found.get(owner, 0) + adjusted
    return found


def due_for(truth: Truth, state: State, owner: int) -> int:
    """What one document is due: net amount x rate x tier x season, rounded once."""
    net = worth(state)
    if net == 0:
        return 0
    rule = _last(truth.rules, state.hour) or INSTALLED
    tier_bps = TIER_BPS[tier_at(truth.tiers, owner, state.hour, rule.entry_tier)]
    season_bps = season_at(truth.rules, state.hour) if net > 0 and state.kind not in TAKES else BPS
    amount, unit = abs(net), 10 ** DIGITS[state.currency]
    if rule.full_minor is not None:
        amount, unit = amount // rule.full_minor, 1
    numerator = amount * rule.rate_bps * tier_bps * season_bps
    magnitude = rounded(numerator, unit * BPS**3, rule.rounding)
    return magnitude if net > 0 else -magnitude


def worth(state: State) -> int:
    """The amount that counts, in minor units; negative where it takes points back."""
    if state.status in ("draft", "void"):
        return 0
    net = state.total - state.refunded
    return -net if state.kind in TAKES else net


def rounded(numerator: int, denominator: int, how: str) -> int:
    """A fraction that is not negative, as a whole number."""
    whole, rest = divmod(numerator, denominator)
    up = {"down": False, "half_up": 2 * rest >= denominator, "up": rest > 0}[how]
    return whole + up


def tier_at(tiers: Sequence[Tier], customer: int, hour: int, entry: str) -> str:
    """The tier in force: the latest one begun; of two for one hour, the one entered last."""
    begun = [one for one in tiers if one.customer == customer and one.hour <= hour]
    if not begun:
        return entry
    latest = max(one.hour for one in begun)
    return [one.tier for one in begun if one.hour == latest][-1]


def season_at(rules: Iterable[Rule], hour: int) -> int:
    """The season's multiplier: of the last version begun, while it lasts."""
    rule = _last([one for one in rules if one.season_bps], hour)
    if rule is None or hour >= rule.hour + rule.season_hours:
        return BPS
    return rule.season_bps or BPS


def _last(rules: Sequence[Rule], hour: int) -> Rule | None:
    """The version in force: the last one entered that has begun."""
    begun = [rule for rule in rules if rule.hour <= hour]
    return begun[-1] if begun else None


def sums(truth: Truth) -> Mapping[tuple[str, str], int]:
    """Amounts that earn or take, per account and currency, of documents that are due points."""
    found: dict[tuple[str, str], int] = {}
    for (account, document), state in truth.documents.items():
        if state is None or state.customer is None:
            continue
        if (account, document, truth.owner(state.customer)) not in points(truth):
            continue
        key = (account, state.currency)
        found[key] = found.get(key, 0) + worth(state)
    return found


def replaced_total(state: State, total: int) -> State:
    """The document with another total."""
    return replace(state, total=total)
