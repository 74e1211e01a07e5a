"""What is particular to PayPal: slices of time, either list, amounts below zero, phones in parts."""

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr

from connectors.kit.errors import (
    Misconfigured,
    PermissionMissing,
    RateLimited,
    UnexpectedShape,
)
from connectors.kit.http.client import Client, Timing, open_client
from connectors.kit.mapping import map_page, try_record
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, ConnectorSpec, Page, Window
from connectors.paypal.connector import SPEC, AppRejected, spec_from
from panel.blocks import PayPalConnection
from panel.connect.check import who_must_act
from simulator import ManualClock
from tests.contract.conftest import MemoryTokens

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "paypal"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples in {SAMPLES}")
NOW = datetime(2026, 7, 20, 12, tzinfo=UTC)
#: PayPal knows its transactions up to then.
KNOWN = NOW - timedelta(hours=3)
PHONE = {"country_code": "244", "national_number": "923456789"}


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(value: str, currency: str = "USD") -> dict[str, str]:
    return {"currency_code": currency, "value": value}


def transaction(number: int = 1, at: datetime = KNOWN, **changes: Any) -> dict[str, Any]:
    """A row as it was recorded, with a payer and a cart as PayPal describes them."""
    info = {
        "transaction_id": f"1E{number:04}", "transaction_event_code": "T0006", "transaction_status": "S",
        "transaction_initiation_date": stamp(at), "transaction_updated_date": stamp(at),
        "transaction_amount": amount("12.50"), "invoice_id": f"R-{number}",
    } | changes  # fmt: skip
    item = {
        "item_code": "ATW-5L", "item_name": "Água 5L", "item_quantity": "1",
        "item_unit_price": amount("12.50"), "item_amount": amount("12.50"),
    }  # fmt: skip
    return {
        "transaction_info": info,
        "payer_info": {"account_id": "PAYER1", "email_address": "a@b.c", "phone_number": PHONE},
        "cart_info": {"item_details": [item]},
    }


def invoice(number: int = 1, **changes: Any) -> dict[str, Any]:
    """An invoice as it is answered alone."""
    return {
        "id": f"INV2-{number:04}", "status": "PAID",
        "detail": {
            "currency_code": "USD", "invoice_number": f"000{number}", "invoice_date": "2026-07-13",
            "metadata": {"create_time": "2026-07-13T20:11:39Z", "last_update_time": "2026-07-14T08:00:00Z"},
        },
        "primary_recipients": [{"billing_info": {"email_address": "a@b.c", "phones": [PHONE]}}],
        "items": [{"id": "ITEM-1", "name": "Água", "quantity": "2.5", "unit_amount": amount("4.00")}],
        "amount": amount("11.40") | {"breakdown": {"tax_total": amount("1.40")}},
        "due_amount": amount("0.00"), "payments": {"paid_amount": amount("11.40")},
    } | changes  # fmt: skip


@dataclass
class PayPal:
    """A server with some transactions and invoices, and a connection to it."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    invoices: list[dict[str, Any]] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    page_size: int = 3
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    fails: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    @property
    def account(self) -> Account:
        options = {"environment": "paypal.com", **self.options}
        return Account(
            "paypal", "MERCHANT1", client_id="id", client_secret=SecretStr("s3cret"),
            page_size=self.page_size, options=options,
        )  # fmt: skip

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if failure := self.fails(request):
            return failure
        if request.url.path == "/v1/oauth2/token":
            return httpx.Response(200, json={"access_token": "t0k", "expires_in": 32400})
        if request.headers["authorization"] != "Bearer t0k":
            return httpx.Response(401, json={"name": "AUTHENTICATION_FAILURE", "debug_id": "d"})
        if request.url.path == "/v1/reporting/transactions":
            return self.transactions(request.url.params)
        if request.url.path == "/v2/invoicing/search-invoices":
            return self.search(request.url.params)
        key = request.url.path.rpartition("/")[2]
        return httpx.Response(200, json=next(row for row in self.invoices if row["id"] == key))

    def transactions(self, params: httpx.QueryParams) -> httpx.Response:
        start, end = (datetime.fromisoformat(params[name]) for name in ("start_date", "end_date"))
        if end - start > timedelta(days=31) or start > KNOWN or start < NOW - timedelta(days=1095):
            return refused("INVALID_REQUEST")
        end = min(end, KNOWN)  # as recorded
        rows = [row for row in self.rows if start <= when(row) <= end]
        page, size = int(params["page"]), int(params["page_size"])
        shown = rows[(page - 1) * size : page * size]
        body = {
            "account_number": "MERCHANT1", "start_date": stamp(start), "end_date": stamp(end),
            "last_refreshed_datetime": stamp(KNOWN), "page": page, "total_items": len(rows),
            "total_pages": -(-len(rows) // size), "links": [{"rel": "self", "href": "h"}],
            **({"transaction_details": shown} if shown else {}),
        }  # fmt: skip
        return httpx.Response(200, json=body)

    def search(self, params: httpx.QueryParams) -> httpx.Response:
        """Newest first, and without what only the invoice itself says."""
        page, size = int(params["page"]), int(params["page_size"])
        shown = self.invoices[::-1][(page - 1) * size : page * size]
        items = [
            {name: row[name] for name in ("id", "status", "amount")}
            | {"detail": {**row["detail"], "metadata": {"create_time": "2026-07-13T20:11:39Z"}}}
            for row in shown
        ]
        pages = -(-len(self.invoices) // size)
        body = {"total_pages": pages, "total_items": len(self.invoices)}
        return httpx.Response(200, json=body | ({"items": items} if items else {}))

    @property
    def spec(self) -> ConnectorSpec:
        return spec_from(self.account)

    @contextmanager
    def client(self) -> Iterator[Client]:
        timing = Timing(
            monotonic=lambda: self.clock().timestamp(), sleep=self.clock.sleep, now=self.clock
        )
        with open_client(
            self.account,
            self.spec,
            MemoryTokens(),
            transport=httpx.MockTransport(self),
            timing=timing,
        ) as client:
            yield client

    def pages(self, stream: str, window: Window | None = None) -> list[Page]:
        with self.client() as client:
            return list(extract(self.spec, self.spec.stream(stream), client, window or Window()))

    def lists(self) -> list[httpx.QueryParams]:
        return [request.url.params for request in self.requests if "reporting" in request.url.path]


def when(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["transaction_info"]["transaction_initiation_date"])


def refused(name: str, status: int = 400) -> httpx.Response:
    body = {"name": name, "message": "m", "debug_id": "d", "details": [{"value": "s3cret"}]}
    return httpx.Response(status, json=body)


def mapped(stream: str, *records: dict[str, Any]) -> Any:
    paypal = PayPal(options={"reads": stream})
    of = paypal.spec.stream(stream)
    body = {of.records.strip("/"): list(records)}
    return map_page(paypal.spec, of, paypal.account, json.dumps(body).encode(), page_id=1)


def ids(pages: list[Page]) -> list[str]:
    return [
        row["transaction_info"]["transaction_id"]
        for page in pages
        for row in json.loads(page.body).get("transaction_details", [])
    ]


def test_years_are_read_in_slices_of_a_month() -> None:
    rows = [transaction(n, KNOWN - timedelta(days=n * 20)) for n in range(50)]
    paypal = PayPal(rows[::-1])
    assert set(ids(paypal.pages("transactions"))) == {f"1E{n:04}" for n in range(50)}
    slices = list(
        dict.fromkeys((params["start_date"], params["end_date"]) for params in paypal.lists())
    )
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(slices))
    assert slices[-1][1] == stamp(KNOWN)
    assert len(slices) == 36
    assert {params["fields"] for params in paypal.lists()} == {"all"}


def test_a_slice_of_several_pages_is_read_to_its_end() -> None:
    rows = [transaction(n, KNOWN - timedelta(hours=n)) for n in range(20)]
    paypal = PayPal(rows[::-1])
    assert len(ids(paypal.pages("transactions", Window(KNOWN - timedelta(days=2))))) == 20
    assert max(int(params["page"]) for params in paypal.lists()) == 7


def test_a_poll_reads_the_window_and_the_first_of_a_day_some_months() -> None:
    """PayPal cannot be asked for what changed; a payment that was pending is seen within a day."""
    paypal = PayPal([transaction()], options={"overlap_minutes": 1500})
    overlap = timedelta(minutes=1500)
    paypal.pages("transactions", Window(NOW - timedelta(minutes=5) - overlap))
    assert paypal.lists()[0]["start_date"] == stamp(NOW - timedelta(minutes=5) - overlap)
    paypal.requests.clear()
    paypal.pages("transactions", Window(NOW - timedelta(hours=13) - overlap))
    assert paypal.lists()[0]["start_date"] == stamp(NOW - timedelta(days=120))


@pytest.mark.parametrize(
    ("hours", "minutes_ago", "looks_back"),
    [(0, 5, True), (6, 5, False), (6, 30, True), (24, 30, False)],
)
def test_how_often_a_run_looks_back(hours: int, minutes_ago: int, *, looks_back: bool) -> None:
    """Times of six hours begin at midnight, six, noon: it is ten past noon."""
    options = {"look_back_days": 7, "look_back_hours": hours, "overlap_minutes": 600}
    at = NOW + timedelta(minutes=10)
    paypal = PayPal(options=options, clock=ManualClock(at))
    since = at - timedelta(minutes=minutes_ago + 600)
    paypal.pages("transactions", Window(since))
    begun = datetime.fromisoformat(paypal.lists()[0]["start_date"])
    assert begun == (at - timedelta(days=7) if looks_back else since)


def test_an_account_without_transactions_is_empty() -> None:
    """Their list is left out, and links stand beside where it would be."""
    paypal = PayPal(options={"look_back_days": 2})
    (page,) = paypal.pages("transactions", Window(NOW - timedelta(days=2)))
    assert page.record_count == 0
    paypal.fails = lambda request: (
        None
        if "token" in request.url.path
        else httpx.Response(200, json={"total_items": 3, "total_pages": 1})
    )
    with pytest.raises(UnexpectedShape, match="no list of records"):
        paypal.pages("transactions", Window(NOW - timedelta(days=2)))


def test_the_operator_can_make_slices_shorter() -> None:
    paypal = PayPal(options={"slice_days": 7, "look_back_days": 20})
    paypal.pages("transactions", Window(NOW - timedelta(days=20)))
    assert len(paypal.lists()) == 3


def test_only_the_chosen_list_is_read() -> None:
    paypal = PayPal([transaction()], [invoice()])
    assert [stream.name for stream in paypal.spec.streams] == ["transactions"]
    paypal.options["reads"] = "invoices"
    assert [stream.name for stream in paypal.spec.streams] == ["invoices"]
    assert [page.record_count for page in paypal.pages("invoices")] == [1]


def test_invoices_are_completed_one_by_one() -> None:
    paypal = PayPal(invoices=[invoice(n) for n in range(1, 8)], options={"reads": "invoices"})
    rows = [
        row
        for page in paypal.pages("invoices", Window(NOW - timedelta(days=3)))
        for row in map_page(
            paypal.spec, paypal.spec.stream("invoices"), paypal.account, page.body, page_id=1
        ).invoices.to_dicts()
    ]
    assert {row["external_id"] for row in rows} == {f"INV2-{n:04}" for n in range(1, 8)}
    assert {row["updated_at"] for row in rows} == {datetime(2026, 7, 14, 8, tzinfo=UTC)}
    search = next(request for request in paypal.requests if "search" in request.url.path)
    assert set(json.loads(search.content)) == {"payment_date_range"}


def test_a_sale_and_its_refund() -> None:
    back = transaction(2, transaction_event_code="T1107", transaction_amount=amount("-2.50"))
    result = mapped("transactions", transaction(), back)
    rows = result.invoices.select("kind", "external_id", "total_minor", "status").rows()
    assert rows == [("sale", "1E0001", 1250, "paid"), ("refund", "1E0002", 250, "paid")]
    (sale, _) = result.invoices.to_dicts()
    assert (sale["customer_phone"], sale["invoice_number"]) == ("+244923456789", "R-1")
    assert sale["issued_at"] == KNOWN
    assert result.lines["sku"].to_list() == ["ATW-5L", "ATW-5L"]
    assert result.problems.is_empty()


@pytest.mark.parametrize(
    ("code", "value", "kinds"),
    [
        ("T0006", "1.00", ["sale"]),
        ("T0007", "1.00", ["sale"]),
        ("T0001", "-1.00", []),  # what we paid
        ("T0001", "1.00", []),  # a payout
        ("T0009", "1.00", []),  # a gift certificate, which earns where it is spent
        ("T0013", "1.00", []),  # a donation
        ("T0400", "-1.00", []),  # a withdrawal
        ("T0200", "1.00", []),  # a conversion
        ("T1107", "-1.00", ["refund"]),
        ("T1107", "1.00", []),  # what was given back to us
        ("T1106", "-1.00", ["refund"]),
        ("T1109", "-1.00", []),  # a fee
        ("T1110", "-1.00", []),  # held back during a dispute, which is not decided yet
        ("T1111", "1.00", []),
        ("T1201", "-1.00", ["refund"]),
        ("T1202", "1.00", []),
    ],
)
def test_what_is_a_sale(code: str, value: str, kinds: list[str]) -> None:
    row = transaction(transaction_event_code=code, transaction_amount=amount(value))
    result = mapped("transactions", row)
    assert result.invoices["kind"].to_list() == kinds
    assert result.problems.is_empty()


@pytest.mark.parametrize(("state", "status"), [("S", "paid"), ("V", "paid"), ("P", "draft"), ("D", "void")])  # fmt: skip
def test_states_of_transactions(state: str, status: str) -> None:
    result = mapped("transactions", transaction(transaction_status=state))
    assert result.invoices["status"].to_list() == [status]


def test_an_id_that_looks_like_a_number_stays_a_text() -> None:
    result = mapped("transactions", transaction(1234))
    assert result.invoices["external_id"].to_list() == ["1E1234"]


@pytest.mark.parametrize("payer", [{}, {"account_id": "P"}, {"phone_number": {}}])
def test_a_payer_without_a_phone_is_counted_and_left_out(payer: dict[str, Any]) -> None:
    result = mapped("transactions", transaction() | {"payer_info": payer})
    assert (result.invoices.height, result.walk_ins.height) == (0, 1)
    assert result.problems.is_empty()


def test_the_offset_may_be_written_in_another_way() -> None:
    row = transaction(transaction_initiation_date="2026-07-20T09:00:00+0000")
    assert mapped("transactions", row).invoices["issued_at"].to_list() == [KNOWN]


@pytest.mark.parametrize(("currency", "value", "minor"), [("JPY", "500", 500), ("TND", "1.234", 1234)])  # fmt: skip
def test_amounts_by_currency(currency: str, value: str, minor: int) -> None:
    row = transaction(transaction_amount=amount(value, currency))
    assert mapped("transactions", row).invoices["total_minor"].to_list() == [minor]


def test_an_invoice_with_a_refund_is_lowered() -> None:
    record = invoice(status="PARTIALLY_REFUNDED", refunds={"refund_amount": amount("5.00")})
    result = mapped("invoices", record)
    (row,) = result.invoices.to_dicts()
    assert (row["kind"], row["total_minor"], row["amount_refunded_minor"]) == ("invoice", 1140, 500)
    assert (row["tax_minor"], row["subtotal_minor"], row["status"]) == (140, 1000, "paid")
    assert result.lines["amount_minor"].to_list() == [1000]
    assert result.problems.is_empty()


@pytest.mark.parametrize("place", ["refunds", "due_amount"])
def test_an_amount_that_is_none_rejects_the_invoice(place: str) -> None:
    wrong = {"refund_amount": amount("12,5x")} if place == "refunds" else amount("12,5x")
    result = mapped("invoices", invoice(status="REFUNDED", **{place: wrong}))
    assert not result.problems.is_empty()


@pytest.mark.parametrize(("due", "status"), [("0.00", "paid"), ("8.40", "draft")])
def test_a_refund_of_what_was_paid_in_part_is_no_sale(due: str, status: str) -> None:
    """The word for a refund hides whether all was paid before."""
    record = invoice(
        status="PARTIALLY_REFUNDED",
        due_amount=amount(due),
        refunds={"refund_amount": amount("1.00")},
    )
    assert mapped("invoices", record).invoices["status"].to_list() == [status]


def test_the_mobile_number_comes_first() -> None:
    phones = [
        {"country_code": "244", "national_number": "222000111", "phone_type": "FAX"},
        {"country_code": "244", "national_number": "222000222", "phone_type": "OFFICE"},
        PHONE | {"phone_type": "MOBILE"},
    ]
    record = invoice(primary_recipients=[{"billing_info": {"phones": phones}}])
    assert mapped("invoices", record).invoices["customer_phone"].to_list() == ["+244923456789"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused("AUTHENTICATION_FAILURE", 401), AppRejected),
        (httpx.Response(401, json={"error": "invalid_token"}), AppRejected),
        (refused("NOT_AUTHORIZED", 403), PermissionMissing),
        (refused("RESULTSET_TOO_LARGE"), Misconfigured),
        (refused("RATE_LIMIT_REACHED", 429), RateLimited),
    ],
)
def test_refusals_say_who_must_act(answer: httpx.Response, kind: type) -> None:
    paypal = PayPal()
    paypal.fails = lambda request: None if "token" in request.url.path else answer
    with pytest.raises(kind) as caught:
        paypal.pages("transactions", Window(NOW - timedelta(days=1)))
    assert "s3cret" not in str(caught.value)
    assert 'block "paypal"' in str(caught.value) or kind is RateLimited


def test_a_wrong_secret_is_said() -> None:
    paypal = PayPal()
    body = {"error": "invalid_client", "error_description": "Client Authentication failed"}
    paypal.fails = lambda request: (
        httpx.Response(401, json=body) if "token" in request.url.path else None
    )
    with pytest.raises(AppRejected, match="Client ID, Secret and Environment") as caught:
        paypal.pages("transactions")
    assert "consent" not in who_must_act(caught.value)  # nobody consents at PayPal


def test_tokens_are_asked_for_with_id_and_secret() -> None:
    paypal = PayPal(options={"environment": "sandbox.paypal.com"})
    paypal.pages("transactions", Window(NOW - timedelta(days=1)))
    asked = paypal.requests[0]
    assert (asked.url.host, asked.url.path) == ("api-m.sandbox.paypal.com", "/v1/oauth2/token")
    assert asked.headers["authorization"] == f"Basic {base64.b64encode(b'id:s3cret').decode()}"
    assert parse_qs(asked.content.decode()) == {"grant_type": ["client_credentials"]}
    assert {request.url.host for request in paypal.requests} == {"api-m.sandbox.paypal.com"}


def test_the_form_fills_the_account() -> None:
    form = PayPalConnection(
        merchant_id="MERCHANT1", client_id="id", client_secret=SecretStr("s3cret"), environment="sandbox"
    )  # fmt: skip
    form._block_document_name = "paypal"
    account = form.connection()
    assert (account.account, account.client_id) == ("MERCHANT1", "id")
    assert account.options["environment"] == "sandbox.paypal.com"
    assert account.options["overlap_minutes"] == 1500
    assert (account.options["look_back_days"], account.options["look_back_hours"]) == (120, 24)
    assert "s3cret" not in repr(account)


@needs_samples
def test_published_invoices_lack_only_a_phone() -> None:
    """Their customers are known by e-mail alone; with a phone they are what they say."""
    samples = json.loads((SAMPLES / "invoicing_webhook_samples.json").read_text())
    statuses = {}
    for name, sample in samples.items():
        record = sample["resource"]["invoice"]
        assert mapped("invoices", record).walk_ins.height == 1, name
        recipients = [{"billing_info": {"phones": [PHONE]}}]
        result = mapped("invoices", record | {"primary_recipients": recipients})
        assert result.problems.is_empty(), name
        (row,) = result.invoices.to_dicts()
        statuses[name] = (row["status"], row["total_minor"], row["amount_refunded_minor"])
        assert row["updated_at"] >= datetime(2023, 7, 25, tzinfo=UTC)
    assert statuses == {
        "invoice_paid_event": ("paid", 2500, 0),
        "invoice_refunded_event": ("paid", 2500, 2500),
        "invoice_cancelled_event": ("void", 2500, 0),
        "invoice_updated_event": ("draft", 10800, 0),
    }


@needs_samples
def test_published_events_are_no_sales_by_themselves() -> None:
    samples = (SAMPLES / "invoicing_webhook_samples.json").read_bytes()
    assert all(not result["ok"] for result in try_record(SPEC, None, PayPal().account, samples))
