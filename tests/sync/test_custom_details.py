"""A system whose list says too little of its documents: each is read by its own path."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import stamina

from connectors.kit.errors import UnexpectedShape
from sql.db import connect
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import run
from tests.sync.test_custom import connection, job, sales

__all__ = ["databases", "dsn"]
OPTIONS: dict[str, Any] = {
    "path": "/orders", "records": "/orders", "params": {}, "paging": "cursor", "page_param": "after", "next_path": "/meta/after",
    "list_holds": "less than the document", "document_path": "/orders/{id}/full", "document_record": "/order", "lines": "/basket",
    "statuses": {"new": "open", "settled": "paid", "gone": "void"}, "requests_at_once": 4,
}  # fmt: skip
PATHS = {
    "status": "/phase",
    "updated_at": "/changed",
    "customer_phone": "/buyer/tel",
    "lines.amount_minor": "/sum",
}


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


class Shop:
    """Lists ids and times of change; tells the rest of one order at a time."""

    def __init__(self, count: int) -> None:
        self.orders = {str(n): self.order(n) for n in range(1, count + 1)}
        self.asked: list[str] = []
        self.odd: dict[str, httpx.Response] = {}
        self.changed: dict[str, str] = {}

    @staticmethod
    def order(number: int, total: str = "150.00", **more: Any) -> dict[str, Any]:
        basket = [{"sku": "ATW-5L", "quantity": 3, "sum": total}]
        return {
            "total": total, "sale_date": "2026-05-01", "phase": "new", "buyer": {"tel": f"9234567{number:02}"}, "basket": basket, **more,
        }  # fmt: skip

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/orders")
        if path:
            number = path.strip("/").split("/")[0]
            self.asked.append(number)
            if number in self.odd:
                return self.odd[number]
            return httpx.Response(200, json={"order": self.orders[number]})
        start, size = int(request.url.params.get("after", 0)), int(request.url.params["limit"])
        ids = list(self.orders)[start : start + size]
        shown = [
            {"id": n, "changed": self.changed.get(n, f"2026-05-01T10:00:{int(n):02}Z")} for n in ids
        ]
        after = start + size if start + size < len(self.orders) else None
        return httpx.Response(200, json={"orders": shown, "meta": {"after": after}})


def test_each_document_is_read_and_kept_with_its_page(dsn: str) -> None:
    shop = Shop(5)
    vendor = connection(OPTIONS, paths=PATHS, page_size=2)
    _, loaded, _ = run(job(dsn, vendor, shop))
    assert sales(dsn) == dict.fromkeys("12345", 1500)
    assert (sorted(shop.asked), loaded.rejected) == (list("12345"), 0)
    with connect(dsn) as opened:
        changed, skus = opened.execute(
            "SELECT (SELECT count(DISTINCT updated_at) FROM billing.invoice), (SELECT count(*) FROM billing.invoice_line WHERE sku = 'ATW-5L')"
        ).fetchall()[0]
    assert (changed, skus) == (5, 5), "the list's time of change, the document's lines"

    shop.asked.clear()
    run(job(dsn, vendor, shop, replay=True))
    assert (shop.asked, sales(dsn)) == ([], dict.fromkeys("12345", 1500)), (
        "stored pages hold the documents"
    )

    shop.orders["1"] = shop.order(1, "100.00")
    shop.orders["2"] = shop.order(2, phase="gone")
    shop.changed = dict.fromkeys("12", "2099-12-31T00:00:00Z")
    run(job(dsn, vendor, shop))
    assert sales(dsn) == {"1": 1000, "3": 1500, "4": 1500, "5": 1500}


def test_a_list_of_lines_completes_its_document(dsn: str) -> None:
    rows = [{"id": 7, "customer_phone": "923456789", "total": "150.00", "sale_date": "2026-05-01"}]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/7/items"):
            return httpx.Response(200, json=[{"sku": "ATW-20L", "quantity": 1, "amount": "150.00"}])
        return httpx.Response(200, json={"data": rows})

    options = {
        "list_holds": "less than the document",
        "document_path": "/invoices/{id}/items",
        "lines": "/items",
    }
    run(job(dsn, connection(options), answer))
    assert sales(dsn) == {"7": 1500}
    with connect(dsn) as opened:
        assert opened.execute("SELECT sku FROM billing.invoice_line").fetchall() == [("ATW-20L",)]


def test_what_the_vendor_no_longer_has_stays_as_the_list_had_it(dsn: str) -> None:
    shop = Shop(3)
    shop.odd["2"] = httpx.Response(404)
    _, loaded, _ = run(job(dsn, connection(OPTIONS, paths=PATHS), shop))
    assert sales(dsn) == {"1": 1500, "3": 1500}
    assert (loaded.accepted, loaded.rejected) == (2, 1), "rejected by name, not lost"


@pytest.mark.parametrize(
    "odd",
    [
        httpx.Response(200, json={"error": {"code": "E7"}}),
        httpx.Response(200, content=b'{"order": {"total": "150'),
        httpx.Response(200, html="<p>Proxy</p>"),
        httpx.Response(200, json={"order": None}),
    ],
)
def test_an_answer_that_is_no_document_moves_nothing(dsn: str, odd: httpx.Response) -> None:
    shop = Shop(3)
    shop.odd["2"] = odd
    with pytest.raises(UnexpectedShape, match=r"custom invoices: GET /orders/2/full 200: "):
        run(job(dsn, connection(OPTIONS, paths=PATHS), shop))
    assert sales(dsn) == {}
