"""The points rules computed the slow, obvious way, from docs/points-rules.md: one sale after the other, with fractions.

It shares no code with the engine beyond the models of the rules.
"""

import fnmatch
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from loyalty.policies import TierPolicy
from loyalty.program import Program
from loyalty.promotions import (
    Match,
    ProductBonus,
    Promotion,
    PurchaseBonus,
    ReferralReward,
    SeasonalMultiplier,
)
from tests.support.brought_home import Document, counted_elsewhere
from tests.support.ledger import DECIMALS, rounded, tier_at

Sale = dict[str, Any]
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
BPS = 10_000


@dataclass
class World:
    """Everything stored. `lines` by (page_id, record_no); `settled` by external_id."""

    sales: list[Sale]
    tiers: list[tuple[int, datetime, str]]
    programs: list[Program]
    promotions: list[Promotion] = field(default_factory=list)
    lines: dict[tuple[int, int], list[dict[str, Any]]] = field(default_factory=dict)
    referrals: list[tuple[int, int, datetime]] = field(default_factory=list)
    zones: dict[int, str] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    codes: list[tuple[int, str, datetime]] = field(default_factory=list)
    lists: list[tuple[int, str, datetime, datetime | None]] = field(default_factory=list)


def order(sale: Sale) -> tuple[Any, ...]:
    return (sale["issued_at"], sale["system"], sale["account"], sale["external_id"])


def speaking(versions: Sequence[Any], at: datetime) -> Any:
    """The highest version that has begun."""
    begun = [v for v in versions if v.valid_from <= at]
    return max(begun, key=lambda v: v.version) if begun else None


def program_at(world: World, at: datetime) -> Program:
    found = speaking(world.programs, at)
    assert isinstance(found, Program)
    return found


def worth_something(world: World, sale: Sale) -> bool:
    return sale["kind"] in ("invoice", "sale") and (net(world, sale) or 0) > 0


def net(world: World, sale: Sale) -> int | None:
    program = program_at(world, sale["issued_at"])
    negative = sale["kind"] in ("credit_note", "refund")
    if sale["status"] in ("draft", "void") or (sale["status"] == "open" and awaits(world, sale)):
        return 0
    total = sale["total_minor"]
    left = left_of(world, sale) - matched(world).get(sale["external_id"], 0)
    if program.basis == "subtotal":
        if sale["subtotal_minor"] is None:
            return None
        left = rounded(Fraction(sale["subtotal_minor"] * left, max(total, 1)), "down")
    return -left if negative else left


def awaits(world: World, sale: Sale) -> bool:
    """Whether it earns once it is paid: the program or the account says so.

    What takes points back waits for nothing.
    """
    asked = {program_at(world, sale["issued_at"]).award_when, sale["account_award_when"]}
    return "paid" in asked and sale["kind"] in ("invoice", "sale")


def left_of(world: World, sale: Sale) -> int:
    """With tax, before credits that name no invoice."""
    settled = world.settled.get(sale["external_id"], 0)
    return max(0, int(sale["total_minor"]) - (sale["amount_refunded_minor"] or 0) - settled)


def matched(world: World) -> dict[str, int]:
    """How much of each document is set off by credits that name no invoice: the latest sale before each credit first."""
    left = {
        sale["external_id"]: left_of(world, sale) if sale["status"] in ("open", "paid") else 0
        for sale in world.sales
    }
    done: dict[str, int] = defaultdict(int)
    for credit in sorted(world.sales, key=order):
        if credit["kind"] not in ("credit_note", "refund"):
            continue
        if program_at(world, credit["issued_at"]).unlinked_credits != "latest_sales":
            continue
        for sale in sorted(world.sales, key=order, reverse=True):
            same = all(sale[k] == credit[k] for k in ("member_id", "system", "account", "currency"))
            if (
                not same
                or sale["kind"] not in ("invoice", "sale")
                or sale["issued_at"] > credit["issued_at"]
            ):
                continue
            part = min(left[credit["external_id"]], left[sale["external_id"]])
            for one in (credit, sale):
                left[one["external_id"]] -= part
                done[one["external_id"]] += part
    for name, part in _returned(world, left).items():
        done[name] += part
    return done


def _returned(world: World, left: dict[str, int]) -> dict[str, int]:
    """What `returned_sales` counts elsewhere, of documents without lines."""
    documents = []
    for sale in world.sales:
        takes = sale["kind"] in ("credit_note", "refund")
        how = program_at(world, sale["issued_at"]).unlinked_credits
        if not takes or how == "returned_sales":
            documents.append(
                Document(
                    sale["external_id"], (sale["member_id"], sale["currency"]),
                    (sale["system"], sale["account"]), order(sale), sale["issued_at"],
                    sale["issued_at"], takes, left[sale["external_id"]],
                )
            )  # fmt: skip
    return counted_elsewhere(documents)


def base_value(world: World, sale: Sale, lines: Fraction = Fraction(1)) -> Fraction | None:
    """Before the tier and rounding; `lines` is what multipliers of lines make of one unit."""
    program, amount = program_at(world, sale["issued_at"]), net(world, sale)
    rate = program.base_rate_bps.get(sale["currency"])
    if rate is None or amount is None or sale["currency"] not in DECIMALS:
        return None
    per_full = program.per_full_minor.get(sale["currency"])
    if per_full is not None:
        return Fraction(rounded(amount * lines / per_full, "down") * rate, BPS)
    return lines * Fraction(amount * rate, 10 ** DECIMALS[sale["currency"]] * BPS)


def local_midnight(at: datetime, zone: str) -> datetime:
    return at.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)


def period_start(at: datetime, period: str, zone: str) -> datetime:
    day = local_midnight(at, zone)
    if period == "day":
        start = day
    elif period == "week":
        start = day - timedelta(days=day.weekday())
    else:
        months = {"month": 1, "quarter": 3, "half_year": 6, "year": 12}[period]
        start = day.replace(day=1, month=(day.month - 1) // months * months + 1)
    return start.astimezone(UTC)


def level(
    world: World, member: int, policy: TierPolicy, program: Program, at: datetime, *, after: bool
) -> int:
    """Rank that the window reaches at `at`, or just after it."""
    window = timedelta(days=policy.window_days)
    total = 0
    for sale in world.sales:
        t = sale["issued_at"]
        inside = at - window < t <= at if after else at - window <= t < at
        if sale["member_id"] != member or not inside:
            continue
        if policy.metric == "points":
            value = base_value(world, sale)
            total += rounded(value, program_at(world, t).rounding) if value is not None else 0
        elif sale["currency"] == policy.currency:
            total += net(world, sale) or 0
    return sum(total >= threshold for threshold in policy.thresholds.values())


def tier_of(world: World, sale: Sale) -> str:
    program, member, at = program_at(world, sale["issued_at"]), sale["member_id"], sale["issued_at"]
    given = tier_at(world.tiers, member, at, program.entry_tier)
    policy = program.tier_policy
    if policy is None:
        return given
    ranked = policy.ranked(program.entry_tier)
    since = period_start(at - timedelta(days=policy.grace_days), policy.period, program.timezone)
    reached = level(world, member, policy, program, since, after=False)
    window = timedelta(days=policy.window_days)
    for other in world.sales:
        for moment in (other["issued_at"], other["issued_at"] + window):
            if other["member_id"] == member and since <= moment < at:
                reached = max(reached, level(world, member, policy, program, moment, after=True))
    if given not in ranked:
        return given
    return ranked[max(reached, ranked.index(given))]


def meets(world: World, one: Promotion, sale: Sale) -> bool:
    """Whether the sale fits, and has its turn among those of the member that fit."""
    when = one.when
    if not fits_when(world, one, sale):
        return False
    mine = [s for s in world.sales if s["member_id"] == sale["member_id"]]
    mine = sorted((s for s in mine if fits_when(world, one, s)), key=order)
    number = [order(s) for s in mine].index(order(sale)) + 1
    if when.nth_purchase is not None and number % when.nth_purchase:
        return False
    if when.streak is None:
        return True
    bought = [period_of(world, one, s) for s in mine]
    now = bought[number - 1]
    in_a_row = 1
    while now - in_a_row in bought:
        in_a_row += 1
    return bought.index(now) == number - 1 and in_a_row % when.streak.length == 0


def zone_of(world: World, one: Promotion, sale: Sale) -> ZoneInfo:
    zone = one.timezone or program_at(world, sale["issued_at"]).timezone
    if one.when.clock == "customer":
        zone = world.zones.get(sale["member_id"], zone)
    return ZoneInfo(zone)


def period_of(world: World, one: Promotion, sale: Sale) -> int:
    """The number of the sale's week or month."""
    local = sale["issued_at"].astimezone(zone_of(world, one, sale))
    if one.when.streak is not None and one.when.streak.months is not None:
        return int(local.year * 12 + local.month)
    return int((local.date() - timedelta(days=local.weekday())).toordinal() // 7)


def fits_when(world: World, one: Promotion, sale: Sale) -> bool:
    when, at = one.when, sale["issued_at"]
    versions = [p for p in world.promotions if p.promotion_id == one.promotion_id]
    if not one.enabled or not worth_something(world, sale) or earned(world, sale) is None:
        return False
    if speaking(versions, at) is not one or (one.valid_to is not None and at >= one.valid_to):
        return False
    local = at.astimezone(zone_of(world, one, sale))
    mine = [
        s for s in world.sales if s["member_id"] == sale["member_id"] and worth_something(world, s)
    ]
    amount = net(world, sale) or 0

    def in_hours() -> bool:
        now = local.time()
        for hours in when.hours:
            starts, ends = hours.start, hours.end
            if ends.hour == ends.minute == ends.second == ends.microsecond == 0:
                hit = now >= starts
            elif ends < starts:
                hit = now >= starts or now < ends
            else:
                hit = starts <= now < ends
            if hit:
                return True
        return not when.hours

    return all(
        (
            not when.currencies or sale["currency"] in when.currencies,
            not when.systems or sale["system"] in when.systems,
            not when.accounts or f"{sale['system']}/{sale['account']}" in when.accounts,
            not when.kinds or sale["kind"] in when.kinds,
            not when.tiers or tier_of(world, sale) in when.tiers,
            not when.minimum_minor or amount >= when.minimum_minor.get(sale["currency"], 10**30),
            not when.first_purchase or order(min(mine, key=order)) == order(sale),
            is_for(world, one, sale, mine),
            not when.dates or local.date() in when.dates,
            not when.weekdays or DAYS[local.weekday()] in when.weekdays,
            in_hours(),
        )
    )


def is_for(world: World, one: Promotion, sale: Sale, mine: Sequence[Sale]) -> bool:
    """Whether the promotion is for the member; `mine` are their sales that are worth something."""
    when, at, member = one.when, sale["issued_at"], sale["member_id"]
    if when.lists and not any(
        who == member and name in when.lists and begin <= at and (end is None or at < end)
        for who, name, begin, end in world.lists
    ):
        return False
    if when.code is not None and not any(
        who == member and name == when.code.code and entered <= at
        and (when.code.days is None or at < entered + timedelta(days=when.code.days))
        for who, name, entered in world.codes
    ):  # fmt: skip
        return False
    before = sorted((s for s in mine if order(s) < order(sale)), key=order)
    if when.lapsed_days is not None and not (
        before and at - before[-1]["issued_at"] >= timedelta(days=when.lapsed_days)
    ):
        return False
    lately = when.bought_lately
    if lately is not None:
        recent = [s for s in before if at - s["issued_at"] < timedelta(days=lately.days)]
        worth = [
            sum(net(world, s) or 0 for s in recent if s["currency"] == code) >= least
            for code, least in lately.minimum_minor.items()
        ]
        if len(recent) < lately.purchases or (worth and not any(worth)):
            return False
    match = when.bought_before
    return match is None or any(
        amount > 0 and matches(match, program_at(world, s["issued_at"]), sku, name)
        for s in before
        for (sku, name), (amount, _) in products(world, s).items()
    )


def products(world: World, sale: Sale) -> dict[tuple[str | None, str | None], tuple[int, int]]:
    """(sku, name) -> amount in minor units, quantity in millionths; each at least 0."""
    sums: dict[tuple[str | None, str | None], list[int]] = defaultdict(lambda: [0, 0])
    for line in world.lines.get((sale["page_id"], sale["record_no"]), []):
        sums[line["sku"], line["name"]][0] += line["amount_minor"] or 0
        sums[line["sku"], line["name"]][1] += line["quantity_micro"] or 0
    return {product: (max(0, a), max(0, q)) for product, (a, q) in sums.items()}


def fits(one: Promotion, program: Program, sku: str | None, name: str | None) -> bool:
    assert isinstance(one.rule, ProductBonus)
    return matches(one.rule.match, program, sku, name)


def matches(match: Match, program: Program, sku: str | None, name: str | None) -> bool:
    text, title = (sku or "").lower(), (name or "").lower()
    globs = [
        *match.sku_patterns,
        *(g for c in match.categories for g in program.categories.get(c, ())),
    ]
    hit = (sku or "") in match.skus
    hit = hit or any(fnmatch.fnmatchcase(text, g.lower()) for g in globs)
    hit = hit or any(fnmatch.fnmatchcase(title, g.lower()) for g in match.name_patterns)
    return hit and (sku or "") not in match.except_skus


def by_line(world: World, sale: Sale, multipliers: Sequence[Promotion]) -> Fraction:
    """What the multipliers of lines make of one unit of the sale."""
    program = program_at(world, sale["issued_at"])
    sold = products(world, sale)
    listed = sum(a for a, _ in sold.values())
    subtotal = sale["subtotal_minor"] if sale["subtotal_minor"] is not None else sale["total_minor"]
    whole = max(listed, subtotal, 1)
    on_lines = Fraction(whole - listed)
    for (sku, name), (amount, _) in sold.items():
        share = Fraction(amount)
        for one in multipliers:
            if isinstance(one.rule, ProductBonus) and fits(one, program, sku, name):
                share *= Fraction(one.rule.multiplier_bps or 0, BPS)
        on_lines += share
    return on_lines / whole


def seasonal(multipliers: Sequence[Promotion]) -> Fraction:
    factor = Fraction(1)
    for one in multipliers:
        if isinstance(one.rule, SeasonalMultiplier):
            factor *= Fraction(one.rule.multiplier_bps, BPS)
    return factor


def multiplies(one: Promotion) -> bool:
    return isinstance(one.rule, SeasonalMultiplier) or (
        isinstance(one.rule, ProductBonus) and one.rule.multiplier_bps is not None
    )


def bonus_value(world: World, one: Promotion, sale: Sale) -> Fraction:
    """A bonus before it is multiplied."""
    rule, program = one.rule, program_at(world, sale["issued_at"])
    if isinstance(rule, PurchaseBonus):
        return Fraction(rule.points)
    assert isinstance(rule, ProductBonus)
    mine = [v for (sku, name), v in products(world, sale).items() if fits(one, program, sku, name)]
    left = Fraction(
        left_of(world, sale) - matched(world)[sale["external_id"]], max(sale["total_minor"], 1)
    )
    if rule.points_per_unit is not None:
        return Fraction(sum(q for _, q in mine), 10**6) * rule.points_per_unit * left
    amount = Fraction(sum(a for a, _ in mine), 10 ** DECIMALS[sale["currency"]])
    return amount * Fraction(rule.percent_bps or 0, BPS) * left


def tier_factor(world: World, sale: Sale) -> Fraction | None:
    rate = program_at(world, sale["issued_at"]).tier_rate_bps.get(tier_of(world, sale))
    return None if rate is None else Fraction(rate, BPS)


def earned(world: World, sale: Sale) -> int | None:
    value, tier = base_value(world, sale), tier_factor(world, sale)
    return (
        None
        if value is None or tier is None
        else rounded(value * tier, program_at(world, sale["issued_at"]).rounding)
    )


def candidates(world: World, sale: Sale) -> list[Promotion]:
    """Promotions that could apply, in the order of application."""
    program, found = program_at(world, sale["issued_at"]), []
    for one in world.promotions:
        if isinstance(one.rule, ReferralReward) or not meets(world, one, sale):
            continue
        if isinstance(one.rule, ProductBonus) and one.rule.multiplier_bps is not None:
            hit = [
                a
                for (sku, name), (a, _) in products(world, sale).items()
                if fits(one, program, sku, name)
            ]
            if sum(hit) <= 0:
                continue
        elif isinstance(one.rule, ProductBonus) and bonus_value(world, one, sale) == 0:
            continue
        found.append(one)
    return sorted(found, key=lambda p: (-p.stacking.priority, p.promotion_id))


def multiplied(world: World, sale: Sale, multipliers: Sequence[Promotion]) -> int:
    """Points of a sale with its tier and these multipliers."""
    value, tier = (
        base_value(world, sale, by_line(world, sale, multipliers)),
        tier_factor(world, sale),
    )
    assert value is not None and tier is not None
    mode = program_at(world, sale["issued_at"]).rounding
    return rounded(value * tier * seasonal(multipliers), mode)


def by_itself(world: World, one: Promotion, sale: Sale) -> int:
    tier, program = tier_factor(world, sale), program_at(world, sale["issued_at"])
    assert tier is not None
    if multiplies(one):
        return multiplied(world, sale, [one]) - multiplied(world, sale, [])
    assert isinstance(one.rule, ProductBonus | PurchaseBonus)
    return rounded(
        bonus_value(world, one, sale) * (tier if one.rule.multiplied else 1), program.rounding
    )


def applied(world: World, sale: Sale) -> list[Promotion]:
    """After stacking."""
    found = candidates(world, sale)
    alone = [p for p in found if p.stacking.alone]
    if alone:
        return [
            min(
                alone,
                key=lambda p: (-p.stacking.priority, -by_itself(world, p, sale), p.promotion_id),
            )
        ]
    kept = []
    for one in found:
        rivals = [
            p
            for p in found
            if p.stacking.group is not None and p.stacking.group == one.stacking.group
        ]
        best = min(
            rivals,
            key=lambda p: (-by_itself(world, p, sale), -p.stacking.priority, p.promotion_id),
            default=one,
        )
        if best is one:
            kept.append(one)
    return kept


def shares(world: World, sale: Sale) -> list[tuple[Promotion, int]]:
    """Points of each promotion before limits."""
    tier, program = tier_factor(world, sale), program_at(world, sale["issued_at"])
    assert tier is not None
    so_far: list[Promotion] = []
    told = multiplied(world, sale, [])
    found: list[tuple[Promotion, int]] = []
    applying = applied(world, sale)
    for one in applying:
        if multiplies(one):
            so_far.append(one)
            now = multiplied(world, sale, so_far)
            found.append((one, now - told))
            told = now
    for one in applying:
        if not multiplies(one):
            assert isinstance(one.rule, ProductBonus | PurchaseBonus)
            times = tier * seasonal(so_far) if one.rule.multiplied else Fraction(1)
            found.append((one, rounded(bonus_value(world, one, sale) * times, program.rounding)))
    return found


def referral_rewards(world: World) -> list[tuple[Promotion, Sale, int, int]]:
    """(promotion, the friend's sale, who is rewarded, points)."""
    found: list[tuple[Promotion, Sale, int, int]] = []
    for name in sorted(
        {p.promotion_id for p in world.promotions if isinstance(p.rule, ReferralReward)}
    ):
        firsts: list[tuple[Sale, Promotion, int]] = []
        for friend, referrer, since in world.referrals:
            own = sorted((s for s in world.sales if s["member_id"] == friend), key=order)
            for sale in own:
                one = speaking(
                    [p for p in world.promotions if p.promotion_id == name], sale["issued_at"]
                )
                rule = one.rule if one else None
                if (
                    not isinstance(rule, ReferralReward)
                    or not meets(world, one, sale)
                    or sale["issued_at"] < since
                ):
                    continue
                if rule.within_days is not None and sale["issued_at"] >= since + timedelta(
                    days=rule.within_days
                ):
                    continue
                if rule.new_customers_only and any(
                    worth_something(world, s) and s["issued_at"] < since for s in own
                ):
                    continue
                firsts.append((sale, one, referrer))
                break
        brought: dict[int, int] = defaultdict(int)
        for sale, one, referrer in sorted(firsts, key=lambda f: (*order(f[0]), f[0]["member_id"])):
            found.append((one, sale, sale["member_id"], one.rule.friend_points))  # type: ignore[union-attr]
            brought[referrer] += 1
            limit = one.rule.limit_per_referrer  # type: ignore[union-attr]
            if limit is None or brought[referrer] <= limit:
                found.append((one, sale, referrer, one.rule.referrer_points))  # type: ignore[union-attr]
    return found


def together(
    program: Program, sale: Sale, member: int, points: int, cut: Callable[..., int]
) -> int:
    """Cut to the program's limits over all promotions; those that are the same count together."""
    limits = program.promotion_limits
    if limits is None:
        return points
    points = cut(points, limits.per_sale, "sale", limits.per_sale, sale["external_id"], member)
    period = limits.per_period
    if period is not None:
        start = period_start(sale["issued_at"], period.period, program.timezone)
        day = start.astimezone(ZoneInfo(program.timezone)).date()
        points = cut(points, period.points, "period", period, member, day)
    return cut(points, limits.per_member, "ever", limits.per_member, member)


def due(world: World) -> dict[tuple[str, int], int | None]:
    """Points per (external_id, member); None where a rate is missing."""
    result: dict[tuple[str, int], int | None] = {}
    given: list[tuple[Promotion, Sale, int, int]] = []
    for sale in world.sales:
        own = earned(world, sale)
        result[sale["external_id"], sale["member_id"]] = own
        if own is not None and worth_something(world, sale):
            given += [(one, sale, sale["member_id"], points) for one, points in shares(world, sale)]
    given += referral_rewards(world)
    given.sort(
        key=lambda g: (
            *order(g[1]), g[2], -g[0].stacking.priority, g[0].promotion_id, g[0].version
        )
    )  # fmt: skip
    used: dict[Any, int] = defaultdict(int)

    def cut(points: int, limit: int | None, *counter: Any) -> int:
        if limit is None:
            return points
        points = min(points, limit - used[counter])
        used[counter] += points
        return points

    for one, sale, member, wanted in given:
        points, limits = wanted, one.limits
        if points > 0:
            points = points if limits.per_sale is None else min(points, limits.per_sale)
            if limits.per_period is not None:
                zone = one.timezone or program_at(world, sale["issued_at"]).timezone
                start = (
                    period_start(sale["issued_at"], limits.per_period.period, zone)
                    .astimezone(ZoneInfo(zone))
                    .date()
                )
                points = cut(points, limits.per_period.points, one.key, member, start)
            points = cut(points, limits.per_member, one.key, member)
            points = together(program_at(world, sale["issued_at"]), sale, member, points, cut)
            points = cut(points, limits.budget, one.key)
        key = (sale["external_id"], member)
        result[key] = (result.get(key) or 0) + points
    return result
