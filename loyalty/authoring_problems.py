"""Problems of a file of rules, in the words of the file.

Keys are named as written, numbers are in the units of the file, and each line says what to do.
"""

from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from loyalty.places import PLURALS
from loyalty.policies import EventRule, Expiry, MemberLimits, Pending, TierPolicy
from loyalty.promotions import (
    Bought,
    Code,
    Hours,
    Limits,
    Match,
    PeriodLimit,
    Promotion,
    Rule,
    Stacking,
    Streak,
    When,
    kinds,
)
from loyalty.types import BPS

#: Keys of the models that have another name in the file.
AS_WRITTEN: Final = {
    "base_rate_bps": "points_per_unit",
    "per_full_minor": "points_per_unit",
    "tier_rate_bps": "tiers",
    "promotion_id": "id",
    "multiplier_bps": "multiplier",
    "percent_bps": "percent",
    "minimum_minor": "minimum",
}
_NESTED: Final[dict[str, type[BaseModel]]] = {
    "when": When,
    "hours": Hours,
    "streak": Streak,
    "stacking": Stacking,
    "limits": Limits,
    "per_period": PeriodLimit,
    "match": Match,
    "bought_before": Match,
    "bought_lately": Bought,
    "code": Code,
    "tier_policy": TierPolicy,
    "expiry": Expiry,
    "pending": Pending,
    "promotion_limits": MemberLimits,
    "events": EventRule,
    **{model.model_fields["kind"].default: model for model in get_args(get_args(Rule)[0])},
}


def problem_lines(
    error: ValidationError,
    model: type[BaseModel],
    where: str,
    nested: Mapping[str, type[BaseModel]] = _NESTED,
) -> list[str]:
    """One line per problem: `where`, the key as written, what is wrong.

    `nested`: the models of keys that are tables.
    """
    return [_line(problem, model, where, nested) for problem in error.errors()]


def _line(
    problem: Any, model: type[BaseModel], where: str, nested: Mapping[str, type[BaseModel]]
) -> str:
    path = [str(part) for part in problem["loc"]]
    shown = [
        AS_WRITTEN.get(part, part)
        for part in path
        if part != "rule" and part not in kinds() and part != "[key]"
    ]
    return f"{'.'.join([where, *shown])}: {_what(problem, path, model, nested)}"


#: pydantic's kinds of errors in words for people; the value in question is added.
_WORDS: Final = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be a text, in quotation marks",
    "tuple_type": "must be a list, in brackets: [...]",
    "dict_type": "must be a table of names and values",
    "model_type": "must be a table of keys and values",
    "model_attributes_type": "must be a table of keys and values",
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "must be a date like 2026-12-01",
    ),
    **dict.fromkeys(("time_type", "time_parsing"), "must be a time like 18:00:00"),
}
_MOMENT: Final = "must be a date like 2026-12-01 or a time like 2026-12-01T08:00:00+01:00"
#: Names that are checked by a pattern, and how they are written.
_NAMES: Final = {
    "promotion_id": "small letters, digits, - and _, as in black-november-2026",
    "accounts": "system/account, as in xero/1a2b",
    "tiers": "small letters, digits and _, as in gold",
    "tier_rate_bps": "small letters, digits and _, as in gold",
    "thresholds": "small letters, digits and _, as in gold",
    "entry_tier": "small letters, digits and _, as in lead",
    "events": "small letters, digits, - and _, as in review",
    "lists": "small letters, digits, - and _, as in vip",
    **dict.fromkeys(PLURALS.values(), "a text without blanks around it, as in Luanda"),
    "code": "capital letters, digits and -, as in VERAO-2027",
}
_SHOWN_MAX: Final = 60


def _what(
    problem: Any, path: list[str], model: type[BaseModel], nested: Mapping[str, type[BaseModel]]
) -> str:
    return (
        _about_keys(problem, path, model, nested)
        or _about_value(problem, path)
        or _bound(path, problem.get("ctx", {}))
        or str(problem["msg"]).removeprefix("Value error, ").replace("_bps", "")
    )


def _about_keys(
    problem: Any, path: list[str], model: type[BaseModel], nested: Mapping[str, type[BaseModel]]
) -> str | None:
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"unknown key; known here: {', '.join(_known(path[:-1], model, nested))}"
    if kind == "missing" or (kind == "string_type" and problem["input"] is None):
        return "is missing"
    if kind.startswith("union_tag"):
        return (
            "" if kind == "union_tag_invalid" else "is missing; "
        ) + f"kind is one of {', '.join(kinds())}"
    return None


def _about_value(problem: Any, path: list[str]) -> str | None:
    kind = problem["type"]
    if kind.startswith(("datetime", "timezone")):
        return _MOMENT
    if kind == "string_pattern_mismatch":
        named = next(
            (_NAMES[part] for part in reversed(path) if part in _NAMES),
            "three capital letters, as in AOA",
        )
        return f"{_found(problem)} is written otherwise: {named}"
    if kind == "literal_error":
        return f"{_found(problem)} is not one of {problem['ctx']['expected']}"
    return f"{_WORDS[kind]}, not {_found(problem)}" if kind in _WORDS else None


def _bound(path: list[str], context: Any) -> str | None:
    """A limit in the unit of the file."""
    scaled = any(part.endswith("_bps") for part in path)
    scale = (BPS // 100 if "percent_bps" in path else BPS) if scaled else 1
    for bound, words in (
        ("ge", "must be at least"),
        ("le", "must be at most"),
        ("gt", "must be more than"),
    ):
        if bound in context:
            limit = context[bound]
            return f"{words} {limit // scale if limit % scale == 0 else limit / scale}"
    return None


def _found(problem: Any) -> str:
    value = problem["input"]
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def _known(
    parents: list[str], model: type[BaseModel], nested: Mapping[str, type[BaseModel]]
) -> list[str]:
    """The keys that the file may have at this place."""
    inner = next((nested[name] for name in reversed(parents) if name in nested), model)
    names = [name for name in inner.model_fields if name not in ("version", "rule")]
    # A rule's keys stand beside the promotion's own.
    if model is Promotion and "kind" in inner.model_fields:
        names += [name for name in Promotion.model_fields if name not in ("version", "rule")]
    return sorted({AS_WRITTEN.get(name, name) for name in names})
