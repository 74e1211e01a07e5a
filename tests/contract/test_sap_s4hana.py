"""What is particular to SAP S/4HANA: categories, OData 2, numbers with zeros, and phones elsewhere."""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.kit.errors import RateLimited, UnexpectedShape
from connectors.kit.http.client import open_client
from connectors.kit.mapping import Mapped, map_lookup, map_page
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import Account, Resume, RetryPolicy, Window
from connectors.sap_s4hana.connector import UserRejected
from panel.blocks import SAPS4HANAConnection

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "sap_s4hana" / "latonaio_outputs"
SPEC = SYSTEMS["sap_s4hana"]
HOST = simulator.ACCOUNTS["sap_s4hana"]
ITEM = {
    "BillingDocumentItem": "10", "Material": "ATW-5L", "BillingDocumentItemText": "Água 5L",
    "BillingQuantity": "3", "NetAmount": "100.00", "TransactionCurrency": "AOA",
}  # fmt: skip
DOCUMENT = {
    "BillingDocument": "90000007", "SDDocumentCategory": "M", "BillingDocumentType": "ZF2",
    "CreationDate": "/Date(1777593600000)/", "CreationTime": "PT15H51M04S", "LastChangeDate": None,
    "LastChangeDateTime": "/Date(1777650664000+0000)/", "BillingDocumentDate": "/Date(1777593600000)/",
    "BillingDocumentIsCancelled": False, "CancelledBillingDocument": "", "TotalNetAmount": "100.000",
    "TaxAmount": "14.000", "TotalGrossAmount": "114.000", "TransactionCurrency": "AOA",
    "SoldToParty": "0010100001", "InvoiceClearingStatus": "A", "to_Item": {"results": [ITEM]},
}  # fmt: skip


def mapped(*records: Mapping[str, Any]) -> Mapped:
    body = json.dumps({"d": {"results": records}}).encode()
    return map_page(SPEC, SPEC.streams[0], Account("sap_s4hana", HOST), body, page_id=7)


def one(**changes: Any) -> dict[str, Any]:
    result = mapped(DOCUMENT | changes)
    assert result.problems.is_empty(), result.problems
    return result.invoices.to_dicts()[0]


def sample(name: str) -> list[dict[str, Any]]:
    path = SAMPLES / f"billing-document-{name}-sample.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return list(json.loads(path.read_text())["message"])


def test_a_document_and_what_it_becomes() -> None:
    row, line = one(), mapped(DOCUMENT).lines.to_dicts()[0]
    assert (row["external_id"], row["customer_external_id"]) == ("90000007", "10100001")
    assert (row["kind"], row["status"], row["currency"]) == ("invoice", "open", "AOA")
    assert (row["total_minor"], row["subtotal_minor"], row["tax_minor"]) == (11400, 10000, 1400)
    assert row["issued_at"] == datetime(2026, 4, 30, 23, tzinfo=UTC)
    assert row["updated_at"] == datetime(2026, 5, 1, 15, 51, 4, tzinfo=UTC)
    assert (line["sku"], line["quantity"], line["amount_minor"]) == ("ATW-5L", 3, 10000)
    assert str(line["unit_price"]) == "33.333333"


def test_the_published_document() -> None:
    """A real one, which the tool that read it wrote with other dates and without its items."""
    (record,) = sample("header-01")
    link = mapped(record).problems
    assert link["reason"].to_list() == ["Expected object, got str"]
    record["to_Item"] = {"results": sample("item-01")}
    result = mapped(record)
    assert result.problems.is_empty(), result.problems
    (row,), (line,) = result.invoices.to_dicts(), result.lines.to_dicts()
    assert (row["external_id"], row["kind"], row["status"]) == ("90000000", "invoice", "open")
    assert (row["currency"], row["total_minor"], row["tax_minor"]) == ("EUR", 100_000, 0)
    assert (row["customer_external_id"], row["issued_at"].year) == ("1", 1998)
    assert row["updated_at"] == datetime(2022, 9, 14, 23, tzinfo=UTC)  # never changed
    assert (line["sku"], line["name"], line["amount_minor"]) == ("21", "請求", 100_000)


@pytest.mark.parametrize(
    "name",
    ["header-02-header-partner", "header-partner-01", "item-01", "item-03-item-pricing-element"],
)
def test_other_published_answers_are_no_documents(name: str) -> None:
    for record in sample(name):
        fields = set(mapped(record).problems["field"])
        assert fields >= {"total_minor", "kind", "issued_at"}


@pytest.mark.parametrize(
    ("category", "kind", "status"),
    [
        ("M", "invoice", "open"), ("P", "invoice", "open"), ("O", "credit_note", "open"),
        ("N", "credit_note", "void"), ("S", "invoice", "void"),
    ],
)  # fmt: skip
def test_the_categories(category: str, kind: str, status: str) -> None:
    row = one(SDDocumentCategory=category)
    assert (row["kind"], row["status"]) == (kind, status)


def test_a_cancelled_document_and_the_one_that_cancels_it_are_void() -> None:
    assert one(BillingDocumentIsCancelled=True)["status"] == "void"
    assert one(BillingDocumentIsCancelled="true")["status"] == "void"
    assert one(CancelledBillingDocument="0090000001")["status"] == "void"
    assert one(CancelledBillingDocument="0000000000")["status"] == "open"


@pytest.mark.parametrize(
    ("numbers", "link"),
    [
        (["90000001", "90000001"], "90000001"),
        (["90000001", "90000002"], None),
        (["90000001", ""], "90000001"),
        ([""], None),
        ([None], None),
        ([], None),
    ],
)
def test_a_credit_memo_names_the_one_document_that_its_items_refer_to(
    numbers: list[Any], link: str | None
) -> None:
    items = {"results": [ITEM | {"ReferenceSDDocument": number} for number in numbers]}
    assert one(SDDocumentCategory="O", to_Item=items)["original_external_id"] == link
    # An invoice refers to its delivery or its order.
    assert one(SDDocumentCategory="M", to_Item=items)["original_external_id"] is None


@pytest.mark.parametrize("category", ["U", "3", "4", "5", "6"])
def test_what_is_no_sale_is_left_out(category: str) -> None:
    result = mapped(DOCUMENT | {"SDDocumentCategory": category})
    assert (result.invoices.height, result.problems.height) == (0, 0)


@pytest.mark.parametrize("category", ["X", "", None])
def test_an_unknown_category_is_rejected(category: str | None) -> None:
    problems = mapped(DOCUMENT | {"SDDocumentCategory": category}).problems
    assert "kind" in problems["field"].to_list()


def test_cleared_is_paid() -> None:
    row = one(InvoiceClearingStatus="C")
    assert (row["status"], row["amount_paid_minor"]) == ("paid", 11400)
    assert one(InvoiceClearingStatus="C", BillingDocumentIsCancelled=True)["status"] == "void"


def test_items_that_do_not_come_whole_reject_the_document() -> None:
    items = {"results": [ITEM], "__next": "https://x/A_BillingDocument('1')/to_Item?$skiptoken=1"}
    problems = mapped(DOCUMENT | {"to_Item": items}).problems
    assert problems["path"].to_list() == ["/to_Item/__next"]


@pytest.mark.parametrize(("code", "total"), [("JPY", 1500), ("KWD", 1500000)])
def test_amounts_by_the_currency(code: str, total: int) -> None:
    money = {"TotalGrossAmount": "1500.000", "TotalNetAmount": "1500.000", "TaxAmount": "0.000"}
    assert one(TransactionCurrency=code, **money)["total_minor"] == total


def test_what_is_asked_for(benches: Callable[..., Any]) -> None:
    """Also what was never changed: such a document may have no time of change, only its day."""
    bench = benches("sap_s4hana")
    bench.changes = {"options": bench.connection.options | {"sales_organization": "1010"}}
    pages = bench.pages("billing_documents", Window(datetime(2026, 5, 1, 0, 30, tzinfo=UTC), None))
    first = bench.api_requests()[0]
    assert first.url.path.endswith("/API_BILLING_DOCUMENT_SRV/A_BillingDocument")
    assert first.url.params["$orderby"] == "BillingDocument"
    assert first.url.params["$filter"] == (
        "SalesOrganization eq '1010' and (LastChangeDateTime ge "
        "datetimeoffset'2026-05-01T00:30:00Z' or CreationDate ge datetime'2026-04-30T00:00:00')"
    )
    assert len(pages) > 1
    skips = [request.url.params.get("$skip") for request in bench.api_requests()]
    assert skips[:3] == ["0", "25", "50"]


def test_a_server_with_smaller_pages_names_the_next_one(
    benches: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.systems.sap_s4hana.api.SERVER_PAGE", 7)
    bench = benches("sap_s4hana")
    numbers = [
        row["BillingDocument"]
        for page in bench.pages("billing_documents")
        for row in json.loads(page.body)["d"]["results"]
    ]
    books = bench.world.books["sap_s4hana"]
    assert sorted(numbers) == sorted(one.id for one in books.all())


def test_a_reading_that_was_interrupted_within_a_servers_pages_begins_again(
    benches: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the address of a page nobody can tell how many records come before it."""
    monkeypatch.setattr("simulator.systems.sap_s4hana.api.SERVER_PAGE", 7)
    bench = benches("sap_s4hana")
    stopped = bench.pages("billing_documents")[0]
    assert stopped.next_request is not None
    rest = bench.pages(
        "billing_documents", resume=Resume(stopped.request, stopped.body, stopped.next_request)
    )
    numbers = {
        row["BillingDocument"]
        for page in [stopped, *rest]
        for row in json.loads(page.body)["d"]["results"]
    }
    assert numbers == {one.id for one in bench.world.books["sap_s4hana"].all()}


def test_the_phone_is_the_business_partners(benches: Callable[..., Any]) -> None:
    """Found by the number as a customer, which is not that of the partner; mobile numbers first."""
    bench = benches("sap_s4hana", customers=100)
    customers = bench.world.books["sap_s4hana"].customers
    lookup = bench.spec.lookup("customers")
    with bench.client() as client:
        pages = list(look_up(bench.spec, lookup, client, list(customers)))
    found = [
        row
        for page in pages
        for row in map_lookup(bench.spec, lookup, bench.connection, page.body).to_dicts()
    ]
    assert {row["external_id"] for row in found} == set(customers)
    assert len(bench.api_requests()) == 4
    for row in found:
        national = customers[row["external_id"]].person.national
        assert row["phone"] in (f"+244{national}", None)
    assert sum(row["phone"] is not None for row in found) > 80
    numbers = {
        "to_PhoneNumber": {"results": [{"PhoneNumber": "222 333 444"}]},
        "to_MobilePhoneNumber": {
            "results": [
                {"PhoneNumber": "911111111", "IsDefaultPhoneNumber": False},
                {"InternationalPhoneNumber": "+244923456789", "IsDefaultPhoneNumber": True},
            ]
        },
    }
    partner = {"Customer": "0000000007", "to_BusinessPartnerAddress": {"results": [numbers]}}
    body = json.dumps({"d": {"results": [partner]}}).encode()
    assert map_lookup(SPEC, lookup, bench.connection, body).rows() == [("7", "+244923456789")]


def test_a_communication_user(benches: Callable[..., Any]) -> None:
    """Basic, at the host of the block; a login page is no list."""
    bench = benches("sap_s4hana")
    account = Account(
        "sap_s4hana", HOST, options={"host": HOST, "username": "U", "sap_client": "100"},
        secrets={"password": SecretStr("pw")},
    )  # fmt: skip
    sent: list[httpx.Request] = []
    answers = iter(
        [
            httpx.Response(200, json={"d": {"results": []}}),
            httpx.Response(401, text="<html>", headers={"content-type": "text/html"}),
        ]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return next(answers)

    first = SPEC.streams[0].first(account, Window(), bench.clock())
    assert first is not None
    network = httpx.MockTransport(answer)
    with open_client(account, SPEC, bench.tokens, transport=network) as client:
        client.send(first, "billing_documents")
        with pytest.raises(UserRejected, match="SAP_COM_0120"):
            client.send(first, "billing_documents")
    assert (sent[0].url.scheme, sent[0].url.host) == ("https", HOST)
    assert base64.b64decode(sent[0].headers["authorization"].removeprefix("Basic ")) == b"U:pw"
    assert sent[0].headers["sap-client"] == "100"


def test_the_login_page_of_the_wrong_host(benches: Callable[..., Any]) -> None:
    bench = benches("sap_s4hana")
    bench.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(200, text="<html>Logon</html>")
    )
    with pytest.raises(UnexpectedShape):
        bench.pages("billing_documents")


def test_a_429_without_a_time_waits_a_minute(benches: Callable[..., Any]) -> None:
    bench = benches("sap_s4hana")
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: None if "token" in request.url.path else httpx.Response(429)
    with pytest.raises(RateLimited) as caught:
        bench.pages("billing_documents")
    assert caught.value.retry_after_seconds == 60


def test_the_form() -> None:
    block = SAPS4HANAConnection(host=HOST)
    assert "User name, Password" in block.missing()
    block = SAPS4HANAConnection(
        host=HOST.upper(), username="u", password=SecretStr("p"), sales_organization="1010"
    )
    assert (block.missing(), block.connection().account) == ("", f"{HOST}|1010")
    assert "Client ID" in SAPS4HANAConnection(host=HOST, login="oauth_client").missing()
