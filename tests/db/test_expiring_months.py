"""Which points expire in the months to come."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from psycopg.types.json import Jsonb

from loyalty.calendar import months_later
from sql import analytics
from tests.db.test_rules import program
from tests.support.books import OTHER_PHONE, Books, invoice

LUANDA = ZoneInfo("Africa/Luanda")


def months(books: Books, *, anew: bool = True) -> list[tuple[date, int, int]]:
    with books.transaction() as connection:
        analytics.refresh_expiring(connection, anew=anew)
    return [
        (month, points, members)
        for month, points, members in books.rows(
            "SELECT month, points, members FROM analytics.expiring_month ORDER BY month"
        )
    ]


def test_points_expire_in_the_month_of_their_last_day(books: Books) -> None:
    """Spent ones are those that expire first; what is over already does not expire again."""
    assert months(books) == [], "points do not expire"
    program(books, expiry=Jsonb({"months": 12, "end_of": "month"}))
    this = datetime.now(LUANDA).date().replace(day=1)
    assert months(books) == [(this, 0, 0)]
    noon = datetime(this.year, this.month, 1, 12, tzinfo=LUANDA)
    bought = {
        name: noon.replace(year=day.year, month=day.month)
        for name, day in (
            ("OLD", months_later(this, -14)), ("A", months_later(this, -11)),
            ("B", months_later(this, -10)), ("C", months_later(this, -10)),
        )
    }  # fmt: skip
    books.store(
        *(
            invoice(
                external_id=name, issued_at=at.astimezone(UTC), updated_at=at.astimezone(UTC),
                customer_phone=OTHER_PHONE if name == "C" else invoice()["customer_phone"],
            )
            for name, at in bought.items()
        )
    )  # fmt: skip
    books.award()
    first, second = months_later(this, 1), months_later(this, 2)
    expected = [(this, 0, 0), (first, 1500, 1), (second, 3000, 2)]
    assert months(books) == expected
    books.run(
        "INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author,"
        " run_id) VALUES ('k', %(member)s, -1600, 'r', 'a', 'r')",
        member=books.member(),
    )
    assert months(books, anew=False) == expected, "once a day is enough"
    assert months(books) == [(this, 0, 0), (second, 2900, 2)]


def test_what_was_found_yesterday_is_looked_at_again(books: Books) -> None:
    program(books, expiry=Jsonb({"months": 12}))
    months(books)
    books.run("UPDATE loyalty.expiring_month SET computed_at = now() - interval '21 hours'")
    months(books, anew=False)
    ((age,),) = books.rows("SELECT now() - max(computed_at) FROM loyalty.expiring_month")
    assert age < timedelta(hours=20)


def test_members_are_looked_at_some_at_a_time(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(books, expiry=Jsonb({"months": 12}))
    now = datetime.now(UTC)
    books.store(
        *(
            invoice(external_id=f"S{n}", customer_phone=f"+24492300010{n}", issued_at=now,
                    updated_at=now)
            for n in range(5)
        )
    )  # fmt: skip
    books.award()
    whole = months(books)
    assert sum(points for _, points, _ in whole) == 7500
    monkeypatch.setattr(analytics, "MEMBERS_AT_ONCE", 2)
    assert months(books) == whole
