"""Files of an earlier program: read as meant, or every problem by line and without what it says."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from loyalty.bulk import BadImportError, BulkKind, BulkRow, names_phones, read_bulk

LUANDA = ZoneInfo("Africa/Luanda")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def zone_at(at: datetime) -> ZoneInfo:
    """Of Luanda, and from November 2026 on of Lisbon."""
    return LUANDA if at < datetime(2026, 11, 1, tzinfo=UTC) else ZoneInfo("Europe/Lisbon")


def read(kind: BulkKind, text: str) -> list[BulkRow]:
    return read_bulk(
        kind, text, zone_at=zone_at, now=NOW,
        phone_of=lambda phone: f"+244{phone}" if phone.isdigit() and len(phone) == 9 else None,
    )  # fmt: skip


def test_members_are_named_by_number_or_phone_and_days_are_local() -> None:
    text = "\ufeffphone, member_id ,points,earned_at\n923000001,,500,2026-03-01\n,7,-3,2026-03-01T12:00:00+00:00\n"
    assert read("balances", text) == [
        BulkRow(2, "+244923000001", datetime(2026, 2, 28, 23, tzinfo=UTC), 500),
        BulkRow(3, 7, datetime(2026, 3, 1, 12, tzinfo=UTC), -3),
    ]
    tiers = "member_id,tier,valid_from,recorded_at\n7,gold,2026-10-31,2026-01-01\n"
    assert read("tiers", tiers) == [
        BulkRow(2, 7, datetime(2026, 10, 30, 23, tzinfo=UTC), 0, "gold")
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
        ("7,,1,0001-01-01", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1,0205-01-31", "line 2: earned_at: is before 2000-01-01"),
        ("7,,1,1999-12-31T22:59:59+00:00", "line 2: earned_at: is before 2000-01-01"),
        ("7,,1,20260131", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1,2026-W05", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1,31/01/2026", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1,2026-02-30", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1,٢٠٢٦-01-01", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1,", "line 2: earned_at: must be a date like 2026-01-31, or a time"),
        ("7,,1000000000001,2026-01-01", "line 2: points: are more than any member can have"),
        (f"7,,{'9' * 5_000},2026-01-01", "line 2: points: must be a whole number, and not 0"),
        ('7,,"1,000",2026-01-01', "line 2: points: must be a whole number, and not 0"),
        ("0,,1,2026-01-01", "line 2: member_id: is not the number of a member"),
        (f"{'9' * 5_000},,1,2026-01-01", "line 2: member_id: is not the number of a member"),
        ("9223372036854775808,,1,2026-01-01", "line 2: member_id: is not the number of a member"),
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


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("tiers", "", "the first line must name the columns tier, valid_from, member_id or phone"),
        ("tiers", "member_id,tier,valid_from\n\n\n",
         "the file has no lines below the first, which names columns"),
        ("tiers", "member_id,tier,valid_from,tier\n7,gold,2026-01-01,silver\n",
         "the first line names a column twice: tier"),
        ("tiers", "member_id,tier,valid_from,member_id \n7,gold,2026-01-01,8\n",
         "the first line names a column twice: member_id"),
        ("tiers", "member_id;tier;valid_from\n7;gold;2026-01-01\n",
         "the values are separated by semicolons: save it with commas"),
        ("tiers", "member_id,tier,valid_from\n7,gold\x00,2026-01-01\n",
         "the file is no text: it has null characters"),
        ("tiers", "member_id,tier,valid_from\n7,,2026-01-01\n",
         "line 2: tier: is missing; `twezah member tier` ends one"),
        ("tiers", "member_id,tier,valid_from\n7,gold,9999-12-31\n",
         "line 2: valid_from: is in the far future"),
        ("lists", "member_id,list,valid_from,valid_to\n7,vip,2062-01-01,\n",
         "line 2: valid_from: is in the far future"),
        ("lists", "member_id,list,valid_from,valid_to\n7,vip,2026-01-01,9999-12-31\n",
         "line 2: valid_to: is in the far future; left empty, it is for good"),
        ("lists", "member_id,list,valid_from,valid_to\n7,vip,2026-01-02,2026-01-01\n",
         "line 2: valid_to: is before valid_from"),
        ("referrals", "friend_id,referrer_id,referred_at\n7,8,2026-12-24\n",
         "line 2: referred_at: is in the future"),
        ("referrals", "friend_id,referrer_id\n7,8\n",
         "the first line must name the columns referred_at"),
    ],
)  # fmt: skip
def test_what_no_file_may_say(kind: BulkKind, text: str, told: str) -> None:
    with pytest.raises(BadImportError) as caught:
        read(kind, text)
    assert caught.value.problems == [told]


def test_tiers_and_lists_may_begin_later_and_days_are_those_of_their_time() -> None:
    (row,) = read("tiers", "member_id,tier,valid_from\n7,gold,2027-01-15\n")
    assert row.at == datetime(2027, 1, 15, tzinfo=UTC)  # of Lisbon, an hour behind Luanda
    (row,) = read("lists", "member_id,list,valid_from,valid_to\n7,vip,2026-01-01,2099-12-31\n")
    assert row.until == datetime(2099, 12, 31, tzinfo=UTC)


def test_a_first_line_with_phones_is_noticed() -> None:
    assert names_phones('member_id,points,"\nphone"\n7,1,2\n')
    assert names_phones("friend_id,Referrer_Phone,referred_at\n")
    assert not names_phones("member_id,points,earned_at\n923,1,2026-01-01\n")
