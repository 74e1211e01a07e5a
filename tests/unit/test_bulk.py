"""Files of an earlier program: read as meant, or every problem by line and without what it says."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from loyalty.bulk import BadImportError, BulkKind, BulkRow, names_phones, read_bulk

LUANDA = ZoneInfo("Africa/Luanda")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def read(kind: BulkKind, text: str) -> list[BulkRow]:
    return read_bulk(
        kind, text, zone=LUANDA, now=NOW,
        phone_of=lambda phone: f"+244{phone}" if phone.isdigit() and len(phone) == 9 else None,
    )  # fmt: skip


def test_members_are_named_by_number_or_phone_and_days_are_local() -> None:
    text = "\ufeffphone, member_id ,points,earned_at\n923000001,,500,2026-03-01\n,7,-3,2026-03-01T12:00:00+00:00\n"
    assert read("balances", text) == [
        BulkRow(2, "+244923000001", datetime(2026, 2, 28, 23, tzinfo=UTC), 500),
        BulkRow(3, 7, datetime(2026, 3, 1, 12, tzinfo=UTC), -3),
    ]
    tiers = "member_id,tier,valid_from,recorded_at\n7,gold,2027-01-01,2026-01-01\n"
    assert read("tiers", tiers) == [
        BulkRow(2, 7, datetime(2026, 12, 31, 23, tzinfo=UTC), 0, "gold")
    ]
    friends = "friend_id,referrer_phone,referred_at\n7,923000001,2026-01-01 10:00:00+00\n"
    assert read("referrals", friends) == [
        BulkRow(2, 7, datetime(2026, 1, 1, 10, tzinfo=UTC), 0, "", "+244923000001")
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("7,,1.5,2026-01-01", "line 2: points: must be a whole number, and not 0"),
        ("7,,0,2026-01-01", "line 2: points: must be a whole number, and not 0"),
        ("7,,1,soon", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1,2026-12-24", "line 2: earned_at: is in the future"),
        ("x,,1,2026-01-01", "line 2: member_id: is not the number of a member"),
        (",555,1,2026-01-01", "line 2: phone: is not a phone number as billing systems write it"),
        ("7,923000001,1,2026-01-01", "line 2: member_id or phone: one of both must be given"),
        (",,1,2026-01-01", "line 2: member_id or phone: one of both must be given"),
        ("7,,1", "line 2: has another number of values than the first line"),
        ("7,,1,2026-01-01,8", "line 2: has another number of values than the first line"),
    ],
)
def test_a_problem_names_the_line_and_not_what_it_says(line: str, told: str) -> None:
    with pytest.raises(BadImportError) as caught:
        read("balances", f"member_id,phone,points,earned_at\n{line}\n")
    assert caught.value.problems == [told]


def test_columns_that_lack_or_are_unknown_are_said() -> None:
    with pytest.raises(BadImportError, match="must name the columns earned_at, member_id or phone"):
        read("balances", "points\n1\n")
    with pytest.raises(BadImportError, match="names 1 unknown columns; known: earned_at") as caught:
        read("balances", "member_id,points,earned_at,+244923000001\n7,1,2026-01-01,x\n")
    assert "923" not in str(caught.value)


def test_a_first_line_with_phones_is_noticed() -> None:
    assert names_phones("friend_id,Referrer_Phone,referred_at\n")
    assert not names_phones("member_id,points,earned_at\n923,1,2026-01-01\n")
