"""Opening balances, tiers and referrals from files: once, whole, explained, and out again."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loyalty.bulk import BadImportError, BulkKind
from loyalty.corrections import Decision
from settings import settings
from sql import corrections
from sql.bulk import Imported
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from sql.erasure import erase
from sql.explain_member import explain_member
from sql.export import export
from tasks.bulk_import import decoded, import_text
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice
from tests.support.rules_file import applied, bonus, post, rules

WHY = Decision(reason="Earlier program", author="Ana, marketing")
BALANCES = f"phone,points,earned_at\n{PHONE},500,2026-01-10\n+244923000009,70,2026-01-10\n"


def brought(books: Books, kind: BulkKind, text: str, **more: bool | int) -> Imported:
    wanted = {"dry_run": False} | more
    return import_text(books.dsn, kind, text, WHY, "by hand", **wanted)  # type: ignore[arg-type]


def history(books: Books, member: int) -> list[tuple[object, ...]]:
    return books.rows(
        "SELECT kind, points, balance_points FROM analytics.points_history"
        f" WHERE member_id = {member} ORDER BY posted_at, points DESC"
    )


def test_a_dry_run_keeps_nothing_and_says_what_would_be(books: Books) -> None:
    would = brought(books, "balances", BALANCES, dry_run=True)
    assert (would.added, would.new_members, would.points, would.moved) == (2, 2, 570, 570)
    assert would.to_text().startswith("Nothing was kept. It would be: 2 balances added")
    assert books.rows("SELECT count(*) FROM loyalty.adjustment") == [(0,)]
    assert books.rows("SELECT count(*) FROM loyalty.member") == [(0,)]
    assert books.rows("SELECT count(*) FROM audit.entry WHERE operation = 'import'") == [(0,)]


def test_opening_balances_are_entries_of_their_own_kind_and_count_once(books: Books) -> None:
    assert brought(books, "balances", BALANCES).added == 2
    again = brought(books, "balances", BALANCES)
    assert (again.added, again.known, again.is_empty) == (0, 2, True)
    books.store(invoice())
    books.award()
    member = books.member()
    assert history(books, member) == [("opening balance", 500, 500), ("award", 1500, 2000)]
    explained = explain_member(books.dsn, member)
    assert explained is not None
    assert {(c.kind, c.points) for c in explained.causes} == {
        ("opening balance", 500), ("award", 1500)
    }  # fmt: skip
    assert explained.balance_points == 2000
    (entry,) = books.rows(
        "SELECT subject, records, points, details ->> 'author' FROM audit.entry"
        " WHERE operation IN ('import', 'points.adjust')"
    )
    assert entry == ("balances", 2, 570, "Ana, marketing")


def test_one_that_differs_is_refused_or_corrected_and_can_be_taken_back(books: Books) -> None:
    brought(books, "balances", BALANCES)
    other = BALANCES.replace("500", "450")
    with pytest.raises(BadImportError, match="line 2: something else is entered for that member"):
        brought(books, "balances", other)
    corrected = brought(books, "balances", other, correct=True)
    assert (corrected.corrected, corrected.known, corrected.points, corrected.moved) == (
        1, 1, -50, 50
    )  # fmt: skip
    assert brought(books, "balances", other).is_empty
    assert [row[:2] for row in history(books, books.member())] == [
        ("opening balance", 500), ("opening balance", 450), ("opening balance void", -500)
    ]  # fmt: skip
    (number,) = books.rows("SELECT adjustment_id FROM loyalty.adjustment WHERE points = 70")[0]
    with connect(books.dsn) as connection:
        corrections.void_adjustment(connection, number, WHY, "k", "by hand")
        connection.commit()
    assert brought(books, "balances", BALANCES, correct=True).added == 1


def test_a_file_with_any_problem_changes_nothing(books: Books) -> None:
    text = f"member_id,phone,points,earned_at\n,{PHONE},5,2026-01-01\n77,,5,2026-01-01\n"
    with pytest.raises(BadImportError, match="line 3: there is no member of that number"):
        brought(books, "balances", text)
    phone_as_number = "member_id,points,earned_at\n923000009,5,2026-01-01\n"
    with pytest.raises(BadImportError) as caught:
        brought(books, "balances", phone_as_number)
    assert caught.value.problems == ["line 2: there is no member of that number"]
    twice = f"phone,points,earned_at\n{PHONE},5,2026-01-01\n{PHONE},6,2026-01-01\n"
    with pytest.raises(BadImportError, match="line 3: says something else than line 2"):
        brought(books, "balances", twice)
    assert books.rows("SELECT count(*) FROM loyalty.member") == [(0,)]


def test_a_large_sum_must_be_confirmed(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWEZAH_CHANGE_POINTS_MAX", "100")
    settings.cache_clear()
    with pytest.raises(CorrectionRefusedError, match="confirm 570 points"):
        brought(books, "balances", BALANCES)
    assert brought(books, "balances", BALANCES, confirm=570).added == 2
    monkeypatch.undo()
    settings.cache_clear()


def test_opening_balances_expire_by_their_own_date(books: Books) -> None:
    applied(books, rules().replace("tiers =", "expiry = { months = 1 }\ntiers ="), recompute=True)
    brought(books, "balances", BALANCES)
    post(books)
    (member,) = books.rows("SELECT member_id FROM loyalty.member WHERE phone = '+244923000009'")[0]
    assert history(books, member) == [("opening balance", 70, 70), ("expiry", -70, 0)]


def test_tiers_decide_sales_and_custom_ones_are_known(books: Books) -> None:
    books.store(invoice())
    books.award()
    text = f"phone,tier,valid_from\n{PHONE},gold,{(NOON - HOUR).isoformat()}\n"
    assert brought(books, "tiers", text).added == 1
    assert brought(books, "tiers", text).is_empty
    post(books)
    assert books.points() == 2250
    with pytest.raises(
        BadImportError,
        match="line 2: tier: the program has none of that name then; it has gold, lead",
    ):
        brought(books, "tiers", text.replace("gold", "vip"))
    applied(books, rules().replace("platinum = 2", "platinum = 2, vip = 3"), recompute=True)
    with pytest.raises(BadImportError, match="something else is entered"):
        brought(books, "tiers", text.replace("gold", "vip"))
    assert brought(books, "tiers", text.replace("gold", "vip"), correct=True).corrected == 1
    post(books)
    assert books.points() == 4500


def test_referrals_reward_both_and_are_corrected_one_by_one(books: Books) -> None:
    promotion = bonus().replace("purchase_bonus", "referral_reward").replace(
        "points = 50", "referrer_points = 40\nfriend_points = 5"
    )  # fmt: skip
    applied(books, promotion, recompute=True)
    begin = "friend_phone,referrer_phone,referred_at\n"
    text = f"{begin}{PHONE},{OTHER_PHONE},{(NOON - HOUR).isoformat()}\n"
    assert brought(books, "referrals", text).new_members == 2
    books.store(invoice())
    books.award()
    assert {row[0] for row in books.rows("SELECT points FROM loyalty.award_entry")} == {1505, 40}
    assert brought(books, "referrals", text).is_empty
    later = text.replace((NOON - HOUR).isoformat(), NOON.isoformat())
    with pytest.raises(BadImportError, match="line 2: another referral of that friend"):
        brought(books, "referrals", later)
    with pytest.raises(BadImportError, match="friend and referrer are the same member"):
        brought(books, "referrals", f"{begin}{PHONE},{PHONE},2026-01-01\n")


def test_what_is_exported_can_be_imported_again(books: Books, tmp_path: Path) -> None:
    brought(books, "balances", BALANCES)
    member = books.member()
    books.set_tier(member, "gold", NOON)
    brought(
        books, "referrals", f"friend_id,referrer_id,referred_at\n{member},{member + 1},2026-01-01\n"
    )
    names = {"balances": "opening_balances", "tiers": "tiers", "referrals": "referrals"}
    with connect(books.dsn) as connection:
        written = export(connection, tmp_path, "by hand", tables=list(names.values()))
    for kind, name in names.items():
        text = (Path(written.folder) / f"{name}.csv").read_text(encoding="utf-8")
        again = brought(books, kind, text)  # type: ignore[arg-type]
        assert again.is_empty and again.known >= 1, kind
        assert not re.search(r"\+244\d{9}", text)


def test_lines_that_disagree_are_refused_also_where_two_names_are_one_member(books: Books) -> None:
    books.store(invoice())
    member = books.member()
    begin = "member_id,phone,tier,valid_from\n"
    text = f"{begin}{member},,gold,2026-01-01\n,{PHONE},silver,2026-01-01\n"
    for correct in (False, True):
        with pytest.raises(BadImportError) as caught:
            brought(books, "tiers", text, correct=correct)
        assert caught.value.problems == [
            "line 3: says something else than line 2 of the same member and date"
        ]
    same = text.replace("silver", "gold")
    assert (brought(books, "tiers", same).added, brought(books, "tiers", same).known) == (1, 1)


def test_a_tier_must_be_one_of_its_own_time(books: Books) -> None:
    """Else the sales until the program has it would lose their points."""
    books.store(invoice())
    later = datetime.now(UTC) + timedelta(days=30)
    books.run(
        "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
        "entry_tier) SELECT 1 + max(version), %(at)s, (array_agg(base_rate_bps))[1], "
        """'{"lead": 10000, "vip": 30000}', 'lead' FROM loyalty.program""",
        at=later,
    )
    begin = "member_id,tier,valid_from\n"
    now = f"{begin}{books.member()},vip,2026-01-01\n"
    with pytest.raises(BadImportError, match="line 2: tier: the program has none of that name"):
        brought(books, "tiers", now)
    then = (later + timedelta(days=1)).isoformat()
    assert brought(books, "tiers", now.replace("2026-01-01", then)).added == 1
    with pytest.raises(BadImportError, match="it has lead, vip"):
        brought(books, "tiers", f"{begin}{books.member()},gold,{then}\n")


def test_a_file_counts_once_also_after_another_time_zone_was_set(books: Books) -> None:
    assert brought(books, "balances", BALANCES).added == 2
    books.run(
        "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
        "entry_tier, timezone) SELECT version + 1, now(), base_rate_bps, tier_rate_bps, "
        "entry_tier, 'America/Lima' FROM loyalty.program ORDER BY version DESC LIMIT 1"
    )
    again = brought(books, "balances", BALANCES)
    assert (again.added, again.known) == (0, 2)


def test_who_is_gone_is_refused_and_what_was_known_before_stays_known(books: Books) -> None:
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
    one, two = books.member(), books.member(OTHER_PHONE)
    tier = f"member_id,tier,valid_from\n{one},gold,2026-01-01\n"
    points = f"member_id,points,earned_at\n{one},500,2026-01-10\n"
    brought(books, "tiers", tier)
    brought(books, "balances", points)
    with connect(books.dsn) as connection:
        corrections.merge(connection, one, two, WHY, "by hand")
        connection.commit()
    assert brought(books, "tiers", tier).is_empty
    said = f"line 2: that member was merged into {two}: enter that one's"
    with pytest.raises(BadImportError, match=f"{said} tier"):
        brought(books, "tiers", tier.replace("2026-01-01", "2026-02-01"))
    friends = "friend_id,referrer_id,referred_at\n"
    books.store(invoice(external_id="C", customer_phone="+244923000003"))
    three = books.member("+244923000003")
    for pair in ((one, three), (three, one)):
        with pytest.raises(BadImportError, match=f"{said} referral"):
            brought(books, "referrals", f"{friends}{pair[0]},{pair[1]},2026-01-01\n")
    # (Points of both are of the customer: they may be entered for either.)
    assert brought(books, "balances", points.replace("2026-01-10", "2026-01-11")).added == 1
    with connect(books.dsn) as connection:
        erase(connection, three, WHY, "by hand", dry_run=False)
        connection.commit()
    gone = "line 2: the personal data of that member was removed"
    kinds: dict[BulkKind, str] = {
        "balances": f"member_id,points,earned_at\n{three},5,2026-01-01\n",
        "tiers": f"member_id,tier,valid_from\n{three},gold,2026-01-01\n",
        "lists": f"member_id,list,valid_from\n{three},vip,2026-01-01\n",
        "referrals": f"{friends}{two},{three},2026-01-01\n",
    }
    for kind, text in kinds.items():
        with pytest.raises(BadImportError) as caught:
            brought(books, kind, text)
        assert caught.value.problems == [gone], kind


def test_exported_tiers_are_those_that_count(books: Books, tmp_path: Path) -> None:
    books.store(invoice())
    text = f"phone,tier,valid_from\n{PHONE},gold,2026-01-01\n"
    brought(books, "tiers", text)
    brought(books, "tiers", text.replace("gold", "silver"), correct=True)
    with connect(books.dsn) as connection:
        written = export(connection, tmp_path, "by hand", tables=["tiers"])
    out = (Path(written.folder) / "tiers.csv").read_text(encoding="utf-8")
    assert "silver" in out and "gold" not in out
    assert brought(books, "tiers", out).is_empty


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BALANCES.encode("utf-16"), "the file is not UTF-8 text: save it as CSV UTF-8"),
        (
            "phone,points\nJosé".encode("latin-1"),
            "the file is not UTF-8 text: save it as CSV UTF-8",
        ),
        (BALANCES.encode("utf-16-le"), "the file is no text: it has null characters"),
        (b"", "the first line must name the columns points, earned_at, member_id or phone"),
    ],
)
def test_a_file_in_another_encoding_is_refused(books: Books, body: bytes, said: str) -> None:
    with pytest.raises(BadImportError) as caught:
        brought(books, "balances", decoded(body))
    assert caught.value.problems == [said]
