"""What rules can never apply to: those by hour, where documents tell a day and no time."""

from collections.abc import Collection, Sequence

from connectors.registry import SYSTEMS
from loyalty.promotions import Promotion


def never_applies(
    promotions: Sequence[Promotion], connected: Collection[str] | None = None
) -> list[str]:
    """One line, `key: what`, for each promotion and system for which it can never apply.

    Args:
        promotions: As a file of rules has them.
        connected: The connected billing systems; None: not known, so all are looked at.
    """
    without_time = [
        spec
        for name, spec in SYSTEMS.items()
        if not spec.tells_time and (connected is None or name in connected)
    ]
    notes = []
    for promotion in promotions:
        when = promotion.when
        if not when.hours:
            continue
        named = {*when.systems, *(account.partition("/")[0] for account in when.accounts)}
        # A system that the rule names is of interest whether it is connected or not.
        asked = [spec for spec in SYSTEMS.values() if spec.name in named and not spec.tells_time]
        notes += [
            f"promotion {promotion.promotion_id!r}.when.hours: never applies to {spec.title}, whose documents tell a day "
            "and no time; leave out `hours`, or the system"
            for spec in (asked if named else without_time)
        ]
    return notes
