"""The product's own way from billing system to ledger: the one place where the fuzz calls it."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import polars as pl
import psycopg
from cryptography.fernet import Fernet
from pydantic import SecretStr

import tasks.award.members
import tasks.extract.mapper
import tasks.extract.pages
import tasks.load.invoices
import tasks.webhooks.documents
from connectors.kit.http.client import Client, Timing, open_client
from connectors.kit.http.responses import Call
from connectors.kit.mapping import Mapped
from connectors.kit.mapping.frames import DELETION
from connectors.kit.read.fetch import FirstLook
from connectors.kit.spec import Account, ConnectorSpec, Stream, Window
from expectations import FAILED, Report
from loyalty.schema import INVOICE, PROBLEM
from sql import redemptions
from sql import webhooks as stored
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.sync import StoredPage
from sql.webhooks import NewEvent
from tasks.award.members import Awarded, award_members
from tasks.extract.batch import MappedBatch
from tasks.job import Job, Policy
from tasks.load.invoices import Loaded
from tasks.run_database import RunDatabase
from tasks.sync import award as award_step
from tasks.sync import load as load_step
from tasks.sync import read
from tasks.webhooks.process import Connections, process
from tests.fuzz.events import Settle, Spend
from tests.fuzz.faults import ProcessKilledError, Worker
from tests.fuzz.oracle import DIGITS
from tests.fuzz.vendor import PAGE_SIZE, Vendor

KEY = Fernet.generate_key()
#: How often a task is tried, as in production.
ATTEMPTS = 4
T = TypeVar("T")
#: None of a world's rejects is one too many.
POLICY = Policy(reject_percent_max=100)


@dataclass(frozen=True)
class Run:
    """What a synchronisation did. `resumed`: it went on with an interrupted one, without news."""

    loaded: Loaded
    awarded: Awarded
    resumed: bool


def synchronise(job: Job) -> Run:
    """One synchronisation, step by step: each is tried again as Prefect tries its task again."""
    with job.scope():
        extracted = read(job)
        with closing(extracted):
            loaded = _patiently(lambda: load_step.fn(job, extracted))
        awarded = _patiently(lambda: award_step.fn(job, extracted.sync_id))
        return Run(loaded, awarded, extracted.resumed)


def job_of(
    worker: Worker, account: str, vendor: Vendor, clock: Callable[[], datetime], **request: Any
) -> Job:
    """A run of its own on an account."""
    connection = Account(
        "custom", account, "https://erp.test", "", default_currency="AOA", page_size=PAGE_SIZE,
        paths={"kind": "/kind"}, secrets={"api_key": SecretStr("key")}, name=account,
    )  # fmt: skip

    def opened(
        asked: Account, spec: ConnectorSpec, tokens: Any, on_call: Callable[[Call], None]
    ) -> AbstractContextManager[Client]:
        transport = httpx.MockTransport(vendor.answer)
        timing = Timing(sleep=lambda _: None, now=clock)
        return open_client(asked, spec, tokens, transport=transport, on_call=on_call, timing=timing)

    run_id = f"run {worker.exchanges}"
    return Job(
        worker.dsn, connection, key=KEY, run_id=run_id, policy=POLICY, open_vendor=opened, **request
    )


def award(worker: Worker) -> Awarded:
    """The points of whoever waits."""
    return _patiently(lambda: award_members(RunDatabase(worker.dsn, "run"), None))


def spend(worker: Worker, member: int, step: Spend) -> redemptions.Spent:
    """Points spent or held, as the API does it."""
    asked = redemptions.RedemptionRequest(
        member_id=member, points=step.points, reference="reward", reason="fuzz",
        hold_seconds=86_400 if step.held else None, key=step.key.replace(" ", "-"),
    )  # fmt: skip
    with connect(worker.dsn) as connection:
        done = redemptions.redeem(connection, asked, "fuzz")
        connection.commit()
        return done


def settle(worker: Worker, member: int, redemption_id: int, step: Settle) -> redemptions.Spent:
    """What was spent or held is confirmed, cancelled or given back, as the API does it."""
    key = f"{step.key}-{step.how}".replace(" ", "-")
    with connect(worker.dsn) as connection:
        if step.how == "confirm":
            done = redemptions.confirm(connection, member, redemption_id, key, "fuzz")
        elif step.how == "cancel":
            done = redemptions.cancel(connection, member, redemption_id, key, None, "fuzz")
        else:
            done = redemptions.reverse(connection, member, redemption_id, key, "fuzz", "fuzz")
        connection.commit()
        return done


def receive(dsn: str, endpoint_no: int, key: str, event: dict[str, Any]) -> bool:
    """Stores a delivery before it is acknowledged; whether it was new."""
    body, now = json.dumps(event).encode(), datetime.now(UTC)
    delivery = NewEvent(endpoint_no, key, event["type"], {}, body, None, now)
    with connect(dsn) as connection:
        number = stored.store_event(connection, delivery)
        connection.commit()
    return number is not None


def endpoint(dsn: str, account: str) -> int:
    """An address for the webhooks of an account."""
    with connect(dsn) as connection:
        made = create_endpoint(connection, NewEndpoint("custom", account))
        connection.commit()
    return made.endpoint_no


def work_off(worker: Worker, open_job: Callable[[str], Job]) -> int:
    """Claims the deliveries that are due, and brings them into the ledger; returns how many."""
    run_id = "webhooks"
    with connect(worker.dsn) as connection:
        claimed = stored.claim_events(connection, 100, run_id=run_id, lease_seconds=0)
        connection.commit()
    for number in {one.endpoint_no for one in claimed}:
        own = [one for one in claimed if one.endpoint_no == number]
        process(Connections(open_job), worker.dsn, run_id, own, KEY)
    return len(claimed)


def _patiently(do: Callable[[], T]) -> T:
    """As tasks are tried again where the database failed; nothing runs on in a killed process."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return do()
        except ProcessKilledError:
            raise
        except psycopg.OperationalError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError


@contextmanager
def abridged(clock: Callable[[], datetime], *, whole: bool) -> Iterator[None]:
    """Our clock is the world's. Unless `whole`, two things that cost most are replaced.

    Mapping (a plain one in place of that for any system) and Great Expectations (every document of
    this world is plausible): both have tests of their own, and take four fifths of the time.
    """

    class Now(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock().astimezone(tz)

    replaced: list[tuple[Any, str, Any]] = [(tasks.extract.pages, "datetime", Now)]
    if not whole:
        replaced += [
            (tasks.extract.mapper, "map_batch", _mapped),
            (tasks.load.invoices, "validate_each", _each_plausible),
            (tasks.award.members, "validate_awards", _plausible),
            (tasks.webhooks.documents, "first_look", _first_look),
        ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    for module, name, value in replaced:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _plausible(frame: pl.DataFrame, **_: Any) -> Report:
    return Report(frame.height, FAILED.to_frame(), ())


def _each_plausible(frames: list[pl.DataFrame]) -> list[Report]:
    return [_plausible(frame) for frame in frames]


def _first_look(*args: Any) -> FirstLook:
    record = json.loads(args[3])
    return FirstLook(record["id"], by_number=False, whole="total" in record, dated=True)


def _mapped(
    _spec: ConnectorSpec, vendor: Account, stream: Stream, window: Window, pages: list[StoredPage]
) -> MappedBatch:
    """What the mapping makes of these pages, for this world's documents alone."""
    rows, problems, gone, count = [], [], [], 0
    for page in pages:
        for number, one in enumerate(json.loads(page.body())["data"]):
            count += 1
            changed = _instant(one["updated_at"])
            if window.since is not None and changed < window.since:
                continue
            if "deleted_at" in one:
                gone.append((one["id"], _instant(one["deleted_at"]), page.page_id))
                continue
            digits = DIGITS[one["currency"]]
            rows.append(
                {
                    "system": "custom", "account": vendor.account, "external_id": one["id"],
                    "invoice_number": one["number"], "kind": one["kind"],
                    "currency": one["currency"],
                    "customer_phone": one.get("customer_phone"), "status": one["status"],
                    "total_minor": _minor(one["total"], digits), "updated_at": changed,
                    "amount_refunded_minor": _minor(one["amount_refunded"], digits),
                    "issued_at": _instant(one["issued_at"]), "page_id": page.page_id,
                    "record_no": number,
                    "time_known": True,
                    "original_external_id": one.get("original_invoice"),
                }
            )  # fmt: skip
            if "customer_phone" not in one and one["status"] not in ("draft", "void"):
                problems.append(
                    {"page_id": page.page_id, "record_no": number, "field": "customer_phone",
                     "path": "/customer_phone", "reason": "missing", "example": None}
                )  # fmt: skip
    mapped = Mapped(
        pl.DataFrame(rows, schema=INVOICE) if rows else INVOICE.to_frame(),
        Mapped.empty().lines,
        pl.DataFrame(problems, schema=PROBLEM) if problems else PROBLEM.to_frame(),
        pl.DataFrame(gone, schema=DELETION, orient="row"),
        count,
    )
    return MappedBatch(stream.name, mapped, {})


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _minor(text: str, digits: int) -> int:
    whole, _, part = text.partition(".")
    return int(whole) * 10**digits + int(part or 0)


def as_event(record: dict[str, Any]) -> dict[str, Any]:
    """The webhook that announces a version of a document."""
    what = "deleted" if "deleted_at" in record else "updated"
    return {"type": f"invoice.{what}", "timestamp": record["updated_at"], "data": record}
