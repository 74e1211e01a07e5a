"""The simulated NetSuite: who is let in, what SuiteQL refuses, how lists page, and what the tables hold."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import jwt
import pytest
from oauthlib.oauth1 import Client as Signer

import simulator
from simulator import ManualClock, World, client
from tests.support.vendors import key_pair

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PATH = "/services/rest/query/v1/suiteql"
TOKEN_URL = "http://netsuite.test/services/rest/auth/oauth2/v1/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=60, invoices=300, now=clock)


@pytest.fixture
def api(world: World) -> httpx.Client:
    return client(world, "netsuite")


def ask(api: httpx.Client, statement: str, **params: Any) -> httpx.Response:
    return api.post(PATH, params=params, json={"q": statement}, headers={"prefer": "transient"})


def rows(api: httpx.Client, statement: str) -> list[dict[str, str]]:
    """All rows of an ordered statement, by the offset."""
    found: list[dict[str, str]] = []
    while True:
        answer = ask(api, statement, limit=100, offset=len(found)).json()
        found += answer["items"]
        if not answer["hasMore"]:
            assert len(found) == answer["totalResults"]
            return found


def signed(at: datetime, **changes: Any) -> dict[str, str]:
    """Headers of a request as a client of ours or anyone's would sign it."""
    (key, secret), (token, token_secret) = simulator.NETSUITE_CONSUMER, simulator.NETSUITE_TOKEN
    values = {
        "client_secret": secret, "resource_owner_key": token, "resource_owner_secret": token_secret, "realm": "7654321_SB1",
        "signature_method": "HMAC-SHA256", "timestamp": str(int(at.timestamp())), "nonce": "n1",
    } | changes  # fmt: skip
    signer = Signer(values.pop("client_key", key), **values)
    url = f"http://netsuite.test{PATH}?limit=5&offset=0"
    return {
        **signer.sign(url, http_method="POST")[1],
        "prefer": "transient",
        "content-type": "application/json",
    }


def knock(api: httpx.Client, headers: dict[str, str], *, offset: int = 0) -> httpx.Response:
    body = json.dumps({"q": "SELECT id FROM transaction ORDER BY id"})
    return api.post(f"{PATH}?limit=5&offset={offset}", content=body, headers=headers)


def test_a_signed_request_is_let_in_once(api: httpx.Client, world: World) -> None:
    headers = signed(NOW)
    assert knock(api, headers).status_code == 200
    again = knock(api, headers)
    assert (again.status_code, again.json()["o:errorDetails"][0]["o:errorCode"]) == (
        401,
        "INVALID_LOGIN",
    )
    assert "nonce" not in again.text
    assert world.grants["netsuite"].audit_trail == ["success", "nonce_used"]


@pytest.mark.parametrize(
    ("changes", "logged"),
    [
        ({"realm": "7654321-sb1"}, "WrongRealm"),
        ({"realm": "1234567"}, "WrongRealm"),
        ({"client_key": "other"}, "consumer_key_unknown"),
        ({"resource_owner_key": "other"}, "token_rejected"),
        ({"client_secret": "other"}, "signature_invalid"),
        ({"resource_owner_secret": "other"}, "signature_invalid"),
        ({"signature_method": "HMAC-SHA1"}, "signature_method_rejected"),
        ({"timestamp": str(int((NOW - timedelta(minutes=6)).timestamp()))}, "timestamp_refused"),
        ({"timestamp": str(int((NOW + timedelta(minutes=6)).timestamp()))}, "timestamp_refused"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_signature_is_refused_without_a_word(
    changes: dict[str, Any], logged: str, api: httpx.Client, world: World
) -> None:
    refused = knock(api, signed(NOW, **changes))
    assert refused.status_code == 401
    assert "Login Audit Trail" in refused.json()["o:errorDetails"][0]["detail"]
    assert world.grants["netsuite"].audit_trail == [logged]


def test_the_query_is_signed_too(api: httpx.Client, world: World) -> None:
    assert knock(api, signed(NOW), offset=5).status_code == 401
    assert world.grants["netsuite"].audit_trail == ["signature_invalid"]


def token(
    world: World, kind: str = "P-256", algorithm: str = "ES256", **claims: Any
) -> httpx.Response:
    private, public = key_pair(kind)
    kid = world.grants["netsuite"].upload_certificate(public)
    stamp = int(world.now().timestamp())
    payload = {
        "iss": simulator.CLIENT_ID,
        "scope": "rest_webservices",
        "aud": TOKEN_URL,
        "iat": stamp,
        "exp": stamp + 300,
    }
    text = jwt.encode(
        payload | claims, private, algorithm=algorithm, headers={"kid": claims.pop("kid", kid)}
    )
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": text,
    }
    return client(world, "netsuite").post(TOKEN_URL, data=form)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("RSA", "PS256"),
        ("RSA", "PS384"),
        ("RSA", "PS512"),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
    ],
)
def test_a_signed_assertion_gives_a_token_for_an_hour(
    kind: str, algorithm: str, world: World, clock: ManualClock, api: httpx.Client
) -> None:
    body = token(world, kind, algorithm).json()
    assert "refresh_token" not in body
    headers = {"authorization": f"Bearer {body['access_token']}", "prefer": "transient"}
    assert knock(api, headers).status_code == 200
    clock.advance(seconds=3600)
    assert knock(api, headers).status_code == 401


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"aud": "https://elsewhere.test/token"}, "invalid_grant"),
        ({"iss": "other"}, "invalid_grant"),
        ({"scope": "everything"}, "invalid_grant"),
        ({"exp": int(NOW.timestamp()) + 3601}, "invalid_grant"),
        ({"exp": int(NOW.timestamp()) - 1}, "invalid_grant"),
        ({"kid": "unknown"}, "invalid_client"),
    ],
)
def test_an_unsound_assertion_is_refused(claims: dict[str, Any], error: str, world: World) -> None:
    refused = token(world, **claims)
    assert (refused.status_code, refused.json()) == (400, {"error": error})


def test_rs256_and_foreign_keys_are_refused(world: World) -> None:
    assert token(world, "RSA", "RS256").json() == {"error": "invalid_client"}
    private, _ = key_pair("P-384")
    _, public = key_pair("P-256")
    kid = world.grants["netsuite"].upload_certificate(public)
    text = jwt.encode(
        {"iss": simulator.CLIENT_ID}, private, algorithm="ES384", headers={"kid": kid}
    )
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": text,
    }
    assert client(world, "netsuite").post(TOKEN_URL, data=form).json() == {
        "error": "invalid_client"
    }


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT total FROM transaction", "Unknown identifier 'total'"),
        ("SELECT t.balance FROM transaction t", "Unknown identifier 't.balance'"),
        ("SELECT id FROM invoice", "Record 'invoice' was not found"),
        ("SELECT id FROM transaction ORDER BY id LIMIT 5", "unexpected"),
        ("SELECT id FROM transaction; DROP TABLE x", "unexpected"),
        ("SELECT id FROM transaction WHERE trandate >= '2026-01-01'", "literal does not match"),
        (
            "SELECT id FROM transaction WHERE lastmodifieddate >= TO_DATE('1/1/2026', 'YYYY-MM-DD')",
            "literal does not match",
        ),
        ("SELECT TO_CHAR(trandate, 'ISO') FROM transaction", "date format not recognized"),
        ("SELECT SYS_EXTRACT_UTC(trandate) FROM transaction", "unsupported function"),
        ("SELECT id AS a, type AS a FROM transaction", "Duplicate"),
        ("SELECT id FROM transaction WHERE id = ?", "number of parameters"),
        (f"SELECT id FROM transaction WHERE id IN ({','.join(map(str, range(1001)))})", "1000"),
        ("UPDATE transaction", "unexpected"),
        (
            "SELECT id FROM transaction t JOIN customer c ON c.nothing = t.entity",
            "Unknown identifier 'c.nothing'",
        ),
    ],
)
def test_suiteql_refuses(statement: str, said: str, api: httpx.Client) -> None:
    refused = ask(api, statement)
    assert refused.status_code == 400
    assert said in refused.json()["o:errorDetails"][0]["detail"]


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"limit": 1001}, "limit"),
        ({"limit": 0}, "limit"),
        ({"limit": 10, "offset": 5}, "offset"),
        ({"limit": "x"}, "limit"),
    ],
)
def test_limit_and_offset_have_rules(
    params: dict[str, Any], parameter: str, api: httpx.Client
) -> None:
    refused = ask(api, "SELECT id FROM transaction ORDER BY id", **params)
    assert (refused.status_code, refused.json()["o:errorDetails"][0]["o:errorQueryParam"]) == (
        400,
        parameter,
    )


def test_suiteql_is_a_post_and_transient(api: httpx.Client) -> None:
    assert api.get(PATH, params={"q": "SELECT id FROM item"}).status_code == 405
    assert api.post(PATH, json={"q": "SELECT id FROM item"}).status_code == 400
    assert api.post(PATH, content=b"SELECT", headers={"prefer": "transient"}).status_code == 400


def test_values_are_text_in_lower_case_columns_and_nulls_are_left_out(api: httpx.Client) -> None:
    (row,) = ask(api, "SELECT ID, Symbol AS Code FROM currency WHERE id = 3").json()["items"]
    assert row == {"links": [], "id": "3", "code": "AOA"}
    people = rows(api, "SELECT id, phone, mobilephone, altphone FROM customer ORDER BY id")
    assert {len(row) for row in people} == {2, 3}
    assert ask(api, "SELECT COUNT(*) AS n FROM customer").json()["items"][0]["n"] == str(
        len(people)
    )
    bound = api.post(
        PATH,
        json={"q": "SELECT symbol FROM currency WHERE id = ?", "params": [1]},
        headers={"prefer": "transient"},
    )
    assert bound.json()["items"][0]["symbol"] == "USD"


def test_only_a_unique_order_pages_safely(api: httpx.Client, world: World) -> None:
    ids = [row["id"] for row in rows(api, "SELECT id FROM transaction ORDER BY id ASC")]
    assert ids == sorted(set(ids), key=int)
    loose = [
        ask(api, "SELECT id FROM transaction", limit=50, offset=at).json()["items"]
        for at in range(0, 300, 50)
    ]
    seen = [row["id"] for page in loose for row in page]
    assert len(set(seen)) < len(seen)


def test_lines_add_up_to_what_was_sold(api: httpx.Client, world: World) -> None:
    """Item and discount lines are the net amount with the sign of the books, the tax line is the tax, costs cancel out."""
    found = rows(
        api,
        "SELECT transaction, foreignamount, mainline, taxline, iscogs FROM transactionline ORDER BY transaction, id",
    )
    for document in world.books["netsuite"].all("Invoice", "CreditMemo", "SalesReceipt"):
        if document.deleted:
            continue
        sign = 1 if document.entity == "CreditMemo" else -1
        mine = [row for row in found if row["transaction"] == document.id]

        def minor(keep: Any, rows: list[dict[str, str]] = mine) -> int:
            return int(sum(Decimal(row["foreignamount"]) for row in rows if keep(row)) * 100)

        assert (
            minor(lambda row: (row["mainline"], row["taxline"], row["iscogs"]) == ("F", "F", "F"))
            == sign * document.net_minor
        )
        assert minor(lambda row: row["taxline"] == "T") == sign * document.tax_minor
        assert minor(lambda row: row["iscogs"] == "T") == 0


def test_the_books_agree_with_the_tables(api: httpx.Client, world: World) -> None:
    statement = "SELECT id, type, foreigntotal, voided FROM transaction WHERE type <> 'CustPymt' ORDER BY id"
    listed = {row["id"]: row for row in rows(api, statement)}
    truth = {
        row.external_id: row
        for row in world.truth()
        if row.system == "netsuite" and not row.deleted
    }
    assert set(listed) == set(truth)
    for key, row in truth.items():
        assert Decimal(listed[key]["foreigntotal"]).copy_abs() == Decimal(row.total)
        assert (listed[key]["voided"] == "T") == (row.status == "void")
    kinds = {"CustInvc", "CashSale", "CustCred", "CashRfnd", "CustRfnd"}
    assert {row["type"] for row in listed.values()} == kinds


def test_the_record_api_gives_one_document(api: httpx.Client, world: World) -> None:
    listed = api.get("/services/rest/record/v1/invoice", params={"limit": 10, "offset": 10}).json()
    key = listed["items"][0]["id"]
    assert (set(listed["items"][0]), listed["hasMore"]) == ({"links", "id"}, True)
    short = api.get(f"/services/rest/record/v1/invoice/{key}").json()
    whole = api.get(
        f"/services/rest/record/v1/invoice/{key}", params={"expandSubResources": "true"}
    ).json()
    assert "items" not in short["item"]
    assert whole["item"]["totalResults"] == len(
        world.books["netsuite"].documents["Invoice"][key].lines
    )
    missing = api.get("/services/rest/record/v1/invoice/999999")
    assert (missing.status_code, missing.json()["o:errorDetails"][0]["o:errorCode"]) == (
        404,
        "NONEXISTENT_ID",
    )
