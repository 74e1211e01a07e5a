"""What is wrong with a file of rules, in the words of the file: keys as written, numbers in their units, and what to do."""

from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from loyalty.common import BPS
from loyalty.policies import Expiry, TierPolicy
from loyalty.promotions import Hours, Limits, Match, PeriodLimit, Promotion, Rule, Stacking, When, kinds

#: Keys of the models that are called otherwise in the file.
AS_WRITTEN: Final = {
    "base_rate_bps": "points_per_unit",
    "tier_rate_bps": "tiers",
    "promotion_id": "id",
    "multiplier_bps": "multiplier",
    "percent_bps": "percent",
    "minimum_minor": "minimum",
}
_NESTED: Final[dict[str, type[BaseModel]]] = {
    "when": When,
    "hours": Hours,
    "stacking": Stacking,
    "limits": Limits,
    "per_period": PeriodLimit,
    "match": Match,
    "tier_policy": TierPolicy,
    "expiry": Expiry,
    **{model.model_fields["kind"].default: model for model in get_args(get_args(Rule)[0])},
}


def told(error: ValidationError, model: type[BaseModel], where: str) -> list[str]:
    """One line per problem: `where`, the key as written, what is wrong."""
    return [_line(problem, model, where) for problem in error.errors()]


def _line(problem: Any, model: type[BaseModel], where: str) -> str:
    path = [str(part) for part in problem["loc"]]
    shown = [AS_WRITTEN.get(part, part) for part in path if part != "rule" and part not in kinds() and part != "[key]"]
    return f"{'.'.join([where, *shown])}: {_what(problem, path, model)}"


def _what(problem: Any, path: list[str], model: type[BaseModel]) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; known here: {', '.join(_known(path[:-1], model))}"
    if kind in ("missing", "union_tag_not_found") or (kind == "string_type" and problem["input"] is None):
        return f"is missing; kind is one of {', '.join(kinds())}" if kind == "union_tag_not_found" else "is missing"
    if kind == "union_tag_invalid":
        return f"kind is one of {', '.join(kinds())}"
    if any(part.endswith("_bps") for part in path):  # limits are told in the unit of the file
        scale = BPS // 100 if "percent_bps" in path else BPS
        for bound, words in (("ge", "must be at least"), ("le", "must be at most"), ("gt", "must be more than")):
            if bound in context:
                return f"{words} {context[bound] / scale:g}"
    if kind == "timezone_aware":
        return "must be a date like 2026-12-01 or a time like 2026-12-01T08:00:00+01:00"
    return str(problem["msg"]).removeprefix("Value error, ").replace("_bps", "")


def _known(parents: list[str], model: type[BaseModel]) -> list[str]:
    """The keys that the file may have at this place."""
    inner = next((_NESTED[name] for name in reversed(parents) if name in _NESTED), model)
    names = [name for name in inner.model_fields if name not in ("version", "rule")]
    if model is Promotion and inner.model_fields.keys() & {"kind"}:  # a rule's keys stand beside the promotion's own
        names += [name for name in Promotion.model_fields if name not in ("version", "rule")]
    return sorted({AS_WRITTEN.get(name, name) for name in names})
