"""What the ledger must say in the end, in plain integers. It imports nothing that it judges."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.fuzz.events import Listed, Rule, State, Tier
from tests.support.brought_home import Document, counted_elsewhere

#: Digits behind the point of each currency.
DIGITS = {"AOA": 2, "JPY": 0, "KWD": 3}
TIER_BPS = {"lead": 10_000, "silver": 12_000, "gold": 15_000, "platinum": 20_000}
BPS = 10_000
#: What an n-th purchase brings.
NTH_POINTS = 77
#: What a sale brings with the code, and on the list.
CODE_POINTS, LIST_POINTS = 31, 13
TAKES = ("credit_note", "refund")
#: What the world begins with: ten points a unit, everybody Lead, rounded down.
INSTALLED = Rule(-1_000_000, 100_000, "down", "lead", minute=0)


@dataclass
class Spent:
    """Points that a customer spent or holds. state: held, redeemed, cancelled or reversed."""

    customer: int
    points: int
    held: bool
    state: str


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
    #: Customer and hour of visits, by key.
    visits: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Customer and hour of codes that were entered.
    codes: list[tuple[int, int]] = field(default_factory=list)
    lists: list[Listed] = field(default_factory=list)
    #: What was spent or held, by key.
    spent: dict[str, Spent] = field(default_factory=dict)

    def owner(self, customer: int) -> int:
        """Who earns for the customer."""
        return self.merged.get(customer, customer)


def points(truth: Truth) -> dict[tuple[str, int, int], int]:
    """Points per account, document and owner; the zeros left out."""
    found = {}
    back, extra = came_back(truth), extras(truth)
    for (account, document), state in truth.documents.items():
        if state is None or state.customer is None:
            continue
        owner = truth.owner(state.customer)
        due = due_for(truth, state, owner, back[account, document]) + extra[account, document]
        if due:
            found[account, document, owner] = due
    return found


def balances(truth: Truth) -> dict[int, int]:
    """Points per owner, with adjustments and what was spent, before anything expires."""
    found: dict[int, int] = {}
    for (_, _, owner), due in points(truth).items():
        found[owner] = found.get(owner, 0) + due
    for customer, adjusted in truth.adjustments.values():
        owner = truth.owner(customer)
        found[owner] = found.get(owner, 0) + adjusted
    for owner, earned in visits(truth).items():
        found[owner] = found.get(owner, 0) + earned
    for owner, counted in spent(truth, "redeemed").items():
        found[owner] = found.get(owner, 0) - counted
    return found


def spent(truth: Truth, state: str) -> dict[int, int]:
    """Points per owner that were spent (redeemed) or are held."""
    found: dict[int, int] = {}
    for one in truth.spent.values():
        if one.state == state:
            owner = truth.owner(one.customer)
            found[owner] = found.get(owner, 0) + one.points
    return found


def pending(truth: Truth) -> dict[int, int]:
    """Points per owner that cannot be spent yet: of sales that are to be paid first."""
    found: dict[int, int] = {}
    for (account, document, owner), due in points(truth).items():
        state = truth.documents[account, document]
        rule = _last(truth.rules, state.hour) if state else None
        if state and rule and rule.until_paid and state.status != "paid" and due > 0:
            found[owner] = found.get(owner, 0) + due
    return found


def came_back(truth: Truth) -> dict[tuple[str, int], int]:
    """Per document the amount that counts elsewhere: credits are brought home to their sales."""
    documents = []
    for (account, document), state in truth.documents.items():
        if state is None or state.customer is None:
            continue
        takes = state.kind in TAKES
        if takes and state.status in ("draft", "void"):
            continue
        # What the vendor left over of a credit that it counts elsewhere in part has no link.
        is_linked = takes and state.original is not None and not state.refunded
        link = (account, state.original) if is_linked else None
        at = (state.hour, account, f"D{document}")
        documents.append(
            Document(
                (account, document), (truth.owner(state.customer), state.currency), account, at,
                state.hour, state.hour, takes, abs(worth(state)), link,
            )
        )  # fmt: skip
    return defaultdict(int, counted_elsewhere(documents))


def visits(truth: Truth) -> dict[int, int]:
    """Points per owner for visits: the earliest so many, each by the rules of its hour."""
    found: dict[int, int] = defaultdict(int)
    counted: dict[int, int] = defaultdict(int)
    for hour, _, customer in sorted((hour, key, who) for key, (who, hour) in truth.visits.items()):
        owner = truth.owner(customer)
        rule = _last(truth.rules, hour) or INSTALLED
        if rule.visits is not None and counted[owner] < rule.visits[1]:
            counted[owner] += 1
            found[owner] += rule.visits[0]
    return found


def extras(truth: Truth) -> dict[tuple[str, int], int]:
    """Points per document that bonuses bring: n-th purchases, the code, the list."""
    found, back = nth_purchases(truth), came_back(truth)
    coded = [rule for rule in truth.rules if rule.coded]
    listed = [rule for rule in truth.rules if rule.listed]
    for (account, document), state in truth.documents.items():
        if state is None or state.customer is None or state.kind in TAKES:
            continue
        if worth(state) - back[account, document] <= 0:
            continue
        owner, hour = truth.owner(state.customer), state.hour
        has_code = any(truth.owner(who) == owner and at <= hour for who, at in truth.codes)
        if has_code and _last(coded, hour) is not None:
            found[account, document] += CODE_POINTS
        if is_listed(truth, owner, hour) and _last(listed, hour) is not None:
            found[account, document] += LIST_POINTS
    return found


def is_listed(truth: Truth, owner: int, hour: int) -> bool:
    """Whether any of the owner's customers is on the list: of one beginning the last row counts."""
    last = {(row.customer, row.hour): row.until for row in truth.lists}
    return any(
        truth.owner(customer) == owner and begin <= hour and (until is None or hour < until)
        for (customer, begin), until in last.items()
    )


def nth_purchases(truth: Truth) -> dict[tuple[str, int], int]:
    """Points per document that is the n-th purchase of its owner under a version of the bonus."""
    back = came_back(truth)
    bought: dict[tuple[int, int], list[tuple[int, str, str, int]]] = defaultdict(list)
    rules = [rule for rule in truth.rules if rule.nth]
    for (account, document), state in truth.documents.items():
        if state is None or state.customer is None or state.kind in TAKES:
            continue
        rule = _last(rules, state.hour)
        if rule is not None and worth(state) - back[account, document] > 0:
            key = (truth.owner(state.customer), rules.index(rule))
            bought[key].append((state.hour, account, f"D{document}", document))
    found: dict[tuple[str, int], int] = defaultdict(int)
    for (_, number), sales in bought.items():
        nth = rules[number].nth or 0
        for _, account, _, document in sorted(sales)[nth - 1 :: nth]:
            found[account, document] = NTH_POINTS
    return found


def due_for(truth: Truth, state: State, owner: int, back: int = 0) -> int:
    """What one document is due: net amount x rate x tier x season, rounded once.

    `back` is what of it counts elsewhere.
    """
    net = max(0, abs(worth(state)) - back) * (-1 if state.kind in TAKES else 1)
    if net == 0:
        return 0
    rule = _last(truth.rules, state.hour) or INSTALLED
    tiers = [
        tier
        for customer in (owner, *(one for one in truth.merged if truth.owner(one) == owner))
        if (tier := tier_at(truth.tiers, customer, state.hour)) is not None
    ]
    # Of merged customers the better tier counts.
    tier_bps = max((TIER_BPS[tier] for tier in tiers), default=TIER_BPS[rule.entry_tier])
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


def tier_at(tiers: Sequence[Tier], customer: int, hour: int) -> str | None:
    """The tier that was set: the latest one begun; of two for one hour, the one entered last."""
    begun = [one for one in tiers if one.customer == customer and one.hour <= hour]
    if not begun:
        return None
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
    back = came_back(truth)
    for (account, document), state in truth.documents.items():
        if state is None or state.customer is None:
            continue
        if (account, document, truth.owner(state.customer)) not in points(truth):
            continue
        key = (account, state.currency)
        found[key] = found.get(key, 0) + worth(state) - back[account, document]
    return found


def replaced_total(state: State, total: int) -> State:
    """The document with another total."""
    return replace(state, total=total)
