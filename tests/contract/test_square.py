"""What is particular to Square: orders that sell and take back, cursors, gift cards, tips, webhooks."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors.kit.errors import CredentialsRejected, PermissionMissing, RateLimited
from connectors.kit.http.retry import RetryDecision
from connectors.kit.mapping import map_lookup, map_page, try_record
from connectors.kit.read.fetch import fetch
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import Resume, RetryPolicy, Window
from connectors.kit.webhooks.bodies import BadBody
from connectors.kit.webhooks.scheme import Verified, events, verify
from connectors.registry import WEBHOOKS
from connectors.square.connector import SPEC
from panel.blocks import SquareConnection

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "square"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples in {SAMPLES}")
AT = "2026-07-15T19:28:08.123Z"


@pytest.fixture
def bench(benches: Callable[..., Any]) -> Any:
    return benches("square")


def samples() -> dict[str, Any]:
    examples: dict[str, Any] = json.loads((SAMPLES / "examples.json").read_text())
    return examples


def money(amount: int, currency: str = "AOA") -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


def line(amount: int, **changes: Any) -> dict[str, Any]:
    return {
        "uid": "u1", "name": "Água 5L", "quantity": "2", "item_type": "ITEM", "catalog_object_id": "V1",
        "base_price_money": money(amount // 2), "total_money": money(amount),
    } | changes  # fmt: skip


def order(**changes: Any) -> dict[str, Any]:
    """An order as a search answers it."""
    return {
        "id": "S1", "location_id": "L1", "customer_id": "C1", "state": "COMPLETED", "version": 3,
        "created_at": AT, "updated_at": "2026-07-15T19:30:00.456Z", "closed_at": "2026-07-15T19:30:00.000Z",
        "line_items": [line(1000)], "total_money": money(1000), "total_tax_money": money(0),
        "total_tip_money": money(0), "net_amounts": {"total_money": money(1000)},
    } | changes  # fmt: skip


def returned(**changes: Any) -> dict[str, Any]:
    """An order that only takes back, as recorded: negative net amounts, and no customer."""
    return {
        "id": "R1", "location_id": "L1", "state": "COMPLETED", "created_at": AT, "updated_at": AT,
        "returns": [{"uid": "r", "source_order_id": "S1", "return_line_items": [line(500, quantity="1")]}],
        "total_money": money(0),
        "net_amounts": {"total_money": money(-500), "tax_money": money(0), "tip_money": money(0)},
    } | changes  # fmt: skip


def mapped(bench: Any, *records: dict[str, Any], stream: str = "orders") -> Any:
    body = json.dumps({"orders": list(records)}).encode()
    return map_page(bench.spec, bench.spec.stream(stream), bench.connection, body, page_id=1)


def both(bench: Any, record: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Kind, id and amount of the documents that an order makes."""
    rows = [
        row
        for stream in ("orders", "returns")
        for row in mapped(bench, record, stream=stream).invoices.to_dicts()
    ]
    return [(row["kind"], row["external_id"], row["total_minor"]) for row in rows]


def test_the_time_of_a_sale_is_an_instant(bench: Any) -> None:
    (row,) = mapped(bench, order()).invoices.to_dicts()
    assert row["issued_at"] == datetime(2026, 7, 15, 19, 28, 8, 123_000, tzinfo=UTC)
    assert row["updated_at"] == datetime(2026, 7, 15, 19, 30, 0, 456_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "status"),
    [("OPEN", "draft"), ("DRAFT", "draft"), ("COMPLETED", "paid"), ("CANCELED", "void")],
)
def test_only_completed_orders_earn(bench: Any, state: str, status: str) -> None:
    assert mapped(bench, order(state=state)).invoices["status"].to_list() == [status]


def test_a_state_that_nobody_knows_is_rejected(bench: Any) -> None:
    problems = mapped(bench, order(state="HELD")).problems.to_dicts()
    assert [(problem["field"], problem["path"]) for problem in problems] == [("status", "/state")]


@pytest.mark.parametrize(("currency", "price"), [("JPY", 500), ("KWD", 0.5), ("USD", 5)])
def test_amounts_are_in_the_smallest_unit_of_their_currency(
    bench: Any, currency: str, price: float
) -> None:
    sold = line(1000, total_money=money(1000, currency), base_price_money=money(500, currency))
    result = mapped(bench, order(total_money=money(1000, currency), line_items=[sold]))
    assert result.invoices["total_minor"].to_list() == [1000]
    assert result.lines["amount_minor"].to_list() == [1000]
    assert float(result.lines["unit_price"][0]) == price


def test_tips_earn_nothing_tax_and_delivery_do(bench: Any) -> None:
    record = order(
        total_money=money(1450), total_tip_money=money(150), total_tax_money=money(100),
        total_service_charge_money=money(200),
    )  # fmt: skip
    (row,) = mapped(bench, record).invoices.to_dicts()
    assert (row["total_minor"], row["tax_minor"], row["subtotal_minor"]) == (1300, 100, 1200)
    assert row["amount_paid_minor"] == 1300


def test_a_gift_card_earns_where_it_is_spent(bench: Any) -> None:
    card = line(5000, name="Gift card", item_type="GIFT_CARD", quantity="1")
    bought = mapped(bench, order(total_money=money(6000), line_items=[line(1000), card]))
    assert bought.invoices["total_minor"].to_list() == [1000]
    assert bought.lines["amount_minor"].to_list() == [1000, 0]
    only = order(total_money=money(5000), line_items=[card])
    assert both(bench, only) == [("sale", "S1", 0)]
    spent = order(tenders=[{"id": "T", "type": "SQUARE_GIFT_CARD", "amount_money": money(1000)}])
    assert both(bench, spent) == [("sale", "S1", 1000)]


def test_a_gift_card_that_is_given_back_takes_nothing(bench: Any) -> None:
    card = line(500, name="Gift card", item_type="GIFT_CARD", quantity="1")
    record = returned(returns=[{"uid": "r", "source_order_id": "S1", "return_line_items": [card]}])
    assert both(bench, record | {"customer_id": "C1"}) == [("refund", "return/R1", 0)]


@pytest.mark.parametrize(("other", "named"), [("S1", "S1"), ("S2", None)])
def test_a_return_names_the_only_sale_that_it_is_of(
    bench: Any, other: str, named: str | None
) -> None:
    parts = [
        {"uid": sale, "source_order_id": sale, "return_line_items": [line(250, quantity="1")]}
        for sale in ("S1", other)
    ]
    result = mapped(bench, returned(customer_id="C1", returns=parts), stream="returns")
    assert result.invoices["original_external_id"].to_list() == [named]
    assert result.lines["amount_minor"].to_list() == [250, 250]


@pytest.mark.parametrize("says", [True, False])
def test_a_return_is_a_refund_and_no_sale(bench: Any, *, says: bool) -> None:
    amounts = {"total_money": money(500), "tax_money": money(0), "tip_money": money(0)}
    record = returned(customer_id="C1") | ({"return_amounts": amounts} if says else {})
    assert both(bench, record) == [("refund", "return/R1", 500)]
    result = mapped(bench, record, stream="returns")
    assert result.invoices["original_external_id"].to_list() == ["S1"]
    assert result.lines.select("quantity", "amount_minor").rows() == [(1, 500)]
    assert result.problems.is_empty()


@pytest.mark.parametrize("new_total", [300, 500, 800])
@pytest.mark.parametrize("says", [True, False])
def test_an_exchange_is_a_sale_and_a_refund(bench: Any, new_total: int, *, says: bool) -> None:
    """Whether the customer pays more, nothing, or gets money back."""
    record = returned(
        id="X1", customer_id="C1", line_items=[line(new_total)], total_money=money(new_total),
        net_amounts={"total_money": money(new_total - 500)},
    )  # fmt: skip
    record |= {"return_amounts": {"total_money": money(500)}} if says else {}
    assert both(bench, record) == [("sale", "X1", new_total), ("refund", "return/X1", 500)]


def test_a_tip_that_is_given_back_takes_nothing(bench: Any) -> None:
    record = returned(
        customer_id="C1",
        net_amounts={"total_money": money(-650), "tax_money": money(-50), "tip_money": money(-150)},
    )
    (row,) = mapped(bench, record, stream="returns").invoices.to_dicts()
    assert (row["total_minor"], row["tax_minor"]) == (500, 50)


def test_a_sale_to_nobody_is_counted_and_left_out(bench: Any) -> None:
    record = order()
    del record["customer_id"]
    result = mapped(bench, record)
    assert result.invoices.is_empty()
    assert result.problems.is_empty()
    assert result.walk_ins["external_id"].to_list() == ["S1"]


def test_the_customer_of_the_payment_counts_where_the_order_names_none(bench: Any) -> None:
    record = order(tenders=[{"id": "T", "type": "CASH", "customer_id": "C9"}])
    del record["customer_id"]
    assert mapped(bench, record).invoices["customer_external_id"].to_list() == ["C9"]


def test_a_custom_amount_has_no_name(bench: Any) -> None:
    custom = {"uid": "u", "quantity": "1", "item_type": "CUSTOM_AMOUNT", "total_money": money(1000)}
    result = mapped(bench, order(line_items=[custom]))
    assert result.problems.is_empty()
    assert result.lines.select("name", "sku", "amount_minor").rows() == [(None, None, 1000)]


def bodies(bench: Any, path: str) -> list[dict[str, Any]]:
    return [
        json.loads(request.content)
        for request in bench.api_requests()
        if request.url.path.endswith(path)
    ]


def test_returns_without_a_customer_have_that_of_their_sale(bench: Any) -> None:
    """Sales are asked for in batches, and only for returns that name nobody."""
    pages = bench.pages("returns")
    records = [record for page in pages for record in json.loads(page.body).get("orders", [])]
    back = [record for record in records if "returns" in record]
    lacking = [record for record in back if "customer_id" not in record]
    assert lacking
    assert len(lacking) < len(back)
    assert all(record["@sale"]["customer_id"] for record in lacking)
    assert not any("@sale" in record for record in records if "customer_id" in record)
    asked = [key for body in bodies(bench, "batch-retrieve") for key in body["order_ids"]]
    assert set(asked) == {record["returns"][0]["source_order_id"] for record in lacking}
    assert len(bodies(bench, "batch-retrieve")) <= len(pages)


def test_a_sale_that_square_does_not_know_leaves_a_return_to_nobody(bench: Any) -> None:
    page = {"orders": [returned()]}
    bench.before = lambda request: (
        httpx.Response(200, json=page)
        if request.url.path.endswith("/search")
        else httpx.Response(200, json={})
        if request.url.path.endswith("batch-retrieve")
        else None
    )
    (only,) = bench.pages("returns")
    result = map_page(
        bench.spec, bench.spec.stream("returns"), bench.connection, only.body, page_id=1
    )
    assert result.walk_ins["external_id"].to_list() == ["return/R1"]


def test_an_exchange_without_a_customer_is_the_buyers(bench: Any) -> None:
    """What is taken along earns for whom what is brought back was taken back from."""
    record = returned(
        id="X1", line_items=[line(800)], total_money=money(800), net_amounts={"total_money": money(300)}
    ) | {"@sale": order()}  # fmt: skip
    for stream in ("orders", "returns"):
        result = mapped(bench, record, stream=stream).invoices
        assert result["customer_external_id"].to_list() == ["C1"]


def test_pages_begin_at_the_last_time_of_change(bench: Any) -> None:
    """A cursor is used only where a whole page was changed at one moment."""
    bench.page_size = 10
    bench.pages("orders")
    searches = bodies(bench, "search")
    starts = [
        body["query"]["filter"]["date_time_filter"]["updated_at"]["start_at"] for body in searches
    ]
    assert starts == sorted(set(starts))
    assert len(searches) > 10
    assert not [body for body in searches if "cursor" in body]
    assert {body["query"]["sort"]["sort_field"] for body in searches} == {"UPDATED_AT"}


def test_a_page_of_one_moment_is_followed_by_the_cursor(bench: Any) -> None:
    """An import changes thousands of orders at once: all of them are read."""
    books, at = bench.world.books["square"], bench.world.now()
    for document in books.all():
        document.updated_at = at
    bench.page_size = 20
    pages = bench.pages("orders")
    ids = [record["id"] for page in pages for record in json.loads(page.body)["orders"]]
    assert len(ids) == len(set(ids))
    assert [("cursor" in body) for body in bodies(bench, "search")] == [False] + [True] * (
        len(pages) - 1
    )


def test_no_order_is_lost_while_orders_are_edited(bench: Any) -> None:
    """The simulated cursor counts orders, so that an edit would hide one from who follows it."""
    before = {row.external_id for row in bench.world.truth() if row.system == "square"}
    bench.page_size = 5

    def edit(request: httpx.Request) -> None:
        if request.url.path.endswith("/search"):
            bench.clock.advance(seconds=1)
            bench.world.evolve(systems=("square",))

    bench.before = edit
    read = {
        row["external_id"]
        for stream in ("orders", "returns")
        for page in bench.pages(stream)
        for row in mapped(bench, *json.loads(page.body).get("orders", []), stream=stream)
        .invoices.to_dicts()
    }  # fmt: skip
    assert before <= read


def test_an_ended_cursor_is_said(bench: Any) -> None:
    """A cursor is good for five minutes; the next run begins at a time of change again."""
    with simulator.client(bench.world, "square") as api:
        query = {"location_ids": [simulator.ACCOUNTS["square"]], "limit": 2}
        first = api.post("/v2/orders/search", json=query).json()
        bench.clock.advance(minutes=6)
        answer = api.post("/v2/orders/search", json=query | {"cursor": first["cursor"]})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "INVALID_CURSOR")


def test_an_interrupted_read_begins_again_where_its_cursor_ended(bench: Any) -> None:
    """Nobody has to do anything, though the page that was read last cannot be asked for again."""
    books, at = bench.world.books["square"], bench.world.now()
    for document in books.all():
        document.updated_at = at
    bench.page_size = 20
    whole = bench.pages("orders")
    stopped = Resume(whole[2].request, whole[2].body, whole[3].request)
    assert "cursor" in json.loads(stopped.request.body)
    assert len(bench.pages("orders", resume=stopped)) == len(whole) - 3
    bench.clock.advance(minutes=6)
    again = bench.pages("orders", resume=stopped)
    assert len(again) == len(whole)
    assert again[0].page_no == whole[3].page_no


def test_every_call_says_the_version(bench: Any) -> None:
    bench.read(Window(bench.clock() - timedelta(days=5), None))
    assert {request.headers["square-version"] for request in bench.api_requests()} == {"2025-08-20"}


def test_customers_that_square_does_not_know_have_an_error_in_their_place(bench: Any) -> None:
    keys = [*list(bench.world.books["square"].customers)[:3], "nobody"]
    with bench.client() as client:
        (page, *again) = look_up(bench.spec, bench.spec.lookup("customers"), client, keys)
    result = map_lookup(bench.spec, bench.spec.lookup("customers"), bench.connection, page.body)
    assert result["external_id"].to_list() == sorted(keys[:3])
    assert len(again) == 1  # whoever did not come is asked for once more


def test_the_sku_is_that_of_the_variation(bench: Any) -> None:
    skus = set(bench.read().lines["sku"].drop_nulls())
    products = bench.world.books["square"].products.values()
    assert skus == {product.sku for product in products if product.sku}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "ACCESS_TOKEN_REVOKED", CredentialsRejected),
        (403, "INSUFFICIENT_SCOPES", PermissionMissing),
        (429, "RATE_LIMITED", RateLimited),
    ],
)
def test_refusals_say_who_must_act(bench: Any, status: int, code: str, kind: type) -> None:
    body = {"errors": [{"category": "X", "code": code, "detail": "s3cret"}]}
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(status, json=body)
    )
    with pytest.raises(kind) as caught:
        bench.pages("orders")
    assert "s3cret" not in str(caught.value)


def test_a_429_says_nothing_so_waits_grow(bench: Any) -> None:
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(429, json={})
    )
    with pytest.raises(RateLimited) as caught:
        bench.pages("orders")
    assert caught.value.retry_after_seconds is None
    assert RetryDecision(RetryPolicy()).backoff(caught.value)


def test_a_token_of_a_month_is_not_renewed_every_half_hour(bench: Any) -> None:
    """Square says `expires_at`, and renews with a body of JSON."""
    bench.pages("orders")
    assert bench.tokens.held.expires_at - bench.clock() == timedelta(days=30)
    renewal = next(request for request in bench.requests if "token" in request.url.path)
    assert json.loads(renewal.content)["grant_type"] == "refresh_token"
    bench.clock.advance(days=20)
    bench.pages("orders")
    assert len(bench.tokens.kept) == 1


def test_the_token_of_an_application_needs_no_consent(bench: Any) -> None:
    token = bench.world.grants["square"].issue_access()
    bench.changes = {
        "options": {"login": "access_token"},
        "secrets": {"access_token": SecretStr(token)},
        "refresh_token": SecretStr(""),
    }
    assert bench.pages("orders")
    assert not [request for request in bench.requests if "token" in request.url.path]
    assert token not in repr(bench.connection)


def test_the_form_says_what_it_lacks() -> None:
    form = SquareConnection(login="access_token")
    form._block_document_name = "square"
    assert "Access token" in form.missing()
    form.access_token = SecretStr("EAAA")
    assert "Location ID" in form.missing()
    form.location_id = "L1"
    assert form.missing() == ""
    assert "consent is missing" in SquareConnection(client_id="a").missing()


def test_single_orders_are_those_of_the_location(bench: Any) -> None:
    books = bench.world.books["square"]
    ids = [document.id for document in books.all("SalesReceipt")][:3]
    with bench.client() as client:
        (result,) = fetch(bench.spec, bench.spec.stream("orders"), client, [*ids, "nothing"])
    assert result.ids == set(ids)
    assert bodies(bench, "batch-retrieve")[0]["location_id"] == bench.connection.account


def test_a_return_that_is_asked_for_alone_has_its_customer_too(bench: Any) -> None:
    books = bench.world.books["square"]
    ids = [
        document.record_key
        for document in books.all("RefundReceipt")
        if document.record_key == document.id and not int(document.id) % 2
    ]
    with bench.client() as client:
        (result,) = fetch(bench.spec, bench.spec.stream("returns"), client, ids)
    rows = mapped(bench, *json.loads(result.page.body)["orders"], stream="returns").invoices
    assert rows.height == len(ids)
    assert rows["customer_external_id"].null_count() == 0


# A shop's day, in the simulated books.


def test_a_shops_day(bench: Any) -> None:
    """A sale, a partial refund, an exchange and an invoice that is edited, paid or cancelled."""
    books, at = bench.world.books["square"], bench.world.now() + timedelta(hours=1)
    bench.clock.set(at)
    customer = next(iter(books.customers.values()))
    water, gas = [product for product in books.products.values() if product.sku][:2]
    sale = books.record("SalesReceipt", customer, [(water, 4, water.unit_minor)], at)
    refund = books.take_back(sale, [1], at)
    second = books.record("SalesReceipt", customer, [(water, 2, water.unit_minor)], at)
    brought = books.take_back(second, [2], at)
    taken = books.sell_with(brought, [(gas, 1, gas.unit_minor)], at)
    paid = books.record("Invoice", customer, [(water, 1, water.unit_minor)], at)
    books.edit(paid, 0, 3, at)
    cancelled = books.record("Invoice", customer, [(water, 1, water.unit_minor)], at)

    def states() -> dict[str, tuple[str, str, int]]:
        rows = bench.read(Window(at, None)).invoices.sort("updated_at").to_dicts()
        return {
            row["external_id"]: (row["kind"], row["status"], row["total_minor"]) for row in rows
        }

    morning = states()
    assert morning[sale.id] == ("sale", "paid", sale.total_minor)
    assert morning[f"return/{refund.id}"] == ("refund", "paid", refund.total_minor)
    assert morning[second.id] == ("sale", "paid", second.total_minor)
    assert morning[taken.id] == ("sale", "paid", taken.total_minor)
    assert morning[f"return/{taken.id}"] == ("refund", "paid", second.total_minor)
    assert morning[paid.id] == ("sale", "draft", paid.total_minor)
    assert morning[cancelled.id][1] == "draft"
    later = at + timedelta(minutes=5)
    bench.clock.set(later)
    books.pay(paid, paid.total_minor, later)
    books.void(cancelled, later)
    evening = states()
    assert evening[paid.id] == ("sale", "paid", paid.total_minor)
    assert evening[cancelled.id][1] == "void"


# What Square published.


@needs_samples
def test_published_orders_are_open_orders_of_nobody(bench: Any) -> None:
    """As they are they earn nothing; completed, and with a customer, they are sales."""
    for name in ("CreateOrderResponse", "RetrieveOrderResponse"):
        record = samples()[name]["order"]
        assert mapped(bench, record).walk_ins.height == 1
        result = mapped(bench, record | {"state": "COMPLETED", "customer_id": "C1"})
        (row,) = result.invoices.to_dicts()
        assert row["total_minor"] == record["total_money"]["amount"]
        assert row["tax_minor"] == record["total_tax_money"]["amount"]
        assert result.lines["amount_minor"].sum() == row["total_minor"]
        assert result.problems.is_empty()
        assert mapped(bench, record, stream="returns").invoices.is_empty()


@needs_samples
def test_a_published_order_that_is_cut_short_says_what_it_lacks(bench: Any) -> None:
    (record,) = samples()["BatchRetrieveOrdersResponse"]["orders"]
    result = mapped(bench, record | {"customer_id": "C1"})
    lacking = {problem["field"]: problem["reason"] for problem in result.problems.to_dicts()}
    assert lacking == dict.fromkeys(("status", "issued_at", "updated_at"), "missing")


@needs_samples
def test_what_is_no_order_is_no_sale() -> None:
    """Invoices, payments and refunds belong to an order; each says what it lacks."""
    account = simulator_account()
    for name, sample in samples().items():
        for key in ("invoice", "payment", "refund", "customer"):
            if isinstance(sample.get(key), dict):
                for result in try_record(SPEC, None, account, json.dumps(sample).encode()):
                    assert result["ok"] is False, name
                    assert all(problem["reason"] for problem in result["problems"])


@needs_samples
def test_published_customers_have_their_phone(bench: Any) -> None:
    lookup, sample = bench.spec.lookup("customers"), samples()["BulkRetrieveCustomersResponse"]
    known = {key for key, entry in sample["responses"].items() if "customer" in entry}
    result = map_lookup(bench.spec, lookup, bench.connection, json.dumps(sample).encode())
    assert set(result["external_id"]) == known
    assert result["phone"].null_count() == len(known)  # none of them has one
    sample["responses"] = {
        customer["id"]: {"customer": customer}
        for customer in samples()["SearchCustomersResponse"]["customers"]
    }
    result = map_lookup(bench.spec, lookup, bench.connection, json.dumps(sample).encode())
    assert set(result["phone"]) == {"+12125554250", "+12125559238"}


def simulator_account() -> Any:
    from connectors.kit.spec import Account

    return Account("square", "L1")


@needs_samples
def test_published_events_ask_for_their_order() -> None:
    """Every published event is read; those that have an order ask for it, all others for nothing."""
    asked: dict[str, set[str]] = {}
    for name, sample in samples().items():
        if not name.endswith("Event"):
            continue
        read = events(WEBHOOKS["square"], json.dumps(sample).encode())
        assert read, name
        assert {event.type for event in read} == {sample["type"]}
        values = sample["data"].get("object", {}).values()
        held = next((value for value in values if isinstance(value, dict)), {})
        wanted = {held["order_id"]} if "order_id" in held else set()
        got = {key for event in read for key in event.external_ids}
        if name.startswith(("Order", "Payment", "Refund", "Invoice")) and "Custom" not in name:
            assert got == wanted, name
            asked.setdefault(name, set()).update(got)
        else:
            assert [event.kind for event in read] == ["ignored"], name
        assert {event.account for event in read} <= {
            held.get("location_id"), sample.get("location_id"), None
        }  # fmt: skip
    assert [name for name, ids in asked.items() if not ids] == ["InvoiceDeletedEvent"]


@needs_samples
def test_published_signatures() -> None:
    for vector in json.loads((SAMPLES / "webhook_signature_vectors.json").read_text()):
        headers = {"x-square-hmacsha256-signature": vector["signature"]}
        secrets, body = [SecretStr(vector["key"])], vector["body"].encode()
        now = datetime(2026, 5, 1, tzinfo=UTC)
        hook = WEBHOOKS["square"]
        assert isinstance(verify(hook, secrets, headers, body, now, vector["url"]), Verified)
        for url, sent in (
            (vector["url"] + "/", body), (None, body), (vector["url"], body + b" "), (vector["url"], b""),
        ):  # fmt: skip
            assert not isinstance(verify(hook, secrets, headers, sent, now, url), Verified)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data": []}', b'{"data": {}, "type": "x"}'])
def test_bodies_that_square_does_not_send(body: bytes) -> None:
    with pytest.raises(BadBody):
        events(WEBHOOKS["square"], body)


def test_an_order_that_changed_is_asked_for_in_both_lists() -> None:
    body = {
        "merchant_id": "M", "type": "order.updated", "event_id": "e1", "created_at": AT,
        "data": {
            "type": "order_updated", "id": "S1",
            "object": {"order_updated": {"order_id": "S1", "location_id": "L1", "state": "OPEN"}},
        },
    }  # fmt: skip
    read = events(WEBHOOKS["square"], json.dumps(body).encode())
    assert [(event.stream, event.external_ids, event.account) for event in read] == [
        ("orders", ("S1",), "L1"),
        ("returns", ("S1",), "L1"),
    ]
    assert len({event.event_id for event in read}) == 2
