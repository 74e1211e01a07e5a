"""The simulated PayPal behaves as its vendor documents it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from simulator import CLIENT_ID, CLIENT_SECRET, ManualClock, World, client, handler
from simulator.model import Document
from simulator.systems.paypal import certificate
from simulator.systems.paypal.api import CERTIFICATES, INVOICES, SEARCH, TRANSACTIONS, VERIFY
from simulator.systems.paypal.books import PayPalBooks
from simulator.webhooks import Announcer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=60, invoices=300, now=clock, days=28)


@pytest.fixture
def paypal(world: World) -> httpx.Client:
    return client(world, "paypal")


@pytest.fixture
def books(world: World) -> PayPalBooks:
    books = world.books["paypal"]
    assert isinstance(books, PayPalBooks)
    return books


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def asked(**changes: Any) -> dict[str, Any]:
    start = NOW - timedelta(days=31)
    return {"start_date": stamp(start), "end_date": stamp(NOW), "fields": "all"} | changes


def everything(api: httpx.Client, **changes: Any) -> list[dict[str, Any]]:
    """All transactions of a question, page by page."""
    rows, page, pages = [], 1, 1
    while page <= pages:
        body = api.get(TRANSACTIONS, params=asked(page=page, page_size=50, **changes)).json()
        rows += body.get("transaction_details", [])
        page, pages = page + 1, body["total_pages"]
    return rows


def test_every_payment_and_refund_is_a_transaction(paypal: httpx.Client, world: World) -> None:
    rows = {row["transaction_info"]["transaction_id"]: row for row in everything(paypal)}
    truth = {row.external_id: row for row in world.truth() if row.system == "paypal"}
    assert truth
    assert set(truth) <= set(rows)
    for key, row in truth.items():
        info = rows[key]["transaction_info"]
        assert info["transaction_amount"]["value"].lstrip("-") == row.total
        assert (info["transaction_event_code"] == "T1107") == (row.kind == "refund")
        assert info["transaction_amount"]["value"].startswith("-") == (row.kind == "refund")
    times = [row["transaction_info"]["transaction_initiation_date"] for row in everything(paypal)]
    assert times == sorted(times)
    refunds = [row for row in rows.values() if "paypal_reference_id" in row["transaction_info"]]
    assert {row["transaction_info"]["paypal_reference_id"] for row in refunds} <= set(rows)
    states = {row["transaction_info"]["transaction_status"] for row in rows.values()}
    assert states == {"S", "P", "D", "V"}


def test_only_what_is_asked_for_is_shown(paypal: httpx.Client) -> None:
    (row, *_) = paypal.get(TRANSACTIONS, params=asked(fields="transaction_info")).json()[
        "transaction_details"
    ]
    assert set(row) == {"transaction_info"}
    key = row["transaction_info"]["transaction_id"]
    body = paypal.get(TRANSACTIONS, params=asked(transaction_id=key)).json()
    assert body["total_items"] == 1
    pending = everything(paypal, transaction_status="P")
    assert {row["transaction_info"]["transaction_status"] for row in pending} == {"P"}


def test_an_empty_answer_leaves_its_list_out(paypal: httpx.Client) -> None:
    old = asked(start_date="2024-03-01T00:00:00Z", end_date="2024-03-31T00:00:00Z")
    body = paypal.get(TRANSACTIONS, params=old).json()
    assert "transaction_details" not in body
    assert (body["total_items"], body["total_pages"]) == (0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"start_date": stamp(NOW - timedelta(days=32))},
        {"start_date": stamp(NOW + timedelta(hours=1)), "end_date": stamp(NOW + timedelta(days=1))},
        {"start_date": "2022-01-01T00:00:00Z", "end_date": "2022-01-31T00:00:00Z"},
        {"end_date": "2026-03-10"},
        {"page_size": 501},
        {"page": 0},
        {"limit": 5},
    ],
)
def test_what_a_search_refuses(paypal: httpx.Client, changes: dict[str, Any]) -> None:
    answer = paypal.get(TRANSACTIONS, params=asked(**changes))
    body = answer.json()
    assert (answer.status_code, body["name"]) == (400, "INVALID_REQUEST")
    assert answer.headers["paypal-debug-id"] == body["debug_id"]
    assert body["details"][0]["field"] in changes or "end_date" in str(body)


def test_what_is_too_much_is_refused(paypal: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.systems.paypal.api.ROWS_MAX", 10)
    assert paypal.get(TRANSACTIONS, params=asked()).json()["name"] == "RESULTSET_TOO_LARGE"


def test_transactions_are_shown_late(paypal: httpx.Client, books: PayPalBooks) -> None:
    before = len(everything(paypal))
    books.delay = timedelta(days=5)
    body = paypal.get(TRANSACTIONS, params=asked()).json()
    assert body["last_refreshed_datetime"] == body["end_date"] == stamp(NOW - timedelta(days=5))
    assert 0 < body["total_items"] < before


def test_lists_of_invoices_leave_out_what_only_the_invoice_says(
    paypal: httpx.Client, books: PayPalBooks
) -> None:
    body = paypal.get(INVOICES, params={"page_size": 100, "total_required": "true"}).json()
    there = [invoice for invoice in books.all("Invoice") if not invoice.deleted]
    assert body["total_items"] == len(there)
    created = [item["detail"]["metadata"]["create_time"] for item in body["items"]]
    assert created == sorted(created, reverse=True)
    assert not any("items" in item or "last_update_time" in str(item) for item in body["items"])
    refunded = next(invoice for invoice in there if invoice.refunds)
    whole = paypal.get(f"{INVOICES}/{refunded.id}").json()
    assert whole["status"] in ("REFUNDED", "PARTIALLY_REFUNDED")
    assert whole["refunds"]["transactions"][0]["recipient_transaction_id"] == refunded.refunds[0].id
    assert {"items", "amount", "payments"} <= set(whole)
    assert "total_items" not in paypal.get(INVOICES).json()


def test_invoices_are_searched_by_the_time_of_a_payment(
    paypal: httpx.Client, books: PayPalBooks
) -> None:
    since = NOW - timedelta(days=5)
    asked = {"payment_date_range": {"start": stamp(since), "end": stamp(NOW)}}
    items = paypal.post(SEARCH, params={"page_size": 100}, json=asked).json()["items"]
    paid = {
        invoice.id
        for invoice in books.all("Invoice")
        if any(payment.created_at >= since for payment in invoice.payments)
    }
    assert {item["id"] for item in items} == paid
    assert paid
    plain = paypal.post(SEARCH, content=json.dumps(asked), headers={"content-type": "text/plain"})
    assert plain.status_code == 400
    assert paypal.post(SEARCH, json={"updated_since": "2026-01-01"}).status_code == 400


def test_a_cancellation_does_not_move_the_time_of_the_last_update(
    paypal: httpx.Client, books: PayPalBooks, clock: ManualClock
) -> None:
    sent = next(invoice for invoice in books.all("Invoice") if books._untouched(invoice))
    before = paypal.get(f"{INVOICES}/{sent.id}").json()["detail"]["metadata"]
    clock.advance(minutes=10)
    books.approve(sent, NOW)
    assert books.void(sent, clock())
    after = paypal.get(f"{INVOICES}/{sent.id}").json()
    assert after["status"] == "CANCELLED"
    times = after["detail"]["metadata"]
    assert times["cancel_time"] == stamp(clock())
    assert before["last_update_time"] <= times["last_update_time"] < times["cancel_time"]


def test_tokens_are_given_for_id_and_secret_alone(world: World, clock: ManualClock) -> None:
    serve = handler(world, "paypal")
    form = {"grant_type": "client_credentials"}

    def token(secret: str) -> httpx.Response:
        api = httpx.Client(
            transport=httpx.MockTransport(serve), auth=(CLIENT_ID, secret), base_url="http://x"
        )
        return api.post("/v1/oauth2/token", data=form)

    refused = token("wrong")
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    given = token(CLIENT_SECRET).json()
    assert "refresh_token" not in given
    assert given["expires_in"] == 32_400
    headers = {"authorization": f"Bearer {given['access_token']}"}
    request = httpx.Request("GET", f"http://x{INVOICES}", headers=headers)
    assert serve(request).status_code == 200
    clock.advance(hours=10)
    assert serve(request).json()["error"] == "invalid_token"
    nobody = serve(httpx.Request("GET", f"http://x{INVOICES}"))
    assert (nobody.status_code, nobody.json()["name"]) == (401, "AUTHENTICATION_FAILURE")


def test_webhooks_are_signed_with_the_certificate_and_verified(
    paypal: httpx.Client, world: World, books: PayPalBooks
) -> None:
    announcer = Announcer(world, {"paypal": "1AB"})
    changed: list[tuple[Document, Any]] = [
        (document, "updated") for document in books.all() if not document.deleted
    ]
    made = announcer.about("paypal", changed)
    names = {json.loads(one.body)["event_type"] for one in made}
    assert {"INVOICING.INVOICE.PAID", "PAYMENT.CAPTURE.COMPLETED"} <= names
    delivery = made[0]
    headers = delivery.headers(NOW)
    # The same id and time on every attempt.
    assert delivery.headers(NOW + timedelta(hours=1)) == headers
    path = headers["paypal-cert-url"].removeprefix("https://api.paypal.com")
    assert path.startswith(CERTIFICATES)
    assert httpx.Client(transport=paypal._transport, base_url="http://x").get(path).content == (
        certificate.pem()
    )

    def verified(webhook_id: str) -> str:
        asked = {
            "auth_algo": headers["paypal-auth-algo"],
            "cert_url": headers["paypal-cert-url"],
            "transmission_id": headers["paypal-transmission-id"],
            "transmission_sig": headers["paypal-transmission-sig"],
            "transmission_time": headers["paypal-transmission-time"],
            "webhook_id": webhook_id,
        }
        body = json.dumps(asked)[:-1] + ', "webhook_event": ' + delivery.body.decode() + "}"
        answer = paypal.post(VERIFY, content=body, headers={"content-type": "application/json"})
        return str(answer.json()["verification_status"])

    assert (verified("1AB"), verified("2CD")) == ("SUCCESS", "FAILURE")


def test_a_429_does_not_say_when_to_come_back(clock: ManualClock) -> None:
    world = World(seed=5, customers=5, invoices=5, now=clock, limit_scale=0.02)
    api = client(world, "paypal")
    answers = [api.get(INVOICES) for _ in range(3)]
    assert (answers[-1].status_code, answers[-1].json()["name"]) == (429, "RATE_LIMIT_REACHED")
    assert "retry-after" not in answers[-1].headers
