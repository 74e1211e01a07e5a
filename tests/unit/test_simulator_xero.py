"""The simulated Xero behaves as its vendor documents it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator import (
    ManualClock,
    World,
    client,
)

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
XERO = "/api.xro/2.0"


def get(api: httpx.Client, path: str, **params: Any) -> Any:
    response = api.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=60, invoices=300, now=clock)


@pytest.fixture
def xero(world: World) -> httpx.Client:
    return client(world, "xero")


def test_xero_pages_through_sales_and_gives_lines_only_in_pages(
    xero: httpx.Client, world: World
) -> None:
    ids, page = [], 1
    while True:
        body = get(
            xero,
            f"{XERO}/Invoices",
            page=page,
            pageSize=80,
            where='Type=="ACCREC"',
            order="UpdatedDateUTC ASC",
        )
        assert all(row["LineItems"] for row in body["Invoices"])
        ids += [row["InvoiceID"] for row in body["Invoices"]]
        if page >= body["pagination"]["pageCount"]:
            break
        page += 1
    truth = [row for row in world.truth() if row.system == "xero" and row.kind == "invoice"]
    assert sorted(ids) == sorted(row.external_id for row in truth)
    unpaged = get(xero, f"{XERO}/Invoices")
    assert "pagination" not in unpaged
    assert not any(row["LineItems"] for row in unpaged["Invoices"])
    assert {row["Type"] for row in unpaged["Invoices"]} == {"ACCREC", "ACCPAY"}


def test_xero_filters(xero: httpx.Client, clock: ManualClock, world: World) -> None:
    everything = get(xero, f"{XERO}/Invoices")["Invoices"]
    some = ",".join(row["InvoiceID"] for row in everything[:3])
    assert len(get(xero, f"{XERO}/Invoices", IDs=some)["Invoices"]) == 3
    paid = get(xero, f"{XERO}/Invoices", Statuses="PAID,VOIDED")["Invoices"]
    assert {row["Status"] for row in paid} <= {"PAID", "VOIDED"}
    recent = get(xero, f"{XERO}/Invoices", where='Type=="ACCREC" AND Date>=DateTime(2026,03,01)')[
        "Invoices"
    ]
    assert recent
    assert all(row["DateString"] >= "2026-03-01" for row in recent)
    clock.advance(minutes=5)
    world.evolve(10, systems=("xero",))
    since = {"If-Modified-Since": "2026-03-10T12:05:00"}
    changed = xero.get(f"{XERO}/Invoices", headers=since).json()["Invoices"]
    assert changed
    assert {row["UpdatedDateUTC"] for row in changed} == {
        f"/Date({int(clock().timestamp() * 1000)}+0000)/"
    }
    bad = xero.get(f"{XERO}/Invoices", params={"where": "Type = = 1"})
    assert (bad.status_code, bad.json()["Type"]) == (400, "QueryParseException")


def test_xero_speaks_xml_unless_asked_and_counts_the_calls_left(xero: httpx.Client) -> None:
    response = xero.get(f"{XERO}/Organisation", headers={"accept": "*/*"})
    assert response.headers["content-type"].startswith("text/xml")
    response = xero.get(f"{XERO}/Organisation")
    assert response.headers["x-minlimit-remaining"] == "60"
    assert re.fullmatch(r"/Date\(\d+\)/", response.json()["DateTimeUTC"])


def test_xero_throttles_naming_the_limit(clock: ManualClock) -> None:
    xero = client(World(seed=5, customers=5, invoices=5, now=clock, limit_scale=1), "xero")
    statuses = [xero.get("/connections").status_code for _ in range(61)]
    assert statuses == [200] * 60 + [429]
    response = xero.get("/connections")
    assert (response.headers["retry-after"], response.headers["x-rate-limit-problem"]) == (
        "60",
        "minute",
    )


def test_xero_credit_notes_add_up(xero: httpx.Client) -> None:
    invoices = {
        row["InvoiceID"]: row
        for row in get(xero, f"{XERO}/Invoices", page=1, pageSize=1000)["Invoices"]
    }
    notes = get(xero, f"{XERO}/CreditNotes", page=1)["CreditNotes"]
    assert any(note["Allocations"] for note in notes)
    for note in notes:
        allocated = sum(row["Amount"] for row in note["Allocations"])
        assert note["RemainingCredit"] == pytest.approx(note["Total"] - allocated)
        for row in note["Allocations"]:
            assert invoices[row["Invoice"]["InvoiceID"]]["AmountCredited"] > 0


def test_xero_contacts_carry_phones_in_parts(xero: httpx.Client) -> None:
    contacts = get(xero, f"{XERO}/Contacts", page=1, includeArchived="true")["Contacts"]
    phones = [phone for row in contacts for phone in row["Phones"] if phone.get("PhoneNumber")]
    assert any(phone["PhoneCountryCode"] for phone in phones)
    assert any(not phone["PhoneCountryCode"] for phone in phones)
    assert all(len(row["Phones"]) == 4 for row in contacts)


def published(path: str) -> Any:
    file = SAMPLES / path
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("resource", "schema"),
    [
        ("Invoices", "invoices"),
        ("CreditNotes", "credit_notes"),
        ("Contacts", "contacts"),
        ("Payments", "payments"),
    ],
)
def test_xero_fields_are_known_to_a_public_schema(
    xero: httpx.Client, resource: str, schema: str
) -> None:
    known = set(published(f"xero/singer-tap/{schema}.json")["properties"]) | {"HasErrors"}
    used = {name for row in get(xero, f"{XERO}/{resource}", page=1)[resource] for name in row}
    assert used <= known, used - known
