"""The points program in words that an app can show, in English and in Portuguese.

Everything follows from the rules in force, so a change of the rules changes the words.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Final

from loyalty.currency import EXPONENTS
from loyalty.member_events import BIRTHDAY, SIGN_UP
from loyalty.places import Place
from loyalty.policies import EventRule, Expiry, Pending, TierPolicy
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.promotions.kinds import (
    Match,
    ProductBonus,
    PurchaseBonus,
    ReferralReward,
    SeasonalMultiplier,
)
from loyalty.promotions.promotion import Bought, Streak, When
from loyalty.tier_progress import counted
from loyalty.types import BEGINNING, BPS


@dataclass(frozen=True)
class Words:
    """One text in both languages."""

    #: English.
    en: str
    #: Portuguese.
    pt: str


@dataclass(frozen=True)
class EarningRate:
    """How many points money earns."""

    #: Points per whole unit, or per full amount.
    points_per_unit: Decimal
    #: Empty: every other currency.
    currencies: tuple[str, ...]
    words: Words
    #: The amount of which only full ones earn, in whole units; None: every unit does.
    per_full: Decimal | None = None


@dataclass(frozen=True)
class ProgramTier:
    """A tier of the program."""

    tier: str
    #: How many times as much it earns.
    multiplier: Decimal
    #: What reaches it, as in TierProgress; None: it is the lowest, or set by the loyalty app.
    threshold: Decimal | None
    words: Words


@dataclass(frozen=True)
class EventWords:
    """What members earn beside buying."""

    #: As the rules and the loyalty app call it.
    name: str
    points: int
    words: Words


@dataclass(frozen=True)
class PromotionWords:
    """A promotion in words."""

    promotion_id: str
    #: As its author calls it; may be empty.
    title: str
    #: None: no end is set.
    ends_at: datetime | None
    words: Words


@dataclass(frozen=True)
class ProgramWords:
    """A version of the program in words, with its promotions."""

    version: int
    #: None: it has no beginning.
    valid_from: datetime | None
    #: The rate of most currencies comes last.
    earning: tuple[EarningRate, ...]
    #: From the lowest to the highest.
    tiers: tuple[ProgramTier, ...]
    #: None: tiers do not follow from purchases.
    keeping_tiers: Words | None
    expiry: Words
    spending: Words
    promotions: tuple[PromotionWords, ...]
    #: What earns points beside purchases.
    events: tuple[EventWords, ...] = ()


_WEEKDAYS: Final = {
    "mon": Words("Monday", "segunda-feira"),
    "tue": Words("Tuesday", "terça-feira"),
    "wed": Words("Wednesday", "quarta-feira"),
    "thu": Words("Thursday", "quinta-feira"),
    "fri": Words("Friday", "sexta-feira"),
    "sat": Words("Saturday", "sábado"),
    "sun": Words("Sunday", "domingo"),
}
_PERIODS: Final = {
    "month": Words("month", "mês"),
    "quarter": Words("quarter", "trimestre"),
    "half_year": Words("half-year", "semestre"),
    "year": Words("year", "ano"),
    "week": Words("week", "semana"),
    "day": Words("day", "dia"),
}


def factor(bps: int) -> Decimal:
    """A rate in basis points as a number without trailing zeros: 12_000 is 1.2."""
    return Decimal(bps) / BPS if bps % BPS else Decimal(bps // BPS)


def _number(value: Decimal | int) -> Words:
    """A number as each language writes it."""
    text = f"{Decimal(value).normalize():f}"
    return Words(text, text.replace(".", ","))


def _money(minor: int, currency: str) -> Words:
    exponent = EXPONENTS.get(currency, 2)
    text = f"{Decimal(minor).scaleb(-exponent):.{exponent}f}"
    return Words(f"{text} {currency}", f"{text.replace('.', ',')} {currency}")


def _points(count: int | Decimal) -> Words:
    number = _number(count)
    one = count == 1
    return Words(
        f"{number.en} {'point' if one else 'points'}", f"{number.pt} {'ponto' if one else 'pontos'}"
    )


def _listed(names: Iterable[str], joint: str) -> str:
    *first, last = names
    return f"{', '.join(first)} {joint} {last}" if first else last


def program(rules: Program, promotions: Iterable[Promotion]) -> ProgramWords:
    """A version of the program, and promotions, in words."""
    policy = rules.tier_policy
    ranked = policy.ranked(rules.entry_tier) if policy else []
    others = sorted(set(rules.tier_rate_bps) - set(ranked), key=rules.tier_rate_bps.__getitem__)
    return ProgramWords(
        version=rules.version,
        valid_from=None if rules.valid_from <= BEGINNING else rules.valid_from,
        earning=tuple(_rates(rules)),
        tiers=tuple(_tier(rules, name) for name in (*ranked, *others)),
        keeping_tiers=keeping(policy) if policy else None,
        expiry=expiry(rules.expiry),
        spending=spending(rules.pending),
        promotions=tuple(map(promotion, promotions)),
        events=tuple(event(name, rule) for name, rule in sorted(rules.events.items())),
    )


def _rates(rules: Program) -> Iterator[EarningRate]:
    by_rate: dict[int, list[str]] = {}
    for currency, bps in sorted(rules.base_rate_bps.items()):
        minor = rules.per_full_minor.get(currency)
        if minor is not None:
            points, amount = _points(factor(bps)), _money(minor, currency)
            words = Words(
                f"You earn {points.en} for each full {amount.en}.",
                f"Ganha {points.pt} por cada {amount.pt} completos.",
            )
            whole = Decimal(minor).scaleb(-EXPONENTS.get(currency, 2))
            yield EarningRate(factor(bps), (currency,), words, whole)
            continue
        by_rate.setdefault(bps, []).append(currency)
    rates = sorted(by_rate.items(), key=lambda rate: (len(rate[1]), rate[1]))
    # Where every currency has a rate, nobody reads a list of them all.
    others = rates[-1][0] if rates and len(rules.base_rate_bps) >= len(EXPONENTS) else None
    for bps, currencies in rates:
        named = () if bps == others else tuple(currencies)
        yield EarningRate(factor(bps), named, earning(bps, named or None))


def _tier(rules: Program, name: str) -> ProgramTier:
    rate, policy = rules.tier_rate_bps[name], rules.tier_policy
    threshold = policy.thresholds.get(name) if policy else None
    reached = None if policy is None or threshold is None else counted(threshold, policy)
    return ProgramTier(name, factor(rate), reached, tier(rate, name, policy))


def earning(bps: int, currencies: Sequence[str] | None) -> Words:
    """What a sale earns; `currencies` None: in any currency."""
    points = _points(factor(bps))
    if currencies is None:
        return Words(
            f"You earn {points.en} for each unit of the currency you pay in.",
            f"Ganha {points.pt} por cada unidade da moeda em que paga.",
        )
    return Words(
        f"You earn {points.en} for each {_listed(currencies, 'or')}.",
        f"Ganha {points.pt} por cada {_listed(currencies, 'ou')}.",
    )


def tier(rate_bps: int, name: str, policy: TierPolicy | None) -> Words:
    """What a tier gives, and what reaches it."""
    times = _number(factor(rate_bps))
    gives = Words(f"You earn {times.en} times as many points", f"Ganha {times.pt} vezes os pontos")
    if policy is None or name not in policy.thresholds:
        return Words(f"{gives.en}.", f"{gives.pt}.")
    threshold = policy.thresholds[name]
    reached = _points(threshold) if policy.currency is None else _money(threshold, policy.currency)
    counted = (
        Words("points from purchases", "pontos de compras")
        if policy.currency is None
        else Words("purchases", "compras")
    )
    return Words(
        f"{gives.en}, once your {counted.en} of the last {policy.window_days} days come to "
        f"{reached.en}.",
        f"{gives.pt}, quando os {counted.pt} dos últimos {policy.window_days} dias chegam a "
        f"{reached.pt}."
        if policy.currency is None
        else f"{gives.pt}, quando as {counted.pt} dos últimos {policy.window_days} dias chegam a "
        f"{reached.pt}.",
    )


def keeping(policy: TierPolicy) -> Words:
    """Until when a tier is kept."""
    period, days = _PERIODS[policy.period], policy.grace_days
    grace = Words(f", {days} days later" if days else "", f", {days} dias depois" if days else "")
    return Words(
        f"A tier is yours at once, and is looked at again when a {period.en} ends{grace.en}.",
        f"O nível é seu de imediato, e é revisto no fim de cada {period.pt}{grace.pt}.",
    )


def expiry(rule: Expiry | None) -> Words:
    """When points expire."""
    if rule is None:
        return Words("Points do not expire.", "Os pontos não expiram.")
    one = rule.months == 1
    ends = {
        "day": Words("", ""),
        "month": Words(", at the end of that month", ", no fim desse mês"),
        "year": Words(", at the end of that year", ", no fim desse ano"),
    }[rule.end_of]
    return Words(
        f"Points expire {rule.months} {'month' if one else 'months'} after the purchase{ends.en}; "
        "the oldest are spent first.",
        f"Os pontos expiram {rule.months} {'mês' if one else 'meses'} depois da compra{ends.pt}; "
        "os mais antigos são gastos primeiro.",
    )


def spending(rule: Pending | None) -> Words:
    """From when on points can be spent."""
    if rule is None:
        return Words("You can spend points at once.", "Pode gastar os pontos de imediato.")
    en, pt = [], []
    if rule.until_paid:
        en.append("it is paid")
        pt.append("esta estiver paga")
    if rule.days == 1:
        en.append("1 day after its day is over")
        pt.append("passar 1 dia depois do dia da compra")
    elif rule.days is not None:
        en.append(f"{rule.days} days after its day are over")
        pt.append(f"passarem {rule.days} dias depois do dia da compra")
    return Words(
        f"You can spend the points of a purchase once {' and '.join(en)}.",
        f"Pode gastar os pontos de uma compra quando {' e '.join(pt)}.",
    )


def event(name: str, rule: EventRule) -> EventWords:
    """What an event is worth, and how many of them count."""
    points = _points(rule.points)
    if name == SIGN_UP:
        words = Words(f"{points.en} when you sign up.", f"{points.pt} quando se regista.")
    elif name == BIRTHDAY:
        words = Words(
            f"{points.en} on your birthday, once a year.",
            f"{points.pt} no seu aniversário, uma vez por ano.",
        )
    else:
        limits = list(_event_limits(rule))
        words = Words(
            f"{points.en} for {name}{_behind([each.en for each in limits])}.",
            f"{points.pt} por {name}{_behind([each.pt for each in limits])}.",
        )
    return EventWords(name, rule.points, words)


def _event_limits(rule: EventRule) -> Iterator[Words]:
    if rule.at_most == 1:
        yield Words("once", "uma vez")
        return
    if rule.per_day == 1:
        yield Words("once a day", "uma vez por dia")
    elif rule.per_day is not None:
        yield Words(f"{rule.per_day} times a day at most", f"no máximo {rule.per_day} por dia")
    if rule.at_most is not None:
        yield Words(
            f"{rule.at_most} times in all at most", f"no máximo {rule.at_most} vezes ao todo"
        )


def promotion(rule: Promotion) -> PromotionWords:
    """What a promotion gives, and under which conditions."""
    gives, conditions = _gives(rule), _conditions(rule.when)
    words = Words(
        f"{gives.en}{_behind([c.en for c in conditions])}.",
        f"{gives.pt}{_behind([c.pt for c in conditions])}.",
    )
    return PromotionWords(rule.promotion_id, rule.title, rule.valid_to, words)


def _behind(conditions: Sequence[str]) -> str:
    return f" ({'; '.join(conditions)})" if conditions else ""


def _gives(rule: Promotion) -> Words:
    match rule.rule:
        case SeasonalMultiplier(multiplier_bps=bps):
            times = _number(factor(bps))
            return Words(f"{times.en} times as many points", f"{times.pt} vezes os pontos")
        case PurchaseBonus(points=count):
            points = _points(count)
            return Words(f"{points.en} extra for a purchase", f"Mais {points.pt} por uma compra")
        case ReferralReward() as referral:
            yours, theirs = _points(referral.referrer_points), _points(referral.friend_points)
            friend = (
                Words(f", and {theirs.en} for them", f", e {theirs.pt} para essa pessoa")
                if referral.friend_points
                else Words("", "")
            )
            return Words(
                f"{yours.en} for you when somebody you referred buys{friend.en}",
                f"{yours.pt} para si quando alguém que convidou compra{friend.pt}",
            )
        case ProductBonus() as bonus:
            return _product(bonus)


def _products(match: Match) -> Words:
    names = [
        *match.categories, *match.skus, *match.sku_patterns, *match.name_patterns,
    ]  # fmt: skip
    return (
        Words(_listed(names, "or"), _listed(names, "ou"))
        if names
        else Words("certain products", "certos produtos")
    )


def _product(bonus: ProductBonus) -> Words:
    what = _products(bonus.match)
    if bonus.points_per_unit is not None:
        points = _points(bonus.points_per_unit)
        return Words(
            f"{points.en} extra for each {what.en}", f"Mais {points.pt} por cada {what.pt}"
        )
    if bonus.percent_bps is not None:
        share = _number(Decimal(bonus.percent_bps) / 100)
        return Words(
            f"{share.en} % of the price of {what.en} as extra points",
            f"Mais {share.pt} % do preço de {what.pt} em pontos",
        )
    assert bonus.multiplier_bps is not None
    if bonus.multiplier_bps == 0:
        return Words(f"No points for {what.en}", f"Sem pontos para {what.pt}")
    times = _number(factor(bonus.multiplier_bps))
    return Words(
        f"{times.en} times as many points for {what.en}",
        f"{times.pt} vezes os pontos para {what.pt}",
    )


def _conditions(when: When) -> list[Words]:
    """Every condition that a customer can act on."""
    least = [_money(minor, currency) for currency, minor in when.minimum_minor.items()]
    words = []
    if least:
        en, pt = _listed([m.en for m in least], "or"), _listed([m.pt for m in least], "ou")
        words.append(Words(f"from {en}", f"a partir de {pt}"))
    words += _segments(when)
    if when.first_purchase:
        words.append(Words("on your first purchase", "na primeira compra"))
    if when.nth_purchase is not None:
        nth = when.nth_purchase
        words.append(Words(f"on every {_ordinal(nth)} purchase", f"em cada {nth}.ª compra"))
    if when.streak is not None:
        words.append(_streak(when.streak))
    if when.currencies:
        paid = when.currencies
        words.append(Words(f"paid in {_listed(paid, 'or')}", f"pago em {_listed(paid, 'ou')}"))
    if when.tiers:
        tiers = when.tiers
        words.append(
            Words(f"for the tier {_listed(tiers, 'or')}", f"para o nível {_listed(tiers, 'ou')}")
        )
    if when.weekdays:
        days = [_WEEKDAYS[day] for day in when.weekdays]
        en, pt = _listed([d.en for d in days], "or"), _listed([d.pt for d in days], "ou")
        words.append(Words(f"on {en}", pt))
    if when.hours:
        spans = [(_clock(hours.start), _clock(hours.end)) for hours in when.hours]
        en = _listed([f"{start} to {end}" for start, end in spans], "or")
        pt = _listed([f"das {start} às {end}" for start, end in spans], "ou")
        words.append(Words(en, pt))
    if when.dates:
        en = _listed([f"{day:%Y-%m-%d}" for day in when.dates], "or")
        pt = _listed([f"{day:%d/%m/%Y}" for day in when.dates], "ou")
        words.append(Words(f"on {en}", f"em {pt}"))
    return words


#: How a sale at one of some places is said; `{}` are the names.
_AT: Final[Mapping[Place, Words]] = {
    "store": Words("at {}", "na loja {}"),
    "channel": Words("bought by {}", "comprado por {}"),
    "city": Words("in {}", "em {}"),
    "region": Words("in the region {}", "na região {}"),
}


def _segments(when: When) -> Iterator[Words]:
    """For whom it is. A code is not told: whoever is to have it has it."""
    for place, names in when.places.items():
        said = _AT[place]
        yield Words(said.en.format(_listed(names, "or")), said.pt.format(_listed(names, "ou")))
    if when.lists:
        yield Words("for invited members", "para membros convidados")
    if when.code is not None:
        yield Words("with a code", "com um código")
    if when.lapsed_days is not None:
        days = when.lapsed_days
        yield Words(
            f"when you have not bought for {days} {'day' if days == 1 else 'days'}",
            f"se não comprar há {days} {'dia' if days == 1 else 'dias'}",
        )
    if when.bought_before is not None:
        what = _products(when.bought_before)
        yield Words(f"when you have bought {what.en} before", f"se já comprou {what.pt}")
    if when.bought_lately is not None:
        yield _lately(when.bought_lately)


def _lately(asked: Bought) -> Words:
    times, days = asked.purchases, asked.days
    en = f"{times} times" if times > 1 else "something"
    pt = f"{times} vezes" if times > 1 else "algo"
    if asked.minimum_minor:
        least = [_money(minor, currency) for currency, minor in asked.minimum_minor.items()]
        en += f" for {_listed([m.en for m in least], 'or')} or more"
        pt += f" por {_listed([m.pt for m in least], 'ou')} ou mais"
    return Words(
        f"when you have bought {en} in the last {days} {'day' if days == 1 else 'days'}",
        f"se comprou {pt} {'no último dia' if days == 1 else f'nos últimos {days} dias'}",
    )


def _ordinal(number: int) -> str:
    is_teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _streak(streak: Streak) -> Words:
    if streak.weeks is not None:
        return Words(
            f"when you buy in each of {streak.weeks} weeks in a row",
            f"se comprar em cada uma de {streak.weeks} semanas seguidas",
        )
    return Words(
        f"when you buy in each of {streak.months} months in a row",
        f"se comprar em cada um de {streak.months} meses seguidos",
    )


def _clock(at: time) -> str:
    return f"{at:%H:%M}"
