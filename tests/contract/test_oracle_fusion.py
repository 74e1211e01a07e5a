"""What is particular to Oracle Fusion: pages behind ids, lines by document, phones of parties."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.kit.errors import (
    PaginationLoop,
    PermissionMissing,
    RateLimited,
    Transient,
    UnexpectedShape,
)
from connectors.kit.http.client import open_client
from connectors.kit.mapping import Mapped, map_lookup, map_page
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import Account, RetryPolicy, Window
from connectors.oracle_fusion.connector import UserRefused
from panel.blocks import OracleFusionConnection
from simulator.catalog import products

SHEET = Path(__file__).parents[3] / "shared" / "vendors" / "oracle_fusion.md"
SPEC = SYSTEMS["oracle_fusion"]
HOST = simulator.ACCOUNTS["oracle_fusion"]
LINE = {
    "CustomerTransactionLineId": 1, "LineNumber": 1, "ItemNumber": "ATW-5L",
    "Description": "Água 5 L", "Quantity": 2, "UnitSellingPrice": 1500,
}  # fmt: skip
INVOICE = {
    "CustomerTransactionId": 300100180148289, "TransactionNumber": "INV-1",
    "TransactionDate": "2026-05-01", "BusinessUnit": "Luanda", "InvoiceCurrencyCode": "AOA",
    "EnteredAmount": 3420, "InvoiceBalanceAmount": 0, "FreightAmount": None,
    "InvoiceStatus": "Complete", "BillToCustomerNumber": "1006", "BillToPartyId": 300000001,
    "CreationDate": "2026-05-01T08:00:01+00:00", "receivablesInvoiceLines": [LINE],
}  # fmt: skip
MEMO = {
    **{name: value for name, value in INVOICE.items() if "Invoice" not in name},
    "CreditMemoStatus": "Complete", "TransactionBalanceDue": 420, "InvoiceCurrencyCode": "AOA",
    "receivablesCreditMemoLines": [LINE],
}  # fmt: skip


def mapped(record: Mapping[str, Any], stream: str = "invoices") -> Mapped:
    body = json.dumps({"items": [record]}).encode()
    return map_page(SPEC, SPEC.stream(stream), Account("oracle_fusion", HOST), body, page_id=7)


def one(record: Mapping[str, Any], stream: str = "invoices") -> dict[str, Any]:
    result = mapped(record, stream)
    assert result.problems.is_empty(), result.problems
    return result.invoices.to_dicts()[0]


def changed(bench: Any, **options: Any) -> None:
    """Other options than those with which the suites connect."""
    bench.changes = {"options": bench.connection.options | options}


def ids_of(pages: list[Any]) -> list[int]:
    return [
        row["CustomerTransactionId"] for page in pages for row in json.loads(page.body)["items"]
    ]


def test_an_invoice_and_what_it_becomes() -> None:
    row, line = one(INVOICE), mapped(INVOICE).lines.to_dicts()[0]
    assert (row["external_id"], row["invoice_number"]) == ("300100180148289", "INV-1")
    assert (row["kind"], row["status"], row["currency"]) == ("invoice", "paid", "AOA")
    assert (row["total_minor"], row["subtotal_minor"], row["tax_minor"]) == (
        342_000,
        300_000,
        42_000,
    )
    assert (row["customer_external_id"], row["amount_paid_minor"]) == ("300000001", 342_000)
    # It was made on its own day, so that is its time.
    assert row["issued_at"] == datetime(2026, 5, 1, 8, 0, 1, tzinfo=UTC)
    assert row["updated_at"] == datetime(2026, 5, 1, 8, 0, 1, tzinfo=UTC)
    assert (line["sku"], line["quantity"], line["amount_minor"]) == ("ATW-5L", 2, 300_000)


def test_the_invoice_of_the_sheet() -> None:
    """No payload was published whole; this is put together of several, so its sums do not fit."""
    if not SHEET.exists():
        pytest.skip(f"{SHEET} is not here")
    found = re.search(r"```json\n(.*?)```", SHEET.read_text(), re.DOTALL)
    assert found is not None
    (record,) = json.loads(found[1])["items"]
    row, line = one(record), mapped(record).lines.to_dicts()[0]
    assert (row["external_id"], row["invoice_number"]) == ("300100180148289", "SK_Test_Dist_285")
    assert (row["kind"], row["status"], row["currency"]) == ("invoice", "open", "EUR")
    assert (row["total_minor"], row["amount_paid_minor"]) == (300_000, 0)
    assert row["updated_at"] == datetime(2024, 3, 26, 15, 54, 27, tzinfo=UTC)
    assert (line["name"], line["sku"], line["amount_minor"]) == ("Laptop", None, 259_998)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "paid"),
        ({"InvoiceBalanceAmount": -20}, "paid"),
        ({"InvoiceBalanceAmount": 3420}, "open"),
        ({"InvoiceBalanceAmount": 20}, "open"),
        ({"InvoiceBalanceAmount": None}, "open"),
        ({"InvoiceStatus": "Incomplete", "InvoiceBalanceAmount": 0}, "draft"),
        ({"InvoiceStatus": "Pending approval"}, "draft"),
    ],
)
def test_states(changes: dict[str, Any], status: str) -> None:
    assert one(INVOICE | changes)["status"] == status


def test_an_unknown_status_is_rejected_by_name() -> None:
    (problem,) = mapped(INVOICE | {"InvoiceStatus": "Half"}).problems.to_dicts()
    assert (problem["field"], problem["path"]) == ("status", "/InvoiceStatus")


@pytest.mark.parametrize(
    ("code", "amount", "minor"),
    [("AOA", "3,420.50", 342_050), ("JPY", 3420, 3420), ("KWD", 3420.125, 3_420_125)],
)
def test_numbers_as_numbers_and_as_texts(code: str, amount: Any, minor: int) -> None:
    row = one(INVOICE | {"InvoiceCurrencyCode": code, "EnteredAmount": amount})
    assert row["total_minor"] == minor


def test_tax_is_what_lines_and_freight_leave() -> None:
    row = one(INVOICE | {"EnteredAmount": 3540, "FreightAmount": 120})
    assert (row["tax_minor"], row["subtotal_minor"]) == (42_000, 312_000)
    less = one(INVOICE | {"EnteredAmount": 2900})
    assert (less["tax_minor"], less["subtotal_minor"]) == (None, None)
    assert one(INVOICE | {"receivablesInvoiceLines": []})["tax_minor"] is None


def test_half_a_cent_of_a_line_is_rounded_up() -> None:
    line = LINE | {"Quantity": 3, "UnitSellingPrice": 1.335}
    (row,) = mapped(INVOICE | {"receivablesInvoiceLines": [line]}).lines.to_dicts()
    assert row["amount_minor"] == 401  # 4.005, which no binary number is


@pytest.mark.parametrize("sign", [1, -1])
def test_credit_memos_take_back_whatever_their_sign(sign: int) -> None:
    memo = MEMO | {
        "EnteredAmount": sign * 3420,
        "TransactionBalanceDue": sign * 420,
        "receivablesCreditMemoLines": [LINE | {"Quantity": sign * 2}],
    }
    row, line = one(memo, "credit_memos"), mapped(memo, "credit_memos").lines.to_dicts()[0]
    assert (row["kind"], row["status"], row["total_minor"]) == ("credit_note", "open", 342_000)
    assert (row["tax_minor"], row["amount_paid_minor"]) == (42_000, 300_000)
    assert (line["quantity"], line["unit_price"], line["amount_minor"]) == (2, 1500, 300_000)


def test_what_is_asked_for(benches: Callable[..., Any]) -> None:
    """No offset and no total of a list: both can be wrong."""
    bench = benches("oracle_fusion")
    changed(bench, business_unit="Rei d'Água")
    bench.pages("invoices", Window(datetime(2026, 5, 1, tzinfo=UTC)))
    (request,) = bench.api_requests()
    assert request.url.path.endswith("/11.13.18.05/receivablesInvoices")
    assert dict(request.url.params) == {
        "q": "CustomerTransactionId > 0 and LastUpdateDate >= '2026-05-01T00:00:00+00:00'"
        " and BusinessUnit = 'Rei d''Água'",
        "orderBy": "CustomerTransactionId:asc",
        "limit": "25",
        "onlyData": "true",
    }
    assert request.headers["rest-framework-version"] == "4"


@pytest.mark.parametrize("most", [25, 7, 2])
def test_a_server_that_cuts_its_pages_is_read_to_its_end(
    benches: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Lists and lines alike."""
    monkeypatch.setattr("simulator.systems.oracle_fusion.api.PAGE_MAX", most)
    bench = benches("oracle_fusion", customers=5, invoices=20)
    bench.page_size = None
    books = bench.world.books["oracle_fusion"]
    rows = [(product, 1, product.unit_minor) for product in products()]
    long = books.record("Invoice", next(iter(books.customers.values())), rows, bench.clock())
    pages = bench.pages("invoices")
    alive = {int(document.id) for document in books.all("Invoice") if not document.deleted}
    assert sorted(ids_of(pages)) == sorted(alive)
    lists = [request for request in bench.api_requests() if "child" not in request.url.path]
    assert not any("offset" in request.url.params for request in lists)
    (whole,) = (
        row
        for page in pages
        for row in json.loads(page.body)["items"]
        if row["CustomerTransactionId"] == int(long.id)
    )
    numbers = [line["LineNumber"] for line in whole["receivablesInvoiceLines"]]
    assert numbers == list(range(1, 11))


def test_a_list_that_ignores_the_condition_is_an_error(benches: Callable[..., Any]) -> None:
    bench = benches("oracle_fusion")
    header = {name: value for name, value in INVOICE.items() if "Lines" not in name}

    def deaf(request: httpx.Request) -> httpx.Response | None:
        if "child" in request.url.path or "token" in request.url.path:
            return None
        return httpx.Response(200, json={"items": [header], "hasMore": True})

    bench.before = deaf
    with pytest.raises(PaginationLoop, match="same records"):
        bench.pages("invoices")


@pytest.mark.parametrize("hollow", ["Invoices", "Lines"])
def test_a_page_with_nothing_and_more_to_come_is_not_the_last(
    benches: Callable[..., Any], hollow: str
) -> None:
    bench = benches("oracle_fusion", customers=3, invoices=3)
    empty = {"items": [], "count": 0, "hasMore": True, "limit": 25, "offset": 0, "links": []}
    bench.before = lambda request: (
        httpx.Response(200, json=empty) if request.url.path.endswith(hollow) else None
    )
    with pytest.raises((Transient, PaginationLoop)):
        bench.pages("invoices")


def test_recent_documents_are_read_again(benches: Callable[..., Any]) -> None:
    """By creation in each run; by change, which a payment may not move, when ids are compared."""
    bench = benches("oracle_fusion")
    now = bench.clock()
    window, days = Window(now - timedelta(hours=2)), {"reread_days": 3, "deletions_hours": 6}
    for changed_by, hours, asked in (
        ("CreationDate", 6, True),
        ("LastUpdateDate", 0, True),
        ("LastUpdateDate", 100_000, False),
    ):
        changed(bench, **days | {"changed_by": changed_by, "deletions_hours": hours})
        bench.requests.clear()
        assert bench.pages("recent_invoices") == []  # a first read takes all
        pages = bench.pages("recent_invoices", window)
        assert bool(pages) is asked
        books = bench.world.books["oracle_fusion"]
        recent = {
            int(row.id)
            for row in books.all("Invoice")
            if row.day >= (now - timedelta(days=3)).date() and not row.deleted
        }
        assert set(ids_of(pages)) == (recent if asked else set())
    stream = SPEC.stream("recent_invoices")
    body = json.dumps({"items": [INVOICE]}).encode()  # created long before the window
    account = Account("oracle_fusion", HOST)
    result = map_page(SPEC, stream, account, body, page_id=1, window=window)
    assert result.invoices["status"].to_list() == ["paid"]


def test_ids_are_listed_whatever_the_business_unit(benches: Callable[..., Any]) -> None:
    bench = benches("oracle_fusion")
    changed(bench, business_unit="Luanda")
    now = bench.clock()
    assert bench.pages("invoices_census") == []
    pages = bench.pages("invoices_census", Window(now - timedelta(hours=1)))
    assert json.loads(pages[0].body)["items"][0].keys() == {"CustomerTransactionId"}
    books = bench.world.books["oracle_fusion"]
    assert set(ids_of(pages)) == {int(row.id) for row in books.all("Invoice") if not row.deleted}


def test_the_phone_is_the_partys(benches: Callable[..., Any]) -> None:
    """Of an organisation or of a person; which, the invoice does not say."""
    bench = benches("oracle_fusion", customers=60)
    customers, lookup = bench.world.books["oracle_fusion"].customers, SPEC.lookup("customers")
    assert {bool(one.person.company) for one in customers.values()} == {True, False}
    assert {one.phone_slot for one in customers.values()} == {0, 1, 2}
    with bench.client() as client:
        pages = list(look_up(SPEC, lookup, client, list(customers)))
    rows = [
        row
        for page in pages
        for row in map_lookup(SPEC, lookup, bench.connection, page.body).to_dicts()
    ]
    assert {row["external_id"] for row in rows} == set(customers)
    for row in rows:
        national = customers[row["external_id"]].person.national
        assert row["phone"] == (f"+244{national}" if national else None)


def test_a_mobile_phone_comes_first() -> None:
    lookup = SPEC.lookup("customers")
    fixed = {"PhoneType": "GEN", "PhoneCountryCode": "244", "PhoneNumber": "222123456"}
    mobile = {"ContactPointType": "PHONE", "PhoneType": "MOBILE", "PhoneNumber": "923456789"}
    mail = {"ContactPointType": "EMAIL", "EmailAddress": "a@b.co"}
    for points in ([mail, fixed, mobile], {"items": [fixed, mobile], "hasMore": False}):
        body = json.dumps({"items": [{"PartyId": 7, "ContactPoint": points}]}).encode()
        rows = map_lookup(SPEC, lookup, Account("oracle_fusion", HOST), body).rows()
        assert rows == [("7", "+244923456789")]


def test_a_user_and_an_application(benches: Callable[..., Any]) -> None:
    bench = benches("oracle_fusion", customers=3, invoices=3)
    bench.pages("invoices")
    assert b"grant_type=client_credentials" in bench.requests[0].content
    assert bench.requests[0].headers["authorization"].startswith("Basic ")
    assert bench.requests[1].headers["authorization"].startswith("Bearer ")
    bench.requests.clear()
    bench.changes = {
        "options": bench.connection.options | {"login": "basic", "user": simulator.CLIENT_ID},
        "secrets": {"password": SecretStr(simulator.CLIENT_SECRET)},
    }
    bench.pages("invoices")
    authorizations = {request.headers["authorization"] for request in bench.requests}
    assert len(authorizations) == 1
    assert authorizations.pop().startswith("Basic ")


def test_the_host_is_the_blocks() -> None:
    sent: list[httpx.Request] = []
    account = Account(
        "oracle_fusion", HOST, options={"host": HOST, "login": "basic", "user": "twezah"},
        secrets={"password": SecretStr("p4ss")},
    )  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(401, text="<html>secret</html>")

    first = SPEC.streams[0].first(account, Window(), datetime.now(UTC))
    assert first is not None
    with (
        open_client(account, SPEC, NoTokens(), transport=httpx.MockTransport(answer)) as client,
        pytest.raises(UserRefused) as caught,
    ):
        client.send(first, "invoices")
    assert (sent[0].url.scheme, sent[0].url.host) == ("https", HOST)
    assert "secret" not in str(caught.value).replace("client secret", "")


class NoTokens:
    """Requests carry their own proof."""

    def read(self) -> None:
        return None

    def refresh(self, stale: object, renew: object) -> None:  # noqa: ARG002  the protocol's
        raise AssertionError("there is no token to renew")


ERROR = {
    "title": "Bad Request", "status": "400",
    "o:errorDetails": [{"detail": "secret", "o:errorCode": "27520", "o:errorPath": ""}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (httpx.Response(403, json={"title": "Forbidden", "status": "403"}), PermissionMissing),
        (httpx.Response(400, json=ERROR), UnexpectedShape),
        (httpx.Response(429, text="secret"), RateLimited),
    ],
)
def test_refusals(benches: Callable[..., Any], refused: httpx.Response, kind: type) -> None:
    bench = benches("oracle_fusion")
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: None if "token" in request.url.path else refused
    with pytest.raises(kind) as caught:
        bench.pages("invoices")
    assert "secret" not in str(caught.value)
    assert getattr(caught.value, "retry_after_seconds", 60) == 60


def test_the_form() -> None:
    block = OracleFusionConnection(host=HOST.upper())
    assert block.missing() == "for basic it still lacks user, password"
    assert block.connection().account == HOST
    options = json.loads(json.dumps(block.connection().options))
    assert (options["reread_days"], options["deletions_hours"]) == (31, 6)
    whole = {"user": "u", "password": SecretStr("p"), "reread_days": 0}
    assert "Read again (days)" in OracleFusionConnection(host=HOST, **whole).missing()
    block = OracleFusionConnection(host=HOST, changed_by="LastUpdateDate", **whole)
    assert block.missing() == ""
