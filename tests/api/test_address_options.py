"""What is said of an address (`--option`) on its whole way: command, HTTP API, run, ledger."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from connectors.kit.described.webhook_settings import TOPIC_HEADERS, WebhookSettings
from panel.blocks import CustomConnection
from settings import settings
from tasks.job import Job, Policy
from tasks.webhooks.listener import Pace, listen
from tasks.webhooks.process import Connections
from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.support.database import databases, dsn
from twezah.cli import app

__all__ = ["databases", "dsn"]
SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four bytes!!").decode()
SALE = {
    "id": "s1",
    "customer_phone": "923 456 789",
    "total": "150.00",
    "issued_on": "2026-01-02",
    "status": "paid",
}
Signer = Callable[[bytes], dict[str, str]]


def standard(prefix: str = "webhook-") -> Signer:
    """Headers of Standard Webhooks, by the specification."""

    def sign(body: bytes) -> dict[str, str]:
        stamp, key = str(int(time.time())), base64.b64decode(SECRET.removeprefix("whsec_"))
        message_id = "msg_" + hashlib.sha256(body).hexdigest()[:8]
        mac = hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
        parts = {
            "id": message_id,
            "timestamp": stamp,
            "signature": "v1," + base64.b64encode(mac).decode(),
        }
        return {prefix + name: value for name, value in parts.items()}

    return sign


def plain(
    header: str = "X-Webhook-Signature",
    *,
    prefix: str = "",
    encoding: str = "hex",
    stamp_header: str = "",
    **more: str,
) -> Signer:
    """One header with an HMAC-SHA256."""

    def sign(body: bytes) -> dict[str, str]:
        stamp = {stamp_header: str(int(time.time()))} if stamp_header else {}
        signed = b"".join(one.encode() + b"." for one in stamp.values()) + body
        mac = hmac.digest(SECRET.encode(), signed, hashlib.sha256)
        text = mac.hex() if encoding == "hex" else base64.b64encode(mac).decode()
        return {header: prefix + text, **stamp, **more}

    return sign


def listed(header: str) -> Signer:
    """`t=...,v1=...`."""

    def sign(body: bytes) -> dict[str, str]:
        stamp = str(int(time.time()))
        mac = hmac.digest(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
        return {header: f"t={stamp},v1={mac.hex()}"}

    return sign


@dataclass(frozen=True)
class Case:
    """Options of an address, a sale and its deletion as they are then sent."""

    options: Mapping[str, str]
    sign: Signer
    created: Any
    deleted: Any = None
    headers: tuple[Mapping[str, str], Mapping[str, str]] = field(default=({}, {}))


HMAC = {"webhook_scheme": "hmac sha256"}
CREATED = {"type": "sale.completed", "data": SALE}
DELETED = {"type": "sale.deleted", "data": {"id": "s1"}}
WORDS = json.dumps({"venda.feita": "changed", "venda.anulada": "deleted"})
CASES = {
    "webhook_scheme": Case(HMAC, plain(), CREATED, DELETED),
    "webhook_header": Case(
        {"webhook_scheme": "t and v1", "webhook_header": "X-Shop"},
        listed("X-Shop"),
        CREATED,
        DELETED,
    ),
    "webhook_encoding": Case(
        HMAC | {"webhook_encoding": "base64"}, plain(encoding="base64"), CREATED, DELETED
    ),
    "webhook_prefix": Case(
        HMAC | {"webhook_prefix": "sha256="}, plain(prefix="sha256="), CREATED, DELETED
    ),
    "webhook_timestamp_header": Case(
        HMAC | {"webhook_timestamp_header": "X-At"}, plain(stamp_header="X-At"), CREATED, DELETED
    ),
    "webhook_id_header": Case(
        HMAC | {"webhook_id_header": "X-Shop-No"},
        plain(),
        CREATED,
        DELETED,
        headers=({"X-Shop-No": "1"}, {"X-Shop-No": "2"}),
    ),
    "webhook_type_path": Case(
        {"webhook_type_path": "/evento"},
        standard(),
        {"evento": "sale.completed", "data": SALE},
        {"evento": "sale.deleted", "data": {"id": "s1"}},
    ),
    "webhook_type_header": Case(
        {"webhook_type_header": "X-Loja-Evento"},
        standard(),
        SALE,
        {"id": "s1"},
        headers=({"X-Loja-Evento": "order.created"}, {"X-Loja-Evento": "order.deleted"}),
    ),
    "webhook_data_path": Case(
        {"webhook_data_path": "/dados/doc"},
        standard(),
        {"type": "sale.completed", "dados": {"doc": SALE}},
        {"type": "sale.deleted", "dados": {"doc": {"id": "s1"}}},
    ),
    "webhook_time_path": Case(
        {"webhook_time_path": "/quando"},
        standard(),
        CREATED | {"quando": "2026-01-02T10:00:00Z"},
        # Older than the sale: taken back only where its own time is not looked at.
        DELETED | {"quando": "2026-01-01T10:00:00Z"},
    ),
    "webhook_events": Case(
        {"webhook_events": WORDS},
        standard(),
        {"type": "venda.feita", "data": SALE},
        {"type": "venda.anulada", "data": {"id": "s1"}},
    ),
}


@dataclass
class Road:
    """The command, the API and the run of one installation."""

    office: Office
    dsn: str
    key: bytes
    block: CustomConnection

    def create(self, options: Mapping[str, str]) -> str:
        """`twezah webhooks create`; the id of the address."""
        result = run_command(options)
        assert result.exit_code == 0, result.output
        return str(json.loads(result.stdout)["id"])

    def send(
        self, endpoint_id: str, body: Any, sign: Signer, headers: Mapping[str, str]
    ) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.office.post(
            endpoint_id, raw, {**sign(raw), "content-type": "application/json", **headers}
        )

    def run(self) -> None:
        """One run that ends when nothing is due."""
        connections = Connections(self._job)
        listen(self.dsn, "run-1", connections, self.key, Pace(0, 60), lambda *_: None)

    def _job(self, _name: str) -> Job:
        policy = Policy(reject_percent_max=100)
        return Job(
            self.dsn,
            self.block.connection(),
            key=self.key,
            run_id="run-1",
            policy=policy,
            pushed=True,
        )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(statement.encode()).fetchall()

    def points(self) -> dict[str, int]:
        found = self.rows(
            "SELECT external_id, sum(points)::int FROM loyalty.award_entry GROUP BY 1"
        )
        return dict(found)


def run_command(options: Mapping[str, str]) -> Result:
    """`twezah webhooks create custom --connection shop --option ...`."""
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    return CliRunner().invoke(
        app, ["webhooks", "create", "custom", "--connection", "shop", "--json", *given]
    )


@pytest.fixture
def road(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    monkeypatch.setenv("TWEZAH_HOME", str(tmp_path))
    monkeypatch.setenv("TWEZAH_DATABASE_URL", dsn)
    monkeypatch.setenv("TWEZAH_WEBHOOK_SECRET", SECRET)
    settings.cache_clear()
    block = CustomConnection(base_url="https://erp.invalid")
    block._block_document_name = "shop"
    try:
        with open_office(settings_for(tmp_path, dsn)) as office:
            yield Road(office, dsn, settings().fernet_key(), block)
    finally:
        settings.cache_clear()


@pytest.mark.parametrize("name", CASES)
def test_an_option_of_an_address_counts_for_the_api_and_the_run(road: Road, name: str) -> None:
    """A sale is awarded, and its deletion takes the points back.

    Both are read as the address says, and the block says otherwise.
    """
    case = CASES[name]
    endpoint_id = road.create(case.options)
    assert road.send(endpoint_id, case.created, case.sign, case.headers[0]).status_code == 200
    road.run()
    assert road.rows("SELECT state, reason FROM billing.webhook_event") == [("done", None)]
    assert road.points() == {"s1": 1500}
    assert road.send(endpoint_id, case.deleted, case.sign, case.headers[1]).status_code == 200
    road.run()
    if name == "webhook_time_path":
        assert road.points() == {"s1": 1500}
        return
    assert road.rows("SELECT DISTINCT state, reason FROM billing.webhook_event") == [("done", None)]
    assert road.points() == {"s1": 0}


def test_every_option_has_its_case() -> None:
    assert set(CASES) == set(WebhookSettings.model_fields)


def test_an_address_counts_before_the_block_and_the_block_for_the_rest(road: Road) -> None:
    road.block.webhook_type_path = "/nada"
    road.block.webhook_data_path = "/dados"
    endpoint_id = road.create({"webhook_type_path": "/evento"})
    assert (
        road.send(
            endpoint_id, {"evento": "sale.completed", "dados": SALE}, standard(), {}
        ).status_code
        == 200
    )
    road.run()
    assert road.points() == {"s1": 1500}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"webhook_tpye_path": "/x"}, "there is no option webhook_tpye_path"),
        ({"webhook_events": "venda.feita=changed"}, "is not valid JSON"),
        ({"webhook_events": '{"venda.feita": "maybe"}'}, "webhook_events"),
        ({"webhook_type_path": "evento"}, "a path starts with a slash"),
    ],
)
def test_an_option_that_cannot_work_is_refused_at_once(
    road: Road, options: Mapping[str, str], said: str
) -> None:
    result = run_command(options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
    assert road.rows("SELECT count(*) FROM billing.webhook_endpoint") == [(0,)]


def test_svix_headers(road: Road) -> None:
    endpoint_id = road.create({})
    sign = standard("svix-")
    assert road.send(endpoint_id, CREATED, sign, {}).status_code == 200
    assert road.rows("SELECT dedup_key FROM billing.webhook_event")[0][0].startswith("id:msg_")
    # A copy with an id of somebody's own is no new message.
    assert road.send(endpoint_id, CREATED, sign, {"webhook-id": "msg_other"}).status_code == 401
    road.run()
    assert road.points() == {"s1": 1500}


@pytest.mark.parametrize("header", TOPIC_HEADERS)
def test_a_usual_header_names_the_event_where_the_body_does_not(road: Road, header: str) -> None:
    """Nothing is said of it anywhere; a document may have a type of its own."""
    endpoint_id = road.create(HMAC)
    assert (
        road.send(
            endpoint_id, {**SALE, "type": "FT"}, plain(), {header: "orders/create"}
        ).status_code
        == 200
    )
    road.run()
    assert road.points() == {"s1": 1500}
    assert (
        road.send(endpoint_id, {"id": "s1"}, plain(), {header: "orders/delete"}).status_code == 200
    )
    road.run()
    assert road.points() == {"s1": 0}


def test_a_shops_ping_is_answered_and_kept_out_of_the_queue(road: Road) -> None:
    endpoint_id = road.create(
        HMAC | {"webhook_header": "X-WC-Webhook-Signature", "webhook_encoding": "base64"}
    )
    form = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}
    assert road.office.post(endpoint_id, b"webhook_id=17", form).status_code == 200
    refused: list[tuple[bytes, Mapping[str, str]]] = [
        (b"webhook_id=17&id=s1", form),
        (b"webhook_id=" + b"9" * 21, form),
        (b"webhook_id=x", form),
        (b"webhook_id=17\n", form),
        (b"webhook_id=17", {"content-type": "application/json"}),
        (b"webhook_id=17", {**form, "X-WC-Webhook-Signature": "bm8="}),
        (json.dumps(CREATED).encode(), form),
    ]
    for body, headers in refused:
        assert road.office.post(endpoint_id, body, headers).status_code == 401, body
    assert road.rows("SELECT count(*) FROM billing.webhook_event") == [(0,)]
    # Signed, it is about nothing as well.
    sign = plain("X-WC-Webhook-Signature", encoding="base64")
    assert road.send(endpoint_id, b"webhook_id=17", sign, form).status_code == 200
    assert road.rows("SELECT count(*) FROM billing.webhook_event") == [(0,)]


def test_pings_are_bounded_like_everything_that_proves_nothing(road: Road) -> None:
    endpoint_id = road.create(HMAC)
    form = {"content-type": "application/x-www-form-urlencoded"}
    statuses = {
        road.office.post(endpoint_id, b"webhook_id=17", form).status_code for _ in range(80)
    }
    assert statuses == {200, 429}
