"""Oracle Fusion, against a small server of its API: there is no simulator of it yet."""

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import polars as pl
import pytest
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.errors import (
    CredentialsRejected,
    PaginationLoop,
    PermissionMissing,
    UnexpectedShape,
)
from connectors.kit.http.client import Timing, open_client
from connectors.kit.mapping import Mapped, map_lookup, map_page, map_pages
from connectors.kit.read.look_up import look_up
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, Page, RetryPolicy, Window
from panel import blocks
from simulator import ManualClock
from tests.contract.conftest import MemoryTokens

SPEC = replace(SYSTEMS["oracle_fusion"], retry=RetryPolicy(attempts=1))
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
POD = Account(
    "oracle_fusion",
    "abcd.fa.em2.oraclecloud.com",
    options={"host": "abcd.fa.em2.oraclecloud.com", "login": "basic", "user": "twezah"},
    secrets={"password": SecretStr("p4ssw0rd")},
)


def document(number: int, **changes: Any) -> dict[str, Any]:
    """An invoice as the API gives it."""
    values = {
        "CustomerTransactionId": 300100180000000 + number, "TransactionNumber": f"INV-{number}", "TransactionDate": "2026-05-01",
        "BusinessUnit": "Luanda", "InvoiceCurrencyCode": "AOA", "EnteredAmount": 3420, "InvoiceBalanceAmount": 0,
        "FreightAmount": None, "InvoiceStatus": "Complete", "BillToCustomerNumber": "1006", "BillToPartyId": 300000001,
        "CreationDate": f"2026-05-01T08:00:{number % 60:02d}+00:00",
    }  # fmt: skip
    return values | changes


LINE = {"CustomerTransactionLineId": 1, "LineNumber": 1, "ItemNumber": "ATW-5L", "Description": "Água 5 L", "Quantity": 2, "UnitSellingPrice": 1500}  # fmt: skip


@dataclass
class Pod:
    """A server with these documents, which cuts its pages, and lists nothing that it is not asked for."""

    invoices: list[dict[str, Any]] = field(default_factory=list)
    credit_memos: list[dict[str, Any]] = field(default_factory=list)
    most: int = 499
    requests: list[httpx.Request] = field(default_factory=list)
    refuse: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/oauth2/v1/token":
            return httpx.Response(200, json={"access_token": "t0ken", "expires_in": 3600})
        if self.refuse is not None:
            return self.refuse
        *_, last = request.url.path.split("/")
        if last in ("receivablesInvoiceLines", "receivablesCreditMemoLines"):
            return self.page([LINE], request)
        if last.startswith("hub"):
            return self.page(self.parties(last, request.url.params["q"]), request)
        rows = self.invoices if last == "receivablesInvoices" else self.credit_memos
        conditions = request.url.params["q"].split(" and ")
        rows = [row for row in rows if all(holds(row, one) for one in conditions)]
        rows.sort(key=lambda row: int(row["CustomerTransactionId"]))
        return self.page(rows, request)

    def parties(self, resource: str, query: str) -> list[dict[str, Any]]:
        key = int(query.removeprefix("PartyId="))
        if (resource == "hubOrganizations") is (key % 2 == 1):
            phone = {"PhoneCountryCode": "244", "PhoneNumber": "923456789", "PhoneType": "MOBILE"}
            other = {"ContactPointType": "EMAIL", "EmailAddress": "a@b.co"}
            return [{"PartyId": key, "ContactPoint": {"items": [other, phone]}}]
        return []

    def page(self, rows: list[dict[str, Any]], request: httpx.Request) -> httpx.Response:
        limit = min(int(request.url.params.get("limit", 25)), self.most)
        body = {"items": rows[:limit], "count": len(rows[:limit]), "hasMore": len(rows) > limit}
        return httpx.Response(200, json=body | {"limit": limit, "offset": 0, "links": []})


def holds(row: dict[str, Any], condition: str) -> bool:
    found = re.fullmatch(r"(\w+) (>=|>|=) '?(.*?)'?", condition)
    assert found, condition
    name, sign, wanted = found.groups()
    value: Any = row[name]
    other: Any = int(wanted) if isinstance(value, int) else wanted
    if name == "CreationDate":
        value, other = (datetime.fromisoformat(one) for one in (value, other))
    return bool({">": value > other, ">=": value >= other, "=": value == other}[sign])


def pages(pod: Pod, stream: str, window: Window | None = None, **changes: Any) -> list[Page]:
    clock = ManualClock(NOW)
    timing = Timing(monotonic=lambda: clock().timestamp(), sleep=clock.sleep, now=clock)
    account = replace(POD, **changes)
    with open_client(
        account, SPEC, MemoryTokens(), transport=httpx.MockTransport(pod), timing=timing
    ) as client:
        return list(extract(SPEC, SPEC.stream(stream), client, window or Window()))


def read(pod: Pod, stream: str = "invoices", window: Window | None = None) -> Mapped:
    found = [(number, page.body) for number, page in enumerate(pages(pod, stream, window), 1)]
    return map_pages(SPEC, SPEC.stream(stream), POD, found)


def test_an_invoice_with_its_lines() -> None:
    found = read(Pod([document(1)]))
    assert found.problems.is_empty(), found.problems["reason"].to_list()
    (sale,) = found.invoices.to_dicts()
    assert (sale["external_id"], sale["invoice_number"]) == ("300100180000001", "INV-1")
    assert (sale["kind"], sale["status"], sale["currency"]) == ("invoice", "paid", "AOA")
    assert (sale["total_minor"], sale["tax_minor"], sale["amount_paid_minor"]) == (
        342_000,
        42_000,
        342_000,
    )
    assert sale["customer_external_id"] == "300000001"
    assert sale["updated_at"] == datetime(2026, 5, 1, 8, 0, 1, tzinfo=UTC)
    (line,) = found.lines.to_dicts()
    assert (line["sku"], line["quantity"], line["amount_minor"]) == ("ATW-5L", 2, 300_000)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"InvoiceBalanceAmount": 3420}, "open"),
        ({"InvoiceBalanceAmount": 20}, "open"),
        ({"InvoiceBalanceAmount": None}, "open"),
        ({"InvoiceStatus": "Incomplete", "InvoiceBalanceAmount": 0}, "draft"),
        ({"InvoiceStatus": "Pending approval"}, "draft"),
    ],
)
def test_states(changes: dict[str, Any], status: str) -> None:
    assert read(Pod([document(1, **changes)])).invoices["status"].to_list() == [status]


def test_an_unknown_status_is_rejected_by_name() -> None:
    (problem,) = read(Pod([document(1, InvoiceStatus="Half")])).problems.to_dicts()
    assert (problem["field"], problem["path"]) == ("status", "/InvoiceStatus")


@pytest.mark.parametrize(
    ("code", "amount", "minor"),
    [
        ("AOA", "3,420.50", 342_050),
        ("JPY", 3420, 3420),
        ("KWD", 3420.125, 3_420_125),
    ],
)
def test_numbers_as_numbers_and_as_texts(code: str, amount: Any, minor: int) -> None:
    found = read(Pod([document(1, InvoiceCurrencyCode=code, EnteredAmount=amount)]))
    assert found.invoices["total_minor"].to_list() == [minor]


@pytest.mark.parametrize("sign", [1, -1])
def test_credit_memos_take_back_whatever_their_sign(sign: int) -> None:
    memo = document(7, EnteredAmount=sign * 3420, TransactionBalanceDue=0)
    memo |= {"CreditMemoStatus": "Complete"}
    (found,) = read(Pod(credit_memos=[memo]), "credit_memos").invoices.to_dicts()
    assert (found["kind"], found["total_minor"]) == ("credit_note", 342_000)


@pytest.mark.parametrize("most", [499, 25, 7])
def test_a_server_that_cuts_its_pages_is_read_to_its_end(most: int) -> None:
    pod = Pod([document(number) for number in range(1, 61)], most=most)
    found = read(pod)
    assert found.invoices["external_id"].n_unique() == 60
    assert not any("offset" in request.url.params for request in pod.requests)


def test_a_list_that_ignores_the_condition_is_an_error() -> None:
    class Deaf(Pod):
        def page(self, rows: list[dict[str, Any]], request: httpx.Request) -> httpx.Response:
            items = self.invoices if "q" in request.url.params else rows
            return httpx.Response(200, json={"items": items, "hasMore": True})

    with pytest.raises(PaginationLoop, match="same records"):
        pages(Deaf([document(1)]), "invoices")


def test_later_changes_are_found_by_the_date_of_the_document() -> None:
    """By creation alone, the payment of an invoice would never be seen."""
    pod = Pod([document(1, InvoiceBalanceAmount=3420)])
    window = Window(NOW - timedelta(hours=2))
    assert pages(pod, "recent_invoices") == []  # a first read takes all
    pod.invoices[0]["InvoiceBalanceAmount"] = 0
    assert read(pod, "invoices", window).invoices.is_empty()
    stream = SPEC.stream("recent_invoices")
    (page,) = pages(pod, "recent_invoices", window)
    found = map_page(SPEC, stream, POD, page.body, page_id=1, window=window)
    assert found.invoices["status"].to_list() == ["paid"]
    options = {**POD.options, "changed_by": "LastUpdateDate"}
    assert pages(pod, "recent_invoices", window, options=options) == []


def test_a_business_unit_by_its_name() -> None:
    pod = Pod([document(1), document(2, BusinessUnit="Rei d'Água")])
    options = {**POD.options, "business_unit": "Rei d'Água"}
    pages(pod, "invoices", options=options)
    assert "BusinessUnit = 'Rei d''Água'" in pod.requests[0].url.params["q"]


def test_the_phone_is_the_partys() -> None:
    """Of an organisation or of a person; which, the invoice does not say."""
    pod, lookup = Pod(), SPEC.lookup("customers")
    with open_client(POD, SPEC, MemoryTokens(), transport=httpx.MockTransport(pod)) as client:
        found = list(look_up(SPEC, lookup, client, ["300000001", "300000002"]))
    rows = pl.concat([map_lookup(SPEC, lookup, POD, page.body) for page in found])
    assert set(rows.unique().rows()) == {
        ("300000001", "+244923456789"),
        ("300000002", "+244923456789"),
    }


def test_basic_and_client_credentials() -> None:
    pod = Pod([document(1)])
    pages(pod, "invoices")
    assert pod.requests[0].headers["authorization"].startswith("Basic ")
    assert pod.requests[0].headers["rest-framework-version"] == "4"
    pod.requests.clear()
    options = {**POD.options, "login": "client_credentials", "scope": "urn:opc:x"}
    pages(
        pod,
        "invoices",
        options=options,
        client_id="id",
        client_secret=SecretStr("s"),
        token_url="https://idcs.identity.oraclecloud.com/oauth2/v1/token",
    )
    assert b"grant_type=client_credentials" in pod.requests[0].content
    assert pod.requests[1].headers["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("refuse", "kind"),
    [
        (httpx.Response(401, text="<html>secret</html>"), CredentialsRejected),
        (httpx.Response(403, json={"title": "Forbidden", "status": "403"}), PermissionMissing),
        (
            httpx.Response(400, json={"title": "Bad Request", "status": "400", "o:errorDetails": [{"detail": "secret", "o:errorCode": "27520"}]}),
            UnexpectedShape,
        ),
    ],
)  # fmt: skip
def test_refusals(refuse: httpx.Response, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        pages(Pod(refuse=refuse), "invoices")
    assert "secret" not in str(caught.value).replace("client secret", "")


def test_the_form() -> None:
    block = blocks.OracleFusionConnection(host="ABCD.fa.em2.oraclecloud.com")
    assert block.missing() == "for basic it still lacks user, password"
    assert block.connection().account == "abcd.fa.em2.oraclecloud.com"
    assert json.loads(json.dumps(block.connection().options))["reread_days"] == 31
