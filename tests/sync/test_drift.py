"""The vendor's records change: what is new is noted once, what is missed is named, with every system."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import simulator
from connectors.kit.spec import Account, Window
from panel.reports.sync_run import Links, markdown
from tasks.job import Job, Policy
from tasks.load.invoices import TooManyRejectsError
from tasks.run_report import RunReport, changes_line
from tasks.sync import synchronise
from tests.sync.conftest import Shop, expected, run
from tests.sync.test_pipeline import SYSTEMS, rows_of

LENIENT = Policy(reject_percent_max=100)
#: Of each system: a list's records in an answer, by what tells the answer, and a mapped field that
#: is not needed.
LISTS = {
    "quickbooks": ("FROM Invoice ", ("QueryResponse", "Invoice"), "Balance"),
    "xero": ("/Invoices", ("Invoices",), "AmountCredited"),
    "freshbooks": ("/invoices/invoices", ("response", "result", "invoices"), "invoice_number"),
    "netsuite": ("'CustInvc'", ("items",), "tranid"),
    "sage_intacct": ('accounts-receivable/invoice"', ("ia::result",), "invoiceNumber"),
    "stripe": ("/v1/invoices?", ("data",), "amount_paid"),
    "zoho_books": ("/invoices", ("invoices",), "invoice_number"),
    "custom": ("/invoices", ("data",), "amount_due"),
    "shopify": ("orders(first", ("data", "orders", "nodes"), "name"),
    "sap_s4hana": ("A_BillingDocument?", ("d", "results"), "InvoiceClearingStatus"),
    "business_central": ("salesInvoices?", ("value",), "phoneNumber"),
    "oracle_fusion": ("/receivablesInvoices?", ("items",), "TransactionNumber"),
    "magento": ("/V1/orders?", ("items",), "increment_id"),
    "wave": (
        "invoiceNumber",
        ("data", "business", "invoices", "edges", "node"),
        "invoiceNumber",
    ),
    "woocommerce": ("/orders?", (), "total_tax"),
    "square": ("/orders/search", ("orders",), "reference_id"),
    "paypal": ("/reporting/transactions", ("transaction_details",), ""),
}


class Altered:
    """The vendor, with the records of one list changed on their way."""

    def __init__(self, shop: Shop, system: str, change: Callable[[dict[str, Any]], None]) -> None:
        self.shop, self.system, self.change = shop, system, change
        self.serve = simulator.handler(shop.world, system)
        self.changed = 0

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        told, place, _ = LISTS[self.system]
        asked = str(request.url).replace("+", " ").replace("%20", " ") + request.content.decode()
        if told not in asked.replace("%27", "'").replace("%2F", "/"):
            return None
        answer = self.serve(request)
        body = json.loads(answer.content)
        records = body
        for part in place:
            if isinstance(records, list):
                records = [record.get(part, {}) for record in records]
            else:
                records = records.get(part, {}) if isinstance(records, dict) else {}
        if isinstance(body, dict) and isinstance(body.get("invoice"), dict):
            records = [body["invoice"]]  # of a system whose lists leave fields out
        for record in records if isinstance(records, list) else ():
            self.change(record)
            self.changed += 1
        return httpx.Response(answer.status_code, json=body)


def fields_of(shop: Shop, system: str) -> list[tuple[Any, ...]]:
    return rows_of(
        shop,
        f"SELECT stream, path, json_type, base_line FROM billing.vendor_field WHERE system = '{system}' ORDER BY 1, 2, 3",
    )


def first_read(shop: Shop, system: str) -> list[str]:
    """The lists of documents that a first read asks for."""
    job = shop.job(system)
    streams = [stream for stream in job.spec.streams if stream.deleted is None]
    now = datetime.now(UTC)
    return [one.name for one in streams if one.first(job.vendor, Window(), now) is not None]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_new_field_is_ignored_and_noted_once(shop: Shop, system: str) -> None:
    extracted, _, _ = shop.sync(system)
    assert extracted.changes == []
    base = fields_of(shop, system)
    assert base
    assert all(base_line for *_, base_line in base)
    assert len({stream for stream, *_ in base}) >= min(2, len(first_read(shop, system)))

    def add(record: dict[str, Any]) -> None:
        record["loyalty"] = {"level": 3, "244923456789": "Maria", "notes": ["+244 923 456 789"]}

    shop.before = altered = Altered(shop, system, add)
    extracted, _, _ = shop.sync(system, since=datetime.now(UTC) - timedelta(days=40))
    assert altered.changed > 20
    noted = [change for change in extracted.changes if "/loyalty" in change.path]
    # (FreshBooks and WooCommerce list what is deleted at the same address, Square what came back.)
    assert {change.what.rpartition("/")[2] for change in noted} == {"loyalty (object)"}
    assert len(noted) == (2 if system in ("freshbooks", "woocommerce", "square") else 1)
    assert "ignored; map it in the block" in noted[0].to_text()
    assert shop.points() == expected(shop.world, system)
    found = fields_of(shop, system)
    new = {
        (path.partition("/loyalty")[2], kind, base)
        for _, path, kind, base in found
        if "/loyalty" in path
    }
    assert sorted(new) == [
        ("", "object", False), ("/*", "text", False), ("/level", "number", False), ("/notes", "list", False), ("/notes/*", "text", False),
    ]  # fmt: skip
    assert "Maria" not in str(found)
    assert "923" not in str(found)

    again, _, _ = shop.sync(system, since=datetime.now(UTC) - timedelta(days=40))
    assert again.changes == []


@pytest.mark.parametrize("system", [system for system in SYSTEMS if LISTS[system][2]])
def test_a_mapped_field_that_is_gone_or_of_another_type_is_named(shop: Shop, system: str) -> None:
    """Also one that no record needs, so that nothing is rejected."""
    name = LISTS[system][2]
    first = shop.sync(system)[1]
    since = datetime.now(UTC) - timedelta(days=40)
    kept: list[Any] = []
    shop.before = Altered(shop, system, lambda record: kept.append(record.pop(name, None)))
    extracted, loaded, _ = shop.sync(system, since=since)
    assert any(value is not None for value in kept)
    gone = [change for change in extracted.changes if change.path.endswith(f"/{name}")]
    assert (
        {(change.stream, change.path) for change in gone}
        == {(change.stream, gone[0].path) for change in gone}
        != set()
    )
    assert f"/{name} (" in gone[0].what
    assert "is in none of the last" in gone[0].what
    assert "it is read as" in gone[0].to_text()
    assert loaded.reasons.keys() == first.reasons.keys()
    assert shop.sync(system, since=since)[0].changes == []  # once

    shop.before = Altered(shop, system, lambda record: record.update({name: {"value": 1}}))
    extracted, _, _ = shop.sync(system, since=since, policy=LENIENT)
    retyped = [change for change in extracted.changes if change.path.endswith(f"/{name}")]
    assert {change.path for change in retyped} == {gone[0].path}
    assert f"/{name} is object now, it was" in retyped[0].what


def test_the_report_tells_changes_and_how_values_begin(shop: Shop) -> None:
    shop.sync("xero")

    def change(record: dict[str, Any]) -> None:
        record["Novo"] = "Maria 923456789"
        record["Total"] = "vinte e três"

    shop.before = Altered(shop, "xero", change)
    one = shop.job("xero", since=datetime.now(UTC) - timedelta(days=40))
    report = RunReport(one, datetime.now(UTC))
    with pytest.raises(TooManyRejectsError) as caught:
        synchronise(one, report)
    assert report.extracted is not None
    line = changes_line(report.extracted.changes)
    assert "\n" not in line
    assert (
        "invoices: /Invoices/*/Total is text now, it was number; it is read as total_minor" in line
    )
    report.error, report.loaded = caught.value, caught.value.loaded
    said = str(caught.value)
    assert (
        'Total, looked for at /Total: is not a number (it begins with "vi…", for example in '
        in said
    )
    shown = markdown(report, Links("run", "block", "xero"), "Xero")
    assert "## The vendor's records have changed" in shown
    assert (
        "- invoices: new field /Invoices/*/Novo (text) - ignored; map it in the block if it matters"
        in shown
    )
    assert "| Total, looked for at /Total: is not a number | vi… |" in shown
    for text in (line, said, shown):
        assert "Maria" not in text
        assert "vinte" not in text
        assert "923" not in text


def test_a_column_of_a_file(dsn: str, tmp_path: Path) -> None:
    def drop(name: str, header: str, row: str) -> list[str]:
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / name).write_text(
            f"{header}\n" + "".join(f"{name}-{n},{row}\n" for n in range(15))
        )
        vendor = Account(
            "file",
            "caixa",
            default_currency="AOA",
            options={"folder": str(tmp_path), "settle_seconds": 0},
        )
        done = Job(dsn, vendor, key=b"", run_id="test")
        return [change.what for change in run(done)[0].changes]

    usual, row = (
        "invoice_number,customer_phone,total_amount,sale_date",
        "923456789,10.00,2026-05-01",
    )
    assert drop("a.csv", usual, row) == []
    assert drop("b.csv", f"{usual},Loja", f"{row},Viana") == ["new field /Loja (text)"]
    missed = drop("c.csv", usual.replace("total_amount", "valor") + ",Loja", f"{row},Viana")
    assert missed == [
        "/total_amount (text) is in none of the last 10 records that were looked at",
        "new field /valor (text)",
    ]
