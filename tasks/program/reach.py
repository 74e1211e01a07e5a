"""What rules can never apply to: those by hour, where documents tell a day and no time."""

from collections.abc import Collection, Sequence

from connectors.registry import SYSTEMS
from loyalty.findings import Findings
from loyalty.promotions import Promotion


def never_applies(
    promotions: Sequence[Promotion], connected: Collection[str] | None = None
) -> Findings:
    """One line, `key: what`, for each promotion and system for which it can never apply.

    A mistake where it can apply to none of the systems that it names; else a note.

    Args:
        promotions: As a file of rules has them.
        connected: The connected billing systems; None: not known, so all are looked at.
    """
    without_time = {name: spec for name, spec in SYSTEMS.items() if not spec.tells_time}
    mistakes: list[str] = []
    notes: list[str] = []
    for promotion in promotions:
        when = promotion.when
        if not when.hours:
            continue
        named = {*when.systems, *(account.partition("/")[0] for account in when.accounts)}
        # A system that the rule names is of interest whether it is connected or not.
        asked = [
            spec
            for name, spec in without_time.items()
            if (name in named if named else connected is None or name in connected)
        ]
        is_for_none = bool(named) and named <= without_time.keys()
        (mistakes if is_for_none else notes).extend(
            f"promotion {promotion.promotion_id!r}.when.hours: never applies to {spec.title}, "
            "whose documents tell a day and no time; leave out `hours`, or the system"
            for spec in asked
        )
    return Findings(tuple(mistakes), tuple(notes))
