"""The simulated Sage Intacct behaves as its vendor documents it, and as those who use it observed."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from simulator import (
    ACCOUNTS,
    CLIENT_ID,
    CLIENT_SECRET,
    ManualClock,
    World,
    client,
    seed_refresh_token,
)

ROOT = "/ia/api/v1"
QUERY = f"{ROOT}/services/core/query"
TOKEN = f"{ROOT}/oauth2/token"
INVOICE = "accounts-receivable/invoice"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def world(clock: ManualClock) -> World:
    world = World(seed=5, customers=60, invoices=300, now=clock)
    world.evolve(40, systems=("sage_intacct",))
    return world


@pytest.fixture
def api(world: World) -> httpx.Client:
    return client(world, "sage_intacct")


def ask(
    api: httpx.Client, kind: str = INVOICE, fields: tuple[str, ...] = ("key",), **more: Any
) -> Any:
    response = api.post(QUERY, json={"object": kind, "fields": list(fields), **more})
    assert response.status_code == 200, response.text
    return response.json()


def refused(api: httpx.Client, **body: Any) -> tuple[int, str]:
    response = api.post(QUERY, json=body)
    error = response.json()["ia::result"]["ia::error"]
    return response.status_code, error["message"]


def everything(api: httpx.Client, kind: str, *fields: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start: int | None = 1
    while start is not None:
        body = ask(api, kind, ("key", *fields), start=start, size=70, orderBy=[{"key": "asc"}])
        assert body["ia::meta"]["start"] == start
        found += body["ia::result"]
        start = body["ia::meta"]["next"]
    assert len(found) == body["ia::meta"]["totalCount"]
    return found


def test_pages_by_the_start_that_the_answer_names(api: httpx.Client, world: World) -> None:
    rows = everything(api, INVOICE, "salesDocument.id", "invoiceNumber")
    known = {row["salesDocument.id"] or row["key"] for row in rows}
    truth = [row for row in world.truth() if row.system == "sage_intacct" and not row.deleted]
    assert known == {
        row.external_id for row in truth if not row.external_id.startswith("adjustment/")
    }
    assert [int(row["key"]) for row in rows] == sorted(int(row["key"]) for row in rows)
    body = ask(api)
    assert (body["ia::meta"]["pageSize"], len(body["ia::result"])) == (100, 100)


def test_answers_have_dotted_names_and_texts(api: httpx.Client) -> None:
    fields = (
        "key",
        "customer.id",
        "totalTxnAmount",
        "audit.modifiedDateTime",
        "salesDocument.id",
        "invoiceDate",
    )
    (row,) = ask(api, fields=fields, size=1)["ia::result"]
    assert set(row) == set(fields)
    assert row["customer.id"].startswith("C-")
    assert row["totalTxnAmount"].partition(".")[2].isdigit()
    assert row["audit.modifiedDateTime"].endswith("Z")


def test_filters(api: httpx.Client, world: World, clock: ManualClock) -> None:
    clock.advance(hours=1)
    world.evolve(40, systems=("sage_intacct",))
    since = {"$gte": {"audit.modifiedDateTime": "2026-03-10T13:00:00Z"}}
    changed = ask(api, filters=[since], size=4000)["ia::result"]
    assert 0 < len(changed) < len(everything(api, INVOICE))
    keys = [row["key"] for row in changed]
    several = ask(
        api, filters=[{"$in": {"key": keys[:2]}}, {"$gt": {"key": "0"}}], filterExpression="and"
    )
    assert [row["key"] for row in several["ia::result"]] == keys[:2]
    either = ask(api, filters=[{"$eq": {"key": one}} for one in keys[:2]], filterExpression="or")
    assert either["ia::meta"]["totalCount"] == 2
    # Keys are compared as the numbers they are: "99" is not above "100".
    assert not ask(api, filters=[{"$lt": {"key": "101"}}])["ia::result"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"object": INVOICE, "fields": ["key"], "includePrivate": True},
            "Unrecognized key includePrivate",
        ),
        ({"object": INVOICE, "fields": ["*"]}, "Wildcards"),
        ({"object": INVOICE, "fields": ["customer"]}, "cannot be queried"),
        ({"object": INVOICE, "fields": ["lines"]}, "does not exist"),
        ({"object": INVOICE, "fields": ["total"]}, "does not exist"),
        ({"object": "x/y", "fields": ["key"]}, "does not exist"),
        ({"object": INVOICE, "fields": ["key"], "size": 5000}, "size"),
        ({"object": INVOICE, "fields": ["key"], "filters": [{"$near": {"key": "1"}}]}, "filter"),
    ],
)
def test_refusals(api: httpx.Client, body: dict[str, Any], said: str) -> None:
    status, message = refused(api, **body)
    assert status == 400
    assert said in message


def test_lines_are_a_list_of_their_own_with_the_rows_that_a_document_hides(
    api: httpx.Client,
) -> None:
    rows = everything(
        api, f"{INVOICE}-line", "invoice.key", "txnAmount", "isSubtotal", "dimensions.item.id"
    )
    assert {row["isSubtotal"] for row in rows} == {None, "subtotal"}
    taxed = next(row for row in rows if row["isSubtotal"])
    whole = api.get(f"{ROOT}/objects/{INVOICE}/{taxed['invoice.key']}").json()["ia::result"]
    assert taxed["key"] not in {line["key"] for line in whole["lines"]}
    mine = [row for row in rows if row["invoice.key"] == taxed["invoice.key"]]
    assert sum(round(float(row["txnAmount"]) * 100) for row in mine) == round(
        float(whole["totalTxnAmount"]) * 100
    )


def test_a_reversed_invoice_has_a_mirror(api: httpx.Client) -> None:
    rows = everything(api, INVOICE, "invoiceNumber", "state", "totalTxnAmount")
    states = {row["state"] for row in rows}
    assert states == {"posted", "partiallyPaid", "paid", "draft", "reversed", "reversal"}
    by_number = {row["invoiceNumber"]: row for row in rows}
    for row in rows:
        if row["state"] == "reversed":
            mirror = by_number[f"{row['invoiceNumber']}-R"]
            assert (mirror["state"], mirror["totalTxnAmount"]) == (
                "reversal",
                f"-{row['totalTxnAmount']}",
            )


def test_an_edited_sales_document_gets_another_invoice(api: httpx.Client, world: World) -> None:
    books = world.books["sage_intacct"]
    document = next(
        one
        for one in books.all("Invoice")
        if one.id != one.record_key and books.edit(one, 0, 99, world.now())
    )
    (row,) = ask(api, fields=("key",), filters=[{"$eq": {"salesDocument.id": document.id}}])[
        "ia::result"
    ]
    assert (
        row["key"]
        == document.record_key
        == max((one["key"] for one in everything(api, INVOICE)), key=int)
    )


def test_what_is_deleted_leaves_no_trace(api: httpx.Client, world: World) -> None:
    gone = [one for one in world.books["sage_intacct"].all("Invoice") if one.deleted]
    assert gone
    keys = {row["key"] for row in everything(api, INVOICE)}
    assert not keys & {one.record_key for one in gone}
    missing = api.get(f"{ROOT}/objects/{INVOICE}/{gone[0].record_key}")
    assert missing.status_code == 404


def test_credit_memos_are_negative_adjustments(api: httpx.Client) -> None:
    rows = everything(
        api,
        "accounts-receivable/adjustment",
        "adjustmentNumber",
        "txnCurrency.totalEntered",
        "state",
    )
    for row in rows:
        negative = row["txnCurrency.totalEntered"].startswith("-")
        assert negative == (
            row["adjustmentNumber"].startswith("CM") != (row["state"] == "reversal")
        )
    assert any(row["adjustmentNumber"].startswith("DM") for row in rows)


def test_the_plain_list_names_keys_only(api: httpx.Client) -> None:
    body = api.get(f"{ROOT}/objects/{INVOICE}").json()
    assert len(body["ia::result"]) == 100
    assert set(body["ia::result"][0]) == {"key", "id", "href"}
    assert body["ia::meta"]["next"] == 101


def test_phones_are_reached_by_dots(api: httpx.Client) -> None:
    names = ("mobile", "phone1", "phone2")
    rows = everything(
        api, "accounts-receivable/customer", *(f"contacts.default.{name}" for name in names)
    )
    for name in names:
        assert any(row[f"contacts.default.{name}"] for row in rows)


def test_the_entity_narrows_and_a_misspelt_header_does_nothing(api: httpx.Client) -> None:
    def count(**headers: str) -> int:
        response = api.post(QUERY, json={"object": INVOICE, "fields": ["key"]}, headers=headers)
        return int(response.json()["ia::meta"]["totalCount"])

    whole = count()
    assert count(**{"X-IA-API-Param-Entity": "E100"}) == whole > 0
    assert count(**{"X-IA-API-Param-Entity": "E200"}) == 0
    assert count(**{"Sage-Param-Entity": "E200"}) == whole
    response = api.post(QUERY, json={}, headers={"X-IA-API-Param-Entity": "E999"})
    assert response.status_code == 403


def test_refresh_tokens_work_once(api: httpx.Client) -> None:
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    seed = {"refresh_token": seed_refresh_token("sage_intacct")}
    first = api.post(TOKEN, data=form | seed).json()
    assert first["expires_in"] == 43_200
    assert api.post(TOKEN, data=form | seed).json() == {"error": "invalid_grant"}
    assert api.post(TOKEN, data=form | {"refresh_token": first["refresh_token"]}).status_code == 200
    assert api.post(TOKEN, data=form | seed | {"client_secret": "wrong"}).json() == {
        "error": "invalid_client"
    }
    assert api.post(TOKEN, json=form | seed).status_code == 401


def test_client_credentials_name_a_user_of_the_company(api: httpx.Client) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    account = ACCOUNTS["sage_intacct"]
    assert api.post(TOKEN, data=form | {"username": f"twezah@{account}"}).json()["access_token"]
    for username in ("AguaTwezah", "twezah@Another", ""):
        assert api.post(TOKEN, data=form | {"username": username}).status_code == 400


def test_an_ended_token_is_a_400_and_an_unknown_one_a_401(
    api: httpx.Client, clock: ManualClock
) -> None:
    clock.advance(hours=13)
    body = {"object": INVOICE, "fields": ["key"]}
    ended = api.post(QUERY, json=body)
    assert (ended.status_code, ended.json()["ia::result"]["ia::error"]["message"]) == (
        400,
        "The token is not valid",
    )
    unknown = api.post(QUERY, json=body, headers={"authorization": "Bearer x"})
    assert unknown.status_code == 401


def test_a_429_does_not_say_when_to_come_back(clock: ManualClock) -> None:
    api = client(
        World(seed=5, customers=5, invoices=5, now=clock, limit_scale=0.01), "sage_intacct"
    )
    statuses = [api.post(QUERY, json={"object": INVOICE, "fields": ["key"]}) for _ in range(8)]
    assert [one.status_code for one in statuses][-1] == 429
    assert "retry-after" not in statuses[-1].headers
    assert statuses[-1].json()["ia::result"]["ia::error"]["code"] == "tooManyRequests"


def test_the_object_model_names_fields_groups_and_references(api: httpx.Client) -> None:
    body = api.get(f"{ROOT}/services/core/model", params={"name": INVOICE}).json()["ia::result"]
    assert "invoiceNumber" in body["fields"]
    assert "customer" in body["refs"]
    assert "audit" in body["groups"]
    assert api.get(f"{ROOT}/services/core/model", params={"name": "x/y"}).json()["ia::result"] == []
