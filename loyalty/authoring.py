"""Reads the rules as people write them (points.toml) into the models they are computed with.

People write whole units and factors; the models hold exact integers.

    multiplier = 1.2          <->  multiplier_bps: 12_000
    percent = 5               <->  percent_bps: 500
    minimum = { AOA = 5000 }  <->  minimum_minor: {"AOA": 500_000}
    AOA = 10                  <->  base_rate_bps: {"AOA": 100_000}
    AOA = { points = 1, per_full = 500 }
                              <->  base_rate_bps: {"AOA": 10_000}, per_full_minor: {"AOA": 50_000}
    valid_from = 2026-12-01   <->  midnight of that day in the program's time zone

The models are those of the engine; this is only another notation for them. Problems are collected,
and named as written.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from loyalty.authoring_lines import located
from loyalty.authoring_problems import problem_lines
from loyalty.currency import EXPONENTS
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.types import BEGINNING, BPS, HOME_ZONE

#: A file of rules is for people; no program of any use is larger.
CHARACTERS_MAX: Final = 500_000
#: In `points_per_unit`: every currency of ISO 4217 that is not named.
DEFAULT: Final = "default"
#: Versions are numbered when they are applied.
_UNNUMBERED: Final = 1
_PROMOTION_KEYS: Final = (
    "title",
    "valid_from",
    "valid_to",
    "when",
    "stacking",
    "limits",
    "timezone",
    "enabled",
)


class BadRulesError(ValueError):
    """A file of rules that cannot be used. `problems` names every key at fault, and what to do."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True)
class Rules:
    """What a file says. Versions are not numbered yet: each is 1."""

    #: None: the file does not name it.
    program: Program | None = None
    #: Those that the file names.
    promotions: tuple[Promotion, ...] = ()


def read_rules(text: str, *, zone: str = HOME_ZONE) -> Rules:
    """The rules in `text` (TOML).

    Args:
        text: A table `program`, any number of `promotion`s, or both.
        zone: Time zone of dates and times without one, if the file has no program to say so.

    Raises:
        BadRulesError: With all problems at once, each with its line and key.
    """
    if len(text) > CHARACTERS_MAX:
        raise BadRulesError([f"the file is longer than {CHARACTERS_MAX} characters"])
    try:
        document = tomllib.loads(text.lstrip("\ufeff"), parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ValueError, InvalidOperation, RecursionError) as error:
        raise BadRulesError([f"this is not TOML: {error}"]) from None
    reader = _Reader(zone=_zone(document, zone))
    rules = reader.rules(document)
    if reader.problems:
        raise BadRulesError(located(reader.problems, text, reader.named))
    return rules


def placed(problems: Iterable[str], text: str) -> list[str]:
    """What is said of a file that can be read, in its order, each with its line."""
    document = tomllib.loads(text.lstrip("\ufeff"), parse_float=Decimal)
    numbers = {
        f"promotion {raw.get('id')!r}": number
        for number, raw in enumerate(document.get("promotion", []), 1)
    }
    return located(problems, text, numbers)


def _zone(document: Mapping[str, Any], otherwise: str) -> ZoneInfo:
    program = document.get("program")
    name = program.get("timezone", otherwise) if isinstance(program, dict) else otherwise
    try:
        return ZoneInfo(name if isinstance(name, str) else otherwise)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(otherwise)  # the model names it as the problem it is


@dataclass
class _Reader:
    zone: ZoneInfo
    problems: list[str] = field(default_factory=list)
    #: The number of each promotion, by how problems call it.
    named: dict[str, int] = field(default_factory=dict)

    def rules(self, document: Mapping[str, Any]) -> Rules:
        for key in document.keys() - {"program", "promotion"}:
            self._problem(
                key, "unknown; the file has one [program] and any number of [[promotion]]"
            )
        program = self._program(document["program"]) if "program" in document else None
        listed = document.get("promotion", [])
        if not isinstance(listed, list):
            self._problem(
                "promotion", "each promotion begins with [[promotion]], in two pairs of brackets"
            )
            listed = []
        promotions: dict[str, Promotion] = {}
        for number, raw in enumerate(listed, 1):
            promotion = self._promotion(raw, number)
            if promotion is None:
                continue
            if promotions.setdefault(promotion.promotion_id, promotion) is not promotion:
                self._problem(
                    f"promotion {number}",
                    f"another promotion is called {promotion.promotion_id!r} too",
                )
        if program is None and not promotions and not self.problems:
            self._problem("the file", "holds neither a [program] nor a [[promotion]]")
        return Rules(program, tuple(promotions.values()))

    def _program(self, raw: Any) -> Program | None:
        if not isinstance(raw, dict):
            self._problem("program", "must be a table: [program]")
            return None
        where, values = "program", dict(raw)
        values |= self._rates(values.pop("points_per_unit", {}), f"{where}.points_per_unit")
        values["tier_rate_bps"] = self._numbers(values.pop("tiers", {}), BPS, f"{where}.tiers")
        values["valid_from"] = self._instant(values.get("valid_from", BEGINNING))
        if "version" in values:
            self._problem(f"{where}.version", "leave it out: versions are numbered by themselves")
        values["version"] = _UNNUMBERED
        policy = values.get("tier_policy")
        if isinstance(policy, dict) and policy.get("metric") == "spend":
            exponent = EXPONENTS.get(str(policy.get("currency")), 2)
            at = f"{where}.tier_policy.thresholds"
            values["tier_policy"] = policy | {
                "thresholds": self._numbers(policy.get("thresholds", {}), 10**exponent, at)
            }
        try:
            return Program.model_validate(values)
        except ValidationError as error:
            self.problems += problem_lines(error, Program, where)
            return None

    def _rates(self, raw: Any, where: str) -> dict[str, Any]:
        """`base_rate_bps` and `per_full_minor` from points per unit, or per full amount."""
        if not isinstance(raw, dict):
            return {"base_rate_bps": self._numbers(raw, BPS, where)}
        for code in raw.keys() - EXPONENTS.keys() - {DEFAULT}:
            self._problem(f"{where}.{code}", "is no currency of ISO 4217")
        full = {code: each for code, each in raw.items() if isinstance(each, dict)}
        per_full = {
            code: self._per_full(each, 10 ** EXPONENTS.get(code, 2), f"{where}.{code}")
            for code, each in full.items()
        }
        plain = raw | {code: each.get("points", 1) for code, each in full.items()}
        rates = self._numbers(plain, BPS, where)
        if DEFAULT in per_full:
            self._problem(f"{where}.{DEFAULT}", "must be a number: name currencies for `per_full`")
        if DEFAULT in rates:
            rates = dict.fromkeys(EXPONENTS, rates.pop(DEFAULT)) | rates
        return {"base_rate_bps": rates, "per_full_minor": per_full}

    def _per_full(self, raw: Mapping[str, Any], unit: int, where: str) -> int:
        if raw.keys() != {"points", "per_full"}:
            self._problem(where, "must be points per unit, or { points = 1, per_full = 1000 }")
            return 1
        return self._number(raw["per_full"], unit, f"{where}.per_full")

    def _promotion(self, raw: Any, number: int) -> Promotion | None:
        where = f"promotion {number}"
        if not isinstance(raw, dict):
            self._problem(where, "must be a table: [[promotion]]")
            return None
        rule = dict(raw)
        values: dict[str, Any] = {"version": _UNNUMBERED, "promotion_id": rule.pop("id", None)}
        if isinstance(values["promotion_id"], str):
            where = f"promotion {values['promotion_id']!r}"
        self.named |= {where: number, f"promotion {number}": number}
        if "version" in rule:
            self._problem(f"{where}.version", "leave it out: versions are numbered by themselves")
            rule.pop("version")
        values |= {key: rule.pop(key) for key in _PROMOTION_KEYS if key in rule}
        values |= {
            key: self._instant(values[key]) for key in ("valid_from", "valid_to") if key in values
        }
        for key, scale in (("multiplier", BPS), ("percent", BPS // 100)):
            if key in rule:
                rule[f"{key}_bps"] = self._number(rule.pop(key), scale, f"{where}.{key}")
        values["rule"] = rule
        values["when"] = self._when(values.get("when", {}), where)
        try:
            return Promotion.model_validate(values)
        except ValidationError as error:
            self.problems += problem_lines(error, Promotion, where)
            return None

    def _when(self, raw: Any, where: str) -> Any:
        if not isinstance(raw, dict):
            return raw
        values = dict(raw)
        code = values.get("code")
        if isinstance(code, dict):
            times = {k: self._instant(code[k]) for k in ("valid_from", "valid_to") if k in code}
            values["code"] = code | times
        lately = values.get("bought_lately")
        if isinstance(lately, dict):
            values["bought_lately"] = self._with_minimum(lately, f"{where}.when.bought_lately")
        return self._with_minimum(values, f"{where}.when")

    def _with_minimum(self, raw: dict[str, Any], where: str) -> dict[str, Any]:
        """A table whose `minimum` is in minor units, as the models have it."""
        values = dict(raw)
        if "minimum" not in values:
            return values
        minimum = values.pop("minimum")
        if not isinstance(minimum, dict):
            self._problem(f"{where}.minimum", "must name currencies: minimum = { AOA = 5000 }")
            return values
        values["minimum_minor"] = {
            code: self._number(amount, 10 ** EXPONENTS.get(code, 2), f"{where}.minimum.{code}")
            for code, amount in minimum.items()
        }
        return values

    def _numbers(self, raw: Any, scale: int, where: str) -> Any:
        if not isinstance(raw, dict):
            self._problem(where, "must be a table of names and numbers")
            return {}
        return {name: self._number(value, scale, f"{where}.{name}") for name, value in raw.items()}

    def _number(self, raw: Any, scale: int, where: str) -> int:
        """The number times `scale`.

        1 where it is no number, so that the model finds nothing further to report about it.
        """
        try:
            value = (
                Decimal(str(raw))
                if isinstance(raw, (int, str, Decimal)) and not isinstance(raw, bool)
                else None
            )
        except InvalidOperation:
            value = None
        if value is None or not value.is_finite() or abs(value) > 10**15:
            self._problem(
                where, f"{raw!r} is no number" if value is None else f"{raw} is no usable number"
            )
            return 1
        scaled = value * scale
        if scaled != int(scaled):
            self._problem(where, f"{raw} has too many decimals: {len(str(scale)) - 1} at most")
            return 1
        return int(scaled)

    def _instant(self, raw: Any) -> Any:
        """A date is midnight, a time without a zone is local, both in the program's time zone."""
        if isinstance(raw, str):
            try:
                raw = datetime.fromisoformat(raw)
            except ValueError:
                return raw  # the model says what is wrong with it
        if isinstance(raw, date) and not isinstance(raw, datetime):
            raw = datetime.combine(raw, time())
        return (
            raw.replace(tzinfo=self.zone)
            if isinstance(raw, datetime) and raw.tzinfo is None
            else raw
        )

    def _problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")
