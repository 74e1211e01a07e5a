"""What a file of rules would change.

That is new versions, the keys that differ, and the first instant at which anything does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from loyalty.authored import program_table, promotion_table
from loyalty.authoring import Rules
from loyalty.program import Program
from loyalty.promotions import Limits, Promotion
from loyalty.types import HOME_ZONE, spans

#: Keys of the program that change only where a file names them: what they say when they are left
#: out was another thing when older files were written.
_KEPT = ("unlinked_credits", "discount_lines")
#: These keys are shown beside a change, not among its differences.
_TIMES = ("valid_from", "valid_to")


@dataclass(frozen=True)
class Change:
    """One part of the rules, the program or a promotion, and what becomes of it."""

    #: `program`, or the promotion's id.
    name: str
    #: What becomes of it.
    status: Literal["new", "changed", "unchanged"]
    #: The new version's number, or the present one's.
    version: int
    #: When the version begins.
    valid_from: datetime
    #: The first instant at which it says something else than what was in force; None: never.
    reaches: datetime | None
    #: Lines of the file: `tiers.gold: 1.5 -> 1.6`.
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The rules as they would be (all versions), what is new in them, and what changes."""

    #: All versions of the program, with the new one.
    programs: tuple[Program, ...]
    #: All versions of all promotions, with the new ones.
    promotions: tuple[Promotion, ...]
    #: None: it does not change.
    new_program: Program | None
    #: Those that are new or changed.
    new_promotions: tuple[Promotion, ...]
    #: What becomes of each part that the file names.
    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing would change."""
        return self.new_program is None and not self.new_promotions

    @property
    def reaches(self) -> datetime | None:
        """The first instant at which any change shows; None: never."""
        return min((c.reaches for c in self.changes if c.reaches is not None), default=None)


def plan(programs: Sequence[Program], promotions: Sequence[Promotion], rules: Rules) -> Plan:
    """What applying `rules` to the stored versions means.

    What the file does not name stays as it is.
    """
    zone = ZoneInfo(
        rules.program.timezone
        if rules.program
        else _latest(programs).timezone
        if programs
        else HOME_ZONE
    )
    changes: list[Change] = []
    new_program = None
    if rules.program is not None:
        change, new_program = _program(programs, rules.program)
        changes.append(change)
    new_promotions = []
    for draft in rules.promotions:
        versions = [
            promotion for promotion in promotions if promotion.promotion_id == draft.promotion_id
        ]
        change, new_promotion = _promotion(versions, draft, zone)
        changes.append(change)
        if new_promotion is not None:
            new_promotions.append(new_promotion)
    return Plan(
        (*programs, *([new_program] if new_program else [])),
        (*promotions, *new_promotions),
        new_program,
        tuple(new_promotions),
        tuple(changes),
    )


def as_if(planned: Plan, since: datetime) -> Plan:
    """The same changes, as if they began at `since` (and lasted as long).

    For what they would have meant for stored sales.
    """
    program = planned.new_program and planned.new_program.model_copy(update={"valid_from": since})
    moved = {p.promotion_id: _moved(p, since) for p in planned.new_promotions}
    old = [p for p in planned.programs if p is not planned.new_program]
    kept = [p for p in planned.promotions if p not in planned.new_promotions]
    changes = tuple(
        c if c.status == "unchanged" else replace(c, reaches=since) for c in planned.changes
    )
    return Plan(
        (*old, *([program] if program else [])),
        (*kept, *moved.values()),
        program,
        tuple(moved.values()),
        changes,
    )


def _moved(promotion: Promotion, since: datetime) -> Promotion:
    until = promotion.valid_to and since + (promotion.valid_to - promotion.valid_from)
    return promotion.model_copy(update={"valid_from": since, "valid_to": until})


def _latest(programs: Sequence[Program]) -> Program:
    return max(programs, key=lambda p: p.version)


def _program(stored: Sequence[Program], draft: Program) -> tuple[Change, Program | None]:
    if not stored:
        return Change("program", "new", 1, draft.valid_from, draft.valid_from), draft
    last = _latest(stored)
    # How credits and discounts count stays as it is, unless the file says so.
    kept = {name: getattr(last, name) for name in _KEPT if name not in draft.model_fields_set}
    new = draft.model_copy(update={"version": last.version + 1, **kept})
    if new == last.model_copy(update={"version": new.version}):
        return Change("program", "unchanged", last.version, last.valid_from, None), None
    lines = _differences(program_table(last), program_table(new))
    reaches = _first_difference(_program_times(stored), _program_times([*stored, new]))
    return Change("program", "changed", new.version, new.valid_from, reaches, lines), new


def _promotion(
    stored: Sequence[Promotion], draft: Promotion, zone: ZoneInfo
) -> tuple[Change, Promotion | None]:
    name = draft.promotion_id
    if not stored:
        lines = _differences({}, promotion_table(draft, zone))
        return Change(name, "new", 1, draft.valid_from, draft.valid_from, lines), draft
    last = max(stored, key=lambda p: p.version)
    new = draft.model_copy(update={"version": last.version + 1})
    if new == last.model_copy(update={"version": new.version}):
        return Change(name, "unchanged", last.version, last.valid_from, None), None
    lines = _differences(promotion_table(last, zone), promotion_table(new, zone))
    reaches = _first_difference(_promotion_times(stored), _promotion_times([*stored, new]))
    return Change(name, "changed", new.version, new.valid_from, reaches, lines), new


#: What is in force from an instant on, in order of time; None: nothing.
_Times = list[tuple[datetime, dict[str, Any] | None]]


def _program_times(versions: Sequence[Program]) -> _Times:
    return [
        (begin, program.model_dump(exclude={"version", *_TIMES}))
        for program, begin, _ in spans(versions)
    ]


def _promotion_times(versions: Sequence[Promotion]) -> _Times:
    times: _Times = []
    for promotion, begin, end in spans(versions):
        what = promotion.model_dump(exclude={"version", "title", *_TIMES})
        if promotion.limits != Limits():  # they count from where their version begins
            what["begins"] = begin
        stops = (
            promotion.valid_to
            if promotion.valid_to is not None and (end is None or promotion.valid_to < end)
            else None
        )
        if promotion.valid_to is None or begin < promotion.valid_to:
            times.append((begin, what))
            if stops is not None:
                times.append((stops, None))
        else:
            times.append((begin, None))
    return times


def _first_difference(before: _Times, after: _Times) -> datetime | None:
    instants = sorted({begin for begin, _ in [*before, *after]})
    return next((at for at in instants if _at(before, at) != _at(after, at)), None)


def _at(times: _Times, instant: datetime) -> dict[str, Any] | None:
    return next((what for begin, what in reversed(times) if begin <= instant), None)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that differ, as written in the file."""
    old, new = dict(_flat(before)), dict(_flat(after))
    names = [*new, *(name for name in old if name not in new)]
    return tuple(
        f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
        if name in old
        else f"{name}: {_shown(new[name])}"
        for name in names
        if old.get(name) != new.get(name)
    )


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if value is None:
        return "(not set)"
    return value.isoformat() if isinstance(value, datetime) else str(value)
