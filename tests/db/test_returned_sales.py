"""Returns and days through the ledger: whatever came when, nothing is left of what went back."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from sql.db import connect
from sql.explain import explain
from tasks.program.change import ChangeRefusedError
from tests.db.test_rules import program, promote
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice, line
from tests.support.rules_file import applied, looked

DAY = timedelta(days=1)
MIDNIGHT = NOON.replace(hour=23) - DAY


def bought(name: str, total: int, day: float = 0, **more: Any) -> dict[str, Any]:
    return invoice(external_id=name, total_minor=total, issued_at=NOON + day * DAY, **more)


def returned(name: str, total: int, day: float = 1, **more: Any) -> dict[str, Any]:
    return bought(name, total, day, kind="credit_note", **more)


def season_and_bonus(books: Books) -> None:
    season = {"kind": "seasonal_multiplier", "multiplier_bps": 30_000}
    promote(books, "season", "seasonal_multiplier", season)
    promote(books, "bonus", "purchase_bonus", {"kind": "purchase_bonus", "points": 500})


def test_a_new_installation_brings_credits_home(books: Books) -> None:
    columns = "SELECT unlinked_credits, discount_lines FROM loyalty.program"
    assert books.rows(columns) == [("returned_sales", "spread")]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_whole_return_leaves_nothing_in_whatever_order_it_comes(
    books: Books, order: tuple[int, ...]
) -> None:
    season_and_bonus(books)
    known = [bought("A", 10_000), returned("C", 10_000), bought("B", 5_000, 2)]
    for at in order:
        books.store(known[at])
        books.award()
    assert books.points() == 2_000
    books.store(known[1] | {"status": "void", "updated_at": NOON + 9 * DAY})
    books.award()
    assert books.points() == 3_500 + 2_000


def test_bought_and_returned_five_times(books: Books) -> None:
    promote(books, "bonus", "purchase_bonus", {"kind": "purchase_bonus", "points": 500})
    for n in range(5):
        books.store(bought(f"S{n}", 1_000, 2 * n), returned(f"C{n}", 1_000, 2 * n + 1))
        books.award()
        assert books.points() == 0


def test_a_higher_tier_since(books: Books) -> None:
    books.store(bought("A", 10_000))
    books.award()
    books.set_tier(books.member(), "platinum", NOON + HOUR)
    books.store(returned("C", 10_000))
    books.award()
    assert books.points() == 0
    assert [row[0] for row in books.entries()] == ["A", "A"]


def test_points_that_had_expired_are_not_taken_again(books: Books) -> None:
    program(books, expiry='{"months": 12, "end_of": "day"}', unlinked_credits="returned_sales")
    books.store(bought("A", 10_000, -500))
    books.award()
    assert books.points() == 0
    books.store(returned("C", 10_000, -2))
    books.award()
    assert books.points() == 0


@pytest.mark.parametrize("link", [None, "A"])
def test_an_empty_bottle_back(books: Books, link: str | None) -> None:
    deposit = {"kind": "product_bonus", "match": {"sku_patterns": ["DEP*"]}, "multiplier_bps": 0}
    promote(books, "deposit", "product_bonus", deposit)
    water = line("A", 1, sku="ATW-18L", quantity=1, amount_minor=50_000)
    bottle = {"sku": "DEP-18", "quantity": 1, "amount_minor": 200_000}
    books.store(bought("A", 250_000), lines=[water, line("A", 2, **bottle)])
    books.award()
    assert books.points() == 5_000
    books.store(returned("C", 200_000, original_external_id=link), lines=[line("C", 1, **bottle)])
    books.award()
    assert books.points() == 5_000
    told = explain(books.dsn, "xero", "C")
    assert told is not None and told.now is not None
    words = "the credit names the sale" if link else "the latest sale of the product"
    assert [(back.external_id, back.words) for back in told.now.returned] == [("A", words)]


def test_an_older_installation_chooses_with_a_preview(books: Books) -> None:
    program(books, unlinked_credits="own_date", discount_lines="ignored")
    season_and_bonus(books)
    books.store(bought("A", 10_000), returned("C", 10_000))
    books.award()
    assert books.points() == 3_500 - 1_000
    silent = (
        '[program]\npoints_per_unit = { AOA = 10 }\nentry_tier = "lead"\n'
        "tiers = { lead = 1, silver = 1.2, gold = 1.5, platinum = 2 }\n"
    )
    # A file that does not name it leaves it as it is.
    assert looked(books, silent).plan.new_program is None
    chosen = silent + 'unlinked_credits = "returned_sales"\n'
    preview = looked(books, chosen)
    assert (preview.trial.points, len(preview.trial.members)) == (-2_500, 1)
    with pytest.raises(ChangeRefusedError):
        applied(books, chosen)
    applied(books, chosen, recompute=True, confirm=10**6)
    books.award()
    assert books.points() == 0


def test_a_friend_entered_in_the_morning_buys_that_day(books: Books) -> None:
    """The sale is dated that day without a time; entered after it had been read, too."""
    reward = {"kind": "referral_reward", "referrer_points": 700, "friend_points": 300}
    promote(books, "friend", "referral_reward", reward)
    sale_of_day = bought("A", 1_000) | {"issued_at": MIDNIGHT, "time_known": False}
    books.store(sale_of_day, bought("R", 1_000, -9, customer_phone=OTHER_PHONE))
    books.award()
    books.run(
        "INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at) "
        "VALUES (%(friend)s, %(referrer)s, %(at)s)",
        friend=books.member(), referrer=books.member(OTHER_PHONE), at=NOON - 3 * HOUR,
    )  # fmt: skip
    books.award()
    assert (books.points(), books.points(OTHER_PHONE)) == (100 + 300, 100 + 700)


def test_a_tier_of_the_day_counts_for_the_day(books: Books) -> None:
    sale_of_day = {"issued_at": MIDNIGHT, "time_known": False}
    books.store(bought("A", 1_000) | sale_of_day)
    books.set_tier(books.member(), "gold", MIDNIGHT + 9 * HOUR)
    books.set_tier(books.member(), "silver", MIDNIGHT + 15 * HOUR)
    books.award()
    assert books.points() == 150
    books.store(bought("B", 1_000, time_known=True) | {"issued_at": MIDNIGHT + 16 * HOUR})
    books.award()
    assert books.points() == 150 + 120


@pytest.mark.parametrize(
    "read_now",
    [
        {"issued_at": MIDNIGHT, "time_known": False},
        {"issued_at": MIDNIGHT + 10 * HOUR, "time_known": True},  # when the document was made
    ],
)
def test_what_an_older_release_stored_stays_an_instant(
    books: Books, read_now: dict[str, Any]
) -> None:
    """Reading it again, or its stored page, changes no points; a corrected day does."""
    books.store(bought("A", 1_000) | {"issued_at": MIDNIGHT})
    books.set_tier(books.member(), "gold", MIDNIGHT + 9 * HOUR)
    books.award()
    stored = books.store(bought("A", 1_000) | read_now)
    assert (stored.changed, stored.unchanged) == (0, 1)
    books.store(bought("A", 2_000) | read_now | {"updated_at": NOON + HOUR})
    books.award()
    assert books.points() == 200
    shown = "SELECT issued_at, time_known FROM billing.invoice"
    assert books.rows(shown) == [(MIDNIGHT, None)]
    corrected = read_now | {"issued_at": read_now["issued_at"] + DAY}
    books.store(bought("A", 2_000) | corrected | {"updated_at": NOON + 2 * HOUR})
    books.award()
    assert books.points() == 300
    assert books.rows(shown) == [(corrected["issued_at"], corrected["time_known"])]


def test_within_a_day_the_number_decides_as_a_number(books: Books) -> None:
    first = {"points": 50, "kind": "purchase_bonus"}
    promote(books, "first", "purchase_bonus", first, when={"first_purchase": True})
    day = {"issued_at": MIDNIGHT, "time_known": False}
    books.store(bought("X", 1_000, invoice_number="FT 10") | day)
    books.store(bought("Y", 1_000, invoice_number="FT 9") | day)
    books.award()
    given = dict(books.rows("SELECT external_id, sum(points) FROM loyalty.award_entry GROUP BY 1"))
    assert given == {"X": 100, "Y": 150}


def test_a_rule_by_hour_never_applies_to_a_day(books: Books) -> None:
    night = {"points": 50, "kind": "purchase_bonus"}
    hours = {"hours": [{"start": "22:00", "end": "02:00"}]}
    promote(books, "night", "purchase_bonus", night, when=hours)
    books.store(bought("X", 1_000) | {"issued_at": MIDNIGHT, "time_known": False})
    books.award()
    assert books.points() == 100
    told = explain(books.dsn, "xero", "X")
    assert told is not None and told.now is not None
    assert [weighed.outcome for weighed in told.now.considered] == ["time_of_day"]
    with connect(books.dsn) as connection:
        shown = connection.execute("SELECT time_known FROM analytics.sale").fetchall()
    assert shown == [(False,)]
