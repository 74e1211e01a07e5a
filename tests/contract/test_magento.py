"""What is particular to Magento: orders with their invoices and credit memos, two logins, its errors, Adobe's events."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.kit.errors import (
    CredentialsRejected,
    PaginationLoop,
    PermissionMissing,
    Transient,
    UnexpectedShape,
)
from connectors.kit.mapping import map_page, map_pages, try_record
from connectors.kit.spec import Account, Window
from connectors.kit.webhooks.scheme import (
    BadBody,
    Refused,
    Verified,
    delivery_key,
    events,
    handshake,
    unusable,
    verify,
)
from connectors.magento.webhooks import WEBHOOK
from panel import blocks
from simulator.systems.magento.announce import secret
from simulator.webhooks import Announcer
from tests.support.vendors import credentials

SPEC = SYSTEMS["magento"]
VECTOR = Path(__file__).parents[3] / "shared/samples/magento/adobe_io_events_signature_vector.json"
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


@pytest.fixture
def bench(benches: Callable[..., Any]) -> Any:
    return benches("magento")


def order(**changes: Any) -> dict[str, Any]:
    """An order as the API gives it: invoiced and paid, one product in two rows."""
    values: dict[str, Any] = {
        "entity_id": 17, "increment_id": "000000017", "state": "processing", "status": "a_caminho", "store_id": 1,
        "created_at": "2026-01-10 09:00:00", "updated_at": "2026-01-11 10:00:00", "customer_id": 5, "customer_is_guest": 0,
        "order_currency_code": "AOA", "base_currency_code": "AOA", "base_grand_total": 36.39, "grand_total": 36.39,
        "base_tax_amount": 2.39, "base_shipping_amount": 5, "base_total_paid": 36.39, "base_total_due": 0, "base_total_invoiced": 36.39,
        "base_tax_invoiced": 2.39, "billing_address": {"telephone": "923 456 789"}, "items": [
            row(20, product_type="configurable"),
            row(21, parent_item_id=20, base_price=0, base_row_total=0, base_row_invoiced=0),
        ],
    }  # fmt: skip
    return without_none(values | changes)


def row(item_id: int, **changes: Any) -> dict[str, Any]:
    values = {
        "item_id": item_id, "product_type": "simple", "sku": "ATW-5L", "name": "Água 5 L", "product_id": 1556, "qty_ordered": 1,
        "qty_invoiced": 1, "qty_canceled": 0, "base_price": 29, "base_row_total": 29, "base_discount_amount": 0, "base_row_invoiced": 29,
    }  # fmt: skip
    return without_none(values | changes)


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def mapped(*orders: dict[str, Any], stream: str = "orders") -> Any:
    body = json.dumps({"items": orders, "search_criteria": {}, "total_count": len(orders)})
    return map_page(
        SPEC, SPEC.stream(stream), Account("magento", "a.example"), body.encode(), page_id=1
    )


def invoice(**changes: Any) -> dict[str, Any]:
    found = mapped(order(**changes))
    assert found.problems.is_empty(), found.problems["reason"].to_list()
    (result,) = found.invoices.to_dicts()
    return result


def lines(*rows: dict[str, Any]) -> list[tuple[str, int, int]]:
    found = mapped(order(items=list(rows))).lines
    return list(zip(found["sku"], map(int, found["quantity"]), found["amount_minor"], strict=True))


def test_an_order_that_is_invoiced_and_paid() -> None:
    sale = invoice()
    assert (sale["external_id"], sale["invoice_number"], sale["kind"]) == (
        "17",
        "000000017",
        "invoice",
    )
    assert (sale["customer_external_id"], sale["customer_phone"]) == ("5", "+244923456789")
    assert (sale["total_minor"], sale["tax_minor"], sale["subtotal_minor"]) == (3639, 239, 3400)
    assert (sale["status"], sale["amount_paid_minor"], sale["amount_refunded_minor"]) == (
        "paid",
        3639,
        0,
    )
    assert sale["issued_at"] == datetime(2026, 1, 10, 9, tzinfo=UTC)
    assert sale["updated_at"] == datetime(2026, 1, 11, 10, tzinfo=UTC)
    assert lines(*order()["items"]) == [("ATW-5L", 1, 2900)]


NOT_INVOICED = {
    "base_total_invoiced": None,
    "base_tax_invoiced": None,
    "base_total_paid": None,
    "base_total_due": None,
}


@pytest.mark.parametrize(
    ("changes", "status", "total"),
    [
        ({"state": "new"} | NOT_INVOICED, "draft", 3639),
        ({"state": "pending_payment"} | NOT_INVOICED, "draft", 3639),
        ({"state": "payment_review"} | NOT_INVOICED, "draft", 3639),
        ({"state": "holded"} | NOT_INVOICED, "draft", 3639),
        ({"state": "canceled", "base_total_canceled": 36.39} | NOT_INVOICED, "void", 3639),
        # Invoiced, and the money is awaited.
        ({"base_total_paid": None, "base_total_due": 36.39}, "open", 3639),
        # A part is invoiced and paid; the rest waits, or is cancelled.
        ({"base_total_invoiced": 20, "base_total_paid": 20, "base_total_due": 16.39}, "paid", 2000),
        (
            {"state": "complete", "base_total_invoiced": 20, "base_total_paid": 20, "base_total_canceled": 16.39},
            "paid",
            2000,
        ),
        # Paid by gift card or store credit as a whole.
        (
            {"base_grand_total": 0, "grand_total": 0, "base_total_invoiced": 0, "base_total_paid": 0},
            "paid",
            0,
        ),
        ({"state": "complete"} | NOT_INVOICED | {"base_total_due": 0}, "paid", 3639),
    ],
)  # fmt: skip
def test_what_earns_is_what_was_invoiced(changes: dict[str, Any], status: str, total: int) -> None:
    sale = invoice(**changes)
    assert (sale["status"], sale["total_minor"]) == (status, total)


def test_a_state_that_magento_does_not_have_is_rejected_by_name() -> None:
    (problem,) = mapped(order(state="half_done")).problems.to_dicts()
    assert (problem["field"], problem["path"]) == ("status", "/state")


@pytest.mark.parametrize(
    ("credit", "refunded"),
    [
        ({}, 2000),
        # All of it became store credit: the shop kept the money.
        ({"base_customer_balance_total_refunded": 20}, 0),
        ({"base_customer_balance_total_refunded": 5}, 1500),
        # What had been paid by credit or gift card went back there, and the money too.
        ({"base_customer_balance_total_refunded": 7, "base_customer_balance_refunded": 7}, 2000),
        ({"base_customer_balance_total_refunded": 7, "base_gift_cards_refunded": 7}, 2000),
    ],
)
def test_refunds_lower_the_order(credit: dict[str, Any], refunded: int) -> None:
    sale = invoice(base_total_refunded=20, extension_attributes=credit)
    assert (sale["amount_refunded_minor"], sale["total_minor"]) == (refunded, 3639)
    whole = invoice(state="closed", base_total_refunded=36.39)
    assert (whole["status"], whole["amount_refunded_minor"]) == ("paid", 3639)


def test_the_shops_currency_counts_and_not_the_customers() -> None:
    sale = invoice(order_currency_code="USD", grand_total=0.04)
    assert (sale["currency"], sale["total_minor"]) == ("AOA", 3639)
    # Without the shop's amounts, the others count only in the same currency.
    base = {name: None for name in order() if name.startswith("base_") and "code" not in name}
    seen = {"grand_total": 36.39, "total_invoiced": 36.39, "total_paid": 36.39}
    assert invoice(**base, **seen)["total_minor"] == 3639
    (problem,) = mapped(order(**base, **seen, order_currency_code="USD")).problems.to_dicts()
    assert problem["field"] == "total_minor"


def test_where_the_shops_currency_is_not_said_the_customers_counts() -> None:
    seen = {"grand_total": 4, "total_invoiced": 4, "total_paid": 4, "tax_amount": 0}
    sale = invoice(base_currency_code=None, order_currency_code="USD", **seen)
    assert (sale["currency"], sale["total_minor"], sale["status"]) == ("USD", 400, "paid")


@pytest.mark.parametrize(("code", "total", "minor"), [("JPY", 1500, 1500), ("KWD", 1.234, 1234)])
def test_money_by_the_currencys_decimals(code: str, total: float, minor: int) -> None:
    amounts = dict.fromkeys(("base_grand_total", "base_total_invoiced", "base_total_paid"), total)
    taxes = {"base_tax_amount": 0, "base_tax_invoiced": 0}
    codes = {"base_currency_code": code, "order_currency_code": code}
    assert invoice(**amounts, **taxes, **codes)["total_minor"] == minor


def test_four_decimals_are_rounded() -> None:
    assert invoice(base_total_invoiced=36.3851, base_total_paid=36.3851)["total_minor"] == 3639


def test_guests() -> None:
    """With a phone a guest is a customer like any other; without one, nobody."""
    guest = {"customer_id": None, "customer_is_guest": 1}
    assert invoice(**guest)["customer_external_id"] is None
    assert invoice(**guest | {"customer_id": 0})["customer_phone"] == "+244923456789"
    nobody = mapped(order(**guest, billing_address={}), order(entity_id=18))
    assert nobody.walk_ins["external_id"].to_list() == ["17"]
    assert nobody.invoices["external_id"].to_list() == ["18"]
    assert nobody.problems.is_empty()
    odd = mapped(order(**guest, billing_address={"telephone": "s/n"}))
    assert odd.problems["field"].to_list() == ["customer_phone"]


def test_the_phone_of_the_shipping_address_is_the_second_choice() -> None:
    shipping = {"shipping": {"address": {"telephone": "+244 912 000 001"}}}
    attributes = {"shipping_assignments": [shipping]}
    assert invoice(extension_attributes=attributes)["customer_phone"] == "+244923456789"
    sale = invoice(billing_address={}, extension_attributes=attributes)
    assert sale["customer_phone"] == "+244912000001"


@pytest.mark.parametrize(
    ("telephone", "country", "phone"),
    [
        ("912 345 678", "PT", "+351912345678"),
        ("912 345 678", "AO", "+244912345678"),
        ("912 345 678", None, "+244912345678"),
        ("+244 912 345 678", "PT", "+244912345678"),
        ("00244912345678", "US", "+244912345678"),
        # No number of that country: read as one of the account's.
        ("923 456 789", "US", "+244923456789"),
        ("923 456 789", "??", "+244923456789"),
    ],
)
def test_a_phone_without_country_code_is_of_the_addresss_country(
    telephone: str, country: str | None, phone: str
) -> None:
    address = without_none({"telephone": telephone, "country_id": country})
    assert invoice(billing_address=address)["customer_phone"] == phone


def test_a_bundle_counts_once() -> None:
    """By its own price, or by those of its parts."""
    fixed = [
        row(1, product_type="bundle", sku="PACK"),
        row(2, parent_item_id=1, base_row_total=0, base_row_invoiced=0),
    ]
    assert lines(*fixed) == [("PACK", 1, 2900)]
    parts = [
        row(1, product_type="bundle", sku="PACK"),
        row(2, parent_item_id=1, sku="A", base_row_total=9, base_row_invoiced=9),
        row(3, parent_item_id=1, sku="B", base_row_total=20, base_row_invoiced=20),
    ]
    assert lines(*parts) == [("A", 1, 900), ("B", 1, 2000)]
    # A variant that repeats its product's price is still one sale.
    twice = [row(1, product_type="configurable"), row(2, parent_item_id=1)]
    assert lines(*twice) == [("ATW-5L", 1, 2900)]
    assert lines(row(2, parent_item_id=99)) == [("ATW-5L", 1, 2900)]  # its parent is not there


def test_rows_are_as_invoiced_and_after_their_discount() -> None:
    half = row(1, qty_ordered=4, qty_invoiced=2, base_row_total=116, base_row_invoiced=58)
    half |= {"base_discount_amount": 11.6, "base_discount_invoiced": 5.8}
    waiting = row(2, sku="B", qty_invoiced=0, base_row_invoiced=0)
    assert lines(half, waiting) == [("ATW-5L", 2, 5220)]
    taxed = {"base_discount_invoiced": 11.4, "base_discount_tax_compensation_invoiced": 1.4}
    assert lines(row(1, **taxed)) == [("ATW-5L", 1, 1900)]
    ordered = row(1, qty_ordered=3, qty_invoiced=0, qty_canceled=1, base_row_invoiced=None)
    assert lines(ordered) == [("ATW-5L", 2, 2900)]


def test_a_bare_invoice_is_no_order() -> None:
    """It names no customer: it is rejected, whatever list it is taken for."""
    bare = {
        "entity_id": 9, "order_id": 17, "increment_id": "000000009", "state": 2, "base_currency_code": "AOA",
        "base_grand_total": 36.39, "created_at": "2026-01-10 09:00:00", "updated_at": "2026-01-10 09:00:00",
        "items": [],
    }  # fmt: skip
    assert mapped(bare, stream="orders_of_invoices").invoices.is_empty()
    (result,) = try_record(SPEC, None, Account("magento", "a"), json.dumps(bare).encode())
    assert result["ok"] is False
    assert mapped(bare).invoices.is_empty()  # it names nobody


def test_unset_keys_and_null_lists_are_no_errors(bench: Any) -> None:
    found = mapped({"entity_id": 1, "customer_id": 5}).problems
    assert {"total_minor", "currency", "status", "issued_at"} <= set(found["field"])
    bench.before = answering({"items": None, "search_criteria": {}, "total_count": 0})
    assert bench.read().invoices.is_empty()
    bench.before = answering({"search_criteria": {}, "total_count": 0})
    with pytest.raises(UnexpectedShape):
        bench.read()


def answering(body: Any, status: int = 200) -> Callable[[httpx.Request], httpx.Response | None]:
    return lambda request: (
        None if "token" in request.url.path else httpx.Response(status, json=body)
    )


def test_changes_of_invoices_and_credit_memos_bring_in_their_orders(bench: Any) -> None:
    """Also where the order's own time of change stays as it was."""
    books, clock = bench.world.books["magento"], bench.clock
    paid = [one for one in books.all("Invoice") if one.settled and not one.taken_back]
    sale = next(one for one in paid if one.customer.phone and one.total_minor > 100)
    before = clock.advance(hours=1)
    memo = books.take_back(sale, [line.quantity for line in sale.lines], clock.advance(minutes=1))
    assert memo is not None
    sale.updated_at = before - timedelta(days=1)
    window = Window(before, None)
    streams = {stream.name: bench.pages(stream.name, window) for stream in SPEC.streams}
    assert streams["orders"][0].record_count == 0
    (page,) = streams["orders_of_credit_memos"]
    stream = SPEC.stream("orders_of_credit_memos")
    found = map_page(SPEC, stream, bench.connection, page.body, page_id=1, window=window)
    (again,) = found.invoices.to_dicts()
    assert again["external_id"] == sale.id
    assert again["amount_refunded_minor"] == memo.total_minor
    assert again["issued_at"] == sale.created_at
    # A first read takes all orders, and needs no other list.
    assert bench.pages("orders_of_invoices") == bench.pages("orders_of_credit_memos") == []


def test_an_order_that_is_gone_leaves_its_invoice_out(bench: Any) -> None:
    def gone(request: httpx.Request) -> httpx.Response | None:
        if "/orders/" in request.url.path:
            return httpx.Response(404, json={"message": "The entity doesn't exist."})
        return None

    bench.before = gone
    window = Window(bench.clock() - timedelta(days=3), None)
    pages = bench.pages("orders_of_invoices", window)
    assert pages[0].record_count > 0
    found = map_page(
        SPEC,
        SPEC.stream("orders_of_invoices"),
        bench.connection,
        pages[0].body,
        page_id=1,
        window=window,
    )
    assert found.invoices.is_empty()
    assert found.problems.is_empty()


def test_lists_go_on_behind_the_last_id(bench: Any) -> None:
    """A page number behind the last page brings the last page again: no page number is sent."""
    bench.page_size = 30
    pages = bench.pages("orders")
    asked = [dict(request.url.params) for request in bench.api_requests()]
    assert len(pages) == len(asked) == 5
    assert not any("currentPage" in name for params in asked for name in params)
    behind = [
        int(params["searchCriteria[filter_groups][0][filters][0][value]"]) for params in asked
    ]
    assert behind == sorted(set(behind))
    assert pages[-1].next_request is None


def test_a_server_with_smaller_pages_is_read_to_its_end(bench: Any) -> None:
    """`total_count` says how many are left, whatever the size of a page."""
    whole = set(bench.read().invoices["external_id"])
    serve = simulator.handler(bench.world, "magento")

    def smaller(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        body = serve(request).json()
        return httpx.Response(200, json=body | {"items": body["items"][:7]})

    bench.before = smaller
    assert set(bench.read().invoices["external_id"]) == whole


def test_a_list_that_ignores_the_filter_is_an_error_and_no_loop(bench: Any) -> None:
    rows = [order(entity_id=number) for number in range(1, 26)]
    bench.before = answering({"items": rows, "search_criteria": {}, "total_count": 60})
    with pytest.raises(PaginationLoop, match="same records"):
        bench.pages("orders")


def test_documents_are_asked_for_by_id_in_batches(bench: Any) -> None:
    requests = list(
        SPEC.stream("orders").by_id.requests(bench.connection, [*map(str, range(1, 71)), "x' OR 1"])
    )
    assert len(requests) == 2
    with bench.client() as client:
        found = [json.loads(client.send(request, "orders").body)["items"] for request in requests]
    assert sum(map(len, found)) == 70


def test_signed_requests_read_the_same(bench: Any) -> None:
    at_adobe = bench.read().invoices.drop("page_id", "record_no")
    bench.changes = credentials(bench.world, "magento", login="token_based")
    bench.requests.clear()
    assert bench.read().invoices.drop("page_id", "record_no").equals(at_adobe)
    sent = [request.headers["authorization"] for request in bench.requests]
    assert all(header.startswith("OAuth oauth_nonce") for header in sent)
    assert all('oauth_signature_method="HMAC-SHA256"' in header for header in sent)
    assert {request.url.path for request in bench.requests} == {"/magento/rest/default/V1/orders"}


def test_a_wrong_secret_names_the_integration_and_no_secret(bench: Any) -> None:
    bench.changes = credentials(bench.world, "magento", login="token_based")
    secrets = {**bench.changes["secrets"], "token_secret": SecretStr("wr0ng-s3cret")}
    bench.changes = {**bench.changes, "secrets": secrets}
    with pytest.raises(CredentialsRejected, match=r'Reauthorize.*block "magento"') as caught:
        bench.pages("orders")
    for value in secrets.values():
        assert value.get_secret_value() not in str(caught.value)
    assert len(bench.requests) == 1


NOT_ALLOWED = {
    "message": "The consumer isn't authorized to access %resources.",
    "parameters": {"resources": "Magento_Sales::actions_view"},
}


@pytest.mark.parametrize("login", ["token_based", "machine_to_machine"])
def test_a_resource_that_is_not_ticked_is_a_permission_that_is_missing(
    bench: Any, login: str
) -> None:
    """By status 401, as for a wrong key; at Adobe the token is renewed before that is believed."""
    bench.changes = credentials(bench.world, "magento", login=login)
    bench.before = answering(NOT_ALLOWED, 401)
    with pytest.raises(PermissionMissing, match=r"401: code not_authorized.*tick Sales"):
        bench.pages("orders")
    assert len(bench.api_requests()) == (1 if login == "token_based" else 2)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"message": "Maximum SearchCriteria pageSize is %1", "parameters": ["s3cret"]}, UnexpectedShape),
        (404, {"message": "Request does not match any route.", "trace": "s3cret"}, UnexpectedShape),
        (500, {"message": "Internal Error. Report ID: webapi-s3cret"}, Transient),
        (500, {"messages": {"error": [{"code": 500, "message": "s3cret"}]}}, Transient),
        (200, {"message": "s3cret %1", "parameters": ["s3cret"]}, UnexpectedShape),
        (401, {"message": "The signature is invalid. s3cret"}, CredentialsRejected),
    ],
)  # fmt: skip
def test_refusals(bench: Any, status: int, body: Any, kind: type[Exception]) -> None:
    bench.before = answering(body, status)
    with pytest.raises(kind) as caught:
        bench.pages("orders")
    assert "s3cret" not in str(caught.value)


def test_the_form() -> None:
    block = blocks.MagentoConnection(host="Shop.Example.com")
    assert block.missing() == (
        "for integration it still lacks consumer_key, consumer_secret, access_token, "
        "access_token_secret"
    )
    assert block.connection().account == "shop.example.com"
    cloud = blocks.MagentoConnection(
        host="na1.api.commerce.adobe.com", login="adobe_ims", tenant_id="t1"
    )
    assert cloud.connection().account == "na1.api.commerce.adobe.com/t1"
    assert (
        cloud.missing() == "for adobe_ims it still lacks organization_id, client_id, client_secret"
    )
    with pytest.raises(ValueError, match="host"):
        blocks.MagentoConnection(host="https://shop.example.com/")


@pytest.fixture
def vector() -> dict[str, str]:
    if not VECTOR.exists():
        pytest.skip(f"no published vector at {VECTOR}")
    return dict(json.loads(VECTOR.read_bytes()))


def test_adobes_vector(vector: dict[str, str]) -> None:
    """With either header, any line breaks in the key, and only for our own client id."""
    body, pem = vector["event"].encode(), base64.b64decode(vector["public_key_pem_base64"]).decode()
    own = SecretStr(f"{vector['recipient_client_id']}\n{pem}")
    flat = SecretStr(f"{vector['recipient_client_id']} {pem.replace(chr(10), ' ')}")
    squeezed = SecretStr(own.get_secret_value().replace("\n", ""))
    other = SecretStr(f"somebody-else\n{pem}")
    for number in (1, 2):
        headers = {f"x-adobe-digital-signature-{number}": vector["signature_base64"]}
        for secret_text in (own, flat, squeezed):
            assert isinstance(verify(WEBHOOK, [secret_text], headers, body, NOW), Verified)
        for wrong in ([other], [SecretStr(pem)], [SecretStr("client_id1")], []):
            assert isinstance(verify(WEBHOOK, wrong, headers, body, NOW), Refused)
        assert isinstance(verify(WEBHOOK, [own], headers, body + b" ", NOW), Refused)
    assert delivery_key(WEBHOOK, {}, body, NOW) == "id:eventId1"
    (event,) = events(WEBHOOK, body, {})
    assert event.kind == "ignored"
    assert unusable(WEBHOOK, own) == ""
    assert "begin with your id" in unusable(WEBHOOK, SecretStr(pem))
    assert "no public key" in unusable(WEBHOOK, SecretStr("client_id1"))
    assert "cannot be read" in unusable(WEBHOOK, SecretStr("id " + pem.replace("MII", "MIJ")))


@pytest.mark.parametrize(
    ("name", "value", "order_id"),
    [
        ("observer.sales_order_save_after", {"entity_id": "17"}, "17"),
        ("observer.sales_order_save_after", {"grand_total": "36.3900"}, None),
        ("observer.sales_order_invoice_save_after", {"entity_id": "9", "order_id": "17"}, "17"),
        ("observer.sales_order_creditmemo_save_after", {"entity_id": "3", "order_id": 17}, "17"),
        ("observer.sales_order_creditmemo_save_after", {"entity_id": "3"}, None),
        ("plugin.magento.sales.api.order_management.place", {"entity_id": 17}, "17"),
        ("observer.catalog_product_save_commit_after", {"entity_id": "17"}, None),
    ],
)
def test_events_name_the_order_to_read(name: str, value: Any, order_id: str | None) -> None:
    body = {"id": "e1", "event_id": "e1", "type": f"com.adobe.commerce.{name}", "data": {"value": value}}  # fmt: skip
    (event,) = events(WEBHOOK, json.dumps(body).encode(), {})
    assert event.kind == ("changed" if order_id else "ignored")
    assert event.external_ids == ((order_id,) if order_id else ())
    assert event.stream == ("orders" if order_id else None)


@pytest.mark.parametrize("body", [b"[]", b"1", b"{}", b'{"event_id": {}}', b"\xff"])
def test_other_bodies_are_no_events(body: bytes) -> None:
    with pytest.raises(BadBody):
        events(WEBHOOK, body, {})


def test_the_handshake_repeats_the_code_and_nothing_else() -> None:
    found = handshake(WEBHOOK, {}, b"", "challenge=8ec8d794-e0ab-42df-9017-e3dada8e84f7")
    assert found is not None
    assert (found.status, found.body) == (200, "8ec8d794-e0ab-42df-9017-e3dada8e84f7")
    for query in ("", "challenge=", "challenge=%3Cscript%3E", "challenge=a&challenge=b"):
        assert handshake(WEBHOOK, {}, b"", query) is None
    assert handshake(WEBHOOK, {}, b"{}", "challenge=a") is None


def test_simulated_events_are_verified(bench: Any) -> None:
    announcer = Announcer(bench.world, {"magento": secret()})
    bench.world.evolve(steps=20, systems=("magento",))
    deliveries = announcer.changes()
    assert len(deliveries) > 5
    for one in deliveries:
        outcome = verify(WEBHOOK, [SecretStr(secret())], one.headers(NOW), one.body, NOW)
        assert isinstance(outcome, Verified)
        (event,) = events(WEBHOOK, one.body, {})
        assert event.kind == "changed"
        assert event.external_ids[0] in bench.world.books["magento"].documents["Invoice"]


def test_walk_ins_of_the_simulated_shop_are_counted(bench: Any) -> None:
    customers = bench.world.books["magento"].customers
    nobody = next(one for one in customers.values() if int(one.id) % 5 == 0)
    nobody.phone = None
    sold = [one for one in bench.world.books["magento"].all("Invoice") if one.customer is nobody]
    pages = [(number, page.body) for number, page in enumerate(bench.pages("orders"), 1)]
    found = map_pages(SPEC, SPEC.stream("orders"), bench.connection, pages)
    assert sold
    assert set(found.walk_ins["external_id"]) == {one.id for one in sold}
    assert not set(found.walk_ins["external_id"]) & set(found.invoices["external_id"])
