"""The product itself as a contestant: pages from memory through the connector, validation and points into the ledger.

Everything a synchronisation does except Prefect's own calls (about a second per run, whatever its
size) and the network: token, requests, retries, raw pages stored, mapping, Great Expectations, one
store transaction, points, award entries.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
from cryptography.fernet import Fernet
from pydantic import SecretStr

from benchmarks.harness import PagesFactory
from connectors import SYSTEMS
from connectors.kit.http.client import Client, open_client
from connectors.kit.http.responses import Call
from connectors.kit.spec import Account, ConnectorSpec, RateLimit
from expectations import preload
from sql.migrate import migrate
from tasks.extract.bulk.map_process import prepare_run
from tasks.job import Job
from tasks.sync import synchronise

DATABASE = "bench_ledger"
TOKEN = b'{"access_token":"a","refresh_token":"r","expires_in":1800,"token_type":"Bearer"}'
#: Pages kept, should the reader look at them again.
_LATEST_MAX = 3
EMPTY = b'{"Status":"OK","pagination":{"page":1,"pageSize":100,"pageCount":0,"itemCount":0},"CreditNotes":[]}'
JSON = {"content-type": "application/json"}


def run(factory: PagesFactory, dsn: str) -> float:
    """Synchronises once from zero in a fresh database; returns the seconds of the three steps."""
    prepare_run()  # as a warm worker does for every run
    own = fresh_database(dsn)
    preload()
    job = memory_job(factory, own)
    started = time.perf_counter()
    report = synchronise(job)
    seconds = time.perf_counter() - started
    print("   ", {name: round(spent, 2) for name, spent in report.seconds.items()}, file=sys.stderr)
    counts = report.summary()
    invoices = json.loads(next(factory()))["pagination"]["itemCount"]
    _check(own, invoices, counts)
    return seconds


def fresh_database(dsn: str) -> str:
    """An empty, migrated database on the server of `dsn`; returns its URL."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    own = urlunsplit(urlsplit(dsn)._replace(path=f"/{DATABASE}"))
    migrate(own)
    return own


def memory_job(factory: PagesFactory, dsn: str) -> Job:
    """A Xero synchronisation whose vendor answers from memory, without rate limits."""
    vendor = Account(
        "xero",
        "b0a5c0de-0000-4000-8000-000000000001",
        "http://127.0.0.1:9",
        "http://127.0.0.1:9/token",
        "id",
        SecretStr("secret"),
        SecretStr("seed"),
    )
    pages = _NumberedPages(factory())

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return httpx.Response(200, content=TOKEN, headers=JSON)
        return httpx.Response(200, content=_body(request, pages), headers=JSON)

    def opened(
        vendor: Account, spec: ConnectorSpec, tokens: Any, on_call: Callable[[Call], None]
    ) -> AbstractContextManager[Client]:
        return open_client(
            vendor, spec, tokens, transport=httpx.MockTransport(answer), on_call=on_call
        )

    job = Job(dsn, vendor, key=Fernet.generate_key(), run_id="benchmark", open_vendor=opened)
    job.spec = replace(SYSTEMS["xero"], rate=RateLimit(windows=(), concurrency=5))
    return job


class _NumberedPages:
    """The pages by their number; the latest ones again, for a reader who looks whether they moved."""

    def __init__(self, pages: Iterator[bytes]) -> None:
        self._pages = pages
        self._latest: dict[int, bytes] = {}
        self._count = 0

    def __getitem__(self, number: int) -> bytes:
        while self._count < number:
            self._count += 1
            self._latest[self._count] = next(self._pages)
            self._latest.pop(self._count - _LATEST_MAX, None)
        return self._latest[number]


def _body(request: httpx.Request, pages: _NumberedPages) -> bytes:
    if not request.url.path.endswith("/Invoices"):
        return EMPTY
    return pages[int(request.url.params["page"])]


def _check(dsn: str, invoices: int, counts: Mapping[str, Any]) -> None:
    """A fast wrong answer is not an answer."""
    records, new, entries = (counts[name] for name in ("fetched", "new", "entries"))
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM billing.invoice), (SELECT count(*) FROM billing.invoice_line),"
            " (SELECT count(*) FROM loyalty.award_entry), (SELECT count(*) FROM loyalty.member_dirty)"
        ).fetchone()
    if (
        row is None
        or row[:4] != (invoices, 2 * invoices, entries, 0)
        or new != invoices
        or records < invoices  # a page may be read twice, to see whether the list moved
        or not entries
    ):
        message = (
            f"wrong counts in the ledger: {row}, {records} records, {new} new, {entries} entries"
        )
        raise RuntimeError(message)
