"""A whole synchronisation without Prefect: the simulated vendor in process, the real database."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import stamina
from cryptography.fernet import Fernet

import simulator
from connectors.kit.http.client import Client, open_client
from connectors.kit.http.responses import Call
from connectors.kit.spec import Account, ConnectorSpec
from sql.db import connect
from tasks.award.members import Awarded
from tasks.extract.pages import Extracted
from tasks.job import Job, Policy
from tasks.load.invoices import Loaded
from tasks.sync import synchronise
from tests.support.database import databases, with_older_rules
from tests.support.database import emptied as dsn
from tests.support.systems import ENCRYPTED
from tests.support.vendors import credentials, token_path

__all__ = ["databases", "dsn"]

#: The cursor is the clock's: the simulated past must lie behind it.
START = datetime.now(UTC) - timedelta(days=30)
TABLES = (
    "billing.sync_run", "billing.raw_page", "billing.invoice", "billing.invoice_line", "billing.reject", "billing.sync_cursor",
    "billing.customer", "billing.item", "loyalty.member", "loyalty.member_dirty", "loyalty.award_entry",
)  # fmt: skip


@dataclass
class Shop:
    """One simulated world, one ledger, and the synchronisations between them."""

    dsn: str
    world: simulator.World
    key: bytes = field(default_factory=Fernet.generate_key)
    before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    requests: list[httpx.Request] = field(default_factory=list)
    netsuite_login: str = "token_based"

    def job(
        self,
        system: str,
        *,
        page_size: int | None = 40,
        policy: Policy | None = None,
        paths: dict[str, str] | None = None,
        **request: Any,
    ) -> Job:
        """A synchronisation of `system`; `request` is since, until, dry_run."""
        origin = "https://" if system in ENCRYPTED else "http://"
        vendor = Account(
            system, simulator.ACCOUNTS[system], f"{origin}{system}.test", f"{origin}{system}.test{token_path(system)}",
            page_size=page_size, paths=paths or {}, **credentials(self.world, system, login=self.netsuite_login),
        )  # fmt: skip
        serve = simulator.handler(self.world, system)

        def answer(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return self.before(request) or serve(request)

        def opened(
            vendor: Account, spec: ConnectorSpec, tokens: Any, on_call: Callable[[Call], None]
        ) -> AbstractContextManager[Client]:
            # No test waits for the next minute of a vendor whose every document is a call.
            windows = tuple((count * 1000, seconds) for count, seconds in spec.rate.windows)
            quick = replace(spec, rate=replace(spec.rate, windows=windows))
            return open_client(
                vendor, quick, tokens, transport=httpx.MockTransport(answer), on_call=on_call
            )

        return Job(
            self.dsn,
            vendor,
            key=self.key,
            run_id="test",
            policy=policy,
            open_vendor=opened,
            **request,
        )

    def sync(self, system: str, **request: Any) -> tuple[Extracted, Loaded, Awarded]:
        """Runs the three steps."""
        return run(self.job(system, **request))

    def points(self) -> dict[tuple[str, str], int]:
        """Points posted per (system, external_id), the zeros left out."""
        with connect(self.dsn) as connection:
            rows = connection.execute(
                "SELECT system, external_id, sum(points)::bigint FROM loyalty.award_entry GROUP BY 1, 2 HAVING sum(points) <> 0"
            ).fetchall()
        return {(system, external_id): points for system, external_id, points in rows}

    def ledger(self) -> list[tuple[Any, ...]]:
        """Sum per sale and member's phone, in order: what must be the same whatever happened on the way."""
        with connect(self.dsn) as connection:
            return connection.execute(
                "SELECT system, account, external_id, phone, sum(points)::bigint FROM loyalty.award_entry JOIN loyalty.member "
                "USING (member_id) GROUP BY 1, 2, 3, 4 HAVING sum(points) <> 0 ORDER BY 1, 2, 3, 4"
            ).fetchall()

    def counts(self) -> dict[str, int]:
        """Rows per table."""
        with connect(self.dsn) as connection:
            found = {
                name: connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()
                for name in TABLES
            }
        return {name: row[0] for name, row in found.items() if row}


def run(job: Job) -> tuple[Extracted, Loaded, Awarded]:
    """One synchronisation on the product's own road."""
    report = synchronise(job)
    assert report.extracted is not None and report.loaded is not None and report.awarded is not None
    return report.extracted, report.loaded, report.awarded


def expected(world: simulator.World, *systems: str) -> dict[tuple[str, str], int]:
    """What the ledger should say, computed from the oracle in plain arithmetic: ten points per unit, everybody Lead."""
    due = {}
    for row in world.truth():
        if row.system not in systems or row.status in ("draft", "void") or row.phone_e164 is None:
            continue
        points = int((Decimal(row.total) - Decimal(row.refunded)) * 10)
        if points:
            due[row.system, row.external_id] = (
                -points if row.kind in ("credit_note", "refund") else points
            )
    return due


@pytest.fixture
def shop(dsn: str, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A small world; retries do not wait."""
    world = simulator.World(
        seed=11, customers=40, invoices=90, start=START, systems=systems_of(request)
    )
    with_older_rules(dsn)
    with stamina.set_testing(True, attempts=8):
        yield Shop(dsn, world)


def systems_of(request: pytest.FixtureRequest) -> Collection[str]:
    """The systems whose past a test needs: its parameter `system`, or that of its file, else all.

    To live through the past of all of them takes longer than most synchronisations.
    """
    parameters = getattr(request.node, "callspec", None)
    named = (
        parameters.params.get("system") if parameters else None,
        request.path.stem.removeprefix("test_"),
    )
    return next(((name,) for name in named if name in simulator.SYSTEMS), simulator.SYSTEMS)
