"""Writes stored rules in the notation of points.toml.

So what is in force can be shown, edited and applied again.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import tomli_w

from loyalty.authoring import DEFAULT
from loyalty.authoring_problems import AS_WRITTEN
from loyalty.currency import EXPONENTS
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.types import BEGINNING, BPS


def write_rules(program: Program | None, promotions: Sequence[Promotion]) -> str:
    """TOML that `loyalty.authoring.read_rules` reads as the same rules.

    Versions are not written.
    """
    document: dict[str, Any] = {}
    if program is not None:
        document["program"] = program_table(program)
    if promotions:
        zone = ZoneInfo(program.timezone) if program is not None else None
        document["promotion"] = [promotion_table(promotion, zone) for promotion in promotions]
    return tomli_w.dumps(document)


def program_table(program: Program) -> dict[str, Any]:
    """The table `program` of one version."""
    values = program.model_dump(mode="json", exclude={"version", "valid_from"}, exclude_none=True)
    for name in ("base_rate_bps", "per_full_minor", "tier_rate_bps"):
        values.pop(name)
    policy = program.tier_policy
    if policy is not None and policy.metric == "spend" and policy.currency is not None:
        unit = 10 ** EXPONENTS[policy.currency]
        values["tier_policy"]["thresholds"] = {
            tier: _plain(n, unit) for tier, n in policy.thresholds.items()
        }
    begins = (
        {}
        if program.valid_from == BEGINNING
        else {"valid_from": _local(program.valid_from, ZoneInfo(program.timezone))}
    )
    tables = {name: value for name, value in values.items() if isinstance(value, dict) and value}
    flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
    tiers = {
        name: _plain(rate, BPS)
        for name, rate in sorted(program.tier_rate_bps.items(), key=lambda tier: tier[1])
    }
    return begins | flat | {"points_per_unit": _rates(program), "tiers": tiers} | tables


def _rates(program: Program) -> dict[str, Any]:
    """Rates by currency; where all currencies have one, the most frequent as `default`."""
    full, plain = program.per_full_minor, {}
    for code, rate in program.base_rate_bps.items():
        if code not in full:
            plain[code] = _plain(rate, BPS)
    usual = Counter(plain.values()).most_common(1)[0][0] if plain else None
    if program.base_rate_bps.keys() == EXPONENTS.keys() and usual is not None:
        plain = {DEFAULT: usual} | {code: rate for code, rate in plain.items() if rate != usual}
    return plain | {
        code: {
            "points": _plain(program.base_rate_bps[code], BPS),
            "per_full": _plain(minor, 10 ** EXPONENTS.get(code, 2)),
        }
        for code, minor in full.items()
    }


def promotion_table(promotion: Promotion, zone: ZoneInfo | None) -> dict[str, Any]:
    """A table `promotion`, times in `zone` (None: as stored)."""
    values: dict[str, Any] = promotion.model_dump(mode="json", exclude_defaults=True)
    when = _with_minimum(values.pop("when", {}))
    if "bought_lately" in when:
        when["bought_lately"] = _with_minimum(when["bought_lately"])
    rule: dict[str, Any] = values.pop("rule", {}) | {"kind": promotion.kind}
    for key, scale in (("multiplier_bps", BPS), ("percent_bps", BPS // 100)):
        if key in rule:
            rule[AS_WRITTEN[key]] = _plain(rule.pop(key), scale)
    times = {"valid_from": _local(promotion.valid_from, zone)}
    if promotion.valid_to is not None:
        times["valid_to"] = _local(promotion.valid_to, zone)
    head: dict[str, Any] = {"id": promotion.promotion_id}
    if promotion.title:
        head["title"] = promotion.title
    used = {"promotion_id", "version", "valid_from", "valid_to", "title"}
    rest = {name: value for name, value in values.items() if name not in used}
    return head | times | rule | rest | ({"when": when} if when else {})


def _with_minimum(values: dict[str, Any]) -> dict[str, Any]:
    """A table of conditions whose `minimum` is in whole currency units."""
    minimum = values.pop("minimum_minor", None)
    if minimum is None:
        return values
    major = {code: _plain(minor, 10 ** EXPONENTS.get(code, 2)) for code, minor in minimum.items()}
    return values | {"minimum": major}


def _plain(number: int, scale: int) -> int | Decimal:
    whole, part = divmod(number, scale)
    return whole if not part else (Decimal(number) / scale).normalize()


def _local(moment: datetime, zone: ZoneInfo | None) -> datetime:
    return moment if zone is None or moment.year < 2 else moment.astimezone(zone)
