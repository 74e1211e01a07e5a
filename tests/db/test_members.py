"""Members who are registered, tiers and referrals that are entered, corrected and taken back.

Points follow through the award step.
"""

from datetime import datetime
from pathlib import Path

import pytest

from loyalty.corrections import Decision
from settings import Settings
from sql import corrections, erasure, members, merge_preview
from sql.corrections import (
    CorrectionRefusedError,
    MemberErasedError,
    MergedMemberError,
    UnknownMemberError,
)
from sql.db import connect, engine
from sql.members import ReferralCircleError, UnknownTierError
from tasks.award.members import award_members
from tasks.run_database import RunDatabase
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice

THIRD_PHONE = "+244923000003"
WHY = Decision(reason="campaign", author="Ana, support")
REWARDS = (
    "INSERT INTO loyalty.promotion (promotion_id, version, kind, parameters, valid_from) VALUES "
    "('bring', 1, 'referral_reward', "
    """'{"rule": {"referrer_points": 500, "friend_points": 100}}', '2020-01-01')"""
)


#: A further version of the program, for all of the past.
FURTHER_RULES = {
    name: "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
    f"entry_tier, timezone, {column}) SELECT 2, '2020-01-01', base_rate_bps, tier_rate_bps, "
    f"entry_tier, timezone, '{value}' FROM loyalty.program"
    for name, column, value in (
        (
            "evaluated tiers", "tier_policy",
            '{"window_days": 3650, "thresholds": {"silver": 1500, "gold": 2500, "platinum": 3500}}',
        ),
        ("expiry", "expiry", '{"months": 1, "end_of": "day"}'),
    )
}  # fmt: skip


def tiers_now(books: Books) -> dict[int, str]:
    return dict(books.rows("SELECT member_id, tier FROM analytics.member"))


def register(books: Books, phone: str = PHONE) -> members.Registered:
    with books.transaction() as connection:
        return members.register(connection, phone, "by hand")


def set_tier(
    books: Books, member: int, tier: str | None, at: datetime | None = None
) -> members.TierEntered:
    with books.transaction() as connection:
        return members.set_tier(connection, member, tier, at, WHY, "by hand")


def refer(
    books: Books, friend: int, referrer: int | None, at: datetime | None = NOON
) -> members.ReferralEntered:
    with books.transaction() as connection:
        return members.set_referral(connection, friend, referrer, at, WHY, "by hand")


def merge(books: Books, member: int, into: int, tiers: corrections.MergedTiers = "better") -> None:
    with books.transaction() as connection:
        corrections.merge(connection, member, into, WHY, "by hand", tiers=tiers)


def award(books: Books) -> dict[int, int]:
    """Posts what is due; the balances that are not 0."""
    award_members(RunDatabase(books.dsn, "by hand"), None)
    return dict(
        books.rows(
            "SELECT member_id, balance_points FROM loyalty.member_balance WHERE balance_points <> 0"
        )
    )


class TestRegistration:
    def test_the_first_sale_of_a_registered_member_is_theirs(self, books: Books) -> None:
        new = register(books)
        assert not new.repeated
        assert register(books) == members.Registered(new.member_id, repeated=True)
        set_tier(books, new.member_id, "silver", NOON - HOUR)
        books.store(invoice())
        assert award(books) == {new.member_id: 1800}

    def test_a_merged_members_phone_is_its_owners(self, books: Books) -> None:
        first, second = register(books).member_id, register(books, OTHER_PHONE).member_id
        merge(books, first, second)
        assert register(books).member_id == second

    def test_every_member_has_an_id_for_outside_until_erased(self, books: Books) -> None:
        first, second = register(books).member_id, register(books, OTHER_PHONE).member_id
        with books.transaction() as connection:
            ids = [members.details(connection, number).public_id for number in (first, second)]
            assert None not in ids and len(set(ids)) == 2
            assert members.number_of(connection, str(ids[1])) == second
            assert members.number_of(connection, "17") == 17
            erasure.erase(connection, first, WHY, "by hand", dry_run=False)
            assert members.details(connection, first).public_id is None
            with pytest.raises(UnknownMemberError, match="public id"):
                members.number_of(connection, "00000000-0000-4000-8000-000000000000")

    def test_the_audit_names_the_member_and_not_the_phone(self, books: Books) -> None:
        new = register(books)
        assert books.rows(
            "SELECT operation, subject, run_id FROM audit.entry WHERE operation LIKE 'member.%%'"
        ) == [("member.register", f"member {new.member_id}", "by hand")]


class TestTiers:
    def test_one_is_set_for_the_past_and_ended(self, books: Books) -> None:
        books.store(
            *(invoice(external_id=n, issued_at=NOON + i * HOUR) for i, n in enumerate("AB"))
        )
        member = books.member()
        assert award(books) == {member: 3000}
        set_tier(books, member, "silver", NOON)
        assert award(books) == {member: 3600}
        set_tier(books, member, None, NOON + HOUR)
        assert award(books) == {member: 3300}
        assert books.rows(
            "SELECT tier, valid_from FROM analytics.tier_history ORDER BY valid_from"
        ) == [("silver", NOON), ("lead", NOON + HOUR)]
        set_tier(books, member, "gold", NOON)  # a correction
        assert award(books) == {member: 3750}

    def test_what_is_so_already_adds_nothing(self, books: Books) -> None:
        member = register(books).member_id
        assert set_tier(books, member, None).repeated
        assert not set_tier(books, member, "silver", NOON).repeated
        assert set_tier(books, member, "silver", NOON).repeated
        assert set_tier(books, member, "silver").repeated
        with books.transaction() as connection:
            assert [(row.tier, row.valid_from) for row in members.tiers(connection, member)] == [
                ("silver", NOON)
            ]

    def test_refusals(self, books: Books) -> None:
        member, other = register(books).member_id, register(books, OTHER_PHONE).member_id
        with pytest.raises(UnknownTierError, match="tiers are"):
            set_tier(books, member, "diamond")
        with pytest.raises(UnknownMemberError):
            set_tier(books, 99, "silver")
        merge(books, member, other)
        with pytest.raises(MergedMemberError, match=f"merged into {other}"):
            set_tier(books, member, "silver")
        assert books.rows("SELECT count(*) FROM loyalty.member_tier") == [(0,)]

    def test_the_highest_version_that_has_begun_says_which_there_are(self, books: Books) -> None:
        """Version 3 corrects version 2 for the past, and began before it."""
        for version, since, tiers, entry in (
            (2, NOON - 2 * HOUR, '{"basic": 10000}', "basic"),
            (3, NOON - 3 * HOUR, '{"lead": 10000, "gold": 15000}', "lead"),
        ):
            books.run(
                "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
                "entry_tier) VALUES (%(v)s, %(at)s, '{\"AOA\": 100000}', %(t)s, %(e)s)",
                v=version, at=since, t=tiers, e=entry,
            )  # fmt: skip
        member = register(books).member_id
        assert set_tier(books, member, "gold", NOON).tier == "gold"
        with pytest.raises(UnknownTierError, match="tiers are gold, lead"):
            set_tier(books, member, "basic", NOON)
        set_tier(books, member, None, NOON + HOUR)
        assert books.rows(
            "SELECT tier, loyalty.tier_rank(tier, valid_from) FROM loyalty.tier_set "
            "ORDER BY valid_from"
        ) == [("gold", 15_000), ("lead", 10_000)]


class TestErased:
    @pytest.fixture
    def erased(self, books: Books) -> tuple[Books, int, int]:
        """A member whose personal data was removed, and another one."""
        gone, other = register(books).member_id, register(books, OTHER_PHONE).member_id
        with books.transaction() as connection:
            erasure.erase(connection, gone, WHY, "by hand", dry_run=False)
        return books, gone, other

    def test_nobody_is_merged_with_them(self, erased: tuple[Books, int, int]) -> None:
        """Their points would be somebody's again, or somebody's points nobody's."""
        books, gone, other = erased
        for member, into in ((gone, other), (other, gone)):
            with pytest.raises(MemberErasedError, match=f"member {gone} was removed"):
                merge(books, member, into)

    def test_they_get_no_phone_again(self, erased: tuple[Books, int, int]) -> None:
        books, gone, _ = erased
        with pytest.raises(MemberErasedError), books.transaction() as connection:
            corrections.change_phone(connection, gone, THIRD_PHONE, WHY, "by hand")

    def test_a_merge_from_before_is_still_taken_back(self, books: Books) -> None:
        one, other = register(books).member_id, register(books, OTHER_PHONE).member_id
        merge(books, one, other)
        with books.transaction() as connection:
            erasure.erase(connection, other, WHY, "by hand", dry_run=False)
            assert corrections.unmerge(connection, one, WHY, "by hand").owner_id == one


class TestTiersAfterAMerge:
    @pytest.fixture
    def two(self, books: Books) -> tuple[Books, int, int]:
        """Two members with a sale each at noon and an hour later: silver before, gold after."""
        books.store(
            invoice(external_id="A"), invoice(external_id="B", issued_at=NOON + 2 * HOUR),
            invoice(external_id="C", customer_phone=OTHER_PHONE),
            invoice(external_id="D", customer_phone=OTHER_PHONE, issued_at=NOON + 2 * HOUR),
        )  # fmt: skip
        one, other = books.member(), books.member(OTHER_PHONE)
        set_tier(books, one, "silver", NOON)
        set_tier(books, one, None, NOON + HOUR)
        set_tier(books, other, "gold", NOON + HOUR)
        return books, one, other

    def test_the_better_one_counts_at_each_instant(self, two: tuple[Books, int, int]) -> None:
        books, one, other = two
        alone = award(books)
        assert alone == {one: 1800 + 1500, other: 1500 + 2250}
        merge(books, one, other)
        assert award(books) == {other: 2 * 1800 + 2 * 2250}
        assert books.rows("SELECT tier FROM analytics.member WHERE member_id = %(m)s", m=other) == [
            ("gold",)
        ]
        with books.transaction() as connection:
            corrections.unmerge(connection, one, WHY, "by hand")
        assert award(books) == alone

    def test_unless_said_otherwise(self, two: tuple[Books, int, int]) -> None:
        books, one, other = two
        merge(books, one, other, tiers="into")
        assert award(books) == {other: 2 * 1500 + 2 * 2250}

    @pytest.mark.parametrize("tiers", ["better", "into"])
    @pytest.mark.parametrize("rules", ["set tiers", "evaluated tiers", "expiry"])
    def test_the_preview_says_what_the_merge_does_and_changes_nothing(
        self, two: tuple[Books, int, int], tiers: corrections.MergedTiers, rules: str
    ) -> None:
        """In the role of the API, which may merge members and write nothing of the ledger."""
        books, one, other = two
        if rules != "set tiers":
            books.run(FURTHER_RULES[rules])
        alone, before = award(books), tiers_now(books)
        api = Settings(home=Path("/nowhere"), database_url=books.dsn, database_role="twezah_api")
        with connect(api.dsn()) as connection:
            shown = merge_preview.preview(connection, one, other, WHY, "by hand", tiers=tiers)
            connection.commit()
        engine(api.dsn()).dispose()
        assert award(books) == alone and books.dirty() == []
        assert books.rows("SELECT count(*) FROM loyalty.member_merge") == [(0,)]
        merge(books, one, other, tiers=tiers)
        after, tiers_after = award(books), tiers_now(books)
        assert [
            (change.member_id, change.balance_points_before, change.balance_points_after,
             change.tier_before, change.tier_after)
            for change in shown.changes
        ] == [
            (number, alone.get(number, 0), after.get(number, 0), before[number],
             tiers_after[number])
            for number in (one, other)
        ]  # fmt: skip

    def test_chains_of_merges_are_followed(self, two: tuple[Books, int, int]) -> None:
        books, one, other = two
        third = register(books, THIRD_PHONE).member_id
        merge(books, one, other)
        merge(books, other, third, tiers="into")
        assert award(books) == {third: 4 * 1500}


def test_the_audit_log_names_the_run_of_every_decision(books: Books) -> None:
    one, other = register(books).member_id, register(books, OTHER_PHONE).member_id
    set_tier(books, one, "gold")
    set_tier(books, one, None)
    with books.transaction() as connection:
        members.set_referral(connection, one, other, None, WHY, "by hand")
    merge(books, one, other)
    entries = books.rows("SELECT operation, run_id FROM audit.entry WHERE subject LIKE 'member %%'")
    assert {operation for operation, _ in entries} >= {"tiers", "referral", "member.merge"}
    assert [operation for operation, run_id in entries if run_id is None] == []


class TestReferrals:
    @pytest.fixture
    def three(self, books: Books) -> tuple[Books, int, int, int]:
        """Three members; everybody buys an hour after noon."""
        books.run(REWARDS)
        phones = (PHONE, OTHER_PHONE, THIRD_PHONE)
        numbers = [register(books, phone).member_id for phone in phones]
        sales = [
            invoice(external_id=phone, customer_phone=phone, issued_at=NOON + HOUR)
            for phone in phones
        ]
        books.store(*sales)
        one, two, third = numbers
        return books, one, two, third

    def test_one_is_entered_corrected_and_withdrawn(
        self, three: tuple[Books, int, int, int]
    ) -> None:
        books, one, two, third = three
        assert not refer(books, two, one).repeated
        assert refer(books, two, one).repeated and refer(books, two, one, None).repeated
        assert award(books) == {one: 2000, two: 1600, third: 1500}
        corrected = refer(books, two, third, None)
        assert (corrected.referrer_id, corrected.referred_at) == (third, NOON)
        assert award(books) == {one: 1500, two: 1600, third: 2000}
        refer(books, two, None)
        assert refer(books, two, None).repeated
        assert award(books) == {one: 1500, two: 1500, third: 1500}
        assert books.rows(
            "SELECT operation, subject FROM audit.entry WHERE operation LIKE 'referral%%' "
            "ORDER BY entry_no"
        ) == [
            ("referral", f"member {two}"), ("referral", f"member {two}"),
            ("referral.withdraw", f"member {two}"),
        ]  # fmt: skip

    def test_a_circle_is_refused(self, three: tuple[Books, int, int, int]) -> None:
        books, one, two, third = three
        refer(books, two, one)
        refer(books, third, two)
        for friend, referrer in ((one, third), (one, two), (one, one)):
            with pytest.raises(ReferralCircleError):
                refer(books, friend, referrer)
        assert award(books) == {one: 2000, two: 2100, third: 1600}

    def test_a_circle_that_a_merge_closes_gives_nothing_and_its_undoing_gives_it_back(
        self, three: tuple[Books, int, int, int]
    ) -> None:
        books, one, two, third = three
        fourth = register(books, "+244923000004").member_id
        refer(books, two, one)
        refer(books, third, two)
        refer(books, fourth, third)
        before = award(books)
        assert before == {one: 2000, two: 2100, third: 1600}
        merge(books, fourth, one)
        assert award(books) == {one: 1500, two: 1500, third: 1500}
        with books.transaction() as connection:
            shown = members.details(connection, two)
            assert (shown.referrer_id, shown.referral_in_circle) == (one, True)
            seen = connection.execute("SELECT count(*) FROM analytics.referral WHERE in_circle")
            assert seen.fetchone() == (3,)
            corrections.unmerge(connection, fourth, WHY, "by hand")
        assert award(books) == before

    def test_a_circle_entered_by_hand_gives_nothing_until_it_is_opened(
        self, three: tuple[Books, int, int, int]
    ) -> None:
        books, one, two, third = three
        for friend, referrer in ((two, one), (third, two), (one, third)):
            books.run(
                "INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at) "
                "VALUES (%(f)s, %(r)s, %(at)s)",
                f=friend, r=referrer, at=NOON,
            )  # fmt: skip
        assert award(books) == {one: 1500, two: 1500, third: 1500}
        refer(books, one, None)
        assert award(books) == {one: 2000, two: 2100, third: 1600}

    def test_of_a_merged_customer_the_referral_of_either_is_corrected(
        self, three: tuple[Books, int, int, int]
    ) -> None:
        books, one, two, third = three
        refer(books, two, one, NOON - HOUR)
        merge(books, two, third)
        assert award(books) == {one: 2000, third: 3100}
        refer(books, third, None)
        assert award(books) == {one: 1500, third: 3000}

    def test_whoever_lost_a_friend_to_a_merge_loses_the_reward(
        self, three: tuple[Books, int, int, int]
    ) -> None:
        """Of two referrals of one customer the earlier counts: the later referrer's is taken back."""
        books, one, two, third = three
        fourth = register(books, "+244923000004").member_id
        refer(books, two, one, NOON)
        refer(books, fourth, third, NOON - HOUR)
        assert award(books) == {one: 2000, two: 1600, third: 1500}
        merge(books, fourth, two)
        assert award(books) == {one: 1500, two: 1600, third: 2000}

    def test_refusals(self, three: tuple[Books, int, int, int]) -> None:
        books, one, two, third = three
        merge(books, two, third)
        for friend, referrer in ((two, one), (one, two), (99, one), (one, 99)):
            with pytest.raises(CorrectionRefusedError):
                refer(books, friend, referrer)
        assert books.rows("SELECT count(*) FROM loyalty.referral") == [(0,)]
