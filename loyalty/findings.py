"""What a file of rules says that is not true: names that nothing has, promotions that never apply.

Mistakes are wrong whatever is sold. Notes are what somebody may want to know: products that were
never sold so far, promotions that stay in force although the file does not name them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from loyalty.authoring import Rules
from loyalty.currency import EXPONENTS
from loyalty.member_events import OWN
from loyalty.places import PLURALS, Place, folded_names
from loyalty.program import Program
from loyalty.promotions import Match, ProductBonus, Promotion, ReferralReward, When
from loyalty.promotions.active import active_versions
from loyalty.promotions.overlap import better_one
from loyalty.promotions.products import pattern
from loyalty.types import BPS, HOME_ZONE, spans

#: Days that are looked at one by one; in more every day of the week occurs.
_DAYS_MAX = 8
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class StoredNames:
    """What occurs in the stored sales."""

    #: Billing systems that were read.
    systems: frozenset[str]
    #: Their accounts, as `system/account`.
    accounts: frozenset[str]
    #: Codes of products sold.
    skus: frozenset[str]
    #: What lines say; empty where no rule asks for it.
    names: frozenset[str]
    #: Sales per currency.
    currencies: Mapping[str, int]
    #: Members per tier that was set for them.
    tiers: Mapping[str, int]
    #: When it was looked at.
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Lists that anybody is on; None: not known.
    lists: frozenset[str] | None = None
    #: Per place, its names in the stored sales as `loyalty.places.folded`; None: not looked at.
    places: Mapping[Place, frozenset[str]] | None = None
    #: Names of events that became known; None: not known.
    events: frozenset[str] | None = None


@dataclass(frozen=True)
class Findings:
    """What is not true, each as `key: what`, the key as `loyalty.authoring` calls it."""

    #: Wrong whatever is sold.
    mistakes: tuple[str, ...] = ()
    #: Worth knowing.
    notes: tuple[str, ...] = ()


def find(
    rules: Rules,
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    systems: Sequence[str],
    stored: StoredNames | None,
) -> Findings:
    """Looks at what a file names.

    Args:
        rules: The file.
        programs: All versions of the program as they would be with it; none: not known.
        promotions: The same of the promotions.
        systems: Billing systems that there are.
        stored: None: no database answers.
    """
    mistakes = [line for p in rules.promotions for line in _names(p, programs, systems)]
    for p in rules.promotions:
        mistakes += [f"promotion {p.promotion_id!r}: {why}" for why in _never(p, programs)]
    mistakes += _under_another(rules.promotions, promotions)
    notes = _default_rate(rules.program)
    if stored is not None:
        notes += [line for p in rules.promotions for line in _never_occurred(p, programs, stored)]
        notes += _never_told(rules.program, stored)
        notes += _not_named(rules, promotions, stored.now)
        notes += _sales_without_rules(rules.program, stored)
    return Findings(tuple(mistakes), tuple(notes))


def _in_force(programs: Sequence[Program], p: Promotion) -> list[Program]:
    """The versions of the program that are in force at some time of the promotion."""
    return [
        program
        for program, start, end in spans(programs)
        if (p.valid_to is None or start < p.valid_to) and (end is None or p.valid_from < end)
    ]


def _names(p: Promotion, programs: Sequence[Program], systems: Sequence[str]) -> Iterator[str]:
    """Names of tiers, categories, systems and currencies that nothing has."""
    where, when, versions = f"promotion {p.promotion_id!r}", p.when, _in_force(programs, p)
    rates = {tier: rate for v in versions for tier, rate in v.tier_rate_bps.items()}
    known_tiers = sorted(rates, key=lambda tier: rates[tier])
    known_categories = list(dict.fromkeys(name for v in versions for name in v.categories))
    categories = p.rule.match.categories if isinstance(p.rule, ProductBonus) else ()
    before = when.bought_before.categories if when.bought_before else ()
    for key, names, known, what in (
        ("when.tiers", when.tiers, known_tiers, "tier"),
        ("match.categories", categories, known_categories, "category"),
        ("when.bought_before.categories", before, known_categories, "category"),
    ):
        unknown = [name for name in names if name not in known]
        if versions and unknown:
            yield (
                f"{where}.{key}: the program has no {what} {', '.join(unknown)}; "
                f"it has {', '.join(known) or 'none'}"
            )
    asked = [("systems", name) for name in when.systems]
    asked += [("accounts", name.partition("/")[0]) for name in when.accounts]
    for key, name in asked:
        if name not in systems:
            yield f"{where}.when.{key}: there is no billing system {name}"
    for key, codes in _currencies(when):
        for code in codes:
            if code not in EXPONENTS:
                yield f"{where}.when.{key}: {code} is no currency of ISO 4217"
            elif versions and not any(
                code in v.base_rate_bps or v.base_currency is not None for v in versions
            ):
                yield (
                    f"{where}.when.{key}: the program gives no points for {code}; write "
                    f"`{code} = ...` under [program.points_per_unit]"
                )


def _currencies(when: When) -> Iterator[tuple[str, Sequence[str]]]:
    """The currencies that conditions name, by key."""
    yield "currencies", when.currencies
    yield "minimum", tuple(when.minimum_minor)
    if when.bought_lately is not None:
        yield "bought_lately.minimum", tuple(when.bought_lately.minimum_minor)


def _never(p: Promotion, programs: Sequence[Program]) -> Iterator[str]:
    """Why a promotion can never apply, or gives nothing where it does."""
    when, rule = p.when, p.rule
    if when.currencies and when.minimum_minor and not {*when.currencies} & {*when.minimum_minor}:
        yield "never applies: `minimum` names none of its `currencies`"
    if when.systems and when.accounts:
        of_accounts = {name.partition("/")[0] for name in when.accounts}
        if not of_accounts & {*when.systems}:
            yield "never applies: its `accounts` are in none of its `systems`"
    yield from _ends_too_early(p)
    if isinstance(rule, ProductBonus):
        match = rule.match
        only_skus = not (match.sku_patterns or match.name_patterns or match.categories)
        if only_skus and {*match.skus} <= {*match.except_skus}:
            yield "never applies: `except_skus` names all of its `skus`"
        if 0 in (rule.points_per_unit, rule.percent_bps) or rule.multiplier_bps == BPS:
            yield "gives nothing: no points, or once as many"
    if isinstance(rule, ReferralReward) and not (rule.referrer_points or rule.friend_points):
        yield "gives nothing: neither to the friend nor to who referred them"
    if not _has_a_day(p, programs):
        yield "never applies: none of its days and hours lies between valid_from and valid_to"


def _ends_too_early(p: Promotion) -> Iterator[str]:
    if _ends_before_its_streak(p):
        yield "never applies: its streak is longer than it lasts"
    opens = p.when.code.valid_from if p.when.code else None
    if opens is not None and p.valid_to is not None and opens >= p.valid_to:
        yield "never applies: its code can be entered only once it has ended"


def _ends_before_its_streak(p: Promotion) -> bool:
    streak = p.when.streak
    if streak is None or p.valid_to is None:
        return False
    # The first and the last week or month need not be whole.
    whole = (streak.length - 2) * (7 if streak.weeks is not None else 28)
    return p.valid_to - p.valid_from <= timedelta(days=whole)


def _zone(p: Promotion, programs: Sequence[Program]) -> ZoneInfo:
    latest = max(programs, key=lambda program: program.version, default=None)
    return ZoneInfo(p.timezone or (latest.timezone if latest else HOME_ZONE))


def _has_a_day(p: Promotion, programs: Sequence[Program]) -> bool:
    """Whether a sale can meet the dates, weekdays and hours while the promotion is valid."""
    when, zone = p.when, _zone(p, programs)
    by_weekday = [
        day for day in when.dates if not when.weekdays or _WEEKDAYS[day.weekday()] in when.weekdays
    ]
    if when.clock == "customer":  # whose days are others
        return not when.dates or bool(by_weekday)
    days = by_weekday if when.dates else _days(p, zone)
    if days is None:
        return True
    hours = [(each.start, each.end) for each in when.hours] or [(time.min, time.min)]
    return any(
        _WEEKDAYS[day.weekday()] in (when.weekdays or _WEEKDAYS)
        and start < (p.valid_to or end)
        and p.valid_from < end
        for day, (begin, stop) in product(days, hours)
        for start, end in _pieces(day, begin, stop, zone)
    )


def _days(p: Promotion, zone: ZoneInfo) -> list[date] | None:
    """The local days of a promotion; None: so many that every day of the week is among them."""
    if p.valid_to is None or p.valid_to - p.valid_from > timedelta(days=_DAYS_MAX):
        return None
    first = p.valid_from.astimezone(zone).date()
    return [first + timedelta(days=n) for n in range(_DAYS_MAX + 2)]


def _pieces(
    day: date, begin: time, stop: time, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime]]:
    """The spans of a day from `begin` to `stop`; two where it goes past midnight."""
    midnight = datetime.combine(day, time(), zone)
    tomorrow = datetime.combine(day + timedelta(days=1), time(), zone)
    start, end = datetime.combine(day, begin, zone), datetime.combine(day, stop, zone)
    if stop == time.min:
        yield start, tomorrow
    elif stop < begin:
        yield midnight, end
        yield start, tomorrow
    else:
        yield start, end


def _under_another(drafts: Sequence[Promotion], promotions: Sequence[Promotion]) -> Iterator[str]:
    actives = [active for active in active_versions(promotions) if active.promotion.enabled]
    named = {draft.promotion_id for draft in drafts}
    for active in actives:
        latest = max(
            p.version for p in promotions if p.promotion_id == active.promotion.promotion_id
        )
        if active.promotion.promotion_id not in named or active.promotion.version != latest:
            continue
        for why in (better_one(active, other) for other in actives if other is not active):
            if why:
                yield f"promotion {active.promotion.promotion_id!r}: never gives anything: {why}"
                break


def _never_occurred(
    p: Promotion, programs: Sequence[Program], stored: StoredNames
) -> Iterator[str]:
    """Products, systems, accounts and currencies that no stored sale has."""
    where = f"promotion {p.promotion_id!r}"
    for key, names, known, what in (
        ("systems", p.when.systems, stored.systems, "billing system"),
        ("accounts", p.when.accounts, stored.accounts, "account"),
        *((key, codes, stored.currencies, "currency") for key, codes in _currencies(p.when)),
    ):
        for name in names:
            if name not in known:
                yield f"{where}.when.{key}: no sale was read so far of the {what} {name}"
    for name in p.when.lists if stored.lists is not None else ():
        if name not in (stored.lists or ()):
            yield f"{where}.when.lists: nobody is on the list {name} so far"
    if stored.places is not None:
        yield from _no_such_place(p, stored.places)
    for key, match in matches_of(p):
        if stored.skus:
            lines = _never_sold(p, match, programs, stored)
            yield from (f"{where}.{key}.{line}" for line in lines)


def _no_such_place(p: Promotion, known: Mapping[Place, frozenset[str]]) -> Iterator[str]:
    for place, names in p.when.places.items():
        for name in names:
            if not folded_names([name]) & known[place]:
                yield (
                    f"promotion {p.promotion_id!r}.when.{PLURALS[place]}: no sale was read so far "
                    f"of the {place} {name}"
                )


def matches_of(p: Promotion) -> Iterator[tuple[str, Match]]:
    """The products that a promotion asks for, by key."""
    if isinstance(p.rule, ProductBonus):
        yield "match", p.rule.match
    if p.when.bought_before is not None:
        yield "when.bought_before", p.when.bought_before


def _never_told(program: Program | None, stored: StoredNames) -> Iterator[str]:
    """Events of the rules that the loyalty app never told."""
    if program is None or stored.events is None:
        return
    for name in program.events:
        if name not in OWN and name not in stored.events:
            yield f"program.events.{name}: the loyalty app has told no such event so far"


def _never_sold(
    p: Promotion, match: Match, programs: Sequence[Program], stored: StoredNames
) -> Iterator[str]:
    """Products of a promotion that no stored sale has; key and what."""
    for key, skus in (("skus", match.skus), ("except_skus", match.except_skus)):
        yield from (f"{key}: {sku} was never sold so far" for sku in skus if sku not in stored.skus)
    categories = [
        (f"categories: {name}", version.categories.get(name, ()))
        for name in match.categories
        for version in _in_force(programs, p)[-1:]
    ]
    for key, globs, texts in (
        ("sku_patterns", match.sku_patterns, stored.skus),
        *((key, globs, stored.skus) for key, globs in categories),
        ("name_patterns", match.name_patterns, stored.names),
    ):
        for glob in globs:
            if glob != "*" and not _any(glob, texts):
                yield f"{key}: no product sold so far fits {glob}"


def _any(glob: str, texts: frozenset[str]) -> bool:
    fits = re.compile(pattern([glob]))
    return any(fits.match(text) for text in texts)


def _not_named(rules: Rules, promotions: Sequence[Promotion], now: datetime) -> list[str]:
    """Promotions that are in force, or will be, although the file does not name them."""
    named = {p.promotion_id for p in rules.promotions}
    others = {
        active.promotion.promotion_id: active
        for active in active_versions(promotions)
        if active.promotion.promotion_id not in named
        and active.promotion.enabled
        and (active.end is None or active.end > now)
    }
    return [
        f"promotion {name!r}: is not in the file and stays in force; to end it, name it with a "
        "`valid_to`"
        for name in sorted(others)
    ]


def _default_rate(program: Program | None) -> list[str]:
    if program is None or not program.base_rate_bps.keys() >= EXPONENTS.keys():
        return []
    what = (
        "one unit of every currency earns alike, whatever it is worth; name the currencies that "
        f"earn instead, as in {program.currency} = 10"
    )
    return [f"program.points_per_unit.default: {what}"]


def _sales_without_rules(program: Program | None, stored: StoredNames) -> list[str]:
    """Stored sales in currencies, and members of tiers, that the program does not have."""
    if program is None:
        return []
    foreign = {} if program.base_currency else stored.currencies
    return [
        f"program.points_per_unit: there are {count} sales in {code}, which earn nothing from "
        f"valid_from on; write `{code} = ...`, or convert them with base_currency"
        for code, count in sorted(foreign.items())
        if code not in program.base_rate_bps
    ] + [
        f"program.tiers: {count} members have the tier {tier}, which is missing: their sales are "
        "rejected"
        for tier, count in sorted(stored.tiers.items())
        if tier not in program.tier_rate_bps
    ]
