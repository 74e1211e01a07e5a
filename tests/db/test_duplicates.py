"""One sale in several systems: one earns, whatever the order in which they come and change."""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from loyalty.corrections import Decision
from loyalty.redemptions import RedemptionRequest
from settings import settings
from sql import balance, corrections, redemptions
from sql.db import connect
from sql.erasure import erase
from sql.explain import explain
from sql.sync import AccountKey
from tasks.duplicates import (
    DeclarationRefusedError,
    declare,
    find,
    shown,
    wanted_precedence,
)
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice, line
from twezah.cli import app

WHO = Decision(author="Ana", reason="one shop")
ORDER = ["shopify", "stripe", "quickbooks"]
#: An order of a shop, its payment, and its invoice in the books: 150.00 AOA, 1500 points.
SALE: dict[str, dict[str, Any]] = {
    "shopify": invoice(external_id="5550001234567", invoice_number="#1001", status="paid"),
    "stripe": invoice(
        external_id="ch_3OqXyz", invoice_number=None, issued_at=NOON + HOUR, status="paid",
        reference_ids="order:5550001234567 payment:pi_3OqXyz",
    ),
    "quickbooks": invoice(
        external_id="145", invoice_number="INV-77", issued_at=NOON - 12 * HOUR,
        reference_ids="order:1001",
    ),
}  # fmt: skip


class Shop:
    """The books of one shop at three systems."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.books = {name: Books(dsn, AccountKey(name, "shop")) for name in ORDER}
        self._changes = itertools.count(1)

    def put(self, system: str, **changes: Any) -> None:
        """A new version of the system's document."""
        updated = NOON + next(self._changes) * timedelta(minutes=1)
        self.books[system].store(SALE[system] | {"updated_at": updated} | changes)

    def award(self) -> int:
        return self.books["shopify"].award().points

    def declare(self, *order: str, **more: Any) -> int:
        """Declares and posts; returns the points that it moved."""
        wanted = wanted_precedence(order, **more)
        declared = declare(self.dsn, wanted, WHO, "declare", confirm=10**9)
        posted = self.award()
        assert declared.preview.trial.points == posted  # what was shown is what came
        return posted

    def points(self) -> int:
        return self.books["shopify"].points()

    def reasons(self, system: str) -> list[tuple[str, int]]:
        return self.books[system].rows(
            "SELECT reason, points FROM loyalty.award_entry WHERE system = %(s)s ORDER BY entry_no",
            s=system,
        )

    def left_out(self) -> list[tuple[Any, ...]]:
        return self.books["shopify"].rows(
            "SELECT system, by_system, matched_by FROM analytics.left_out_sale ORDER BY 1, 2"
        )


@pytest.fixture
def shop(dsn: str) -> Shop:
    return Shop(dsn)


def test_without_a_declaration_every_document_earns_and_find_shows_them(shop: Shop) -> None:
    for system in ORDER:
        shop.put(system)
    assert shop.award() == 4500
    with connect(shop.dsn) as connection:
        preview = find(connection)
    assert preview.is_example and not preview.declared.systems
    # By the names of the accounts: what QuickBooks says counts in this example.
    assert sorted((p.system, p.by_system, p.points) for p in preview.pairs) == [
        ("shopify", "quickbooks", 1500), ("stripe", "quickbooks", 1500),
    ]  # fmt: skip
    assert preview.trial.points == -3000
    assert any("No precedence is declared" in line for line in shown(preview, UTC))  # type: ignore[arg-type]
    assert shop.points() == 4500 and shop.left_out() == []


@pytest.mark.parametrize("arrival", list(itertools.permutations(ORDER)))
def test_a_sale_earns_once_whatever_arrives_first(shop: Shop, arrival: Sequence[str]) -> None:
    shop.declare(*ORDER)
    for number, system in enumerate(arrival, 1):
        shop.put(system)
        shop.award()
        if "shopify" in arrival[:number] or number == 3:
            assert shop.points() == 1500
    assert shop.points() == 1500
    assert sum(points for _, points in shop.reasons("shopify")) == 1500
    for loser in ("stripe", "quickbooks"):
        chain = shop.reasons(loser)
        assert sum(points for _, points in chain) == 0
        assert chain in ([], [("award", 1500), ("duplicate", -1500)])
    assert shop.left_out() == [
        ("quickbooks", "shopify", "number 1001"), ("stripe", "shopify", "id 5550001234567"),
    ]  # fmt: skip


def test_the_explanation_names_the_document_that_counts(shop: Shop) -> None:
    shop.put("stripe")
    shop.award()
    shop.declare(*ORDER)
    shop.put("shopify")
    shop.award()
    explained = explain(shop.dsn, "stripe", "ch_3OqXyz")
    assert explained is not None and explained.now is not None
    text = explained.to_text(UTC)  # type: ignore[arg-type]
    where = "counted at shopify/shop: 5550001234567 (id 5550001234567)"
    assert explained.entries[-1].breakdown == {"base": 0, where: 0}
    assert explained.now.due == 0 and text.count(where) == 2
    assert "another system tells the same sale" in text and "reward" not in text
    rules = shop.books["stripe"].rows(
        "SELECT sum(points) FROM analytics.award_rule WHERE is_last AND system = 'stripe'"
    )
    assert rules == [(0,)]


def test_who_counts_when_the_first_is_void(shop: Shop) -> None:
    """What the order says no more, the payment says; its own refund takes its points."""
    shop.declare(*ORDER)
    for system in ORDER:
        shop.put(system)
    shop.award()
    shop.put("shopify", status="void")
    shop.award()
    assert shop.points() == 1500 and shop.left_out() == [
        ("quickbooks", "stripe", "by way of a third document, number 1001")
    ]
    shop.put("stripe", status="paid", amount_refunded_minor=15_000)
    shop.award()
    assert shop.points() == 0
    shop.put("shopify", status="paid")  # it was deleted by mistake
    shop.award()
    assert shop.points() == 1500 and sum(p for _, p in shop.reasons("stripe")) == 0


def test_what_is_given_back_is_taken_back_once(shop: Shop) -> None:
    shop.declare(*ORDER)
    for system in ORDER:
        shop.put(system)
    shop.award()
    credit = SALE["quickbooks"] | {
        "external_id": "CreditMemo/9", "invoice_number": "CM-9", "kind": "credit_note",
        "total_minor": 5_000, "reference_ids": None, "issued_at": NOON + 24 * HOUR,
    }  # fmt: skip
    shop.books["quickbooks"].store(credit)
    shop.award()
    # The books tell of it first: the shop's order does not show it yet.
    assert shop.points() == 1000
    shop.put("stripe", amount_refunded_minor=5_000)
    shop.award()
    assert shop.points() == 1000
    shop.put("shopify", amount_refunded_minor=5_000)
    shop.award()
    assert shop.points() == 1000
    # The credit came home to the order; now the order says so itself, and nothing moves.
    assert shop.reasons("shopify") == [("award", 1500), ("refund", -500)]
    assert shop.reasons("quickbooks") == []
    # Another credit is of something else: the order gave back no more.
    shop.books["quickbooks"].store(credit | {"external_id": "CreditMemo/10", "total_minor": 2_000})
    shop.award()
    assert shop.points() == 800


def test_a_credit_that_names_a_sale_left_out_takes_nothing(shop: Shop) -> None:
    shop.declare(*ORDER)
    for system in ORDER:
        shop.put(system)
    shop.books["stripe"].store(
        SALE["stripe"]
        | {"external_id": "re_1", "kind": "refund", "reference_ids": "order:ch_3OqXyz"}
    )
    shop.award()
    assert shop.points() == 1500


def test_a_credit_that_returns_a_sale_left_out_is_left_out_with_it(shop: Shop) -> None:
    """By its link. So what the order gave back stands for another credit of the books."""
    shop.declare(*ORDER)
    shop.put("shopify", amount_refunded_minor=5_000)
    shop.put("quickbooks")
    credit = SALE["quickbooks"] | {
        "kind": "credit_note", "total_minor": 5_000, "reference_ids": None,
        "issued_at": NOON + 24 * HOUR,
    }  # fmt: skip
    shop.books["quickbooks"].store(
        credit | {"external_id": "CM-1", "original_external_id": "INV-77"},
        credit | {"external_id": "CM-2", "issued_at": NOON + 48 * HOUR},
    )
    shop.award()
    assert shop.points() == 1000
    assert [row[:2] for row in shop.left_out()] == [("quickbooks", "shopify")] * 3


def test_a_credit_of_the_books_comes_home_to_the_sale_that_counts(shop: Shop) -> None:
    """By its product: the books' own invoice is left out, and nothing comes back to it."""
    shop.declare(*ORDER)

    def put(system: str, amount_minor: int = 15_000, **changes: Any) -> None:
        document = SALE[system] | {"total_minor": amount_minor} | changes
        shop.books[system].store(
            document, lines=[line(document["external_id"], amount_minor=amount_minor)]
        )

    for system in ORDER:
        put(system)
    later = NOON + 24 * HOUR
    put(
        "quickbooks", 5_000, external_id="CM-1", invoice_number="CM-1", kind="credit_note",
        reference_ids=None, issued_at=later,
    )  # fmt: skip
    shop.award()
    assert shop.points() == 1000
    order, books = (
        explain(shop.dsn, "shopify", "5550001234567"),
        explain(shop.dsn, "quickbooks", "145"),
    )
    assert order is not None and order.now is not None and books is not None
    assert [(back.external_id, back.words) for back in order.now.returned] == [
        ("CM-1", "the latest sale of the product")
    ]
    assert books.now is not None and not books.now.returned
    # The order is void: then the payment counts, and the credit comes home to it.
    put("shopify", status="void", updated_at=later)
    shop.award()
    assert shop.points() == 1000


def test_spent_points_of_a_sale_that_counted_twice(shop: Shop) -> None:
    """They were spent; what counted twice is taken back all the same, and the balance says why."""
    for system in ORDER:
        shop.put(system)
    shop.award()
    books = shop.books["shopify"]
    member = books.member()
    spend = RedemptionRequest(
        member_id=member, points=4_000, reference="reward 7", reason="A dispenser", key="spend-1"
    )
    with books.transaction() as connection:
        spent = redemptions.redeem(connection, spend, "run")
    shop.declare(*ORDER)
    with connect(shop.dsn) as connection:
        has = balance.read(connection, member)
    assert has is not None and (has.balance_points, has.available_points) == (-2_500, 0)
    assert has.below_zero is not None
    assert "4000 points were spent" in has.below_zero and "duplicate of stripe" in has.below_zero
    with books.transaction() as connection, pytest.raises(redemptions.InsufficientPointsError):
        redemptions.redeem(connection, spend.model_copy(update={"key": "spend-2"}), "run")
    with books.transaction() as connection:
        number = spent.redemption.redemption_id
        redemptions.reverse(connection, member, number, "back", "not delivered", "run")
    assert shop.points() == 1_500
    told = books.rows(
        "SELECT kind, sum(points)::int FROM analytics.points_history GROUP BY 1 ORDER BY 1"
    )
    assert told == [
        ("award", 4_500), ("duplicate", -3_000), ("redemption", -4_000),
        ("redemption reversal", 4_000),
    ]  # fmt: skip


def test_a_merged_member_who_spent_and_whose_sale_is_left_out(shop: Shop) -> None:
    """Two phones of one person: spent with one, and the sale counted for both."""
    shop.declare(*ORDER)
    shop.put("shopify")
    shop.put("quickbooks", customer_phone=OTHER_PHONE)
    shop.award()
    books = shop.books["shopify"]
    other, member = books.member(OTHER_PHONE), books.member()
    spend = RedemptionRequest(
        member_id=other, points=1_200, reference="reward 7", reason="A bottle", key="spend-1"
    )
    with books.transaction() as connection:
        redemptions.redeem(connection, spend, "run")
        corrections.merge(connection, other, member, WHO, "run")
    shop.award()
    with connect(shop.dsn) as connection:
        has = balance.read(connection, member)
    assert has is not None and (has.balance_points, has.spent_points) == (300, 1_200)
    with books.transaction() as connection:
        erase(connection, member, WHO, "run", dry_run=False)
    with books.transaction() as connection, pytest.raises(corrections.MemberErasedError):
        redemptions.redeem(connection, spend.model_copy(update={"key": "spend-2"}), "run")
    shop.award()
    assert books.rows("SELECT sum(balance_points)::int FROM loyalty.member_balance") == [(300,)]


def test_documents_of_two_members_are_one_sale_by_their_ids(shop: Shop) -> None:
    """The phone at the payment service is another one."""
    shop.declare(*ORDER)
    shop.put("stripe", customer_phone=OTHER_PHONE)
    shop.award()
    assert shop.books["stripe"].points(OTHER_PHONE) == 1500
    shop.put("shopify")
    assert len(shop.books["stripe"].dirty()) == 2
    shop.award()
    assert (shop.points(), shop.books["stripe"].points(OTHER_PHONE)) == (1500, 0)
    shop.put("shopify", status="void")
    shop.award()
    assert (shop.points(), shop.books["stripe"].points(OTHER_PHONE)) == (0, 1500)
    shop.put("shopify", status="paid")
    shop.award()
    # The payment is of another order after all: it names this one no more.
    shop.put("stripe", customer_phone=OTHER_PHONE, reference_ids="payment:pi_3OqXyz")
    shop.award()
    assert (shop.points(), shop.books["stripe"].points(OTHER_PHONE)) == (1500, 1500)


def test_a_number_proves_nothing_about_another_member(shop: Shop) -> None:
    shop.declare(*ORDER)
    shop.put("shopify")
    shop.put("quickbooks", customer_phone=OTHER_PHONE)
    shop.award()
    assert (shop.points(), shop.books["quickbooks"].points(OTHER_PHONE)) == (1500, 1500)


def test_the_rule_is_off_until_it_is_switched_on(shop: Shop) -> None:
    shop.put("shopify")
    shop.put("quickbooks", reference_ids=None)
    shop.award()
    assert shop.declare(*ORDER) == 0 and shop.points() == 3000
    with connect(shop.dsn) as connection:
        tried = find(connection, wanted_precedence(ORDER, within_hours=24))
    assert [p.matched_by for p in tried.pairs] == ["same customer, amount and time"]
    assert tried.trial.points == -1500 and shop.points() == 3000
    assert shop.declare(*ORDER, within_hours=24) == -1500
    # A second sale of the same amount on that day is a second sale.
    shop.put("shopify", external_id="5550001234568", invoice_number="#1002")
    shop.award()
    assert shop.points() == 3000
    shop.put("quickbooks", reference_ids=None, external_id="146", invoice_number="INV-78")
    shop.award()
    assert shop.points() == 3000


@pytest.mark.parametrize(
    ("then", "moved"),
    [
        (lambda shop: shop.declare("stripe", "shopify", "quickbooks"), 0),
        (lambda shop: shop.declare("shopify", "quickbooks"), 1500),
        (lambda shop: shop.declare(), 3000),
        (lambda shop: shop.declare(*ORDER, since=date(2026, 4, 1)), 3000),
    ],
    ids=["another counts", "one takes no part", "none is declared any more", "from April on"],
)
def test_a_change_of_the_precedence_is_posted(
    shop: Shop, then: Callable[[Shop], int], moved: int
) -> None:
    shop.declare(*ORDER)
    for system in ORDER:
        shop.put(system)
    shop.award()
    assert then(shop) == moved and shop.points() == 1500 + moved
    assert len(shop.left_out()) == 2 - moved // 1500
    # And the same again changes nothing.
    assert shop.award() == 0


def test_a_declaration_above_the_limit_is_confirmed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for system in ORDER:
        shop.put(system)
    shop.award()
    monkeypatch.setenv("TWEZAH_CHANGE_POINTS_MAX", "100")
    settings.cache_clear()
    with pytest.raises(DeclarationRefusedError, match="3000 points") as refused:
        declare(shop.dsn, wanted_precedence(ORDER), WHO, "run")
    assert refused.value.preview is not None
    assert shop.books["shopify"].rows("SELECT count(*) FROM loyalty.sale_precedence") == [(0,)]
    assert declare(shop.dsn, wanted_precedence(ORDER), WHO, "r", confirm=3000).precedence_no == 1
    again = declare(shop.dsn, wanted_precedence(ORDER), WHO, "run")
    assert again.precedence_no is None


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (["shopfy", "stripe"], "there is no billing system 'shopfy'"),
        (["shopify", "shopify"], "named once"),
        (["shopify"], "at least two"),
    ],
)
def test_an_order_that_is_none_is_refused(order: list[str], words: str) -> None:
    with pytest.raises(DeclarationRefusedError, match=words):
        wanted_precedence(order)


def test_erased_and_merged_members_keep_what_counts(shop: Shop) -> None:
    """Two members who are one: their documents are compared as one member's."""
    shop.declare(*ORDER)
    shop.put("shopify")
    shop.put("quickbooks", customer_phone=OTHER_PHONE)
    shop.award()
    books = shop.books["shopify"]
    with books.transaction() as connection:
        one, other = books.member(OTHER_PHONE), books.member(PHONE)
        corrections.merge(connection, one, other, WHO, "run")
    shop.award()
    assert shop.points() == 1500


def test_the_command_finds_and_declares(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's own road: look, declare, look again."""
    monkeypatch.setenv("TWEZAH_DATABASE_URL", shop.dsn)
    settings.cache_clear()
    for system in ORDER:
        shop.put(system)
    shop.award()

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["duplicates", *arguments])
        return result.exit_code, result.output

    code, text = run("find")
    assert code == 0 and "No precedence is declared" in text and "3000" in text
    code, text = run("find", "--order", "shopify,stripe,quickbooks")
    assert code == 0 and "Tried: shopify, then stripe, then quickbooks" in text
    assert "stripe/shop ch_3OqXyz = shopify/shop 5550001234567: id 5550001234567" in text
    assert "1500 points posted" in text and "-3000" in text and shop.points() == 4500
    assert run("find", "--order", "shopify,strpe")[0] == 1
    who = ("--reason", "One shop", "--author", "Ana")
    assert run("declare", *who)[0] == 2
    code, text = run("declare", "--order", "shopify,stripe,quickbooks", "--confirm", "3000", *who)
    assert code == 0 and "Declared as number 1." in text and "-3000 points" in text
    assert shop.points() == 1500
    code, text = run("find", "--json")
    assert code == 0 and json.loads(text)["documents"] == 2
    assert run("declare", "--none", "--confirm", "3000", *who)[0] == 0 and shop.points() == 4500


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_earn_once(shop: Shop, seed: int) -> None:
    """Whatever arrives, changes, is void and is declared, in whatever order and however awarded.

    What is right is computed from the last versions alone: of each sale the first document that is
    not void counts, less what that document gave back.
    """
    rng = random.Random(seed)
    sales = ("1", "2", "3")
    order, versions = list(ORDER), {}
    shop.declare(*order)
    for _ in range(40):
        number, system = rng.choice(sales), rng.choice(ORDER)
        if rng.random() < 0.08:
            order = rng.sample(ORDER, 3)
            declare(shop.dsn, wanted_precedence(order), WHO, "declare", confirm=10**9)
            continue
        changes = {
            "status": rng.choice(["paid", "paid", "open", "void", "draft"]),
            "amount_refunded_minor": rng.choice([0, 0, 5_000]),
            # The payment service knows the customer of one sale by another phone.
            "customer_phone": OTHER_PHONE if (system, number) == ("stripe", "3") else PHONE,
        }
        versions[number, system] = changes
        names = {key: SALE[system][key] for key in ("external_id", "invoice_number")}
        names = {key: value and f"{value}{number}" for key, value in names.items()}
        tokens = (SALE[system]["reference_ids"] or "").split()
        named = " ".join(f"{token}{number}" for token in tokens) or None
        shop.put(system, **names, reference_ids=named, **changes)
        if rng.random() < 0.3:
            shop.award()
    shop.award()
    expected: dict[str, int] = {}
    for number in sales:
        counting = [versions.get((number, system)) for system in order]
        first = next((v for v in counting if v and v["status"] in ("open", "paid")), None)
        if first is not None:
            phone, refunded = first["customer_phone"], first["amount_refunded_minor"]
            expected[phone] = expected.get(phone, 0) + (15_000 - refunded) // 10
    assert shop.points() == expected.get(PHONE, 0)
    if ("3", "stripe") in versions:
        assert shop.books["stripe"].points(OTHER_PHONE) == expected.get(OTHER_PHONE, 0)
    assert shop.award() == 0  # nothing is left to do
