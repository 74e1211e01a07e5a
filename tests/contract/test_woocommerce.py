"""What is special about WooCommerce: keys, guests, refunds, deletions, plugins, and its published payloads."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS, spec_for
from connectors.kit.errors import CredentialsRejected, UnexpectedShape
from connectors.kit.mapping import Mapped, map_lookup, map_page, try_record
from connectors.kit.spec import Account, Window
from connectors.kit.webhooks.scheme import (
    BadBody,
    Refused,
    Verified,
    events,
    handshake,
    verify,
)
from connectors.woocommerce.connector import KeyRejected, NoSuchRoute
from connectors.woocommerce.webhooks import WEBHOOK
from panel.blocks import BLOCKS
from panel.connect.check import who_must_act
from simulator.deliveries import Delivery
from simulator.systems.woocommerce import announce
from simulator.webhooks import Announcer

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "woocommerce"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples in {SAMPLES}")
SPEC = SYSTEMS["woocommerce"]
SHOP = Account("woocommerce", "loja.example", "https://loja.example")
LINE = {
    "id": 1,
    "name": "&Aacute;gua 5L",
    "product_id": 9,
    "variation_id": 0,
    "quantity": 3,
    "subtotal": "15.00",
    "total": "13.50",
    "total_tax": "1.89",
    "sku": "ATW-5L",
    "price": 4.5,
}
ORDER: dict[str, Any] = {
    "id": 501,
    "parent_id": 0,
    "number": "A-501",
    "status": "processing",
    "currency": "AOA",
    "date_created": "2026-05-01T10:00:00",
    "date_created_gmt": "2026-05-01T09:00:00",
    "date_modified_gmt": "2026-05-01T09:05:00",
    "date_paid_gmt": "2026-05-01T09:04:00",
    "total": "17.39",
    "total_tax": "1.89",
    "shipping_total": "2.00",
    "customer_id": 7,
    "billing": {"phone": "923 456 789", "country": "AO"},
    "payment_method": "bacs",
    "meta_data": [{"id": 1, "key": "_note", "value": {"any": ["json"]}}],
    "line_items": [LINE],
    "refunds": [],
}


def mapped(*changes: dict[str, Any], account: Account = SHOP, stream: str = "orders") -> Mapped:
    spec = spec_for(account)
    page = json.dumps([ORDER | change for change in changes]).encode()
    return map_page(spec, spec.stream(stream), account, page, page_id=1)


def order(account: Account = SHOP, **changes: Any) -> dict[str, Any]:
    result = mapped(changes, account=account)
    assert result.problems.to_dicts() == []
    return result.invoices.to_dicts()[0]


def test_an_order() -> None:
    row = order()
    assert row["issued_at"] == datetime(2026, 5, 1, 9, tzinfo=UTC)
    assert row["updated_at"] == datetime(2026, 5, 1, 9, 5, tzinfo=UTC)
    assert (row["external_id"], row["invoice_number"], row["kind"]) == ("501", "A-501", "sale")
    assert (row["customer_external_id"], row["customer_phone"]) == ("7", "+244923456789")
    assert (row["total_minor"], row["tax_minor"], row["subtotal_minor"]) == (1739, 189, 1550)
    assert (row["status"], row["amount_paid_minor"]) == ("paid", 1739)
    (line,) = mapped({}).lines.to_dicts()
    assert (line["item_external_id"], line["sku"], line["name"]) == ("9", "ATW-5L", "Água 5L")
    assert (line["amount_minor"], int(line["quantity"]), float(line["unit_price"])) == (
        1350, 3, 4.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "paid", "status"),
    [
        ("pending", None, "draft"),
        ("on-hold", None, "draft"),
        ("failed", None, "draft"),
        ("processing", None, "open"),  # cash on delivery
        ("processing", "2026-05-01T09:04:00", "paid"),
        ("completed", None, "paid"),  # completed by hand
        ("refunded", "2026-05-01T09:04:00", "paid"),
        ("cancelled", "2026-05-01T09:04:00", "void"),
        ("trash", None, "void"),
    ],
)
def test_which_states_earn(state: str, paid: str | None, status: str) -> None:
    assert order(status=state, date_paid_gmt=paid)["status"] == status
    # As WordPress itself spells them; some plugins send that.
    assert order(status=f"wc-{state}", date_paid_gmt=paid)["status"] == status


@pytest.mark.parametrize("entries", [None, [], {}, "x", [None, 7, "x", {"key": ["_wcpay_mode"]}]])
def test_whatever_plugins_keep_beside_an_order_does_not_matter(entries: Any) -> None:
    assert order(meta_data=entries)["status"] == "paid"


@pytest.mark.parametrize(
    ("price", "unit"),
    [(3.3333333333333335, "3.333333"), (0.30000000000000004, "0.300000"), (4, "4.000000"), (None, None)],
)  # fmt: skip
def test_prices_have_the_noise_of_floating_point(price: float | None, unit: str | None) -> None:
    lines = mapped({"line_items": [LINE | {"price": price, "sku": None, "quantity": "1.5"}]}).lines
    (line,) = lines.to_dicts()
    assert (line["unit_price"] and str(line["unit_price"])) == unit
    assert (line["sku"], float(line["quantity"])) == (None, 1.5)


@pytest.mark.parametrize("nothing", [[], {}, None])
def test_an_empty_address_may_be_a_list(nothing: Any) -> None:
    """PHP writes an empty object as a list."""
    row = mapped({"billing": nothing}).invoices.to_dicts()[0]
    assert (row["customer_phone"], row["customer_external_id"]) == (None, "7")


def test_a_status_of_a_plugin_is_rejected_until_it_is_named() -> None:
    problem = mapped({"status": "shipped"}).problems.to_dicts()
    assert [(one["field"], one["path"]) for one in problem] == [("status", "/status")]
    named = replace(SHOP, options={"sale_statuses": ["wc-shipped", "delivered"]})
    assert order(named, status="shipped")["status"] == "paid"
    assert order(named, status="delivered", date_paid_gmt=None)["status"] == "open"
    assert order(named, status="cancelled")["status"] == "void"


@pytest.mark.parametrize(
    "left_out",
    [
        {"status": "checkout-draft"},
        {"parent_id": 500},  # a part of an order, made by a marketplace plugin
        {"meta_data": [{"id": 1, "key": "_wcpay_mode", "value": "test"}]},
    ],
    ids=["cart", "part", "test"],
)
def test_what_is_no_order_is_left_out(left_out: dict[str, Any]) -> None:
    result = mapped(left_out, {"id": 502})
    assert result.invoices["external_id"].to_list() == ["502"]
    assert result.problems.is_empty()


def test_money_paid_before_earns_once() -> None:
    """An order paid with a wallet earns nothing; one that a card only lowers has a smaller total."""
    assert order(payment_method="wallet")["status"] == "void"
    vouchers = replace(SHOP, options={"store_credit": ["vale"]})
    assert order(vouchers, payment_method="vale")["status"] == "void"
    assert order(vouchers, payment_method="wallet")["status"] == "paid"
    assert order(vouchers, payment_method=None)["status"] == "paid"


@pytest.mark.parametrize(
    ("refunds", "state", "minor"),
    [
        ([], "processing", 0),
        ([{"id": 1, "total": "-10.00"}], "processing", 1000),
        ([{"id": 1, "total": "-10.00"}, {"id": 2, "refund": "", "total": "-0.39"}], "completed", 1039),
        ([{"id": 1, "total": "-17.39"}], "refunded", 1739),
        ([], "refunded", 1739),  # some versions leave the list out of an order
    ],
)  # fmt: skip
def test_refunds_lower_their_order(refunds: list[Any], state: str, minor: int) -> None:
    row = order(refunds=refunds, status=state)
    assert (row["amount_refunded_minor"], row["total_minor"], row["status"]) == (
        minor, 1739, "paid",
    )  # fmt: skip


def test_a_refund_that_cannot_be_read_is_no_refund_of_nothing() -> None:
    problems = mapped({"refunds": [{"id": 1, "total": "ten"}]}).problems
    assert problems["path"].to_list() == ["/refunds/*/total"]


@pytest.mark.parametrize(
    ("currency", "total", "minor"),
    [
        ("JPY", "1500", 1500),
        ("JPY", "1500.0000", 1500),
        ("KWD", "1.234", 1234),
        ("KWD", "1.2340", 1234),
        ("AOA", "17.3900", 1739),
        ("AOA", "17.3949", 1739),  # a shop that keeps more decimals than its currency has
    ],
)
def test_money_has_the_currencys_decimals(currency: str, total: str, minor: int) -> None:
    assert order(currency=currency, total=total)["total_minor"] == minor


@pytest.mark.parametrize(
    ("phone", "country", "read"),
    [
        ("923 456 789", "AO", "+244923456789"),
        ("923 456 789", "", "+244923456789"),  # the account's country
        ("912 345 678", "PT", "+351912345678"),  # and not an Angolan one
        ("+244 923 456 789", "PT", "+244923456789"),
        ("00244 923456789", "PT", "+244923456789"),
        ("923 456 789", "XX", "+244923456789"),
        ("(555) 555-5555", "US", None),
        ("943 456 789", "PT", None),  # nobody else's either
        ("", "AO", None),
        ("não tem", "AO", None),
    ],
)
def test_the_phone_is_read_in_its_address_country(
    phone: str, country: str, read: str | None
) -> None:
    row = mapped({"billing": {"phone": phone, "country": country}}).invoices.to_dicts()[0]
    assert row["customer_phone"] == read
    body = json.dumps([{"id": 7, "billing": {"phone": phone, "country": country}}]).encode()
    found = map_lookup(SPEC, SPEC.lookup("customers"), SHOP, body)
    assert found.rows() == [("7", read)]


def test_guests() -> None:
    """A guest is known by the phone; without one the order is counted and left out."""
    result = mapped(
        {"id": 1, "customer_id": 0},
        {"id": 2, "customer_id": 0, "billing": {"phone": "", "country": "AO"}},
        {"id": 3, "customer_id": 0, "billing": {"phone": "s/n", "country": "AO"}},
        {"id": 4, "billing": {"phone": ""}},
    )
    rows = {row["external_id"]: row for row in result.invoices.to_dicts()}
    assert set(rows) == {"1", "3", "4"}
    assert (rows["1"]["customer_external_id"], rows["1"]["customer_phone"]) == (
        None, "+244923456789",
    )  # fmt: skip
    assert result.walk_ins["external_id"].to_list() == ["2"]
    assert [(one["record_no"], one["field"]) for one in result.problems.to_dicts()] == [
        (2, "customer_phone")
    ]
    assert rows["4"]["customer_external_id"] == "7"  # whose phone is looked up


# Keys


@pytest.fixture
def bench(benches: Callable[..., Any]) -> Any:
    return benches("woocommerce")


def at(bench: Any, scheme: str, **options: Any) -> Any:
    url = f"{scheme}://127.0.0.1:9/woocommerce"
    key = {"consumer_key": SecretStr("ck_simulated"), "consumer_secret": SecretStr("cs_simulated")}
    bench.changes = {"options": {"deletions_hours": 0, **options}, "secrets": key}
    connection = type(bench).connection.fget  # the bench's own, at another address
    bench.__class__ = type(
        "Moved",
        (type(bench),),
        {"connection": property(lambda self: replace(connection(self), base_url=url))},
    )
    return bench


def test_over_https_the_key_is_in_the_header(bench: Any) -> None:
    at(bench, "https").pages("orders")
    (sent, *_) = bench.requests
    encoded = base64.b64encode(b"ck_simulated:cs_simulated").decode()
    assert sent.headers["authorization"] == f"Basic {encoded}"
    assert "consumer" not in str(sent.url)


def test_where_the_host_hides_the_header_the_key_is_in_the_query(bench: Any) -> None:
    pages = at(bench, "https", key_in="query").pages("orders")
    (sent, *_) = bench.requests
    assert sent.url.params["consumer_secret"] == "cs_simulated"
    assert "authorization" not in sent.headers
    # What is stored has no secret in it.
    assert not [page for page in pages if "cs_simulated" in json.dumps(page.request.to_json())]


def test_without_encryption_each_request_is_signed(bench: Any) -> None:
    at(bench, "http").pages("orders")
    for sent in bench.requests:
        assert sent.url.params["oauth_signature_method"] == "HMAC-SHA256"
        assert "cs_simulated" not in str(sent.url)
    assert len({sent.url.params["oauth_nonce"] for sent in bench.requests}) == len(bench.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_wrong_key_names_the_block_and_what_to_look_at(bench: Any, scheme: str) -> None:
    at(bench, scheme)
    bench.changes["secrets"] = {
        "consumer_key": SecretStr("ck_simulated"),
        "consumer_secret": SecretStr("cs_wr0ng"),
    }
    with pytest.raises(
        KeyRejected, match='consumer key and secret in the block "woocommerce"'
    ) as e:
        bench.pages("orders")
    assert isinstance(e.value, CredentialsRejected)
    assert "wr0ng" not in str(e.value)


def test_an_address_without_woocommerce(bench: Any) -> None:
    body = {"code": "rest_no_route", "message": "No route", "data": {"status": 404}}
    bench.before = lambda _: httpx.Response(404, json=body)
    with pytest.raises(NoSuchRoute, match="Check the shop address") as caught:
        bench.pages("orders")
    assert who_must_act(caught.value).startswith("operator")


# Lists


def test_changes_are_asked_for_in_utc_a_second_early(bench: Any) -> None:
    bench.pages("orders", Window(datetime(2026, 5, 1, 9, tzinfo=UTC), None))
    params = bench.requests[0].url.params
    assert params["modified_after"] == "2026-05-01T08:59:59"
    assert (params["dates_are_gmt"], params["orderby"], params["order"]) == ("true", "id", "asc")


def paid(bench: Any) -> Any:
    books = bench.world.books["woocommerce"]
    return books, [one for one in books.all("Invoice") if one.settled and not one.refunds]


def test_a_refund_that_does_not_change_its_order_is_found(bench: Any) -> None:
    """The published order 723 was refunded twice after its last change."""
    books, orders = paid(bench)
    sold, now = orders[0], bench.clock()
    changed_at = sold.updated_at
    for amount in (300, 200):
        assert books.refund(sold, [], now, amount_minor=amount, moves=False)
    assert sold.updated_at == changed_at < now - timedelta(minutes=10)
    window = Window(now - timedelta(minutes=10), None)
    result = bench.read(window)
    rows = result.invoices.filter(pl.col("external_id") == sold.id).to_dicts()
    assert {row["amount_refunded_minor"] for row in rows} == {500}
    assert {row["total_minor"] for row in rows} == {sold.total_minor}
    # The run's own window keeps them as well.
    (page, *_) = bench.pages("refunds", window)
    kept = map_page(
        bench.spec, bench.spec.stream("refunds"), bench.connection, page.body, page_id=1,
        window=window,
    )  # fmt: skip
    assert sold.id in set(kept.invoices["external_id"])


def test_a_shop_before_9_0_has_no_list_of_refunds(bench: Any) -> None:
    def older(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/refunds"):
            body = {"code": "rest_no_route", "message": "No route", "data": {"status": 404}}
            return httpx.Response(404, json=body)
        return None

    bench.before = older
    assert bench.pages("refunds", Window(bench.clock() - timedelta(days=2), None)) == []


def test_a_refund_whose_order_is_gone_is_no_document(bench: Any) -> None:
    refund = {
        "id": 9, "parent_id": 8, "date_created_gmt": "2026-05-01T09:00:00", "amount": "10.00",
    }  # fmt: skip

    def orphan(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, json=[refund]) if request.url.path.endswith("/refunds") else None

    bench.before = orphan
    pages = bench.pages("refunds", Window(bench.clock() - timedelta(days=2), None))
    stream = bench.spec.stream("refunds")
    result = map_page(bench.spec, stream, bench.connection, pages[0].body, page_id=1)
    assert (result.invoices.height, result.problems.height, result.walk_ins.height) == (0, 0, 0)


def test_the_census_goes_on_over_pages_that_hide_orders(bench: Any) -> None:
    """A user who may not see some orders gets short pages; what is on later ones is not deleted."""
    hidden = {one.id for one in list(bench.world.books["woocommerce"].all("Invoice"))[:15]}

    def some_hidden(request: httpx.Request) -> httpx.Response | None:
        answer = api(request)
        rows = [row for row in answer.json() if str(row["id"]) not in hidden]
        return httpx.Response(200, json=rows)  # nor does a proxy let the Link header through

    api = simulator.handler(bench.world, "woocommerce")
    bench.before = some_hidden
    window = Window(bench.clock() - timedelta(days=2), None)
    bodies = [json.loads(page.body) for page in bench.pages("order_census", window)]
    seen = {str(row["id"]) for body in bodies for row in body}
    alive = {one.id for one in bench.world.books["woocommerce"].all("Invoice") if not one.deleted}
    assert seen == alive - hidden


def test_the_first_read_lists_no_ids_and_no_refunds(bench: Any) -> None:
    assert bench.pages("order_census") == []
    assert bench.pages("refunds") == []
    assert bench.requests == []


def test_customers_are_asked_for_together(benches: Callable[..., Any]) -> None:
    bench = benches("woocommerce", customers=130)
    bench.read()
    asked = [one for one in bench.requests if one.url.path.endswith("/customers")]
    assert 1 <= len(asked) <= 4
    assert all(one.url.params["role"] == "all" for one in asked)


# Webhooks


def delivery(topic: str, body: Any, secret: str = "s3cret") -> tuple[dict[str, str], bytes]:
    import hashlib
    import hmac

    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = base64.b64encode(hmac.digest(secret.encode(), raw, hashlib.sha256)).decode()
    return {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Signature": signature}, raw


def test_signatures() -> None:
    headers, body = delivery("order.updated", ORDER)
    now = datetime(2026, 5, 1, tzinfo=UTC)
    good, other = [SecretStr("s3cret")], [SecretStr("consumer secret")]
    assert isinstance(verify(WEBHOOK, good, headers, body, now), Verified)
    assert isinstance(verify(WEBHOOK, other, headers, body, now), Refused)
    assert isinstance(verify(WEBHOOK, good, headers, body + b" ", now), Refused)
    assert isinstance(verify(WEBHOOK, good, {}, body, now), Refused)


def test_events_hold_the_order() -> None:
    headers, body = delivery("order.updated", ORDER)
    (event,) = events(WEBHOOK, body, headers)
    assert (event.kind, event.stream, event.external_ids) == ("changed", "orders", ("501",))
    assert event.record == body
    assert event.occurred_at == datetime(2026, 5, 1, 9, 5, tzinfo=UTC)
    headers, body = delivery("order.deleted", {"id": 501})
    (event,) = events(WEBHOOK, body, headers)
    assert (event.kind, event.external_ids, event.record) == ("deleted", ("501",), None)


@pytest.mark.parametrize("topic", ["product.deleted", "customer.updated", "coupon.created", ""])
def test_other_topics_are_nothing_to_us(topic: str) -> None:
    """A product has ids of its own: product 501 says nothing about order 501."""
    headers, body = delivery(topic, {"id": 501})
    assert [event.kind for event in events(WEBHOOK, body, headers)] == ["ignored"]


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("order.deleted", ORDER),  # the topic is not signed: whole orders delete nothing
        ("order.updated", {"id": 501}),
        ("order.updated", {"code": "woocommerce_rest_cannot_view", "message": "m"}),
        ("order.updated", []),
        ("order.deleted", {"id": None}),
    ],
)
def test_bodies_that_are_not_of_their_topic(topic: str, body: Any) -> None:
    headers, raw = delivery(topic, body)
    with pytest.raises(BadBody):
        events(WEBHOOK, raw, headers)


@pytest.mark.parametrize(
    ("body", "signed", "is_ping"),
    [
        (b"webhook_id=142", False, True),
        (b"webhook_id=142", True, False),
        (b"webhook_id=142&x=1", False, False),
        (b"webhook_id=abc", False, False),
        (b"webhook_id=", False, False),
        (b'{"id": 1}', False, False),
        (b"", False, False),
    ],
)
def test_only_the_form_that_introduces_a_webhook_passes_unsigned(
    body: bytes, *, signed: bool, is_ping: bool
) -> None:
    headers = delivery("", body)[0] if signed else {}
    hello = handshake(WEBHOOK, headers, body)
    assert (hello is not None) is is_ping
    if hello is not None:
        assert (hello.status, hello.verifier, hello.callback) == (200, None, "")


def test_the_simulators_deliveries_are_understood() -> None:
    world = simulator.World(seed=3, customers=10, invoices=30)
    announcer = Announcer(world, {"woocommerce": "s3cret"})
    announcer._seen.clear()
    books = world.books["woocommerce"]
    assert any(books.delete(one, datetime.now(UTC)) for one in books.all("Invoice"))
    deliveries: list[Delivery] = announcer.changes()
    kinds = set()
    for one in deliveries:
        now = datetime.now(UTC)
        headers = one.headers(now)
        assert isinstance(verify(WEBHOOK, [SecretStr("s3cret")], headers, one.body, now), Verified)
        kinds |= {event.kind for event in events(WEBHOOK, one.body, headers)}
    assert kinds == {"changed", "deleted"}
    ping = announce.ping(142)
    assert handshake(WEBHOOK, ping.headers(datetime.now(UTC)), ping.body) is not None


# The form


def block(**values: Any) -> Any:
    key = {"consumer_key": "ck_1", "consumer_secret": "cs_1"}
    return BLOCKS["woocommerce"](**({"shop_url": "https://loja.example"} | key | values))


@pytest.mark.parametrize(
    ("address", "account"),
    [
        ("https://Loja.example", "loja.example"),
        ("https://example.com/loja/", "example.com/loja"),
        ("https://example.com/loja/wp-json/wc/v3", "example.com/loja"),
    ],
)
def test_a_shop_is_its_host_and_path(address: str, account: str) -> None:
    made = block(shop_url=address)
    assert made.account() == account
    assert made.connection().base_url == address
    assert "cs_1" not in repr(made.connection())


@pytest.mark.parametrize("address", ["http://loja.example", "loja.example", "https://a b"])
def test_a_shop_is_reached_over_https(address: str) -> None:
    with pytest.raises(ValueError, match="shop_url"):
        block(shop_url=address)


# What the vendor published


@needs_samples
@pytest.mark.parametrize("file", ["docs_list_all_orders.json", "docs_retrieve_an_order.json"])
def test_the_published_orders(file: str) -> None:
    """The guest's number does not exist, so nobody knows whose order it is; the other is read."""
    first, *rest = try_record(SPEC, None, SHOP, (SAMPLES / file).read_bytes())
    assert [(p["field"], p["reason"]) for p in first["problems"]] == [
        ("customer_phone", "is not a phone number that can be dialled")
    ]
    assert (first["invoice"]["total_minor"], first["invoice"]["tax_minor"]) == (2935, 135)
    assert first["invoice"]["issued_at"] == "2017-03-22T19:28:02+00:00"
    for result in rest:
        assert result["ok"], result["problems"]
        invoice = result["invoice"]
        assert (invoice["external_id"], invoice["status"]) == ("723", "paid")
        assert (invoice["total_minor"], invoice["amount_refunded_minor"]) == (3900, 1900)


@needs_samples
@pytest.mark.parametrize(
    "file",
    [
        "docs_list_all_refunds.json",
        "docs_retrieve_a_refund.json",
        "docs_list_all_webhooks.json",
        "docs_retrieve_a_webhook.json",
        "docs_list_all_customers.json",
        "docs_retrieve_a_customer.json",
        "docs_retrieve_customer_downloads.json",
    ],
)
def test_what_else_is_published_is_no_sale(file: str) -> None:
    for result in try_record(SPEC, None, SHOP, (SAMPLES / file).read_bytes()):
        assert not result["ok"]
        assert result["problems"]


@needs_samples
def test_the_published_customers() -> None:
    """A Brazilian number, read in Brazil; the American one does not exist."""
    body = (SAMPLES / "docs_list_all_customers.json").read_bytes()
    rows = map_lookup(SPEC, SPEC.lookup("customers"), SHOP, body).rows()
    assert rows == [("26", "+555555555555"), ("25", None)]
    single = (SAMPLES / "docs_retrieve_a_customer.json").read_bytes()
    assert map_lookup(SPEC, SPEC.lookup("customers"), SHOP, single).rows() == [("25", None)]


def test_an_error_of_the_shop_is_read_by_its_code(bench: Any) -> None:
    body = {"code": "rest_invalid_param", "message": "secret", "data": {"status": 400}}
    bench.before = lambda _: httpx.Response(400, json=body)
    with pytest.raises(UnexpectedShape, match="code rest_invalid_param") as caught:
        bench.pages("orders")
    assert "secret" not in str(caught.value)
