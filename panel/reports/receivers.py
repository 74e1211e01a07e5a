"""The loyalty app's receivers as tables: of the report of the webhooks' run and of "Sync status"."""

from collections.abc import Sequence

from panel.markdown import clock, plain, shortened, table
from sql.receivers import DeliveryTimes, ReceiverRow

#: Characters shown of an error.
_ERROR_MAX = 120


def receivers_section(
    rows: Sequence[ReceiverRow], times: Sequence[DeliveryTimes], *, heading: str = "##"
) -> str:
    """What waits for each receiver, and how fast it was told; "" if there is none."""
    if not rows:
        return ""
    by_name = {each.name: each for each in times}
    parts = [
        f"{heading} Webhooks to the loyalty app",
        table(
            ["Receiver", "State", "Waiting", "Parked", "Accepted", "Half within", "95 % within"],
            [_row(row, by_name.get(row.name)) for row in rows],
        ),
        *(_trouble(row) for row in rows if _is_in_trouble(row)),
    ]
    return "\n\n".join(parts)


def _row(row: ReceiverRow, times: DeliveryTimes | None) -> list[object]:
    return [
        row.name, row.state, row.waiting, row.parked, times.delivered if times else 0,
        f"{times.seconds_p50:.2f} s" if times else "-",
        f"{times.seconds_p95:.2f} s" if times else "-",
    ]  # fmt: skip


def _is_in_trouble(row: ReceiverRow) -> bool:
    return bool(row.failing_since or row.parked)


def _trouble(row: ReceiverRow) -> str:
    since = f" since {clock(row.failing_since)}" if row.failing_since else ""
    why = plain(shortened(row.end_reason or row.last_error or "", _ERROR_MAX))
    return (
        f"**{row.name}**{since}: {why}. Messages are tried again for days; parked ones wait for "
        f"`twezah receivers replay {row.name}`. The app can read what it missed from the feed."
    )
