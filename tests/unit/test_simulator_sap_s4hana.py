"""SAP S/4HANA's simulator: OData 2 as the vendor describes it, and read by SAP's own client."""

from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal
from typing import Any

import httpx
import pytest

from simulator import CLIENT_ID, CLIENT_SECRET, World, client
from simulator.systems.sap_s4hana.render import BILLING, PARTNERS
from tests.support.served_vendors import served_vendors

SYSTEM = "sap_s4hana"
DOCUMENTS = f"{BILLING}/A_BillingDocument"


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11, customers=40, invoices=160)


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    """The served simulator's address."""
    with served_vendors(world) as address:
        yield address


def rows(world: World, **params: Any) -> list[dict[str, Any]]:
    options = {f"${name}": value for name, value in params.items()}
    answer = client(world, SYSTEM).get(DOCUMENTS, params=options)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["d"]["results"])


def test_documents_that_cancel_others(world: World) -> None:
    documents = {row["BillingDocument"]: row for row in rows(world)}
    cancelled = {key for key, row in documents.items() if row["BillingDocumentIsCancelled"]}
    assert cancelled == {row["CancelledBillingDocument"] for row in documents.values()} - {""}
    assert {row["SDDocumentCategory"] for row in documents.values()} >= {"M", "N", "O"}


def test_amounts_are_texts_and_add_up(world: World) -> None:
    for row in rows(world, expand="to_Item"):
        items = row["to_Item"]["results"]
        cents = [round(float(item["NetAmount"]) * 100) for item in items]
        assert sum(cents) == round(float(row["TotalNetAmount"]) * 100)
        assert isinstance(row["TotalGrossAmount"], str)
    assert "__deferred" in rows(world, top=1)[0]["to_Item"]


def test_who_is_not_let_in_gets_a_page(url: str) -> None:
    with httpx.Client(base_url=f"{url}/{SYSTEM}") as http:
        answer = http.get(DOCUMENTS, headers={"accept": "application/json"})
        assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html")
        http.auth = (CLIENT_ID, CLIENT_SECRET)
        assert http.get(DOCUMENTS).headers["content-type"].startswith("text/xml")
        missing = http.get(f"{DOCUMENTS}('1')", params={"$format": "json"})
        assert (missing.status_code, missing.json()["error"]["message"]["lang"]) == (404, "en")


def test_pyodata(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAP's client reads the description, pages, filters, expands, and takes every value apart."""
    pyodata = pytest.importorskip("pyodata")
    requests = pytest.importorskip("requests")
    monkeypatch.setattr("simulator.systems.sap_s4hana.api.SERVER_PAGE", 50)
    session = requests.Session()
    session.auth = (CLIENT_ID, CLIENT_SECRET)
    session.trust_env = False
    service = pyodata.Client(f"{url}/{SYSTEM}{BILLING}", session)
    documents = service.entity_sets.A_BillingDocument
    page, found = documents.get_entities().expand("to_Item").execute(), list[Any]()
    while True:
        found += page
        if page.next_url is None:
            break
        page = documents.get_entities().next_url(page.next_url).execute()
    truth = {row.external_id: row for row in world.truth() if row.system == SYSTEM}
    assert {entity.BillingDocument for entity in found} == set(truth)
    for entity in found:
        row = truth[entity.BillingDocument]
        assert Decimal(entity.TotalGrossAmount) == Decimal(row.total)
        assert entity.BillingDocumentDate.date() == row.date
        assert entity.LastChangeDateTime.astimezone(UTC) == row.updated_at
        assert len(entity.to_Item) == len(row.skus)
    single = documents.get_entity(found[0].BillingDocument).execute()
    assert single.TransactionCurrency == "AOA"
    middle = sorted(row.updated_at for row in truth.values())[len(truth) // 2]
    asked = f"LastChangeDateTime ge datetimeoffset'{middle:%Y-%m-%dT%H:%M:%S}Z'"
    since = documents.get_entities().filter(asked).count(inline=True).execute()
    assert since.total_count == sum(row.updated_at >= middle for row in truth.values())

    partners = pyodata.Client(f"{url}/{SYSTEM}{PARTNERS}", session).entity_sets.A_BusinessPartner
    customer = next(one for one in world.books[SYSTEM].customers.values() if one.phone)
    (partner,) = partners.get_entities().filter(f"Customer eq '{customer.id}'").execute()
    assert partner.BusinessPartnerFullName == customer.name
    assert partner.BusinessPartner != customer.id
