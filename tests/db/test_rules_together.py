"""Several rules at the same time, on stored sales.

Budgets, an account that awaits payment, merged customers, late and corrected sales.

Whatever arrives in whichever order, and whoever posts it (the run of an account, or that of one
announced sale), the ledger is what the reference says of the sales as they are in the end.
"""

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from loyalty.promotions import Promotion
from tasks.award import members as award_step
from tests.db.test_rules import LONG_AGO, promote
from tests.support import reference
from tests.support.books import NOON, Books, invoice
from tests.support.ledger import PROGRAM, sale

PHONES = [f"+24492300020{n}" for n in range(4)]
TURN = NOON + timedelta(days=4)
PROMOTIONS: dict[str, dict[str, Any]] = {
    "each": {"rule": {"kind": "purchase_bonus", "points": 70}, "limits": {"budget": 300}},
    "first": {
        "rule": {"kind": "purchase_bonus", "points": 90},
        "when": {"first_purchase": True},
        "limits": {"budget": 200},
    },
    "large": {
        "rule": {"kind": "seasonal_multiplier", "multiplier_bps": 20_000},
        "when": {"minimum_minor": {"AOA": 9_000}},
        "limits": {"per_period": {"points": 1_500, "period": "month"}, "budget": 2_500},
    },
}


def story(random: Random) -> list[dict[str, Any]]:
    """Versions of sales, in the order in which they are known in the end."""
    found = []
    for number in range(10):
        first = invoice(
            external_id=f"S{number}", customer_phone=random.choice(PHONES),
            customer_external_id=None,
            kind=random.choice(["invoice", "invoice", "sale", "credit_note"]),
            status=random.choice(["open", "paid"]),
            total_minor=random.choice([1, 999, 8_999, 9_000, 15_000]),
            issued_at=NOON + timedelta(days=random.randrange(8), hours=random.randrange(2)),
        )  # fmt: skip
        later = [
            {"status": "void"},
            {"status": "paid"},
            {"amount_refunded_minor": first["total_minor"] // 3},
            {},
        ]
        for step, change in enumerate(random.sample(later, 2)):
            first = first | change | {"updated_at": NOON + timedelta(days=30 + step)}
            found.append(first)
    return found


def expected(books: Books, versions: list[dict[str, Any]]) -> dict[tuple[str, int], int]:
    """What the reference says of the last versions, by sale and member."""
    owners = dict(books.rows("SELECT member_id, owner_id FROM loyalty.merged_member"))
    numbers = dict(books.rows("SELECT phone, member_id FROM loyalty.member"))
    last = {one["external_id"]: one for one in versions}
    names = ("external_id", "kind", "status", "total_minor", "amount_refunded_minor", "issued_at")
    sales = [
        sale(**{name: one[name] for name in names},
            member_id=owners.get(numbers[one["customer_phone"]], numbers[one["customer_phone"]]),
             account_award_when="paid" if one["issued_at"] >= TURN else None, record_no=number)
        for number, one in enumerate(last.values())
    ]  # fmt: skip
    promotions = [
        Promotion.model_validate(
            {"promotion_id": name, "version": 1, "valid_from": LONG_AGO, **given}
        )
        for name, given in PROMOTIONS.items()
    ]
    return {
        key: points or 0
        for key, points in reference.due(
            reference.World(sales, [], [INSTALLED], promotions)
        ).items()
        if points
    }


#: As a new installation counts.
INSTALLED = PROGRAM.model_copy(
    update={"unlinked_credits": "returned_sales", "discount_lines": "spread"}
)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_ledger_is_what_the_reference_says(
    books: Books, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)
    monkeypatch.setattr(award_step, "MEMBERS_AT_ONCE", 2)
    for name, given in PROMOTIONS.items():
        more = {key: value for key, value in given.items() if key != "rule"}
        promote(books, name, given["rule"]["kind"], given["rule"], **more)
    books.run(
        "INSERT INTO billing.award_policy (system, account, award_when, valid_from, run_id) "
        "VALUES ('xero', 'books', 'paid', %(at)s, 'r')",
        at=TURN,
    )
    versions = story(random)
    arriving = random.sample(versions, len(versions))
    for phone in PHONES:
        books.run("INSERT INTO loyalty.member (phone) VALUES (%(phone)s)", phone=phone)
    for number, one in enumerate(arriving):
        books.store(one)
        if number == 9:
            books.run(
                "INSERT INTO loyalty.member_merge (member_id, into_id, reason) "
                    "VALUES (%(two)s, %(one)s, 'same person')",
                one=books.member(PHONES[0]), two=books.member(PHONES[1]),
            )  # fmt: skip
        if random.random() < 0.5:
            with books.transaction() as connection:
                sync_id = books.begin(connection)
            job = books.job()
            with job.scope():
                award_step.award_only(job, sync_id, books.dirty())
        elif random.random() < 0.5:
            books.award()
    books.award()
    ledger = books.rows(
        "SELECT external_id, member_id, sum(points)::bigint FROM loyalty.award_entry "
        "GROUP BY 1, 2 HAVING sum(points) <> 0"
    )
    assert {(name, member): points for name, member, points in ledger} == expected(books, versions)
    for name, given in PROMOTIONS.items():
        (used,) = books.rows(
            "SELECT coalesce(sum(granted), 0)::bigint FROM loyalty.promotion_claim "
            "WHERE promotion_id = %(n)s",
            n=name,
        )
        assert used[0] <= given["limits"]["budget"]
    assert books.award().entries == 0
