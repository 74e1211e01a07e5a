"""What is particular to NetSuite: both ways to log in, lines beside the list, clocks of unknown zones, its own refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import polars as pl
import pytest

import simulator
from connectors.kit.errors import (
    CredentialsRejected,
    PermissionMissing,
    RateLimited,
    UnexpectedShape,
)
from connectors.kit.mapping import map_page, map_pages, try_record
from connectors.kit.spec import Window
from panel.blocks import NetSuiteConnection
from tests.support.vendors import credentials


@pytest.fixture
def bench(benches: Callable[..., Any]) -> Any:
    return benches("netsuite")


def token_based(bench: Any) -> None:
    """The bench logs in with signed requests."""
    bench.changes = credentials(bench.world, "netsuite", login="token_based")


def fail(status: int, code: str) -> Callable[[httpx.Request], httpx.Response | None]:
    body = {
        "title": "x",
        "status": status,
        "o:errorDetails": [{"detail": "secret", "o:errorCode": code}],
    }
    return lambda request: (
        None if "token" in request.url.path else httpx.Response(status, json=body)
    )


def statements(bench: Any) -> list[str]:
    return [json.loads(request.content)["q"] for request in bench.api_requests()]


def test_signed_requests_read_the_same(bench: Any) -> None:
    by_token = bench.read().invoices.drop("page_id", "record_no")
    token_based(bench)
    bench.requests.clear()
    assert bench.read().invoices.drop("page_id", "record_no").equals(by_token)
    sent = [request.headers["authorization"] for request in bench.requests]
    assert all(header.startswith('OAuth realm="7654321_SB1"') for header in sent)
    assert len(set(sent)) == len(sent)


def test_a_refused_signature_says_what_to_look_up_and_is_not_repeated(bench: Any) -> None:
    token_based(bench)
    bench.clock.advance(minutes=10)
    late = bench.clock()
    bench.world.now = lambda: late - timedelta(minutes=10)
    with pytest.raises(
        CredentialsRejected,
        match=r"(?s)INVALID_LOGIN.*Login Audit Trail.*account ID.*clock.*netsuite",
    ) as caught:
        bench.pages("invoices")
    assert len(bench.requests) == 1
    assert bench.world.grants["netsuite"].audit_trail == ["timestamp_refused"]
    for secret in (*simulator.NETSUITE_CONSUMER, *simulator.NETSUITE_TOKEN):
        assert secret not in str(caught.value)


def test_a_refused_assertion_says_what_to_check(bench: Any) -> None:
    connection = bench.connection
    bench.world.grants["netsuite"].certificates.clear()
    bench.before = lambda _: bench.world.grants["netsuite"].certificates.clear()
    with pytest.raises(
        CredentialsRejected, match=r"invalid_client.*certificate ID.*private key"
    ) as caught:
        bench.pages("invoices")
    assert connection.secret("private_key").splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "CONCURRENCY_LIMIT_EXCEEDED"), (429, "USER_ERROR"), (400, "CONCURRENCY_LIMIT_EXCEEDED")],
)
def test_too_many_at_once_is_tried_again_whatever_its_status(
    bench: Any, status: int, code: str
) -> None:
    whole = len(bench.pages("invoices"))
    left = iter(range(3))
    refuse = fail(status, code)
    bench.before = lambda request: refuse(request) if next(left, None) is not None else None
    assert len(bench.pages("invoices")) == whole
    bench.before = refuse
    with pytest.raises(RateLimited):
        bench.pages("invoices")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "INSUFFICIENT_PERMISSION", PermissionMissing),
        (400, "INVALID_PARAMETER", UnexpectedShape),
        (400, "USER_ERROR", UnexpectedShape),
    ],
)
def test_refusals(bench: Any, status: int, code: str, kind: type[Exception]) -> None:
    bench.before = fail(status, code)
    with pytest.raises(kind, match=f"{status}: code {code}") as caught:
        bench.pages("invoices")
    assert "secret" not in str(caught.value)


def test_lists_go_on_behind_the_last_id(bench: Any) -> None:
    """No offset is ever used in a list of documents: 100 000 rows are the end of one, and moved rows are lost in it."""
    bench.page_size = 10
    pages = bench.pages("invoices")
    asked = [text for text in statements(bench) if "FROM transaction " in text]
    assert {request.url.params["offset"] for request in bench.api_requests()} == {"0"}
    assert len(asked) == len(pages) > 5
    starts = [int(text.split("t.id > ")[1].split()[0]) for text in asked]
    assert starts == sorted(set(starts))
    assert all("ORDER BY t.id ASC" in text for text in asked)


def test_lines_lie_beside_the_page_as_they_were_sent(bench: Any) -> None:
    """The stored page is the vendor's answers byte for byte, and is mapped alone."""
    sent: list[bytes] = []
    serve = simulator.handler(bench.world, "netsuite")

    def keep(request: httpx.Request) -> httpx.Response:
        answer = serve(request)
        sent.append(answer.content)
        return answer

    bench.before = keep
    page = bench.pages("credit_memos")[0]
    answers = [body for body in sent if b"access_token" not in body]
    assert all(body.rstrip()[:-1] in page.body for body in answers)
    mapped = map_page(
        bench.spec, bench.spec.stream("credit_memos"), bench.connection, page.body, page_id=1
    )
    assert mapped.lines.height > mapped.invoices.height


def test_a_document_of_many_lines_is_read_whole(bench: Any) -> None:
    """More lines than an answer holds: none is lost, none comes twice."""
    books = bench.world.books["netsuite"]
    product = next(iter(books.products.values()))
    customer = next(iter(books.customers.values()))
    amounts = [(product, 1, 100 + number) for number in range(2345)]
    document = books.record("Invoice", customer, amounts, bench.clock())
    (row,) = [row for row in bench.read().invoices.to_dicts() if row["external_id"] == document.id]
    lines = bench.read().lines.filter(pl.col("external_id") == document.id)
    assert lines["amount_minor"].to_list() == [line.gross_minor for line in document.lines]
    assert lines["line_no"].to_list() == list(range(1, 2346))
    assert (row["subtotal_minor"], row["tax_minor"]) == (document.net_minor, document.tax_minor)


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Auckland"])
def test_no_change_is_lost_when_the_zone_is_unknown(bench: Any, zone: str) -> None:
    """The account is on Luanda's clock, the block says another: query and overlap are wider than any zone."""
    bench.changes = {"timezone": zone}
    bench.world.evolve(steps=15, systems=("netsuite",))
    cursor = bench.clock() - timedelta(hours=1)
    window = Window(
        cursor - timedelta(minutes=NetSuiteConnection.model_fields["overlap_minutes"].default), None
    )
    read: set[str] = set()
    for stream in bench.spec.streams[:-1]:
        pages = [
            (number, page.body) for number, page in enumerate(bench.pages(stream.name, window))
        ]
        read |= set(
            map_pages(bench.spec, stream, bench.connection, pages, window=window).invoices[
                "external_id"
            ]
        )
    known = {
        row.external_id: row
        for row in bench.world.truth()
        if row.system == "netsuite" and not row.deleted
    }
    changed = {key for key, row in known.items() if row.updated_at >= cursor}
    assert changed
    assert changed <= read
    assert len(read) < len(known)
    asked = [text for text in statements(bench) if "lastmodifieddate >=" in text]
    assert all("'2026-05-18 10:00:00'" in text for text in asked)


def test_deletions_name_transactions_only(bench: Any) -> None:
    """A deleted customer may have the number of an invoice that lives."""
    since = bench.clock() - timedelta(days=25)
    named = bench.read(Window(since, None)).deletions
    assert set(named["external_id"]) == {
        row.external_id for row in bench.world.truth() if row.system == "netsuite" and row.deleted
    }
    times = dict(named.select("external_id", "deleted_at").rows())
    for row in bench.world.truth():
        if row.system == "netsuite" and row.deleted:
            assert times[row.external_id] == row.updated_at
    assert bench.pages("deletions") == []


def test_a_customer_refund_is_kept_and_takes_nothing(bench: Any) -> None:
    rows = [
        row for row in bench.read().invoices.to_dicts() if row["invoice_number"].startswith("RF")
    ]
    assert rows
    for row in rows:
        assert row["kind"] == "refund"
        assert row["amount_refunded_minor"] == row["total_minor"] > 0


@pytest.mark.parametrize(
    ("sources", "link"),
    [(["71", "71"], "71"), (["71", None], "71"), (["71", "72"], None), ([None], None), ([], None)],
)
def test_a_credit_memo_names_the_transaction_that_its_lines_were_made_from(
    bench: Any, sources: list[str | None], link: str | None
) -> None:
    record = {
        "id": "88", "type": "CustCred", "tranid": "CM1", "trandate": "2026-05-02", "customer": "9",
        "symbol": "AOA", "total": "20", "status": "A", "isvoided": "F", "isposting": "T",
        "modified": "2026-05-02T10:00:00",
    }  # fmt: skip
    lines = [
        {"line": str(number), "document": "88", "quantity": "1", "rate": "10", "amount": "10"}
        | ({"made_from": source} if source else {})
        for number, source in enumerate(sources)
    ]
    body = {"items": [record], "hasMore": False, "details": [{"items": lines, "hasMore": False}]}
    stream = bench.spec.stream("credit_memos")
    result = map_page(bench.spec, stream, bench.connection, json.dumps(body).encode(), page_id=1)
    assert result.problems.is_empty()
    assert result.invoices["original_external_id"].to_list() == [link]


def test_the_record_apis_json_is_the_same_document(bench: Any) -> None:
    """What an operator copies out of the record API maps as the sync maps it; only the currency is named, not coded."""
    api = simulator.client(bench.world, "netsuite")
    synced = {row["external_id"]: row for row in bench.read().invoices.to_dicts()}
    names = (
        "invoice_number",
        "customer_external_id",
        "total_minor",
        "tax_minor",
        "subtotal_minor",
        "status",
        "kind",
    )
    single = replace(bench.connection, paths={"currency": "/symbol"}, default_currency="AOA")
    for document in bench.world.books["netsuite"].all("Invoice"):
        if document.deleted or document.status == "void":
            continue
        path = f"/services/rest/record/v1/invoice/{document.id}"
        payload = api.get(path, params={"expandSubResources": "true"}).content
        (named,) = try_record(bench.spec, None, bench.connection, payload)
        assert [problem["field"] for problem in named["problems"]] == ["currency"]
        (found,) = try_record(bench.spec, None, single, payload)
        assert found["ok"], found["problems"]
        assert [found["invoice"][name] for name in names] == [
            synced[document.id][name] for name in names
        ]
        assert [line["sku"] for line in found["lines"]] == [
            line.product.sku for line in document.lines
        ]


def test_never_more_than_three_at_once(benches: Callable[..., Any]) -> None:
    bench = benches("netsuite", limit_scale=1, customers=60, invoices=400)
    bench.page_size = None
    bench.read()
    assert bench.spec.rate.concurrency == 3
    assert not [call for call in bench.calls if call.status in (400, 429)]
