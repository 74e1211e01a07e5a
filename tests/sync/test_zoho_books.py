"""A shop's day in Zoho Books: the ledger is right after each thing that happens."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

import simulator
from simulator.books import Books
from simulator.model import Document
from sql.db import connect
from tests.sync.conftest import Shop, expected, run

SYSTEM = "zoho_books"


@pytest.fixture
def books(shop: Shop) -> Books:
    return shop.world.books[SYSTEM]


def sold(shop: Shop, books: Books, *quantities: int) -> Document:
    """A new invoice of somebody with a phone, over so many of each of the first products."""
    customer = next(
        customer
        for customer in books.customers.values()
        if customer.phone_slot == 0 and customer.person.national and customer.phone
    )
    rows = [
        (product, quantity, product.unit_minor)
        for product, quantity in zip(books.products.values(), quantities, strict=False)
    ]
    return books.record("Invoice", customer, rows, now(shop))


def now(shop: Shop) -> datetime:
    return shop.world.now().replace(microsecond=0)


def points_of(shop: Shop, document: Document, prefix: str = "") -> int:
    return shop.points().get((SYSTEM, f"{prefix}{document.id}"), 0)


def agrees(shop: Shop) -> bool:
    shop.sync(SYSTEM)
    return shop.points() == expected(shop.world, SYSTEM)


def test_a_shops_day(shop: Shop, books: Books) -> None:
    assert agrees(shop)
    invoice = sold(shop, books, 2, 3)
    assert agrees(shop)
    whole = points_of(shop, invoice)
    assert whole == invoice.total_minor * 10 // 100

    books.edit(invoice, 0, 4, now(shop))
    assert agrees(shop)
    assert points_of(shop, invoice) > whole

    books.pay(invoice, invoice.balance_minor, now(shop))
    refund = books.take_back(invoice, [1, 0], now(shop))
    assert refund is not None
    assert agrees(shop)
    taken = points_of(shop, refund, "credit_note/")
    assert taken == -refund.total_minor * 10 // 100 < 0

    # An exchange: the credit pays a part of a new invoice. Applying it changes no points.
    other = sold(shop, books, 0, 0, 1)
    assert agrees(shop)
    books.pay(other, refund.balance_minor, now(shop), credit=refund)
    assert agrees(shop)
    assert points_of(shop, refund, "credit_note/") == taken
    assert points_of(shop, other) == other.total_minor * 10 // 100

    cancelled, deleted = sold(shop, books, 5), sold(shop, books, 6)
    assert agrees(shop)
    assert points_of(shop, cancelled) and points_of(shop, deleted)
    books.void(cancelled, now(shop))
    books.delete(deleted, now(shop))
    assert agrees(shop)
    assert points_of(shop, cancelled) == points_of(shop, deleted) == 0


def receipts(*ids: str) -> Callable[[httpx.Request], httpx.Response | None]:
    """A server that has these sales receipts too, which the simulator does not know."""
    body: dict[str, Any] = {
        "receipt_number": "SR-1", "status": "sent", "customer_id": "1", "phone": "923 456 789", "date": "2026-05-01",
        "currency_code": "AOA", "total": 100, "tax_total": 0, "last_modified_time": "2026-05-01T10:00:00+0100", "line_items": [],
    }  # fmt: skip
    rows = {key: body | {"sales_receipt_id": key} for key in ids}

    def answer(request: httpx.Request) -> httpx.Response | None:
        _, found, key = request.url.path.partition("/salesreceipts")
        if not found:
            return None
        if not key:
            listed = {
                "salesreceipts": list(rows.values()),
                "page_context": {"has_more_page": False},
            }
            return httpx.Response(200, json={"code": 0, **listed})
        return httpx.Response(200, json={"code": 0, "salesreceipt": rows[key.strip("/")]})

    return answer


def read_receipts(shop: Shop, *, wanted: bool = True) -> dict[str, str]:
    """Synchronises, and gives the status of each stored receipt."""
    job = shop.job(SYSTEM)
    options = job.vendor.options | {"sales_receipts": wanted}
    job.vendor = replace(job.vendor, options=options)
    run(job)
    with connect(shop.dsn) as connection:
        rows = connection.execute(
            "SELECT external_id, status FROM billing.invoice WHERE kind = 'sale'"
        ).fetchall()
    return dict(rows)


def test_a_sales_receipt_that_is_deleted_is_void_and_one_that_is_not_read_stays(shop: Shop) -> None:
    shop.before = receipts("5", "6")
    assert read_receipts(shop) == {"sales_receipt/5": "paid", "sales_receipt/6": "paid"}
    shop.before = receipts("5")
    assert read_receipts(shop) == {"sales_receipt/5": "paid", "sales_receipt/6": "void"}
    assert read_receipts(shop, wanted=False)["sales_receipt/5"] == "paid"
    assert shop.points()[SYSTEM, "sales_receipt/5"] == 1000


def test_a_poll_that_finds_nothing_costs_two_calls(shop: Shop) -> None:
    shop.sync(SYSTEM)
    shop.requests.clear()
    job = shop.job(SYSTEM, since=simulator.ManualClock(now(shop) + timedelta(hours=1))())
    job.vendor = replace(job.vendor, options={"deletions_hours": 24 * 365})
    run(job)
    asked = [request.url.path for request in shop.requests if "token" not in request.url.path]
    assert asked == ["/books/v3/invoices", "/books/v3/creditnotes"]
