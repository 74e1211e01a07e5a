"""Payloads that the vendors published, served verbatim over HTTP, through the real connector into the ledger."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from connectors.kit.spec import Account
from sql.db import connect
from tasks.job import Job, Policy
from tasks.sync import synchronise as run
from tests.support.database import databases, dsn

__all__ = ["databases", "dsn"]

RecordProperty = Callable[[str, object], None]
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no published samples in {SAMPLES}")

QUICKBOOKS = SAMPLES / "quickbooks" / "amp-labs"
EMPTY = {
    "quickbooks": b'{"QueryResponse":{},"time":"2015-07-13T12:35:57.651-07:00"}',
    "xero": b'{"Status":"OK"}',
    "freshbooks": b'{"response":{"result":{"invoices":[],"credit_notes":[],"clients":[],"items":[],"page":1,"pages":0,"total":0}}}',
}
SAGE_INTACCT = SAMPLES / "sage_intacct" / "amp-labs"
ACCOUNTS = {
    "quickbooks": "123146096291789",
    "xero": "b0a5c0de-0000-4000-8000-00000000000f",
    "freshbooks": "ACM123",
    "sage_intacct": "Company",
}


def quickbooks(path: str, query: dict[str, list[str]]) -> Path | None:
    """The list asked for, where one was published."""
    statement = query.get("query", [""])[0]
    files = {
        "from Invoice": QUICKBOOKS / "custom-fields_invoice-read-with-custom-fields.json",
        "from Customer": QUICKBOOKS / "custom-fields_customer-read-with-custom-fields.json",
        "from Item": QUICKBOOKS / "item-read.json",
        "from SalesReceipt": QUICKBOOKS / "account-read-empty.json",
    }
    return next((file for words, file in files.items() if words.lower() in statement.lower()), None)


def xero(path: str, query: dict[str, list[str]]) -> Path | None:
    """Purchase orders stand in for invoices nobody published: the connector must not take them for sales."""
    page = query.get("page", ["1"])[0]
    if path.endswith("/Invoices"):
        return (
            SAMPLES
            / "xero"
            / "amp-labs"
            / ("purchase-orders-first.json" if page == "1" else "purchase-orders-second.json")
        )
    return SAMPLES / "xero" / "amp-labs" / "contacts.json" if path.endswith("/Contacts") else None


def freshbooks(path: str, query: dict[str, list[str]]) -> Path | None:
    """Only clients were published."""
    return (
        SAMPLES / "freshbooks" / "list_clients_response.json" if "/users/clients" in path else None
    )


def sage_intacct(kind: str) -> Path:
    """Budgets stand in for invoices nobody published: keys, ids and links, in the vendor's own envelope; other lists are empty."""
    return SAGE_INTACCT / (
        "read-budget.json" if kind.endswith("/invoice") else "unsupported-object-metadata.json"
    )


ANSWERS = {"quickbooks": quickbooks, "xero": xero, "freshbooks": freshbooks}


@contextmanager
def served(system: str) -> Iterator[str]:
    """A vendor that answers with published bytes and nothing else."""

    class Answer(BaseHTTPRequestHandler):
        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path.endswith("/query"):
                self._answer(sage_intacct(json.loads(asked)["object"]).read_bytes())
                return
            token = json.loads((SAMPLES / "freshbooks" / "auth_token_response.json").read_bytes())
            self._answer(json.dumps({**token, "expires_in": 3600, "created_at": None}).encode())

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            file = ANSWERS[system](url.path, parse_qs(url.query))
            self._answer(file.read_bytes() if file else EMPTY[system])

        def log_message(self, *arguments: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def synchronise(system: str, dsn: str) -> dict[str, int]:
    """One run from zero against the published payloads."""
    with served(system) as url:
        secret = SecretStr("x")
        vendor = Account(system, ACCOUNTS[system], url, f"{url}/token", "id", secret, secret)
        job = Job(dsn, vendor, key=Fernet.generate_key(), run_id="samples", policy=Policy())
        report = run(job)
    loaded, awarded = report.loaded, report.awarded
    assert loaded is not None and awarded is not None
    return {
        "records": loaded.records,
        "accepted": loaded.accepted,
        "rejected": loaded.rejected,
        "entries": awarded.entries,
    }


def test_quickbooks_invoice_is_rejected_by_what_it_lacks(
    dsn: str, record_property: RecordProperty
) -> None:
    counts = synchronise("quickbooks", dsn)
    record_property("counts", counts)
    assert counts == {"records": 1, "accepted": 0, "rejected": 1, "entries": 0}
    with connect(dsn) as connection:
        found = connection.execute("SELECT external_id, reason FROM billing.reject").fetchall()
        pages = connection.execute("SELECT count(*) FROM billing.raw_page").fetchone()
    assert [row[0] for row in found] == ["100"]
    for field in ("Customer external id", "Currency", "Issued", "Updated"):
        assert field in found[0][1]
    assert pages is not None
    assert pages[0] >= 4


def test_what_is_no_invoice_of_xero_never_becomes_one(
    dsn: str, record_property: RecordProperty
) -> None:
    """A page without the list of invoices breaks the contract: the run stops, the bytes are kept, nothing is stored."""
    from connectors.kit.errors import UnexpectedShape

    with pytest.raises(UnexpectedShape, match="/Invoices"):
        synchronise("xero", dsn)
    with connect(dsn) as connection:
        kept = connection.execute("SELECT stream, body_bytes FROM billing.raw_page").fetchall()
        assert connection.execute("SELECT count(*) FROM billing.invoice").fetchone() == (0,)
    size = (SAMPLES / "xero" / "amp-labs" / "purchase-orders-first.json").stat().st_size
    record_property("counts", kept)
    assert kept == [("unreadable:invoices", size)]


def test_freshbooks_clients_alone_are_no_sale(dsn: str, record_property: RecordProperty) -> None:
    counts = synchronise("freshbooks", dsn)
    record_property("counts", counts)
    assert counts == {"records": 0, "accepted": 0, "rejected": 0, "entries": 0}


def test_what_is_no_invoice_of_sage_intacct_is_rejected_by_what_it_lacks(
    dsn: str, record_property: RecordProperty
) -> None:
    counts = synchronise("sage_intacct", dsn)
    record_property("counts", counts)
    assert counts == {"records": 2, "accepted": 0, "rejected": 2, "entries": 0}
    with connect(dsn) as connection:
        found = connection.execute(
            "SELECT external_id, reason FROM billing.reject ORDER BY 1"
        ).fetchall()
    assert [row[0] for row in found] == ["1", "2"]
    for field in ("Customer external id", "Currency", "Total", "Status", "Issued", "Updated"):
        assert all(field in row[1] for row in found)
