"""Systems that exist only here, described by options alone, through the whole synchronisation."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import stamina
from cryptography.fernet import Fernet
from pydantic import SecretStr

import simulator
from connectors.kit.described.api import SinceFormat, since_value
from connectors.kit.errors import (
    CredentialsRejected,
    Misconfigured,
    PaginationLoop,
    PermissionMissing,
    UnexpectedShape,
)
from connectors.kit.http.client import Client, open_client
from connectors.kit.http.responses import Call
from connectors.kit.spec import Account, ConnectorSpec
from sql.db import connect
from tasks.job import Job
from tasks.load.invoices import TooManyRejectsError
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import Shop, expected, run

__all__ = ["databases", "dsn"]
KEY = Fernet.generate_key()
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4):
        yield


def connection(options: dict[str, Any], **more: Any) -> Account:
    given = {"account": "loja", "base_url": "https://erp.test/api/v1", "default_currency": "AOA"}
    secrets = {"api_key": SecretStr("k3y-of-the-shop"), "password": SecretStr("p4ssword")}
    return Account("custom", options=options, secrets=secrets, **{**given, **more})


def job(dsn: str, vendor: Account, answer: Answer, **request: Any) -> Job:
    def opened(
        vendor: Account, spec: ConnectorSpec, tokens: Any, on_call: Callable[[Call], None]
    ) -> AbstractContextManager[Client]:
        return open_client(
            vendor, spec, tokens, transport=httpx.MockTransport(answer), on_call=on_call
        )

    return Job(dsn, vendor, key=KEY, run_id="test", open_vendor=opened, **request)


def sales(dsn: str) -> dict[str, int]:
    with connect(dsn) as opened:
        rows = opened.execute(
            "SELECT external_id, sum(points)::bigint FROM loyalty.award_entry WHERE system = 'custom' GROUP BY 1 HAVING sum(points) <> 0"
        ).fetchall()
    return dict(rows)


def stored(dsn: str) -> list[tuple[Any, ...]]:
    with connect(dsn) as opened:
        return opened.execute(
            "SELECT account, external_id, kind, status, total_minor, to_char(issued_at, 'YYYY-MM-DD HH24:MI') FROM billing.invoice ORDER BY 2"
        ).fetchall()


# A Portuguese ERP: POST with a JSON body, page numbers in it, /Date(ms)/, decimal commas, words of
# its own, phones of customers elsewhere, credit notes in the same list.
ERP_OPTIONS = {
    "path": "/documentos/pesquisa",
    "method": "POST",
    "authentication": "api key",
    "api_key_header": "X-Chave",
    "params": {},
    "body": {"filtro": {"serie": "A"}, "ordem": "id"},
    "records": "/resultado/documentos",
    "since_param": "/filtro/alteradoDesde",
    "since_format": "date",
    "paging": "page number",
    "page_param": "/pagina/numero",
    "first_page": 0,
    "size_param": "/pagina/tamanho",
    "pages_path": "/resultado/paginas",
    "lines": "/artigos",
    "deleted_path": "/anulado",
    "statuses": {"Emitida": "open", "Liquidada": "paid", "Rascunho": "draft"},
    "document_types": {"FT": "invoice", "NC": "credit_note"},
    "amounts": "decimal comma",
    "customer_path": "/clientes/{id}",
    "customer_id_path": "/codigo",
    "customer_phone_path": "/contactos/telemovel",
}
ERP_PATHS = {
    "external_id": "/numero",
    "invoice_number": "/numero",
    "kind": "/tipo",
    "customer_external_id": "/cliente",
    "customer_phone": "/telefone",
    "total_minor": "/valores/total",
    "tax_minor": "/valores/iva",
    "status": "/estado",
    "issued_at": "/data",
    "updated_at": "/alterado",
    "lines.sku": "/codigo",
    "lines.name": "/designacao",
    "lines.quantity": "/qtd",
    "lines.amount_minor": "/valor",
}
#: 2026-05-01 09:30 UTC.
MAY_1 = "/Date(1777627800000)/"


def document(number: int, total: str, **more: Any) -> dict[str, Any]:
    line = {"codigo": "ATW-5L", "designacao": "Água", "qtd": "3", "valor": total}
    return {
        "numero": f"FT A/{number}", "tipo": "FT", "cliente": f"C{number % 2}", "valores": {"total": total, "iva": "0,00"},
        "estado": "Emitida", "data": MAY_1, "alterado": MAY_1, "artigos": [line], **more,
    }  # fmt: skip


class Erp:
    """The made-up ERP."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.documents = documents
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["x-chave"] == "k3y-of-the-shop"
        assert "authorization" not in request.headers
        if request.url.path.startswith("/api/v1/clientes/"):
            key = request.url.path.rpartition("/")[2]
            phones = {"C0": "923 456 780", "C1": "+244 923 456 781"}
            if key not in phones:
                return httpx.Response(404)
            return httpx.Response(
                200, json={"codigo": key, "contactos": {"telemovel": phones[key]}}
            )
        assert (request.method, request.url.path) == ("POST", "/api/v1/documentos/pesquisa")
        body = json.loads(request.content)
        self.asked.append(body)
        number, size = body["pagina"]["numero"], body["pagina"]["tamanho"]
        shown = self.documents[number * size : (number + 1) * size]
        pages = -(-len(self.documents) // size)
        return httpx.Response(200, json={"resultado": {"documentos": shown, "paginas": pages}})


def erp_connection() -> Account:
    return connection(ERP_OPTIONS, paths=ERP_PATHS, page_size=2, timezone="Africa/Luanda")


def test_a_portuguese_erp(dsn: str) -> None:
    erp = Erp(
        [
            document(1, "1.234,56"),
            document(2, "150,00", estado="Liquidada"),
            document(3, "99", estado="Rascunho"),
            document(4, "50,00", numero="NC A/4", tipo="NC"),
            document(5, "10,00", estado="Suspensa"),
        ]
    )
    _, loaded, _ = run(job(dsn, erp_connection(), erp))
    assert stored(dsn) == [
        ("loja", "FT A/1", "invoice", "open", 123456, "2026-05-01 09:30"),
        ("loja", "FT A/2", "invoice", "paid", 15000, "2026-05-01 09:30"),
        ("loja", "FT A/3", "invoice", "draft", 9900, "2026-05-01 09:30"),
        ("loja", "NC A/4", "credit_note", "open", 5000, "2026-05-01 09:30"),
    ]
    assert sales(dsn) == {"FT A/1": 12345, "FT A/2": 1500 - 500}  # the credit is of its sale
    assert dict(loaded.reasons) == {"Status, looked for at /estado: is a value not known here": 1}
    # Pages of two are too small to overlap: the one before is looked at again.
    assert [body["pagina"] for body in erp.asked] == [
        {"numero": n, "tamanho": 2} for n in (0, 1, 0, 2, 1)
    ]
    assert all(body["filtro"] == {"serie": "A"} for body in erp.asked)  # first time: everything

    # An edit, and a deletion; the next run asks for changes since the day before.
    erp.asked.clear()
    erp.documents[0] = document(1, "1.000,00", alterado="/Date(4102444800000)/")
    erp.documents[1] = document(2, "150,00", anulado=True, alterado="/Date(4102444800000)/")
    run(job(dsn, erp_connection(), erp))
    assert sales(dsn) == {"FT A/1": 10000}  # and the credit of what is void takes nothing more
    assert len(erp.asked[0]["filtro"]["alteradoDesde"]) == len("2026-05-01")


# A shop's API in the style of GitHub: bare arrays, Link headers, minor units, seconds since 1970.
HUB_OPTIONS = {
    "path": "/orders",
    "authentication": "basic",
    "username": "twezah",
    "params": {"state": "all"},
    "headers": {"X-Shop": "7"},
    "records": "",
    "since_param": "since",
    "since_format": "unix seconds",
    "paging": "link header",
    "size_param": "per_page",
    "amounts": "minor units",
    "lines": "/line_items",
    "statuses": {"placed": "open", "fulfilled": "paid"},
}
HUB_PATHS = {
    "customer_phone": "/buyer/msisdn",
    "total_minor": "/amount_total",
    "status": "/state",
    "issued_at": "/placed",
    "updated_at": "/touched",
    "lines.unit_price": "/unit_amount",
}


def order(number: int, total: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "buyer": {"msisdn": 244923456789}, "currency": "AOA", "amount_total": total, "state": "placed",
        "placed": 1777627800, "touched": 1777627800.25 + number, "line_items": [{"sku": "ATW-5L", "quantity": 3, "unit_amount": 5000}], **more,
    }  # fmt: skip


class Hub:
    """The made-up shop; `link` is how it names the next page."""

    def __init__(
        self, orders: list[dict[str, Any]], link: str = "https://erp.test/api/v1/orders?{query}"
    ) -> None:
        self.orders, self.link = orders, link
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Basic dHdlemFoOnA0c3N3b3Jk"
        assert request.headers["x-shop"] == "7"
        assert request.url.path == "/api/v1/orders"
        self.asked.append(request)
        page, size = int(request.url.params.get("page", 1)), int(request.url.params["per_page"])
        shown = self.orders[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(self.orders):
            query = f"state=all&per_page={size}&page={page + 1}"
            url = self.link.format(query=query)
            headers["link"] = (
                f'<https://erp.test/api/v1/orders?page=1>; rel="first", <{url}>; rel="next"; title="a,b"'
            )
        return httpx.Response(200, json=shown, headers=headers)


@pytest.mark.parametrize(
    "link",
    [
        "https://erp.test/api/v1/orders?{query}",
        "/api/v1/orders?{query}",
        "?{query}",
        "orders?{query}",
    ],
)
def test_a_shop_with_link_headers_and_minor_units(dsn: str, link: str) -> None:
    hub = Hub([order(1, 15000), order(2, 250, state="fulfilled"), order(3, 1)], link)
    run(job(dsn, connection(HUB_OPTIONS, paths=HUB_PATHS, page_size=1), hub))
    assert [(row[1], row[3], row[4]) for row in stored(dsn)] == [
        ("1", "open", 15000),
        ("2", "paid", 250),
        ("3", "open", 1),
    ]
    assert sales(dsn) == {"1": 1500, "2": 25}
    # An address with a page number: the page before is looked at again.
    assert [request.url.params.get("page") for request in hub.asked] == [None, "2", None, "3", "2"]
    run(job(dsn, connection(HUB_OPTIONS, paths=HUB_PATHS, page_size=1), hub))
    assert [request.url.params.get("since", "").isdigit() for request in hub.asked[:6]] == [
        False
    ] * 5 + [True]
    assert sales(dsn) == {"1": 1500, "2": 25}
    with connect(dsn) as opened:
        prices = opened.execute("SELECT DISTINCT unit_price FROM billing.invoice_line").fetchall()
    assert [str(price.normalize()) for (price,) in prices] == ["5E+1"]


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("https://evil.test/api/v1/orders?{query}", "on another server"),
        ("http://evil.test/api/v1/orders?{query}", "on another server"),
        ("http://erp.test:8080/api/v1/orders?{query}", "on another server"),
        ("https://erp.test:444/api/v1/orders?{query}", "on another server"),
        ("https://user:pw@erp.test/api/v1/orders?{query}", "on another server"),
        ("//evil.test/orders?{query}", "on another server"),
        ("https://erp.test/admin?{query}", "below the base URL"),
        ("https://erp.test/api/v1/../../admin?{query}", "below the base URL"),
    ],
)
def test_a_next_page_elsewhere_is_not_followed(dsn: str, link: str, said: str) -> None:
    """Credentials go with every request."""
    hub = Hub([order(1, 15000), order(2, 250)], link)
    with pytest.raises(UnexpectedShape, match=said):
        run(job(dsn, connection(HUB_OPTIONS, paths=HUB_PATHS, page_size=1), hub))
    assert len(hub.asked) == 1


def test_offset_paging_goes_on_until_an_empty_page(dsn: str) -> None:
    """A server that gives less than asked for has not ended, unless it says how many there are."""
    rows = [
        {"id": n, "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
        for n in range(5)
    ]
    asked: list[httpx.QueryParams] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params)
        start = int(request.url.params["skip"])
        return httpx.Response(200, json={"items": rows[start : start + 2], "count": 5})

    options = {
        "paging": "offset",
        "page_param": "skip",
        "records": "/items",
        "params": {},
        "more_path": "",
    }
    run(job(dsn, connection(options), answer))
    assert [params["skip"] for params in asked] == [
        "0",
        "1",
        "2",
        "3",
        "4",
    ]  # each begins with the last one read
    assert len(sales(dsn)) == 5
    asked.clear()
    run(job(dsn, connection(options | {"total_path": "/count"}), answer))
    assert [params["skip"] for params in asked] == ["0", "1", "2", "3"]


def test_page_numbers_end_at_the_total_where_a_page_too_many_is_an_error(dsn: str) -> None:
    rows = [
        {"id": n, "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
        for n in range(5)
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params["page"])
        if page > 3:
            return httpx.Response(404, json={"detail": "Invalid page."})
        return httpx.Response(200, json={"results": rows[page * 2 - 2 : page * 2], "count": 5})

    options = {
        "paging": "page number",
        "records": "/results",
        "total_path": "/count",
        "more_path": "",
    }
    run(job(dsn, connection(options), answer))
    assert len(sales(dsn)) == 5


def test_a_key_in_the_query_is_neither_stored_nor_told(dsn: str) -> None:
    """And it goes to pages whose address the server names."""
    row = {"id": 1, "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
    asked: list[httpx.QueryParams] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params)
        assert request.url.params["chave"] == "k3y-of-the-shop"
        if len(asked) == 2:
            return httpx.Response(403)
        return httpx.Response(200, json={"data": [row], "next": "/api/v1/invoices?p=2"})

    options = {
        "authentication": "api key in the query",
        "api_key_param": "chave",
        "paging": "next link in the body",
        "next_path": "/next",
    }
    with pytest.raises(PermissionMissing) as refused:
        run(job(dsn, connection(options), answer))
    assert asked[1]["p"] == "2"
    with connect(dsn) as opened:
        kept = str(opened.execute("SELECT request, next_request FROM billing.raw_page").fetchall())
    assert "k3y-of-the-shop" not in kept + str(refused.value)


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ("date", "2026-04-30"),
        ("date and time", "2026-05-01 01:30:00"),
        ("unix seconds", 1777595400),
        ("unix milliseconds", 1777595400000),
    ],
)
def test_how_the_lower_bound_is_written(form: SinceFormat, asked: str | int) -> None:
    assert since_value(datetime(2026, 5, 1, 0, 30, tzinfo=UTC), form, "Africa/Luanda") == asked


def test_too_many_rejects_name_the_block_of_the_account(dsn: str) -> None:
    rows = [{"id": n, "customer_phone": "923456789", "total": "?"} for n in range(60)]
    with pytest.raises(TooManyRejectsError, match="in block 'loja-do-sul'"):
        run(
            job(
                dsn,
                connection({}, name="loja-do-sul"),
                lambda _: httpx.Response(200, json={"data": rows}),
            )
        )


def test_next_link_in_the_body_and_an_interrupted_read(dsn: str) -> None:
    """What was stored is only looked at again: the read goes on behind it, also by address."""
    rows = [
        {"id": n, "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
        for n in range(3)
    ]
    asked: list[int] = []
    broken = iter([True])

    def answer(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("p", 0))
        asked.append(page)
        if page == 1 and next(broken, False):
            return httpx.Response(401)
        following = f"https://erp.test/api/v1/invoices?p={page + 1}" if page < 2 else None
        return httpx.Response(
            200, json={"data": rows[page : page + 1], "links": {"next": following}}
        )

    options = {"paging": "next link in the body", "next_path": "/links/next"}
    with pytest.raises(CredentialsRejected):
        run(job(dsn, connection(options), answer))
    run(job(dsn, connection(options), answer))
    assert asked == [0, 1, 0, 1, 0, 2, 1]
    assert len(sales(dsn)) == 3


def test_a_cursor_that_comes_back_is_a_loop(dsn: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [], "next_cursor": "again"})

    with pytest.raises(PaginationLoop, match="named twice"):
        run(job(dsn, connection({}), answer))


@pytest.mark.parametrize("rows", [[], [{"id": 1, "total": "1.00"}]])
def test_an_address_that_leads_to_itself_is_a_loop(dsn: str, rows: list[dict[str, Any]]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, json={"data": rows, "next": "https://erp.test/api/v1/invoices?page=2"}
        )

    with pytest.raises(PaginationLoop):
        run(job(dsn, connection({"paging": "next link in the body", "next_path": "/next"}), answer))


def test_sales_without_a_time_of_change_are_never_outside_the_window(dsn: str) -> None:
    """The documented payload has only the day of the sale: the second run must not skip a late entry."""
    sale = {
        "invoice_number": "INV-001",
        "customer_phone": "+244 923 456 789",
        "total_amount": 150.00,
        "sale_date": "2024-01-15T14:30:00Z",
    }
    rows = [sale]
    serve = lambda _: httpx.Response(200, json={"data": rows})  # noqa: E731
    run(job(dsn, connection({}), serve))
    rows.append({**sale, "invoice_number": "INV-000", "sale_date": "2023-12-31"})
    rows[0] = {**sale, "total_amount": 200.00}
    run(job(dsn, connection({}), serve))
    assert sales(dsn) == {"INV-001": 2000, "INV-000": 1500}


def test_without_a_default_currency_a_document_that_names_none_is_rejected(dsn: str) -> None:
    row = {"id": "1", "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
    _, loaded, _ = run(
        job(
            dsn,
            connection({}, default_currency=None),
            lambda _: httpx.Response(200, json={"data": [row]}),
        )
    )
    assert loaded.reasons["Currency, looked for at /currency: missing"] == 1
    assert (loaded.accepted, loaded.rejected) == (0, 1)


def test_several_custom_systems_are_several_accounts(dsn: str) -> None:
    row = {"id": "1", "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
    for account, total in (("loja", "10.00"), ("armazem", "20.00")):
        page = {"data": [{**row, "total": total}]}
        run(
            job(
                dsn,
                connection({}, account=account),
                lambda _, page=page: httpx.Response(200, json=page),
            )
        )
    assert {row[0] for row in stored(dsn)} == {"loja", "armazem"}
    assert sales(dsn) == {"1": 300}


@pytest.mark.parametrize("authentication", ["bearer", "api key", "basic", "client credentials"])
def test_every_way_to_prove_oneself(shop: Shop, authentication: str) -> None:
    vendor = Account(
        "custom", "custom", "https://erp.test", "https://erp.test/oauth/token", simulator.CLIENT_ID, SecretStr(simulator.CLIENT_SECRET),
        options={"authentication": authentication, "username": simulator.CLIENT_ID},
        secrets={"api_key": SecretStr("Bearer sim-secret" if authentication == "bearer" else "sim-secret"), "password": SecretStr("sim-secret")},
    )  # fmt: skip
    run(job(shop.dsn, vendor, simulator.handler(shop.world, "custom")))
    assert shop.points() == expected(shop.world, "custom")
    with connect(shop.dsn) as opened:
        kept = str(opened.execute("SELECT request, next_request FROM billing.raw_page").fetchall())
    assert "sim-secret" not in kept


def test_a_missing_credential_is_named_before_anything_is_sent(dsn: str) -> None:
    vendor = Account("custom", "loja", "https://erp.test", options={"authentication": "basic"})

    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    with pytest.raises(Misconfigured, match=r'field "User name": it is empty'):
        run(job(dsn, vendor, never))
