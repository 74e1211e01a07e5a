"""What is particular to Zoho Books: a call for each document, calls that are counted, words and phones."""

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
from connectors.kit.errors import CredentialsRejected, RateLimited, Retriable, Transient
from connectors.kit.http.client import DAY_USED_UP_SECONDS
from connectors.kit.http.responses import Answer
from connectors.kit.http.urls import base_url
from connectors.kit.mapping import map_lookup, map_page, try_record
from connectors.kit.read.fetch import fetch
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import Account, RetryPolicy, Window, of_account
from connectors.kit.webhooks.scheme import Refused, Verified, events, verify
from connectors.kit.webhooks.signatures import Delivery
from connectors.zoho_books.connector import NotAuthorised
from connectors.zoho_books.webhooks import WEBHOOK, signed
from panel.blocks import ZohoBooksConnection
from panel.connect.check import Failed, _require_scopes, who_must_act
from tests.unit.test_mapping_records import ZOHO_BOOKS, mapped, one

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "zoho_books"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples in {SAMPLES}")
SPEC = SYSTEMS["zoho_books"]


@pytest.fixture
def bench(benches: Callable[..., Any]) -> Any:
    return benches("zoho_books")


def answers(
    path: str, status: int, body: Any, **headers: str
) -> Callable[[httpx.Request], httpx.Response | None]:
    """This answer to requests whose path ends so, the simulator's to all others."""
    return lambda request: (
        httpx.Response(status, json=body, headers=headers)
        if request.url.path.endswith(path)
        else None
    )


def singles(bench: Any, resource: str) -> set[str]:
    """Ids of the documents that were asked for one by one."""
    paths = [request.url.path.rpartition(f"/{resource}/") for request in bench.api_requests()]
    return {key for _, found, key in paths if found}


# Calls.


def test_the_filter_names_the_second_before(bench: Any, since: datetime) -> None:
    """Zoho may leave out the second that it is given, and the simulator does."""
    bench.pages("invoices", Window(since, None))
    (asked, *_) = (request.url.params for request in bench.api_requests())
    assert asked["last_modified_time"] == "2026-05-15T11:59:59+0000"
    assert "%2B0000" in str(bench.api_requests()[0].url)
    assert (asked["sort_column"], asked["sort_order"], asked["organization_id"]) == (
        "created_time",
        "A",
        simulator.ACCOUNTS["zoho_books"],
    )


@pytest.mark.parametrize("stream", ["invoices", "credit_notes"])
def test_only_documents_that_changed_cost_a_call(
    benches: Callable[..., Any], since: datetime, stream: str
) -> None:
    """Also where Zoho ignores the filter and lists everything."""
    bench = benches("zoho_books", invoices=300)
    entity, resource = {
        "invoices": ("Invoice", "invoices"),
        "credit_notes": ("CreditMemo", "creditnotes"),
    }[stream]
    deaf = simulator.handler(bench.world, "zoho_books")

    def whole_list(request: httpx.Request) -> httpx.Response:
        params = request.url.params.remove("last_modified_time")
        return deaf(
            httpx.Request("GET", request.url.copy_with(params=params), headers=request.headers)
        )

    bench.before = lambda request: None if request.method == "POST" else whole_list(request)
    documents = [row for row in bench.world.books["zoho_books"].all(entity) if not row.deleted]
    changed = {row.id for row in documents if row.updated_at >= since}
    pages = bench.pages(stream, Window(since, None))
    assert singles(bench, resource) == changed
    assert 0 < len(changed) < len(documents)
    assert b"line_items" in b"".join(page.body for page in pages)


def test_a_document_that_does_not_say_when_it_changed_is_asked_for(
    bench: Any, since: datetime
) -> None:
    old = ZOHO_BOOKS | {"last_modified_time": "2024-01-01T00:00:00+0100"}
    silent = {key: value for key, value in old.items() if key != "last_modified_time"}
    listed = [old, silent | {"invoice_id": "2", "created_time": "2024-01-01T00:00:00+0100"}]
    context = {"page": 1, "per_page": 200, "has_more_page": False}
    bench.before = answers(
        "/invoices", 200, {"code": 0, "invoices": listed, "page_context": context}
    )
    (page,) = bench.pages("invoices", Window(since, None))
    assert singles(bench, "invoices") == {"2"}
    assert [row["invoice_id"] for row in json.loads(page.body)["invoices"]] == ["2"]


@pytest.mark.parametrize("status", [400, 404, 200])
def test_a_document_that_is_gone_stays_as_it_was_listed(bench: Any, status: int) -> None:
    key = next(iter(bench.world.books["zoho_books"].all("Invoice"))).id
    bench.before = answers(
        f"/invoices/{key}", status, {"code": 1002, "message": "Invoice does not exist."}
    )
    row = next(
        row
        for page in bench.pages("invoices")
        for row in json.loads(page.body)["invoices"]
        if row["invoice_id"] == key
    )
    assert "line_items" not in row
    with bench.client() as client:
        assert list(fetch(bench.spec, bench.spec.stream("invoices"), client, [key])) == []


def test_the_days_calls_are_used_up_until_zoho_begins_anew(bench: Any) -> None:
    bench.with_spec(retry=RetryPolicy(attempts=1))
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": "23218"}
    bench.before = answers("/invoices", 429, {"code": 45, "message": "secret"}, **headers)
    with pytest.raises(RateLimited, match=r"come back at 2026-05-20 18:26:58 UTC") as caught:
        bench.pages("invoices")
    assert caught.value.retry_after_seconds == 23218


@pytest.mark.parametrize(
    ("headers", "rest_seconds"),
    [
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "23218"}, 23218),
        ({"x-rate-limit-remaining": "0"}, DAY_USED_UP_SECONDS),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "soon"}, DAY_USED_UP_SECONDS),
        ({"x-rate-limit-remaining": "1", "x-rate-limit-reset": "23218"}, 0),
    ],
)
def test_nobody_asks_after_the_days_last_call(
    bench: Any, headers: dict[str, str], rest_seconds: float
) -> None:
    """The last call of the day succeeds, and says that it is the last."""
    answer = Answer(b"{}", "application/json", bench.clock(), 1, 200)
    with bench.client() as client:
        assert client._rest_seconds(httpx.Response(200, headers=headers), answer) == rest_seconds


@pytest.mark.parametrize(
    ("status", "code", "error", "wait_seconds"),
    [
        (429, 44, RateLimited, 60),
        (400, 43, RateLimited, 60),
        (500, 1000, Transient, None),
        (400, 1000, Transient, None),
    ],
)
def test_what_passes_by_itself(
    bench: Any, status: int, code: int, error: type[Retriable], wait_seconds: float | None
) -> None:
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = answers("/invoices", status, {"code": code, "message": "secret"})
    with pytest.raises(error) as caught:
        bench.pages("invoices")
    assert caught.value.retry_after_seconds == wait_seconds
    assert "secret" not in str(caught.value)


def test_stays_within_the_calls_of_a_minute(benches: Callable[..., Any]) -> None:
    bench = benches("zoho_books", limit_scale=1, invoices=150)
    bench.pages("invoices")
    assert len(bench.calls) > 150
    assert not [call for call in bench.calls if call.throttled]


def test_a_dead_token_and_a_missing_permission_look_the_same(bench: Any) -> None:
    """The token is renewed once; then an operator reads both causes."""
    bench.before = answers("/invoices", 401, {"code": 57, "message": "secret"})
    with pytest.raises(
        CredentialsRejected, match=r'code 57.*Data centre.*block "zoho-books".*may not see'
    ):
        bench.pages("invoices")
    assert len(bench.tokens.kept) == 2


def test_who_must_act_when_a_connection_is_tested() -> None:
    who = who_must_act(NotAuthorised("zoho_books", "invoices", "code 57"))
    assert who.startswith("operator: the block, or a new consent; then an administrator")
    _require_scopes(["ZohoBooks.fullaccess.all"], SPEC.consent)
    with pytest.raises(Failed, match=r"lacks ZohoBooks.creditnotes.READ"):
        _require_scopes(["ZohoBooks.invoices.READ", "ZohoBooks.settings.READ"], SPEC.consent)


def test_a_few_customers_are_asked_for_alone_and_many_are_listed(
    benches: Callable[..., Any],
) -> None:
    """The list lacks the numbers of further contact persons: those customers are asked for as well."""
    bench = benches("zoho_books", customers=60)
    customers = bench.world.books["zoho_books"].customers
    lookup = bench.spec.lookup("customers")
    with bench.client() as client:
        few = list(look_up(bench.spec, lookup, client, list(customers)[:5]))
        asked = len(bench.api_requests())
        pages = list(look_up(bench.spec, lookup, client, [*customers, "999"]))
    assert (len(few), asked) == (5, 5)
    with_phone = {
        key for key, customer in customers.items() if customer.phone and customer.phone_slot < 2
    }
    assert not with_phone & (singles(bench, "contacts") - set(list(customers)[:5]))
    phones = {
        key: number
        for page in pages
        for key, number in map_lookup(bench.spec, lookup, bench.connection, page.body).rows()
    }
    assert set(phones) == set(customers)
    hidden = [key for key, of in customers.items() if of.phone_slot == 2 and of.person.national]
    assert hidden
    assert all(phones[key] == f"+244{customers[key].person.national}" for key in hidden)


# The account.


@pytest.mark.parametrize(
    ("centre", "api", "accounts"),
    [
        ("com", "https://www.zohoapis.com", "https://accounts.zoho.com/oauth/v2/token"),
        ("com.au", "https://www.zohoapis.com.au", "https://accounts.zoho.com.au/oauth/v2/token"),
        ("ca", "https://www.zohoapis.ca", "https://accounts.zohocloud.ca/oauth/v2/token"),
    ],
)
def test_a_data_centre_has_addresses_of_its_own(centre: str, api: str, accounts: str) -> None:
    block = ZohoBooksConnection(client_id="c", client_secret="s", data_centre=centre)
    account = block.connection()
    assert str(base_url(account, SPEC)) == api
    assert of_account(SPEC.token_url, account) == accounts
    assert of_account(SPEC.consent.authorize_url, account) == accounts.replace("token", "auth")


def test_no_organization_is_named_before_one_is_chosen() -> None:
    assert SPEC.params(Account("zoho_books", "")) == {}


# Meaning.


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *((word, "draft") for word in ("draft", "pending_approval", "approved", "rejected")),
        *((word, "open") for word in ("sent", "viewed", "unpaid", "partially_paid", "overdue")),
        ("paid", "paid"),
        ("void", "void"),
    ],
)
def test_invoice_states(word: str, status: str) -> None:
    assert one("zoho_books", status=word)["status"] == status


def test_a_state_that_is_not_listed_rejects_the_invoice() -> None:
    (problem,) = mapped("zoho_books", ZOHO_BOOKS | {"status": "signed"}).problems.to_dicts()
    assert (problem["field"], problem["reason"]) == ("status", "is a value not known here")


def credit_note(**changes: Any) -> dict[str, Any]:
    return {
        **{key: value for key, value in ZOHO_BOOKS.items() if not key.startswith("invoice")},
        "creditnote_id": "9",
        "creditnote_number": "CN-1",
        "status": "open",
        **changes,
    }


@pytest.mark.parametrize(
    ("word", "status"), [("open", "open"), ("closed", "paid"), ("void", "void"), ("draft", "draft")]
)
def test_credit_notes(word: str, status: str) -> None:
    """All of it takes points back, whatever was applied or paid out."""
    record = credit_note(status=word, balance=29.85)
    row = mapped("zoho_books", record, stream="credit_notes").invoices.to_dicts()[0]
    assert (row["external_id"], row["kind"], row["status"]) == (
        "credit_note/9",
        "credit_note",
        status,
    )
    assert (row["total_minor"], row["amount_refunded_minor"]) == (12985, 0)
    assert row["amount_paid_minor"] == 10000


@pytest.mark.parametrize(
    ("word", "status"), [("sent", "paid"), ("draft", "draft"), ("void", "void")]
)
def test_sales_receipts(word: str, status: str) -> None:
    record = {**credit_note(status=word), "sales_receipt_id": "5", "receipt_number": "SR-5"}
    row = mapped("zoho_books", record, stream="sales_receipts").invoices.to_dicts()[0]
    assert (row["external_id"], row["kind"]) == ("sales_receipt/5", "sale")
    assert (row["status"], row["invoice_number"], row["amount_paid_minor"]) == (
        status,
        "SR-5",
        12985,
    )


def test_sales_receipts_are_read_where_the_block_says_so(bench: Any) -> None:
    assert bench.pages("sales_receipts") == []
    assert bench.requests == []
    receipt = {**credit_note(status="sent"), "sales_receipt_id": "5"}
    context = {"has_more_page": False}
    bodies = {
        "/salesreceipts": {"code": 0, "salesreceipts": [receipt], "page_context": context},
        "/salesreceipts/5": {"code": 0, "salesreceipt": receipt},
    }
    bench.before = lambda request: next(
        (
            httpx.Response(200, json=body)
            for end, body in bodies.items()
            if request.url.path.endswith(end)
        ),
        None,
    )
    bench.changes = {"options": {"sales_receipts": True, "deletions_hours": 0}}
    (page,) = bench.pages("sales_receipts")
    assert page.record_count == 1
    window = Window(bench.clock() - timedelta(days=1), None)
    (listed,) = bench.pages("receipt_list", window)
    found = map_page(
        bench.spec, bench.spec.stream("receipt_list"), bench.connection, listed.body, page_id=1
    )
    assert found.listed.rows() == [("sales_receipt/5", "sale")]


def test_what_is_written_off_was_never_paid() -> None:
    row = one("zoho_books", write_off_amount=29.85)
    assert (row["total_minor"], row["amount_refunded_minor"]) == (12985, 2985)


@pytest.mark.parametrize(
    ("currency", "total", "minor"),
    [("JPY", 1500, 1500), ("KWD", 1.234, 1234), ("AOA", "10000.0", 1000000)],
)
def test_minor_units(currency: str, total: Any, minor: int) -> None:
    """Numbers, though the published description says text; an old reply may be text."""
    money = {"tax_total": 0, "payment_made": 0, "balance": 0, "line_items": []}
    assert one("zoho_books", currency_code=currency, total=total, **money)["total_minor"] == minor


PERSON = {"phone": "222 333 444", "mobile": "923 456 789"}


@pytest.mark.parametrize(
    ("changes", "phone"),
    [
        ({"phone": "912 000 111"}, "+244912000111"),
        ({"phone": "912 000 111", "contact_persons_associated": [PERSON]}, "+244923456789"),
        ({"contact_persons_associated": [{"mobile": ""}, PERSON]}, "+244923456789"),
        ({"contact_persons_associated": [{"phone": "222 333 444"}]}, "+244222333444"),
        (
            {"contact_persons_associated": {}, "billing_address": {"phone": "923456789"}},
            "+244923456789",
        ),
        ({}, None),
    ],
)
def test_the_phone_of_a_document(changes: dict[str, Any], phone: str | None) -> None:
    assert mapped("zoho_books", ZOHO_BOOKS | changes).invoices["customer_phone"][0] == phone


@pytest.mark.parametrize(
    ("contact", "phone"),
    [
        ({"phone": "222333444", "mobile": "923456789"}, "+244923456789"),
        ({"phone": "222333444", "contact_persons": [PERSON]}, "+244923456789"),
        (
            {"contact_persons": [PERSON, {"mobile": "912000111", "is_primary_contact": True}]},
            "+244912000111",
        ),
        ({"phone": "", "billing_address": {"phone": "923456789"}}, "+244923456789"),
        ({}, None),
    ],
)
def test_the_phone_of_a_customer(contact: dict[str, Any], phone: str | None) -> None:
    body = json.dumps({"code": 0, "contact": {"contact_id": "7", **contact}}).encode()
    account = Account("zoho_books", "1")
    assert map_lookup(SPEC, SPEC.lookup("customers"), account, body).rows() == [("7", phone)]


# Published descriptions.


def example(path: str, file: str) -> Any:
    """The answer that the vendor's description of its API shows as an example."""
    yaml = pytest.importorskip("yaml")
    described = yaml.safe_load((SAMPLES / file).read_text())
    schemas = described["components"]["schemas"]

    def shown(schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return shown(schemas[schema["$ref"].rpartition("/")[2]])
        if "properties" in schema:
            return {name: shown(inner) for name, inner in schema["properties"].items()}
        if schema.get("type") == "array":
            return [shown(schema.get("items", {}))]
        value = schema.get("example")
        return value.isoformat() if hasattr(value, "isoformat") else value

    reply = described["paths"][path]["get"]["responses"]["200"]["content"]
    return shown(reply["application/json"]["schema"])


@needs_samples
def test_the_published_invoice_maps() -> None:
    """The draft of the description, with amounts as text; its phone is that of a person."""
    body = json.dumps(example("/invoices/{invoice_id}", "invoices.yml")).encode()
    (result,) = try_record(SPEC, None, Account("zoho_books", "1", region="US"), body)
    assert result["problems"] == []
    invoice = result["invoice"]
    assert (invoice["external_id"], invoice["invoice_number"]) == ("982000000567114", "INV-00003")
    assert (invoice["total_minor"], invoice["tax_minor"], invoice["amount_paid_minor"]) == (
        1000000,
        2260,
        2691,
    )
    assert (invoice["status"], invoice["currency"]) == ("draft", "USD")
    assert invoice["customer_phone"] == "+14054439562"


@needs_samples
def test_the_published_list_maps() -> None:
    """Its page_context is a list, which real replies do not have: then a short page ends it."""
    body = json.dumps(example("/invoices", "invoices.yml")).encode()
    stream = SPEC.stream("invoices")
    found = map_page(SPEC, stream, Account("zoho_books", "1"), body, page_id=1)
    assert found.problems.is_empty()
    assert found.invoices["total_minor"].to_list() == [1000000]
    assert found.invoices["updated_at"][0] == datetime(2013, 11, 18, 10, 2, 51, tzinfo=UTC)


@pytest.mark.parametrize("described", [False, True])
def test_the_last_page_is_the_one_that_says_so(bench: Any, *, described: bool) -> None:
    """In an object, as real replies have it, or in the list of the description."""

    def page(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("/invoices"):
            return None
        number, size = (int(request.url.params[name]) for name in ("page", "per_page"))
        rows = [ZOHO_BOOKS | {"invoice_id": str(key)} for key in range(60)]
        shown = rows[(number - 1) * size : number * size]
        context = {"page": number, "has_more_page": number * size < len(rows)}
        body = {"code": 0, "invoices": shown, "page_context": [context] if described else context}
        return httpx.Response(200, json=body)

    bench.before = page
    read = {
        row["invoice_id"]
        for page in bench.pages("invoices")
        for row in json.loads(page.body)["invoices"]
    }
    assert read == {str(key) for key in range(60)}


@needs_samples
@pytest.mark.parametrize("path", ["/contacts", "/contacts/{contact_id}"])
def test_the_published_customers_map(path: str) -> None:
    body = json.dumps(example(path, "contacts.yml")).encode()
    account = Account("zoho_books", "1", region="US")
    rows = map_lookup(SPEC, SPEC.lookup("customers"), account, body).rows()
    assert rows == [("460000000026049", "+14054439562")]


# Webhooks.

SECRET = "abcdef123456"
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def test_what_is_signed_is_the_published_example() -> None:
    """https://www.zoho.com/uk/billing/kb/webhooks/securing-webhooks: names and values, then the JSON."""
    body = b'{"created_date":"2019-03-06","event_id":"5675"}'
    received = Delivery({}, body, None, "subscription_id=90343&name=basic")
    assert signed(received) == b"namebasicsubscription_id90343" + body
    form = Delivery(
        {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"},
        b"name=%C3%81gua+5L&b=2",
        None,
        "a=1",
    )
    assert signed(form) == "a1b2nameÁgua 5L".encode()


def test_a_delivery_is_verified_by_its_parameters_and_its_body() -> None:
    import hashlib
    import hmac

    body = json.dumps({"invoice": {"invoice_id": "1"}}).encode()
    signature = hmac.new(SECRET.encode(), b"shop1" + body, hashlib.sha256).hexdigest()
    headers = {"X-Zoho-Webhook-Signature": signature, "Content-Type": "application/json"}

    def outcome(query: str, body: bytes) -> Any:
        return verify(WEBHOOK, [SecretStr(SECRET)], headers, body, NOW, None, query)

    assert isinstance(outcome("shop=1", body), Verified)
    assert isinstance(outcome("shop=2", body), Refused)
    assert isinstance(outcome("shop=1", body + b" "), Refused)


@pytest.mark.parametrize(
    ("body", "form", "stream", "key", "kind"),
    [
        (b'{"invoice": {"invoice_id": "7", "total": 1}}', False, "invoices", "7", "changed"),
        (b'{"creditnote": {"creditnote_id": 8}}', False, "credit_notes", "8", "changed"),
        (b'{"invoice_id": "7"}', False, "invoices", "7", "changed"),
        (b"invoice_id=7&total=1.00", True, "invoices", "7", "changed"),
        (b'{"event": "deleted", "invoice_id": "7"}', False, "invoices", "7", "deleted"),
    ],
)
def test_only_the_id_is_taken(body: bytes, form: bool, stream: str, key: str, kind: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"} if form else {}
    (event,) = events(WEBHOOK, body, headers)
    assert (event.stream, event.external_ids, event.kind, event.record) == (
        stream,
        (key,),
        kind,
        None,
    )


def test_other_modules_are_ignored() -> None:
    (event,) = events(WEBHOOK, b'{"customerpayment": {"payment_id": "1"}}')
    assert (event.kind, event.external_ids) == ("ignored", ())
