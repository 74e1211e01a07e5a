"""What is particular to Business Central: its words, OData paging, ways to log in, and webhooks."""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.business_central.connector import AppRejected, KeyRejected
from connectors.business_central.webhooks import WEBHOOK
from connectors.kit.errors import Misconfigured, RateLimited
from connectors.kit.http.client import open_client
from connectors.kit.mapping import Mapped, map_lookup, map_page
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import Account, PageRequest, RetryPolicy, Window
from connectors.kit.webhooks.scheme import Refused, Verified, events, handshake, unusable, verify
from panel.blocks import BusinessCentralConnection
from simulator.systems.business_central.announce import validation
from simulator.webhooks import Announcer

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "business_central"
SPEC = SYSTEMS["business_central"]
COMPANY = simulator.ACCOUNTS["business_central"]
NOTHING = "00000000-0000-0000-0000-000000000000"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STATE = "a client state nobody can guess"
LINE = {
    "lineType": "Item", "itemId": "02a6738a-44e3-ea11-bb43-000d3a2feca1", "lineObjectNumber": "ATW-5L",
    "description": "Água 5L", "quantity": 3, "unitPrice": 50, "amountExcludingTax": 150, "netAmount": 140,
}  # fmt: skip
INVOICE = {
    "id": "9e0f5c9c-44e3-ea11-bb43-000d3a2feca1", "number": "PS-INV103001", "invoiceDate": "2026-05-01",
    "postingDate": "2026-05-02", "customerId": "f3a5738a-44e3-ea11-bb43-000d3a2feca1", "currencyCode": "AOA",
    "remainingAmount": 59.6, "totalAmountExcludingTax": 140, "totalTaxAmount": 19.6, "totalAmountIncludingTax": 159.6,
    "status": "Open", "lastModifiedDateTime": "2026-05-01T10:00:00.123Z", "phoneNumber": "923 456 789",
    "salesInvoiceLines": [LINE],
}  # fmt: skip


def sample(name: str) -> Any:
    path = SAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return json.loads(path.read_text())


def mapped(*records: Mapping[str, Any], stream: str = "invoices") -> Mapped:
    body = json.dumps({"value": records}).encode()
    account = Account("business_central", COMPANY)
    return map_page(SPEC, SPEC.stream(stream), account, body, page_id=7)


def one(stream: str = "invoices", /, **changes: Any) -> dict[str, Any]:
    result = mapped(INVOICE | changes, stream=stream)
    assert result.problems.is_empty(), result.problems
    return result.invoices.to_dicts()[0]


def test_the_published_invoice_with_its_published_line() -> None:
    record = sample("docs_v2_salesinvoice_get")
    record["salesInvoiceLines"] = [sample("docs_v2_salesinvoiceline_get")]
    result = mapped(record)
    assert result.problems.is_empty()
    (row,), (line,) = result.invoices.to_dicts(), result.lines.to_dicts()
    assert (row["external_id"], row["invoice_number"]) == (record["id"], "PS-INV103001")
    # Nobody's phone is on the document: it is looked up by the customer's id.
    assert row["customer_phone"] is None
    assert row["customer_external_id"] == "f3a5738a-44e3-ea11-bb43-000d3a2feca1"
    assert (row["currency"], row["status"]) == ("USD", "paid")
    assert (row["total_minor"], row["subtotal_minor"], row["tax_minor"]) == (17294, 16470, 824)
    assert (row["amount_paid_minor"], row["amount_refunded_minor"]) == (17294, 0)
    assert row["issued_at"] == datetime(2019, 1, 14, 23, tzinfo=UTC)
    assert row["updated_at"] == datetime(2020, 8, 21, 0, 25, 58, 337000, tzinfo=UTC)
    assert (line["sku"], line["quantity"], line["amount_minor"]) == ("1928-S", 3, 16470)


def test_the_published_credit_memo_is_a_draft() -> None:
    result = mapped(sample("docs_v2_salescreditmemo_get"), stream="credit_memos")
    (row,) = result.invoices.to_dicts()
    assert (row["kind"], row["status"], row["total_minor"]) == ("credit_note", "draft", 750816)
    assert row["external_id"] == "credit_note/id-value"
    assert result.problems.is_empty()


def test_the_published_customer() -> None:
    body = json.dumps({"value": [sample("docs_v2_customer_get")]}).encode()
    found = map_lookup(SPEC, SPEC.lookup("customers"), Account("business_central", COMPANY), body)
    assert found["external_id"].to_list() == ["f2a5738a-44e3-ea11-bb43-000d3a2feca1"]
    assert found["phone"].to_list() == [None]  # it has none


def test_the_published_notification() -> None:
    """All four kinds of change; both spellings of the address; lists that are not of sales."""
    body = sample("docs_v2_webhook_notification")
    raw = json.dumps(body).encode()
    assert isinstance(verified(raw, "someClientState"), Verified)
    assert [(event.type, event.kind) for event in events(WEBHOOK, raw)] == [
        ("items.updated", "ignored"),
        ("customers.created", "ignored"),
        ("customers.deleted", "ignored"),
        ("salesinvoices.collection", "ignored"),
    ]
    body["value"][0]["resource"] = body["value"][0]["resource"].replace("items", "salesInvoices")
    (event, *_) = events(WEBHOOK, json.dumps(body).encode())
    assert (event.kind, event.stream) == ("changed", "invoices")
    assert event.external_ids == ("26814998-936a-401c-81c1-0e848a64971d",)
    assert event.account == "b18aed47-c385-49d2-b954-dbdf8ad71780"
    assert event.occurred_at == datetime(2018, 10, 26, 12, 54, 20, 467000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("Draft", "draft"), ("In_x0020_Review", "draft"), ("In Review", "draft"), ("Open", "open"),
        ("Paid", "paid"), ("Canceled", "void"), ("Corrective", "void"),
    ],
)  # fmt: skip
def test_the_states(written: str, status: str) -> None:
    assert one(status=written)["status"] == status
    assert one("credit_memos", status=written, creditMemoDate="2026-05-01")["status"] == status


@pytest.mark.parametrize("written", [" ", "_x0020_", "", None, "Posted"])
def test_a_state_that_nobody_described_is_rejected(written: str | None) -> None:
    problems = mapped(INVOICE | {"status": written}).problems
    assert problems["field"].to_list() == ["status"]
    assert "/status" in problems["path"][0]


def test_what_is_left_to_pay_tells_what_was_paid() -> None:
    assert one()["amount_paid_minor"] == 10_000
    assert one(status="Draft", remainingAmount=0)["amount_paid_minor"] is None


def test_lines_that_do_not_come_whole_reject_the_document() -> None:
    link = {"salesInvoiceLines@odata.nextLink": "https://api.businesscentral.dynamics.com/x"}
    problems = mapped(INVOICE | link).problems
    assert problems["field"].to_list() == ["status"]
    assert "salesInvoiceLines@odata.nextLink" in problems["path"][0]


def test_comments_are_no_lines_and_accounts_have_no_sku() -> None:
    lines = [
        {"lineType": "Comment", "description": "Thank you", "quantity": 0, "netAmount": 0},
        LINE,
        LINE
        | {"lineType": "Account", "itemId": NOTHING, "lineObjectNumber": "6110", "netAmount": 5},
        LINE | {"lineType": "Fixed_x0020_Asset", "itemId": NOTHING, "netAmount": 1},
    ]
    found = mapped(INVOICE | {"salesInvoiceLines": lines}).lines
    assert found["sku"].to_list() == ["ATW-5L", None, None]
    assert found["item_external_id"].to_list() == [LINE["itemId"], None, None]
    assert found["amount_minor"].to_list() == [14_000, 500, 100]
    assert found["line_no"].to_list() == [1, 2, 3]


def test_an_empty_day_is_none() -> None:
    assert one(invoiceDate="0001-01-01")["issued_at"] == datetime(2026, 5, 1, 23, tzinfo=UTC)
    problems = mapped(INVOICE | {"invoiceDate": "0001-01-01", "postingDate": "0001-01-01"}).problems
    assert problems["field"].to_list() == ["issued_at"]


def test_a_document_without_customer_is_rejected() -> None:
    """Business Central sells to nobody without a card, so something is wrong with it."""
    result = mapped(INVOICE | {"customerId": NOTHING, "phoneNumber": ""})
    assert result.problems["field"].to_list() == ["customer_external_id"]
    assert result.walk_ins.is_empty()


@pytest.mark.parametrize(("code", "total"), [("AOA", 150000), ("JPY", 1500), ("KWD", 1500000)])
def test_amounts_by_the_currency(code: str, total: int) -> None:
    money = {"totalAmountIncludingTax": 1500, "totalTaxAmount": 0, "remainingAmount": 0}
    assert one(currencyCode=code, totalAmountExcludingTax=1500, **money)["total_minor"] == total


def test_what_is_asked_for(benches: Callable[..., Any]) -> None:
    """Pages of a size, by a header and not by $top, in the order of ids; the next address as it came."""
    bench = benches("business_central")
    bench.pages("invoices", Window(datetime(2026, 5, 1, 10, 0, 0, 123456, tzinfo=UTC), None))
    first, second, *_ = bench.api_requests()
    assert first.url.path.endswith(f"/Production/api/v2.0/companies({COMPANY})/salesInvoices")
    assert dict(first.url.params) == {
        "$expand": "salesInvoiceLines",
        "$orderby": "id",
        "$filter": "lastModifiedDateTime ge 2026-05-01T10:00:00.123Z",
    }
    assert {request.headers["prefer"] for request in bench.api_requests()} == {
        "odata.maxpagesize=25"
    }
    assert set(second.url.params) == {*first.url.params, "aid", "$skiptoken"}


def test_a_next_address_elsewhere_gets_no_credentials(benches: Callable[..., Any]) -> None:
    bench = benches("business_central")
    answers = iter(["https://elsewhere.test/steal?$skiptoken=7", None])

    def answer(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        following = next(answers)
        record = INVOICE | {"id": f"id-{following}"}
        link = {"@odata.nextLink": following} if following else {}
        return httpx.Response(200, json={"value": [record], **link})

    bench.before = answer
    assert len(bench.pages("invoices")) == 2
    assert {request.url.host for request in bench.requests} == {"127.0.0.1"}
    assert bench.api_requests()[1].url.params["$skiptoken"] == "7"


def test_a_token_is_asked_for_with_the_scope(benches: Callable[..., Any]) -> None:
    bench = benches("business_central")
    bench.pages("invoices")
    form = parse_qs(bench.requests[0].content.decode())
    assert form == {
        "grant_type": ["client_credentials"],
        "client_id": [simulator.CLIENT_ID],
        "client_secret": [simulator.CLIENT_SECRET],
        "scope": ["https://api.businesscentral.dynamics.com/.default"],
    }


def test_who_must_act(benches: Callable[..., Any]) -> None:
    bench = benches("business_central", access_token_seconds={"business_central": 3600})
    bench.changes = {"client_secret": SecretStr("wrong")}
    with pytest.raises(AppRejected, match=r"invalid_client.*admin consent"):
        bench.pages("invoices")
    bench = benches("business_central")
    bench.changes = {"options": bench.connection.options | {"environment": "Sandbox"}}
    with pytest.raises(Misconfigured, match="NoEnvironment"):
        bench.pages("invoices")


def test_a_429_does_not_say_when_to_come_back(benches: Callable[..., Any]) -> None:
    bench = benches("business_central")
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: None if "token" in request.url.path else httpx.Response(429)
    with pytest.raises(RateLimited) as caught:
        bench.pages("invoices")
    assert caught.value.retry_after_seconds is None


def test_customers_are_read_in_batches(benches: Callable[..., Any]) -> None:
    bench = benches("business_central", customers=100)
    customers = bench.world.books["business_central"].customers
    with bench.client() as client:
        lookup = bench.spec.lookup("customers")
        pages = list(look_up(bench.spec, lookup, client, [*customers, NOTHING, "no guid"]))
    found = {
        key
        for page in pages
        for key in map_lookup(bench.spec, lookup, bench.connection, page.body)["external_id"]
    }
    assert found == set(customers)
    batched = [request for request in bench.api_requests() if "$filter" in request.url.params]
    assert all(len(request.url.query) < 2000 for request in batched)
    # Only the two that are no customers are asked for one by one.
    assert (len(batched), len(bench.api_requests())) == (5, 7)


def test_limits_are_kept(benches: Callable[..., Any]) -> None:
    bench = benches("business_central", limit_scale=1, invoices=200)
    bench.page_size = 1
    bench.pages("invoices")
    assert len(bench.calls) > 150
    assert not [call for call in bench.calls if call.throttled]


@pytest.mark.parametrize("base_url", ["https://bc:7048/BC", "https://bc:7048/BC/api/v2.0/"])
def test_a_server_on_premises(benches: Callable[..., Any], base_url: str) -> None:
    bench = benches("business_central")
    options = {"login": "web_service_key", "username": "WS"}
    account = Account(
        "business_central", COMPANY, base_url, options=options,
        secrets={"web_service_key": SecretStr("k3y")},
    )  # fmt: skip
    request = SPEC.streams[0].first(account, Window(), NOW)
    assert request is not None
    requests: list[httpx.Request] = []

    def answer(sent: httpx.Request) -> httpx.Response:
        requests.append(sent)
        return httpx.Response(401 if "bad" in sent.url.path else 200, json={})

    network = httpx.MockTransport(answer)
    with open_client(account, SPEC, bench.tokens, transport=network) as client:
        client.send(request, "invoices")
        with pytest.raises(KeyRejected, match="web service access key"):
            client.send(PageRequest("GET", "/bad"), "invoices")
    sent = requests[0]
    assert sent.url.path == f"/BC/api/v2.0/companies({COMPANY})/salesInvoices"
    assert base64.b64decode(sent.headers["authorization"].removeprefix("Basic ")) == b"WS:k3y"


def test_the_form() -> None:
    company = "7DBBA574-5F69-4167-A43E-FB975045DE15"
    block = BusinessCentralConnection(company_id=company)
    assert "Tenant ID, Client ID, Client secret" in block.missing()
    block = BusinessCentralConnection(
        company_id=company, tenant_id="contoso.com", client_id="c", client_secret=SecretStr("s")
    )
    account = block.connection()
    assert (block.missing(), account.account) == ("", company.lower())
    assert account.options["environment"] == "Production"
    server = BusinessCentralConnection(
        company_id=company, login="web_service_key", username="u", web_service_key=SecretStr("k")
    )
    assert "API base URL" in server.missing()


def verified(body: bytes, *secrets: str) -> Verified | Refused:
    return verify(WEBHOOK, [SecretStr(secret) for secret in secrets], {}, body, NOW)


def notice(**changes: Any) -> dict[str, Any]:
    resource = f"api/v2.0/companies({COMPANY})/salesInvoices({INVOICE['id']})"
    return {
        "subscriptionId": "s1", "clientState": STATE, "resource": resource, "changeType": "updated",
        "lastModifiedDateTime": "2026-05-01T10:00:00.1Z",
    } | changes  # fmt: skip


def delivered(*notices: dict[str, Any]) -> bytes:
    return json.dumps({"value": notices}).encode()


def test_every_notice_must_carry_the_secret() -> None:
    assert isinstance(verified(delivered(notice(), notice()), STATE), Verified)
    forged = notice(clientState="another state of this length")
    absent = notice()
    del absent["clientState"]
    for body in (
        delivered(notice(), forged),
        delivered(forged),
        delivered(notice(), absent),
        delivered(notice(clientState=None)),
        delivered(notice(clientState=[STATE])),
        delivered(notice(clientState="")),
    ):
        assert verified(body, STATE) == Refused("signature does not match")
    for body in (b"", b"[]", b"{}", b'{"value":[]}', b'{"value":{}}', b"\xff", b"[" * 500):
        assert verified(body, STATE) == Refused("signature missing")
    assert verified(delivered(notice(clientState="")), "") == Refused("no secret to check with")
    assert unusable(WEBHOOK, SecretStr(""))


def test_two_subscriptions_in_the_middle_of_a_rotation() -> None:
    body = delivered(notice(), notice(clientState="the state of the time before"))
    assert isinstance(verified(body, "the state of the time before", STATE), Verified)
    outcome = verified(body, STATE, "the state of the time before")
    assert isinstance(outcome, Verified) and outcome.secret_no == 1


@pytest.mark.parametrize("change", ["created", "updated", "deleted", "collection"])
def test_only_what_can_be_read_is_asked_for(change: str) -> None:
    """A draft is deleted when it is posted under the same id: a deletion proves nothing."""
    resource = f"/api/v2.0/companies({COMPANY.upper()})/salesCreditMemos({INVOICE['id']})"
    (event,) = events(WEBHOOK, delivered(notice(changeType=change, resource=resource)))
    assert event.kind == ("changed" if change in ("created", "updated") else "ignored")
    assert (event.stream, event.account) == ("credit_memos", COMPANY)


def test_the_same_notice_again_is_the_same_event() -> None:
    first, again = events(WEBHOOK, delivered(notice())), events(WEBHOOK, delivered(notice()))
    other = events(WEBHOOK, delivered(notice(lastModifiedDateTime="2026-05-01T10:00:00.2Z")))
    assert first[0].event_id == again[0].event_id != other[0].event_id
    assert len(events(WEBHOOK, delivered(notice(), notice()))) == 1


def test_the_handshake_repeats_the_token() -> None:
    """The token stands in the address; with each renewal it comes again."""
    greeting = handshake(WEBHOOK, {}, b"", validation("abc%2B1%3D%3D"))
    assert greeting is not None
    assert (greeting.status, greeting.body, greeting.verifier) == (200, "abc+1==", None)
    assert handshake(WEBHOOK, {}, delivered(notice())) is None
    for query in ("validationToken=", "validationToken=a&validationToken=b", "x=validationToken"):
        assert handshake(WEBHOOK, {}, b"", query) is None
    assert handshake(WEBHOOK, {}, b"", f"validationToken={'a' * 5000}") is None
    assert handshake(WEBHOOK, {}, b"", "validationToken=a%0D%0Ab") is None


def test_more_than_a_thousand_changes_name_the_list_alone(benches: Callable[..., Any]) -> None:
    bench = benches("business_central", invoices=1200, customers=5)
    announcer = Announcer(bench.world, {"business_central": STATE})
    announcer._seen.clear()
    (delivery,) = announcer.changes()
    assert isinstance(verified(delivery.body, STATE), Verified)
    found = events(WEBHOOK, delivery.body)
    assert "salesinvoices.collection" in {event.type for event in found}
    assert {event.kind for event in found if event.stream == "invoices"} == {"ignored"}


def test_the_census_is_taken_every_few_hours(benches: Callable[..., Any]) -> None:
    bench = benches("business_central")
    bench.changes = {"options": bench.connection.options | {"deletions_hours": 6}}
    assert bench.pages("invoice_census") == []
    recent = Window(bench.clock() - timedelta(minutes=5), None)
    assert bench.pages("invoice_census", recent) == [] or bench.clock().hour % 6 == 0
    assert bench.pages("invoice_census", Window(bench.clock() - timedelta(hours=7), None))
    assert bench.api_requests()[-1].url.params["$count"] == "true"
