"""What is particular to Sage Intacct: ended tokens, entities, dotted names, lines beside the list, reversals, the census."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors.kit.errors import CredentialsRejected, RateLimited, UnexpectedShape
from connectors.kit.mapping import map_lookup, map_page, map_pages, try_record
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import ListMovedError, PageView, RetryPolicy, Window, is_due
from connectors.sage_intacct.query_service import by_last_key, query
from panel.blocks import SageIntacctConnection


@pytest.fixture
def bench(benches: Callable[..., Any]) -> Any:
    return benches("sage_intacct")


def asked(bench: Any, kind: str | None = None) -> list[dict[str, Any]]:
    bodies = [json.loads(request.content) for request in bench.api_requests()]
    return [
        body for body in bodies if kind is None or body["object"] == f"accounts-receivable/{kind}"
    ]


def fail(status: int, error: Any) -> Callable[[httpx.Request], httpx.Response | None]:
    return lambda request: (
        None if "token" in request.url.path else httpx.Response(status, json=error)
    )


def invoice(**changes: Any) -> dict[str, Any]:
    """A record as the query service answers it."""
    return {
        "key": "238", "salesDocument.id": None, "invoiceNumber": "INV-1001", "state": "posted", "invoiceDate": "2026-05-01",
        "customer.id": "CUST-100", "currency.txnCurrency": "EUR", "currency.baseCurrency": "USD",
        "totalTxnAmount": "114.00", "totalTxnAmountDue": "14.00", "audit.modifiedDateTime": "2026-05-20T08:30:00Z",
    } | changes  # fmt: skip


def line(owner: str, amount: str, **changes: Any) -> dict[str, Any]:
    return {
        "key": "1", "invoice.key": owner, "txnAmount": amount, "memo": "Water", "dimensions.item.id": "SKU1", "isSubtotal": None,
    } | changes  # fmt: skip


def mapped(
    bench: Any,
    *records: dict[str, Any],
    lines: tuple[dict[str, Any], ...] = (),
    stream: str = "invoices",
) -> Any:
    body = {
        "ia::result": list(records),
        "ia::meta": {},
        "details": [{"ia::result": list(lines), "ia::meta": {}}],
    }
    return map_page(
        bench.spec,
        bench.spec.stream(stream),
        bench.connection,
        json.dumps(body).encode(),
        page_id=1,
    )


def test_an_invoice_has_the_time_at_which_it_was_written_on_its_day(bench: Any) -> None:
    """Not that of a sales document, whose invoice is written anew when it is edited."""
    written = {"audit.createdDateTime": "2026-05-01T10:00:00Z"}
    of_sales = {"key": "239", "salesDocument.id": "Sales Invoice-7"}
    later = {"key": "240", "audit.createdDateTime": "2026-05-02T10:00:00Z"}
    records = (invoice(**written), invoice(**written, **of_sales), invoice(**later))
    rows = mapped(bench, *records).invoices.to_dicts()
    midnight = datetime(2026, 4, 30, 23, tzinfo=UTC)
    assert [(row["issued_at"], row["time_known"]) for row in rows] == [
        (datetime(2026, 5, 1, 10, tzinfo=UTC), True), (midnight, False), (midnight, False),
    ]  # fmt: skip


@pytest.mark.parametrize(("entered", "link"), [("-114.00", "INV-1001"), ("114.00", None)])
def test_a_credit_memo_names_the_invoice_that_it_refers_to(
    bench: Any, entered: str, link: str | None
) -> None:
    record = {
        "key": "77", "adjustmentNumber": "ADJ001", "state": "posted", "createdDate": "2026-05-02",
        "documentNumber": "INV-1001", "customer.id": "CUST-100", "txnCurrency.currency": "EUR",
        "txnCurrency.totalEntered": entered, "txnCurrency.totalDue": "0.00",
        "audit.createdDateTime": "2026-05-02T10:00:00Z",
        "audit.modifiedDateTime": "2026-05-20T08:30:00Z",
    }  # fmt: skip
    result = mapped(bench, record, stream="adjustments")
    assert result.problems.is_empty()
    (row,) = result.invoices.to_dicts()
    assert (row["original_external_id"], row["time_known"]) == (link, True)


def test_a_400_that_says_so_renews_the_token(bench: Any) -> None:
    bench.pages("adjustments")
    bench.world.grants["sage_intacct"].expire_access()
    bench.calls.clear()
    assert bench.pages("adjustments")
    assert [call.status for call in bench.calls][:3] == [400, 200, 200]
    assert len(bench.tokens.kept) == 2


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_token_that_never_works_is_a_matter_of_credentials(bench: Any, *, wrapped: bool) -> None:
    error = {
        "ia::error": {"code": "invalidRequest", "message": "Invalid token", "supportId": "s3cret"}
    }
    bench.before = fail(400, {"ia::result": error} if wrapped else error)
    with pytest.raises(CredentialsRejected, match='block "sage-intacct"') as caught:
        bench.pages("adjustments")
    assert len(bench.api_requests()) == 2
    assert "s3cret" not in str(caught.value)


def test_another_400_does_not(bench: Any) -> None:
    bench.before = fail(
        400, {"ia::result": {"ia::error": {"code": "invalidRequest", "message": "secret field"}}}
    )
    with pytest.raises(UnexpectedShape, match="code invalidRequest") as caught:
        bench.pages("adjustments")
    assert len(bench.api_requests()) == 1
    assert "secret" not in str(caught.value)


def test_a_429_waits_ten_seconds(bench: Any) -> None:
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = fail(429, {})
    with pytest.raises(RateLimited) as caught:
        bench.pages("adjustments")
    assert caught.value.retry_after_seconds == 10


def test_the_token_request_is_a_form_with_everything_in_it(bench: Any) -> None:
    bench.pages("adjustments")
    form = parse_qs(bench.requests[0].content.decode())
    assert set(form) == {"grant_type", "client_id", "client_secret", "refresh_token"}
    assert "authorization" not in bench.requests[0].headers


def test_a_web_services_user_needs_no_consent(bench: Any) -> None:
    bench.changes = {
        "client_id": simulator.CLIENT_ID,
        "client_secret": SecretStr(simulator.CLIENT_SECRET),
        "options": {"login": "client_credentials", "user": "twezah"},
    }
    assert bench.pages("adjustments")
    bench.world.grants["sage_intacct"].expire_access()
    assert bench.pages("adjustments")
    forms = [parse_qs(one.content.decode()) for one in bench.requests if "token" in one.url.path]
    assert [form["grant_type"] for form in forms] == [["client_credentials"]] * 2
    assert forms[0]["username"] == ["twezah@AguaTwezah|E100"]


def test_the_entity_of_the_account_is_named_in_the_header(bench: Any) -> None:
    whole = bench.read().invoices.height
    assert {one.headers["x-ia-api-param-entity"] for one in bench.api_requests()} == {"E100"}
    bench.requests.clear()
    bench.world.evolve(systems=("sage_intacct",))
    block = SageIntacctConnection(company_id="AguaTwezah", client_id="i", client_secret="s")
    assert block.account() == "AguaTwezah"
    assert bench.spec.headers(block.connection()) == {"content-type": "application/json"}
    elsewhere = SageIntacctConnection(
        company_id="AguaTwezah", entity_id="E200", client_id="i", client_secret="s"
    )
    bench.before = None
    bench.requests.clear()
    with bench.client() as client:
        empty = replace(client.account, account=elsewhere.account())
        client.account = empty
        body = client.send(query("accounts-receivable/invoice", ["key"], [], 10), "test").body
    assert json.loads(body)["ia::meta"]["totalCount"] == 0 < whole


def test_lines_are_asked_for_in_batches_and_billed_as_such(benches: Callable[..., Any]) -> None:
    bench = benches("sage_intacct", invoices=400, customers=60)
    bench.page_size = None
    (page,) = bench.pages("invoices")
    assert page.record_count > 300
    assert len(asked(bench, "invoice")) == 1
    assert len(asked(bench, "invoice-line")) == -(-page.record_count // 250)
    assert all(
        len(body["filters"][1]["$in"]["invoice.key"]) <= 250
        for body in asked(bench, "invoice-line")
    )


def test_a_path_of_the_operators_is_asked_for(bench: Any) -> None:
    """The invoice's own contact instead of the customer's, and another text for the lines."""
    block = SageIntacctConnection(
        company_id="AguaTwezah", client_id="i", client_secret="s",
        field_mapping={"invoices.customer_phone": "/contacts/billTo/id", "invoices.lines.name": "/glAccount/id"},
    )  # fmt: skip
    bench.changes = bench.changes | {"paths": block.connection().paths}
    pages = bench.pages("invoices")
    assert "contacts.billTo.id" in asked(bench, "invoice")[0]["fields"]
    # The usual one as well: stored pages are read again when the path is corrected.
    assert {"glAccount.id", "memo"} < set(asked(bench, "invoice-line")[0]["fields"])
    found = map_pages(
        bench.spec, bench.spec.stream("invoices"), bench.connection, [(1, pages[0].body)]
    )
    assert set(found.lines["name"]) == {"4000"}
    bench.pages("adjustments")
    assert "contacts.billTo.id" not in asked(bench, "adjustment")[0]["fields"]


def test_an_edited_sales_document_stays_one_sale(bench: Any) -> None:
    books, since = bench.world.books["sage_intacct"], bench.clock()
    bench.clock.advance(minutes=1)
    document = next(
        one
        for one in books.all("Invoice")
        if one.id != one.record_key and books.edit(one, 0, 99, bench.clock())
    )
    (row,) = bench.read(Window(since, None)).invoices.to_dicts()
    assert (row["external_id"], row["total_minor"]) == (document.id, document.total_minor)


def test_every_page_starts_behind_the_last_key(bench: Any) -> None:
    bench.page_size = 40
    pages = bench.pages("invoices")
    lists = asked(bench, "invoice")
    assert [body["start"] for body in lists] == [1] * len(pages)
    behind = [int(body["filters"][0]["$gt"]["key"]) for body in lists]
    assert behind[0] == 0
    assert behind == sorted(set(behind))


@pytest.mark.parametrize(
    ("count", "info", "ends"),
    [
        (0, {}, True),
        (3, {"next": None, "remaining": 3}, True),
        (3, {}, True),
        (3, {"next": 4}, False),
        (3, {"remaining": 5}, False),
        (10, {}, False),
    ],
)
def test_where_a_list_ends(count: int, info: dict[str, Any], *, ends: bool) -> None:
    """As the service says; an old one says nothing, and a full page is followed by another."""
    pages = by_last_key(query("accounts-receivable/invoice", ["key"], [], 10))
    next(pages)
    view = PageView(count, info, [str(number) for number in range(1, count + 1)])
    if ends:
        with pytest.raises(StopIteration):
            pages.send(view)
    else:
        following = pages.send(view)
        assert json.loads(following.body or "")["filters"][0] == {"$gt": {"key": str(count)}}
        assert following.page_no == 2


def test_an_empty_page_that_says_there_is_more_is_not_the_end() -> None:
    pages = by_last_key(query("accounts-receivable/invoice", ["key"], [], 10))
    next(pages)
    with pytest.raises(ListMovedError):
        pages.send(PageView(0, {"next": 11}, []))


@pytest.mark.parametrize("ids", [["2", "10", "9"], ["1", None], ["a"]])
def test_a_list_in_another_order_is_not_read_on(ids: list[Any]) -> None:
    pages = by_last_key(query("accounts-receivable/invoice", ["key"], [], 1))
    next(pages)
    with pytest.raises(UnexpectedShape, match="order of their keys"):
        pages.send(PageView(len(ids), {"next": 2}, ids))


@pytest.mark.parametrize(
    ("state", "total", "status"),
    [
        ("draft", "1.00", "draft"),
        ("submitted", "1.00", "draft"),
        ("posted", "1.00", "open"),
        ("selected", "1.00", "open"),
        ("partiallyPaid", "1.00", "open"),
        ("paid", "1.00", "paid"),
        ("reversed", "1.00", "void"),
        ("reversal", "-1.00", "void"),
        ("noValue", "0.00", "open"),
    ],
)
def test_states(bench: Any, state: str, total: str, status: str) -> None:
    found = mapped(bench, invoice(state=state, totalTxnAmount=total))
    assert found.problems.is_empty()
    assert found.invoices["status"].to_list() == [status]
    assert found.invoices["total_minor"].to_list() == [abs(round(float(total) * 100))]


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"state": "noValue"}, "status", "is a value not known here"),
        ({"state": "onHold"}, "status", "is a value not known here"),
        ({"totalTxnAmount": "-5.00"}, "total_minor", "is negative"),
        ({"totalTxnAmount": None}, "total_minor", "missing"),
        ({"customer.id": None}, "customer_external_id", "missing"),
    ],
)
def test_what_is_not_guessed_is_rejected_by_name(
    bench: Any, changes: dict[str, Any], field: str, reason: str
) -> None:
    problems = mapped(bench, invoice(**changes)).problems.to_dicts()
    assert [(one["field"], one["reason"]) for one in problems] == [(field, reason)]


def test_an_invoice_and_its_lines(bench: Any) -> None:
    lines = (
        line("238", "70.00", memo="Água 5 L"),
        line("238", "30.00", **{"dimensions.item.id": None}, memo="Entrega"),
        line("238", "14.00", isSubtotal="subtotal", memo="IVA"),
        line("999", "1.00"),
    )
    found = mapped(bench, invoice(), lines=lines)
    row = found.invoices.to_dicts()[0]
    expected = {
        "external_id": "238", "invoice_number": "INV-1001", "kind": "invoice", "customer_external_id": "CUST-100",
        "currency": "EUR", "total_minor": 11_400, "subtotal_minor": 10_000, "tax_minor": 1_400, "amount_paid_minor": 10_000,
        "amount_refunded_minor": 0, "status": "open", "issued_at": datetime(2026, 4, 30, 23, tzinfo=UTC),
        "updated_at": datetime(2026, 5, 20, 8, 30, tzinfo=UTC),
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert found.lines.select("sku", "name", "amount_minor", "quantity").rows() == [
        ("SKU1", "Água 5 L", 7_000, None),
        (None, "Entrega", 3_000, None),
    ]


def test_tax_that_cannot_be_is_not_said(bench: Any) -> None:
    """A rebate below the entries leaves less than they add up to."""
    row = mapped(bench, invoice(), lines=(line("238", "120.00"),)).invoices.to_dicts()[0]
    assert (row["tax_minor"], row["subtotal_minor"], row["total_minor"]) == (None, None, 11_400)


def test_nested_answers_are_read_as_well(bench: Any) -> None:
    nested = {
        "key": "238", "salesDocument": {"id": "Sales Invoice-SI-1"}, "invoiceNumber": "INV-1001", "state": "posted",
        "invoiceDate": "2026-05-01", "customer": {"id": "CUST-100"}, "currency": {"txnCurrency": "EUR"},
        "totalTxnAmount": "114.00", "totalTxnAmountDue": "14.00", "audit": {"modifiedDateTime": "2026-05-20T08:30:00Z"},
    }  # fmt: skip
    lines = (
        {
            "key": "1",
            "invoice": {"key": "238"},
            "txnAmount": "100.00",
            "dimensions": {"item": {"id": "SKU1"}},
        },
    )
    found = mapped(bench, nested, lines=lines)
    assert found.problems.is_empty()
    assert found.invoices["external_id"].to_list() == ["Sales Invoice-SI-1"]
    assert found.lines["sku"].to_list() == ["SKU1"]


@pytest.mark.parametrize(
    ("entered", "state", "kind", "status"),
    [
        ("-57.00", "posted", "credit_note", "open"),
        ("57.00", "posted", "invoice", "open"),
        ("-57.00", "reversed", "credit_note", "void"),
        ("57.00", "reversal", "invoice", "void"),
    ],
)
def test_adjustments(bench: Any, entered: str, state: str, kind: str, status: str) -> None:
    record = {
        "key": "15", "adjustmentNumber": "CM-1", "state": state, "createdDate": "2026-05-01", "customer.id": "C",
        "txnCurrency.currency": "EUR", "txnCurrency.totalEntered": entered, "txnCurrency.totalDue": "0.00",
        "audit.modifiedDateTime": "2026-05-20T08:30:00Z",
    }  # fmt: skip
    amount = f"{'-' if entered.startswith('-') else ''}50.00"
    lines = (
        {
            "key": "1",
            "arAdjustment.key": "15",
            "txnCurrency.amount": amount,
            "dimensions.item.id": "SKU1",
        },
    )
    found = mapped(bench, record, lines=lines, stream="adjustments")
    assert found.problems.is_empty()
    row = found.invoices.to_dicts()[0]
    assert (row["external_id"], row["kind"], row["status"]) == ("adjustment/15", kind, status)
    assert (row["total_minor"], row["tax_minor"]) == (5_700, 700)
    assert found.lines["amount_minor"].to_list() == [5_000]


def test_a_document_read_alone_is_the_same_document(bench: Any) -> None:
    """What an operator copies out of a single answer maps as the sync maps it."""
    api = simulator.client(bench.world, "sage_intacct")
    synced = {row["external_id"]: row for row in bench.read().invoices.to_dicts()}
    names = (
        "invoice_number",
        "customer_external_id",
        "total_minor",
        "subtotal_minor",
        "tax_minor",
        "status",
        "kind",
    )
    streams = set()
    for kind, entities in (("invoice", ("Invoice",)), ("adjustment", ("CreditMemo", "DebitMemo"))):
        for document in bench.world.books["sage_intacct"].all(*entities):
            if document.deleted:
                continue
            path = f"/ia/api/v1/objects/accounts-receivable/{kind}/{document.record_key}"
            (found,) = try_record(bench.spec, None, bench.connection, api.get(path).content)
            assert found["ok"], found["problems"]
            streams.add(found["stream"])
            row = found["invoice"]
            assert [row[name] for name in names] == [
                synced[row["external_id"]][name] for name in names
            ]
            assert [line["sku"] for line in found["lines"]] == [
                line.product.sku for line in document.lines
            ]
    assert streams == {"invoices", "adjustments"}


def test_the_first_number_that_can_be_dialled_is_the_phone(bench: Any) -> None:
    rows = [
        {"id": "1", "contacts.default.mobile": "no", "contacts.default.phone1": None, "contacts.default.phone2": "923456789"},
        {"id": "2", "contacts": {"default": {"mobile": "+244 923 456 780"}}},
        {"id": "3"},
    ]  # fmt: skip
    body = json.dumps({"ia::result": rows, "ia::meta": {}}).encode()
    found = map_lookup(bench.spec, bench.spec.lookup("customers"), bench.connection, body)
    assert found.rows() == [("1", "+244923456789"), ("2", "+244923456780"), ("3", None)]


def test_ids_of_customers_may_hold_anything(bench: Any) -> None:
    with bench.client() as client:
        list(look_up(bench.spec, bench.spec.lookup("customers"), client, ['a"b', "c,d", "ç"]))
    assert asked(bench, "customer")[0]["filters"][1] == {"$in": {"id": ['a"b', "c,d", "ç"]}}


def test_the_census_names_all_that_is_left_whenever_it_was_changed(bench: Any) -> None:
    listed = bench.read(Window(bench.clock(), None)).listed["external_id"]
    truth = [row for row in bench.world.truth() if row.system == "sage_intacct"]
    assert set(listed) == {row.external_id for row in truth if not row.deleted}
    assert any(row.deleted for row in truth)
    assert any(one.startswith("Sales Invoice-") for one in listed)
    assert any(one.startswith("adjustment/") for one in listed)


def test_the_census_is_not_thrown_off_by_deletions_under_way(bench: Any) -> None:
    bench.page_size = 10
    books, before = bench.world.books["sage_intacct"], bench.clock()
    turns = iter(range(1000))

    def delete(request: httpx.Request) -> None:
        if "token" not in request.url.path and next(turns) == 1:
            early = [one for one in books.all("Invoice") if int(one.record_key) < 120]
            assert sum(books.delete(one, bench.clock()) for one in early) > 1

    bench.before = delete
    listed = set()
    stream = bench.spec.stream("invoice_census")
    for page in bench.pages("invoice_census", Window(before - timedelta(hours=7), None)):
        found = map_page(bench.spec, stream, bench.connection, page.body, page_id=1)
        listed |= set(found.listed["external_id"])
    alive = {one.id for one in books.all("Invoice", "InvoiceReversal") if not one.deleted}
    assert alive <= listed


@pytest.mark.parametrize(
    ("since", "hours", "asked"),
    [
        (None, 6, False),  # the first read: there is nothing to compare with
        (None, 0, False),
        ("2026-05-20T11:40:00", 6, True),  # 12:00 begins a quarter of the day
        ("2026-05-20T12:00:00", 6, False),
        ("2026-05-19T13:00:00", 6, True),
        ("2026-05-20T12:30:00", 0, True),
    ],
)
def test_when_the_census_is_due(since: str | None, hours: int, *, asked: bool) -> None:
    begin = datetime.fromisoformat(since).replace(tzinfo=UTC) if since else None
    assert is_due(begin, datetime(2026, 5, 20, 12, 45, tzinfo=UTC), hours) is asked


def test_the_census_is_every_six_hours_unless_the_block_says_otherwise(bench: Any) -> None:
    """Each of its pages is billed to the customer."""
    window = Window(bench.clock() + timedelta(minutes=1), None)
    bench.clock.advance(minutes=20)
    bench.changes = bench.changes | {"options": {}}
    assert bench.pages("adjustment_census", window) == []
    bench.changes = bench.changes | {"options": {"deletions_hours": 0}}
    assert len(bench.pages("adjustment_census", window)) == 1
    block = SageIntacctConnection(company_id="A", client_id="i", client_secret="s")
    assert block.connection().options["deletions_hours"] == 6
