"""Stripe: lists by creation and events, invoices and payments, amounts in its own minor units."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.forms import forms
from connectors.kit.errors import PermissionMissing, RateLimited, UnexpectedShape
from connectors.kit.mapping import Mapped, map_page
from connectors.kit.read.fetch import fetch
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, RetryPolicy, Window
from connectors.kit.webhooks.scheme import BadBody, Event, Verified, events, verify
from connectors.registry import webhook_for
from connectors.stripe.connector import KeyRejected
from panel.connect.check import CheckReport, _check_api
from tests.contract.conftest import Bench, make_bench
from tests.contract.test_reading import stopped_after, truths

SPEC = SYSTEMS["stripe"]
ACCOUNT = Account("stripe", "acct_1")
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples" / "stripe"
published = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the samples are not beside the project"
)

#: As the version that is pinned writes it.
INVOICE: dict[str, Any] = {
    "id": "in_1", "object": "invoice", "number": "A1-0001", "status": "paid", "created": 1779832114,
    "currency": "usd", "customer": {"id": "cus_1", "object": "customer", "phone": "+244923456789"},
    "customer_phone": None, "subtotal": 1000, "total": 1090, "total_excluding_tax": 1000,
    "amount_due": 1090, "amount_paid": 1090, "amount_remaining": 0, "effective_at": 1779832200,
    "pre_payment_credit_notes_amount": 0, "post_payment_credit_notes_amount": 0,
    "charge": {"id": "ch_1", "object": "charge", "amount_refunded": 0},
    "status_transitions": {
        "finalized_at": 1779832200, "marked_uncollectible_at": None, "paid_at": 1779832300,
        "voided_at": None,
    },
    "lines": {
        "object": "list", "has_more": False, "url": "/v1/invoices/in_1/lines",
        "data": [
            {
                "id": "il_1", "object": "line_item", "amount": 1200, "currency": "usd",
                "description": "Água 5 L", "quantity": 3,
                "discount_amounts": [{"amount": 150, "discount": "di_1"}, {"amount": 50}],
                "price": {"id": "price_1", "product": "prod_1", "unit_amount_decimal": "400"},
            }
        ],
    },
}  # fmt: skip
CHARGE: dict[str, Any] = {
    "id": "ch_9", "object": "charge", "amount": 10_000, "amount_captured": 10_000,
    "amount_refunded": 0, "captured": True, "refunded": False, "status": "succeeded",
    "created": 1779832114, "currency": "usd", "customer": "cus_1", "invoice": None,
    "billing_details": {"phone": "923 456 789"}, "receipt_number": "1234-5678",
}  # fmt: skip


def mapped(record: dict[str, Any], stream: str = "invoices", account: Account = ACCOUNT) -> Mapped:
    body = json.dumps({"object": "list", "has_more": False, "data": [record]}).encode()
    return map_page(SPEC, SPEC.stream(stream), account, body, page_id=1)


def invoice(**changes: Any) -> dict[str, Any]:
    (row,) = mapped({**deepcopy(INVOICE), **changes}).invoices.to_dicts()
    return row


def payment(**changes: Any) -> dict[str, Any]:
    (row,) = mapped({**CHARGE, **changes}, "payments").invoices.to_dicts()
    return row


def test_an_invoice() -> None:
    read = mapped(INVOICE)
    assert read.problems.is_empty()
    (row,), (line,) = read.invoices.to_dicts(), read.lines.to_dicts()
    assert (row["total_minor"], row["subtotal_minor"], row["tax_minor"]) == (1090, 1000, 90)
    assert (row["status"], row["kind"], row["amount_paid_minor"]) == ("paid", "invoice", 1090)
    assert (row["customer_external_id"], row["customer_phone"]) == ("cus_1", "+244923456789")
    assert row["issued_at"] == datetime(2026, 5, 26, 21, 50, tzinfo=UTC)
    assert row["updated_at"] == datetime(2026, 5, 26, 21, 51, 40, tzinfo=UTC)
    assert (line["amount_minor"], line["quantity"], line["unit_price"]) == (1000, 3, 4)
    assert (line["item_external_id"], line["name"]) == ("prod_1", "Água 5 L")


def test_an_invoice_in_the_later_form() -> None:
    """Since 2025-03-31: no charge, no tax, and a price elsewhere."""
    later = deepcopy(INVOICE)
    del later["charge"]
    later |= {"customer": "cus_1", "customer_phone": "+244 923 456 789", "total_taxes": []}
    line = later["lines"]["data"][0]
    del line["price"]
    line |= {
        "quantity_decimal": "2.5",
        "pricing": {"price_details": {"product": "prod_1"}, "unit_amount_decimal": "0.123456789"},
    }
    read = mapped(later)
    assert read.problems.is_empty()
    (row,), (sold,) = read.invoices.to_dicts(), read.lines.to_dicts()
    assert (row["total_minor"], row["amount_refunded_minor"]) == (1090, 0)
    assert row["customer_phone"] == "+244923456789"
    assert (str(sold["quantity"]), str(sold["unit_price"])) == ("2.500000", "0.001234")
    assert sold["item_external_id"] == "prod_1"


@pytest.mark.parametrize(
    ("state", "ours"),
    [
        ("draft", "draft"), ("open", "open"), ("paid", "paid"), ("void", "void"),
        ("uncollectible", "void"), ("brand_new", None), (None, None),
    ],
)  # fmt: skip
def test_states(state: str | None, ours: str | None) -> None:
    """A void invoice keeps its amounts; an unknown or missing state is a reject."""
    read = mapped({**INVOICE, "status": state})
    assert read.invoices["status"].to_list() == [ours]
    assert ("status" in read.problems["field"].to_list()) is (ours is None)


def note(amount: int, **more: Any) -> dict[str, Any]:
    return {"id": "cn_1", "object": "credit_note", "status": "issued", "total": amount, **more}


@pytest.mark.parametrize(
    ("before", "after", "refunded", "notes", "given_back"),
    [
        (0, 0, 0, [], 0),
        (300, 0, 0, [], 300),  # lowers what is due
        (0, 400, 0, [note(400, refund=None)], 400),  # into the balance
        (0, 400, 400, [note(400, refund={"amount": 400})], 400),  # as a refund: counts once
        (0, 400, 400, [note(400, refunds=[{"amount_refunded": 400}])], 400),  # in the later form
        (0, 0, 250, [], 250),  # without a credit note
        (0, 400, 650, [note(400, refund={"amount": 400})], 650),
        (0, 400, 250, [note(400, refund=None)], 650),  # a refund beside a credit to the balance
        (0, 400, 400, [note(400), note(400, status="void", refund={"amount": 400})], 800),
        (300, 400, 790, [note(400, refund={"amount": 400})], 1090),
        (0, 1090, 1090, [note(1090, refund=None)], 1090),  # never more than the sale
    ],
)  # fmt: skip
def test_what_is_given_back_counts_once(
    before: int, after: int, refunded: int, notes: list[Any], given_back: int
) -> None:
    row = invoice(
        pre_payment_credit_notes_amount=before,
        post_payment_credit_notes_amount=after,
        charge={"id": "ch_1", "amount_refunded": refunded},
        credit_notes=notes,
    )
    assert row["amount_refunded_minor"] == given_back


def test_ids_in_place_of_objects() -> None:
    """An answer in which nothing is expanded: what it does not say is looked up, or not known."""
    row = invoice(charge="ch_1", customer="cus_1")
    assert (row["customer_external_id"], row["customer_phone"]) == ("cus_1", None)
    assert row["amount_refunded_minor"] == 0


def test_an_invoice_below_zero_takes_back() -> None:
    row = invoice(total=-500, total_excluding_tax=-450, amount_paid=0, charge=None)
    assert (row["kind"], row["total_minor"], row["tax_minor"]) == ("credit_note", 500, 50)
    assert row["amount_refunded_minor"] == 0


@pytest.mark.parametrize(
    ("code", "amount", "minor"),
    [
        ("usd", 1090, 1090),
        ("aoa", 1090, 1090),
        ("jpy", 500, 500),
        ("kwd", 1230, 1230),
        ("xof", 700, 700),
        ("isk", 50_000, 500),  # hundredths at Stripe, no decimals in ISO 4217
        ("ugx", 50_000, 500),
        ("mga", 700, 70_000),  # whole units at Stripe, two decimals in ISO 4217
        ("isk", 50_050, None),  # half a krona cannot be
        ("usd", 10.5, None),
    ],
)
def test_minor_units(code: str, amount: float, minor: int | None) -> None:
    record = {**INVOICE, "currency": code, "total": amount, "total_excluding_tax": None}
    read = mapped({**record, "lines": {"data": []}, "amount_paid": 0})
    assert read.invoices["total_minor"].to_list() == [minor]
    assert ("total_minor" in read.problems["field"].to_list()) is (minor is None)
    assert payment(currency=code, amount=100, amount_captured=100)["currency"] == code.upper()


@pytest.mark.parametrize(
    ("changes", "status", "total", "given_back"),
    [
        ({}, "paid", 10_000, 0),
        ({"status": "pending", "captured": True}, "open", 10_000, 0),
        ({"status": "failed", "captured": False}, "void", 10_000, 0),
        ({"captured": False, "amount_captured": 0}, "draft", 10_000, 0),  # authorized only
        ({"captured": False, "amount_captured": 0, "refunded": True, "amount_refunded": 10_000},
         "void", 10_000, 10_000),
        ({"amount_refunded": 2_500}, "paid", 10_000, 2_500),
        ({"amount_refunded": 10_000, "refunded": True}, "paid", 10_000, 10_000),
        # Captured in part: what was released is a refund in older integrations only.
        ({"amount_captured": 6_000}, "paid", 6_000, 0),
        ({"amount_captured": 6_000, "amount_refunded": 4_000}, "paid", 6_000, 0),
        ({"amount_captured": 6_000, "amount_refunded": 5_000}, "paid", 6_000, 1_000),
        ({"amount_captured": 6_000, "amount_refunded": 1_000}, "paid", 6_000, 1_000),
        ({"amount_captured": 6_000, "amount_refunded": 6_000, "refunded": True},
         "paid", 6_000, 6_000),
        ({"amount_captured": None}, "paid", 10_000, 0),
    ],
)  # fmt: skip
def test_payments(changes: dict[str, Any], status: str, total: int, given_back: int) -> None:
    row = payment(**changes)
    assert (row["status"], row["kind"]) == (status, "sale")
    assert (row["total_minor"], row["amount_refunded_minor"]) == (total, given_back)
    assert (row["invoice_number"], row["customer_phone"]) == ("1234-5678", "+244923456789")


def test_payments_of_invoices_are_no_sales_and_nobodys_are_counted() -> None:
    for of_invoice in ("in_1", INVOICE):
        assert mapped({**CHARGE, "invoice": of_invoice}, "payments").invoices.is_empty()
    nobody = {**CHARGE, "customer": None, "billing_details": {"phone": None}}
    read = mapped(nobody, "payments")
    assert (read.invoices.height, read.walk_ins["external_id"].to_list()) == (0, ["ch_9"])
    assert read.problems.is_empty()


@published
def test_published_objects() -> None:
    """The vendor's own examples: an invoice, a payment of nobody; nothing else is a sale."""
    resources = json.loads((SAMPLES / "fixtures3.json").read_bytes())["resources"]
    read = mapped(resources["invoice"])
    (row,) = read.invoices.to_dicts()
    assert (row["total_minor"], row["currency"], row["status"]) == (1000, "USD", "draft")
    assert (read.problems.height, read.lines["amount_minor"].to_list()) == (0, [1000])
    paid = mapped(resources["charge"], "payments")
    assert (paid.walk_ins.height, paid.problems.height) == (1, 0)
    for name, record in resources.items():
        for stream, own in (("invoices", "invoice"), ("payments", "charge")):
            if isinstance(record, dict) and name != own:
                read = mapped(record, stream)
                if (name, stream) == ("deleted_invoice", "invoices"):
                    # No list has it; it says too little to be taken for a sale to nobody.
                    assert {"total_minor", "issued_at"} <= set(read.problems["field"])
                    continue
                assert (read.invoices.height, read.problems.height) == (0, 0), name


@published
def test_published_events_and_signature() -> None:
    hook = webhook_for(ACCOUNT)
    assert hook is not None
    for name in ("event_plan", "event_pre_2017-05-25", "event_unknown_object"):
        (event,) = events(hook, (SAMPLES / f"{name}.json").read_bytes())
        assert event.kind == "ignored", name
    (vector,) = json.loads((SAMPLES / "webhook_signature_vectors.json").read_bytes())
    body = (SAMPLES / vector["body_file"]).read_bytes()
    secrets, headers = [SecretStr(vector["secret"])], {"Stripe-Signature": vector["header"]}
    at = datetime.fromtimestamp(vector["timestamp"], UTC)
    assert isinstance(verify(hook, secrets, headers, body, at), Verified)
    assert not isinstance(verify(hook, secrets, headers, body + b" ", at), Verified)
    (event,) = events(hook, body)
    assert (event.kind, event.account, event.type) == ("ignored", "acct_123", "customer.created")


def announced(name: str, held: dict[str, Any], **options: Any) -> list[Event]:
    hook = webhook_for(Account("stripe", "acct_1", options=options))
    assert hook is not None
    body = {"id": "evt_1", "object": "event", "created": 1779832114, "type": name}
    return events(hook, json.dumps(body | {"data": {"object": held}}).encode())


@pytest.mark.parametrize(
    ("name", "held", "asked"),
    [
        ("invoice.paid", {"id": "in_1"}, [("invoices", "in_1")]),
        ("invoice.updated", {"id": "in_1"}, [("invoices", "in_1")]),
        ("credit_note.voided", {"id": "cn_1", "invoice": "in_1"}, [("invoices", "in_1")]),
        ("invoice_payment.paid", {"id": "inpay_1", "invoice": "in_1"}, [("invoices", "in_1")]),
        ("charge.refunded", {"id": "ch_1"}, [("payments", "ch_1"), ("refunded_invoices", "ch_1")]),
        ("charge.refund.updated", {"id": "re_1", "charge": "ch_1"},
         [("payments", "ch_1"), ("refunded_invoices", "ch_1")]),
        ("refund.failed", {"id": "re_1", "charge": "ch_1"},
         [("payments", "ch_1"), ("refunded_invoices", "ch_1")]),
        ("refund.created", {"id": "re_1", "charge": None}, []),
        ("invoice.upcoming", {"object": "invoice"}, []),
        ("charge.dispute.created", {"id": "dp_1", "charge": "ch_1"}, []),
        ("payment_intent.succeeded", {"id": "pi_1"}, []),
    ],
)  # fmt: skip
def test_events(name: str, held: dict[str, Any], asked: list[tuple[str, str]]) -> None:
    """The document is asked for, whatever the event holds."""
    found = announced(name, held)
    wanted = [(e.stream, e.external_ids[0]) for e in found if e.kind == "changed"]
    assert (wanted, [e.record for e in found]) == (asked, [None] * len(found))
    assert len({e.event_id for e in found}) == len(found) >= 1
    assert found[0].occurred_at == datetime(2026, 5, 26, 21, 48, 34, tzinfo=UTC)


def test_events_whose_document_is_gone_are_no_sales() -> None:
    """A deleted draft; a refund that names no payment."""
    for stream in ("changed_invoices", "refunded_invoices", "changed_payments"):
        event = {"id": "evt_1", "created": 1779832114, "data": {"object": {"id": "re_1"}}}
        read = mapped(event, stream)
        assert (read.invoices.height, read.problems.height) == (0, 0), stream
    for document in (None, {**CHARGE, "invoice": None}):
        read = mapped(
            {"id": "evt_1", "created": 1779832114, "document": document}, "refunded_invoices"
        )
        assert (read.invoices.height, read.problems.height) == (0, 0)


def test_a_deleted_draft_and_payments_that_do_not_count() -> None:
    (event,) = announced("invoice.deleted", {"id": "in_1"})
    assert (event.kind, event.stream, event.external_ids) == ("deleted", "invoices", ("in_1",))
    (event,) = announced("charge.refunded", {"id": "ch_1"}, payments=False)
    assert event.stream == "refunded_invoices"


@pytest.mark.parametrize(
    "body", [[], {"object": "v2.core.event", "id": "evt_1"}, {"object": "event"}]
)
def test_bodies_that_are_no_snapshots(body: Any) -> None:
    hook = webhook_for(ACCOUNT)
    assert hook is not None
    with pytest.raises(BadBody):
        events(hook, json.dumps(body).encode())


def asked(bench: Bench) -> list[tuple[str, dict[str, str]]]:
    return [
        (request.url.path.removeprefix("/stripe"), dict(request.url.params))
        for request in bench.api_requests()
    ]


def test_lists_and_events_are_asked_for_as_far_as_events_go() -> None:
    """The first read has no window; after a pause of a month everything is read, and no event.

    In between, a read that began before goes on with its events.
    """
    bench = make_bench("stripe", invoices=3)
    since = bench.clock() - timedelta(days=2)
    bench.read(Window(since))
    starts = [params for path, params in asked(bench) if path in ("/v1/invoices", "/v1/charges")]
    assert {params["created[gte]"] for params in starts} == {str(int(since.timestamp()))}
    assert "/v1/events" in {path for path, _ in asked(bench)}
    for window in (Window(), Window(bench.clock() - timedelta(days=30))):
        bench.requests.clear()
        bench.read(window)
        paths = {path for path, _ in asked(bench)}
        assert {"/v1/invoices", "/v1/charges"} <= paths
        assert "/v1/events" not in paths
        assert not any("created[gte]" in params for _, params in asked(bench))
    bench.requests.clear()
    bench.read(Window(bench.clock() - timedelta(days=25)))
    listed = [params for path, params in asked(bench) if path == "/v1/invoices"]
    assert not any("created[gte]" in params for params in listed)
    assert "/v1/events" in {path for path, _ in asked(bench)}
    assert {r.headers["stripe-version"] for r in bench.requests} == {"2025-02-24.acacia"}
    assert not any("stripe-account" in r.headers for r in bench.requests)


def test_after_a_long_pause_nothing_is_missing() -> None:
    bench = make_bench("stripe")
    bench.clock.advance(days=40)
    bench.world.evolve(steps=15, systems=("stripe",))
    bench.clock.advance(days=35)  # Stripe forgot what happened
    read = bench.read(Window(bench.clock() - timedelta(days=36)))
    rows = {row["external_id"]: row for row in read.invoices.to_dicts()}
    expected = {key: row for key, row in truths(bench).items() if not row.deleted}
    assert {key: row["status"] for key, row in rows.items()} == {
        key: row.status for key, row in expected.items()
    }


def test_payments_can_be_switched_off() -> None:
    bench = make_bench("stripe", invoices=20)
    bench.changes = {"options": {"payments": False, "connected": True}}
    read = bench.read(Window(bench.clock() - timedelta(days=20)))
    assert set(read.invoices["kind"]) == {"invoice"}
    assert "/v1/charges" not in {path for path, _ in asked(bench)}
    assert {r.headers["stripe-account"] for r in bench.requests} == {simulator.ACCOUNTS["stripe"]}


def long_invoice(bench: Bench, lines: int) -> Any:
    books = bench.world.books["stripe"]
    customer = next(row for row in books.customers.values() if row.person.national)
    products = list(books.products.values())
    rows = [(products[n % 3], 1, 100 + n) for n in range(lines)]
    return books.record("Invoice", customer, rows, bench.clock())


@pytest.mark.parametrize(("lines", "calls"), [(10, 0), (11, 1), (230, 3)])
def test_all_lines_are_read(lines: int, calls: int) -> None:
    """An invoice shows ten; in a list, in a list of changes, and asked for by its id."""
    bench = make_bench("stripe", customers=20, invoices=0)
    document = long_invoice(bench, lines)
    stream = SPEC.stream("invoices")
    pages = bench.pages("invoices")
    assert len([path for path, _ in asked(bench) if path.endswith("/lines")]) == calls
    pages += bench.pages("changed_invoices", Window(bench.clock() - timedelta(hours=1)))
    with bench.client() as client:
        pages += [part.page for part in fetch(SPEC, stream, client, [document.id])]
    for page in pages:
        read = map_page(SPEC, SPEC.stream(page.stream), bench.connection, page.body, page_id=1)
        assert read.problems.is_empty()
        sold = read.lines.filter(pl.col("record_no") == 0)  # each event has the document
        assert (sold.height, sold["amount_minor"].sum()) == (lines, document.gross_minor)


def test_an_event_names_a_document_once_whatever_happened_to_it() -> None:
    bench = make_bench("stripe", customers=20, invoices=0)
    books, document = bench.world.books["stripe"], long_invoice(bench, 1)
    assert books.pay(document, document.balance_minor, bench.clock())
    (page,) = bench.pages("changed_invoices", Window(bench.clock() - timedelta(hours=1)))
    assert page.record_count == 4
    singles = [path for path, _ in asked(bench) if path == f"/v1/invoices/{document.id}"]
    assert len(singles) == 1


def draft(bench: Bench) -> Any:
    books = bench.world.books["stripe"]
    customer, product = next(iter(books.customers.values())), next(iter(books.products.values()))
    return books.record("Invoice", customer, [(product, 1, 100)], bench.clock(), status="draft")


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_draft_that_is_deleted_while_the_list_is_paged(*, interrupted: bool) -> None:
    """Where the page before ended with it, Stripe cannot go on: the next run begins anew."""
    bench = make_bench("stripe", invoices=30)
    bench.page_size = 5
    bench.clock.advance(seconds=1)
    drafts = [draft(bench) for _ in range(5)]
    books, stream = bench.world.books["stripe"], SPEC.stream("invoices")
    with bench.client() as client:
        reading = extract(SPEC, stream, client, Window())
        first = next(reading)
        assert all(books.delete(one, bench.clock()) for one in drafts)
        if interrupted:
            pages = [first, *extract(SPEC, stream, client, Window(), resume=stopped_after(first))]
        else:
            with pytest.raises(UnexpectedShape, match="resource_missing"):
                list(reading)
            return
    read = {row["id"] for page in pages for row in json.loads(page.body)["data"]}
    kept = {row.external_id for row in bench.world.truth() if row.system == "stripe"}
    kept &= {row.id for row in books.all("Invoice") if not row.deleted}
    assert kept <= read


def test_a_deleted_draft_is_told_by_an_event() -> None:
    bench = make_bench("stripe", invoices=5)
    one = draft(bench)
    assert bench.world.books["stripe"].delete(one, bench.clock())
    read = bench.read(Window(bench.clock() - timedelta(hours=1)))
    assert read.deletions["external_id"].to_list() == [one.id]
    assert one.id not in set(read.invoices["external_id"])


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"type": "invalid_request_error", "message": "secret"}, KeyRejected),
        (401, {"type": "invalid_request_error", "code": "api_key_expired"}, KeyRejected),
        (403, {"type": "permission_error", "code": "more_permissions_required"}, PermissionMissing),
        (403, {"type": "invalid_request_error", "code": "account_invalid"}, PermissionMissing),
        (429, {"type": "invalid_request_error", "code": "rate_limit"}, RateLimited),
        (400, {"type": "invalid_request_error", "code": "rate_limit"}, RateLimited),
        (400, {"type": "invalid_request_error", "code": "parameter_unknown"}, UnexpectedShape),
    ],
)  # fmt: skip
def test_refusals(status: int, body: dict[str, str], error: type[Exception]) -> None:
    bench = make_bench("stripe", invoices=1)
    bench.with_spec(retry=RetryPolicy(attempts=1))
    headers = {"request-id": "req_123"}
    bench.before = lambda _: httpx.Response(status, json={"error": body}, headers=headers)
    with pytest.raises(error, match=r"req_123|come back") as caught:
        bench.pages("invoices")
    assert "secret" not in str(caught.value)
    if error is KeyRejected:
        assert 'Enter a valid key in the block "stripe"' in str(caught.value)


@pytest.mark.parametrize(
    ("key", "test_data", "said"),
    [
        ("rk_live_x", False, ""), ("sk_live_x", False, ""), ("sk_test_x", True, ""),
        ("sk_test_x", False, "test mode"), ("rk_test_x", False, "test mode"),
        ("pk_live_x", False, "publishable"),
    ],
)  # fmt: skip
def test_keys_that_the_form_takes(key: str, said: str, *, test_data: bool) -> None:
    form = forms()["stripe"]
    values = form.fields(account_id="acct_1", api_key=SecretStr(key), test_data=test_data)
    missing = form.missing(values)
    assert said in missing if said else missing == ""
    assert "live_x" not in missing and "test_x" not in missing


def test_the_test_of_a_connection() -> None:
    """Most documents name a phone: that a customer of the others has none is no failure."""
    bench = make_bench("stripe")
    report = CheckReport("stripe", "stripe", bench.connection.account)
    with bench.client() as client:
        _check_api(report, client)
    assert [check.detail for check in report.checks if not check.ok] == []
    assert {"read invoices", "map invoices", "read deleted_invoices", "read payments"} <= {
        check.check for check in report.checks
    }
    bench.before = lambda request: (
        httpx.Response(403, json={"error": {"type": "invalid_request_error", "code": "x"}})
        if request.url.path.endswith("/events")
        else None
    )
    report = CheckReport("stripe", "stripe", bench.connection.account)
    with bench.client() as client:
        _check_api(report, client)
    (failed,) = [check for check in report.checks if not check.ok]
    assert (failed.check, "administrator" in failed.who) == ("read deleted_invoices", True)


def test_many_customers_are_read_as_a_list() -> None:
    """There is no way to ask for several by their ids."""
    requests = SPEC.lookup("customers").requests
    assert list(requests(ACCOUNT, [f"cus_{n}" for n in range(499)])) == []
    (request,) = requests(ACCOUNT, [f"cus_{n}" for n in range(500)])
    assert (request.path, request.params) == ("/v1/customers", {"limit": "100"})


def test_products_give_the_sku_and_customers_the_phone(benches: Callable[..., Bench]) -> None:
    """In batches of products; customers one by one, and as a list where they are many."""
    bench = benches("stripe", customers=40)
    read = bench.read()
    assert "ATW-5L" in set(read.lines["sku"].drop_nulls())
    paths = [path for path, _ in asked(bench)]
    assert paths.count("/v1/products") == len([p for p in paths if "products" in p]) >= 1
