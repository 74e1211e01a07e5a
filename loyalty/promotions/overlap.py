"""Whether a promotion lies wholly under another one, so that it never gives anything.

Only what is certain from the rules is told: conditions that are the same or wider.
"""

from fnmatch import fnmatch

from loyalty.promotions.active import Active
from loyalty.promotions.kinds import (
    Match,
    ProductBonus,
    PurchaseBonus,
    ReferralReward,
    Rule,
    SeasonalMultiplier,
)
from loyalty.promotions.promotion import Promotion, When


def better_one(active: Active, other: Active) -> str | None:
    """Why `other` leaves nothing for `active`; None: it leaves something, or it is not certain."""
    mine, theirs = active.promotion, other.promotion
    if isinstance(mine.rule, ReferralReward) or isinstance(theirs.rule, ReferralReward):
        return None
    if not (_lasts(active, other) and _conditions(mine, theirs)):
        return None
    if theirs.stacking.alone and _applies(mine.rule, theirs.rule) and _comes_first(mine, theirs):
        return f"wherever it applies, {theirs.promotion_id!r} does, and applies alone"
    group = mine.stacking.group
    same_group = group is not None and group == theirs.stacking.group
    if same_group and not mine.stacking.alone and _gives_more(mine, theirs):
        return f"{theirs.promotion_id!r} of its group applies wherever it does and gives as much"
    return None


def _lasts(active: Active, other: Active) -> bool:
    ends = other.end is None or (active.end is not None and active.end <= other.end)
    return other.start <= active.start and ends


def _conditions(mine: Promotion, theirs: Promotion) -> bool:
    """Whether every sale that meets the conditions of `mine` meets those of `theirs`."""
    a, b = mine.when, theirs.when
    return (
        all(
            not wide or (narrow and {*narrow} <= {*wide})
            for narrow, wide in (
                (a.currencies, b.currencies), (a.systems, b.systems), (a.accounts, b.accounts),
                (a.kinds, b.kinds), (a.tiers, b.tiers), (a.weekdays, b.weekdays),
                (a.dates, b.dates), (a.hours, b.hours), (a.lists, b.lists),
                (a.stores, b.stores), (a.channels, b.channels), (a.cities, b.cities),
                (a.regions, b.regions),
            )
        )
        and (a.first_purchase or not b.first_purchase)
        and not b.counts
        and b.code in (None, a.code)
        and b.bought_before in (None, a.bought_before)
        and b.bought_lately in (None, a.bought_lately)
        and (a.lapsed_days or 0) >= (b.lapsed_days or 0)
        and _minimum(a, b)
        and (
            not (b.weekdays or b.dates or b.hours)
            or (a.clock, mine.timezone) == (b.clock, theirs.timezone)
        )
    )  # fmt: skip


def _minimum(a: When, b: When) -> bool:
    if not b.minimum_minor:
        return True
    return bool(a.minimum_minor) and all(
        code in b.minimum_minor and b.minimum_minor[code] <= least
        for code, least in a.minimum_minor.items()
    )


def _applies(mine: Rule, theirs: Rule) -> bool:
    """Whether `theirs` has what it looks for wherever `mine` has."""
    if not isinstance(theirs, ProductBonus):
        return True
    # A line may have no units, or no amount.
    alike = isinstance(mine, ProductBonus) and _reward(mine)[0] == _reward(theirs)[0]
    return alike and isinstance(mine, ProductBonus) and _covers(mine.match, theirs.match)


def _comes_first(mine: Promotion, theirs: Promotion) -> bool:
    if not mine.stacking.alone or theirs.stacking.priority > mine.stacking.priority:
        return True
    return theirs.stacking.priority == mine.stacking.priority and _gives_more(mine, theirs)


def _gives_more(mine: Promotion, theirs: Promotion) -> bool:
    """Whether `theirs` gives as much, and wins where both give the same."""
    a, b = mine.rule, theirs.rule
    if isinstance(a, ProductBonus) and isinstance(b, ProductBonus):
        (kind, mine_gives), (other_kind, theirs_gives) = _reward(a), _reward(b)
        alike = kind == other_kind and (b.multiplied or not a.multiplied)
        # Below once as much, more products are not more points.
        wider = a.match == b.match or (kind != "multiplier_bps" and _covers(a.match, b.match))
        enough = alike and wider
    elif isinstance(a, PurchaseBonus) and isinstance(b, PurchaseBonus):
        mine_gives, theirs_gives = a.points, b.points
        enough = b.multiplied or not a.multiplied
    elif isinstance(a, SeasonalMultiplier) and isinstance(b, SeasonalMultiplier):
        mine_gives, theirs_gives, enough = a.multiplier_bps, b.multiplier_bps, True
    else:
        return False
    wins = (-theirs.stacking.priority, theirs.promotion_id) < (
        -mine.stacking.priority, mine.promotion_id,
    )  # fmt: skip
    return enough and (theirs_gives > mine_gives or (theirs_gives == mine_gives and wins))


def _reward(rule: ProductBonus) -> tuple[str, int]:
    names = ("points_per_unit", "percent_bps", "multiplier_bps")
    return next((name, value) for name in names if (value := getattr(rule, name)) is not None)


def _covers(mine: Match, theirs: Match) -> bool:
    """Whether every line that fits `mine` fits `theirs`."""
    if not {*theirs.except_skus} <= {*mine.except_skus}:
        return False
    if "*" in theirs.sku_patterns:
        return True
    skus = all(
        sku in theirs.skus
        or any(fnmatch(sku.lower(), glob.lower()) for glob in theirs.sku_patterns)
        for sku in mine.skus
    )
    return skus and all(
        {*getattr(mine, name)} <= {*getattr(theirs, name)}
        for name in ("sku_patterns", "name_patterns", "categories")
    )
