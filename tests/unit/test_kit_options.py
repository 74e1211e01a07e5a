"""Options of the kit that a vendor may need and the simulated ones do not."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import httpx
import polars as pl
import pytest
from pydantic import SecretStr

from connectors.kit.errors import (
    CredentialsRejected,
    Misconfigured,
    PaginationLoop,
    PermissionMissing,
    RateLimited,
    UnexpectedShape,
)
from connectors.kit.http.auth import Token, basic_form, client_credentials, refresh_token, token_end
from connectors.kit.http.client import open_client
from connectors.kit.http.signing import oauth1_hmac_sha256
from connectors.kit.http.urls import base_url
from connectors.kit.mapping import map_lookup, map_page, phone_place
from connectors.kit.read.look_up import look_up
from connectors.kit.read.pages import extract
from connectors.kit.read.pagination import by_change, by_cursor, by_page
from connectors.kit.read.rest import with_whole_lists
from connectors.kit.spec import (
    Account,
    ListMovedError,
    Lookup,
    PageRequest,
    PageView,
    Rest,
    TokenAuth,
    Window,
    of_account,
)
from connectors.kit.spec.fields import phone, text
from connectors.kit.webhooks.scheme import Refused, Verified, Webhook, verify
from connectors.kit.webhooks.signatures import Delivery, plain_hmac
from tests.support.seventh import SPEC, receipts


class OneToken:
    """A store that holds one good token."""

    def read(self) -> Token:
        return Token("t0ken", "", datetime.now(UTC) + timedelta(hours=1))

    def refresh(self, stale: object, renew: object) -> Token:  # noqa: ARG002  the protocol's
        raise AssertionError("the token is good")


def pages() -> Any:
    request = PageRequest("GET", "/x", {"page": "1", "n": "10"})
    steps = by_page(request, size_param="n", vendor_size=10, more="more")
    next(steps)
    return steps


def test_a_list_that_says_whether_there_is_more() -> None:
    steps = pages()
    assert steps.send(PageView(3, {"more": True})).params["page"] == "2"
    with pytest.raises(StopIteration):
        steps.send(PageView(10, {"more": False}))


def test_a_list_that_says_there_is_more_and_gives_nothing_has_moved() -> None:
    with pytest.raises(ListMovedError):
        pages().send(PageView(0, {"more": True}))


def test_a_list_that_does_not_say_it_ends_with_a_short_page() -> None:
    with pytest.raises(StopIteration):
        pages().send(PageView(3, {"more": None}))


@pytest.mark.parametrize("last", [{}, {"next": None}, {"next": ""}])
def test_a_list_with_a_cursor(last: dict[str, Any]) -> None:
    steps = by_cursor(PageRequest("GET", "/x", {"limit": "10"}), param="cursor", following="next")
    assert dict(next(steps).params) == {"limit": "10"}
    second = steps.send(PageView(10, {"next": "c2"}))
    assert (dict(second.params), second.page_no) == ({"limit": "10", "cursor": "c2"}, 2)
    with pytest.raises(StopIteration):
        steps.send(PageView(10, last))


def test_every_call_has_the_word_before_its_token_and_the_parameters() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    spec = replace(
        SPEC,
        auth=refresh_token(basic_form, word="Zoho-oauthtoken"),
        params=lambda account: {"organization_id": account.account, "page": "0"},
    )
    transport = httpx.MockTransport(answer)
    with open_client(Account("garrafa", "10"), spec, OneToken(), transport=transport) as client:
        client.send(PageRequest("GET", "/invoices", {"page": "2"}), "invoices")
    assert asked[0].headers["authorization"] == "Zoho-oauthtoken t0ken"
    assert dict(asked[0].url.params) == {"organization_id": "10", "page": "2"}


def test_a_token_in_a_header_of_its_own() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    auth = TokenAuth(client_credentials(), seeded=False, word="", header="x-access-token")
    spec = replace(SPEC, auth=lambda _: auth)
    transport = httpx.MockTransport(answer)
    with open_client(Account("garrafa", "10"), spec, OneToken(), transport=transport) as client:
        client.send(PageRequest("GET", "/invoices"), "invoices")
    assert asked[0].headers["x-access-token"] == "t0ken"
    assert "authorization" not in asked[0].headers


def one_answer(body: Any, **changes: Any) -> Any:
    """What a client makes of an answer with status 200."""
    spec = replace(SPEC, **changes)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    with open_client(Account("garrafa", "10"), spec, OneToken(), transport=transport) as client:
        return client.send(PageRequest("GET", "/invoices"), "invoices")


@pytest.mark.parametrize("beside", [False, True])
def test_an_error_beside_records_counts_where_the_vendor_sends_parts(*, beside: bool) -> None:
    """However long the answer is."""
    body = {"error": {"code": "DENIED"}, "receipts": [{"id": "1", "text": "x" * 9000}]}
    changes = {"errors_beside_records": beside, "errors": {"DENIED": PermissionMissing}}
    if not beside:
        assert one_answer(body, **changes).status == 200
        return
    with pytest.raises(PermissionMissing, match="an error answer, code DENIED"):
        one_answer(body, **changes)


@pytest.mark.parametrize(
    ("left", "seconds"), [(0.5, 4.5), ("?", None), (float("1e9"), 0.0), (None, None)]
)
def test_a_wait_that_the_body_asks_for(left: Any, seconds: float | None) -> None:
    body = {"error": {"code": "SLOW"}, "left": left}
    with pytest.raises(RateLimited) as caught:
        one_answer(
            body,
            errors_beside_records=True,
            errors={"SLOW": RateLimited},
            rest_seconds=lambda answer: 5 - float(answer["left"]),
        )
    assert caught.value.retry_after_seconds == seconds


def long_lists(parts: dict[str, Any]) -> httpx.MockTransport:
    """A server with a receipt whose items come in parts, by cursor."""

    def answer(request: httpx.Request) -> httpx.Response:
        part = parts.get(request.url.params.get("after", ""))
        if part is None:
            return httpx.Response(404, json={})
        return httpx.Response(200, json={"receipt": {"id": 1, "items": part}})

    return httpx.MockTransport(answer)


def part_of(*numbers: int, after: str | None = None) -> dict[str, Any]:
    return {"list": [{"n": number} for number in numbers], "more": after is not None, "after": after}  # fmt: skip


ITEMS = Lookup(
    "lines",
    lambda _, ids: [PageRequest("GET", f"/r/{receipt}") for receipt in ids],
    "/receipt/items/list",
    {"external_id": text("/n")},
    paginate=partial(by_cursor, param="after", following="next"),
    info={"next": "/receipt/items/after"},
)
REST = Rest("/items/more", "/id", ITEMS, "/items/list")


def whole(transport: httpx.MockTransport, body: bytes) -> bytes:
    spec = replace(SPEC, streams=(replace(SPEC.streams[0], rest=(REST,)),))
    with open_client(Account("garrafa", "10"), spec, OneToken(), transport=transport) as client:
        return with_whole_lists(spec, spec.streams[0], client, body)


def test_a_list_inside_a_record_is_read_to_its_end() -> None:
    records = [
        {"id": 1, "total": "1.50", "items": part_of(1, 2, after="b")},
        {"id": 2, "items": part_of(9)},
    ]
    body = json.dumps({"receipts": records}).encode()
    server = long_lists({"": part_of(1, 2, 3, after="c"), "c": part_of(4)})
    long, short = json.loads(whole(server, body))["receipts"]
    assert [item["n"] for item in long["items"]["list"]] == [1, 2, 3, 4]
    assert (long["total"], short["items"]["list"]) == ("1.50", [{"n": 9}])


def test_a_page_of_whole_lists_stays_as_it_is() -> None:
    body = json.dumps({"receipts": [{"id": 2, "items": part_of(9)}], "pages": 1}).encode()
    assert whole(long_lists({}), body) == body


def test_the_list_of_a_record_that_is_gone_stays_as_it_came() -> None:
    body = json.dumps({"receipts": [{"id": 1, "items": part_of(1, after="b")}]}).encode()
    assert json.loads(whole(long_lists({}), body)) == json.loads(body)


def test_the_list_of_a_record_that_is_refused_is_an_error() -> None:
    """Only what the vendor does not know is gone: its lines would be lost without a word."""
    body = json.dumps({"receipts": [{"id": 1, "items": part_of(1, after="b")}]}).encode()
    with pytest.raises(UnexpectedShape):
        whole(httpx.MockTransport(lambda _: httpx.Response(400)), body)


def test_a_list_inside_a_record_that_never_ends() -> None:
    body = json.dumps({"receipts": [{"id": 1, "items": part_of(1, after="b")}]}).encode()
    server = long_lists({"": part_of(1, after="b"), "b": part_of(1, after="b")})
    with pytest.raises(PaginationLoop):
        whole(server, body)


def test_an_error_in_a_200_is_an_error() -> None:
    spec = replace(
        SPEC,
        fault=lambda body: str(body["code"]) if body.get("code") else None,
        errors={"57": CredentialsRejected},
    )
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"code": 57}))
    with (
        open_client(Account("garrafa", "10"), spec, OneToken(), transport=transport) as client,
        pytest.raises(CredentialsRejected, match="code 57"),
    ):
        client.send(PageRequest("GET", "/invoices"), "invoices")


def test_a_look_up_that_answers_one_object() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        key = request.url.path.rpartition("/")[2]
        if key == "gone":
            return httpx.Response(404, json={"error": {"code": "unknown"}})
        return httpx.Response(200, json={"contact": {"id": key, "mobile": "923 456 789"}})

    lookup = Lookup(
        "customers",
        lambda _account, _ids: (),
        "/contacts",
        {"external_id": text("/id"), "phone": phone("/mobile")},
        fallback=lambda _account, key: PageRequest("GET", f"/contacts/{key}"),
        fallback_record="/contact",
    )
    spec = replace(SPEC, lookups=(lookup,))
    transport = httpx.MockTransport(answer)
    with open_client(Account("garrafa", "10"), spec, OneToken(), transport=transport) as client:
        found = sorted(page.body for page in look_up(spec, lookup, client, ["1", "2", "gone"]))
    assert found == [
        b'{"contact":{"id":"1","mobile":"923 456 789"}}',
        b'{"contact":{"id":"2","mobile":"923 456 789"}}',
    ]


def sorted_query_and_body(received: Delivery) -> bytes:
    """As Zoho signs: the query's names and values, sorted by name, then the body."""
    pairs = sorted(parse_qsl(received.query, keep_blank_values=True))
    return "".join(name + value for name, value in pairs).encode() + received.body


@pytest.mark.parametrize(("query", "good"), [("b=2&a=1", True), ("a=1&b=3", False), ("", False)])
def test_a_webhook_that_signs_its_query(query: str, *, good: bool) -> None:
    scheme = plain_hmac("x-signature", "hex", content=sorted_query_and_body)
    webhook = Webhook("garrafa", scheme, lambda _: [])
    signature = hmac.new(b"a-secret-of-twelve", b'a1b2{"id":1}', hashlib.sha256).hexdigest()
    outcome = verify(
        webhook,
        [SecretStr("a-secret-of-twelve")],
        {"x-signature": signature},
        b'{"id":1}',
        datetime.now(UTC),
        query=query,
    )
    assert isinstance(outcome, Verified if good else Refused)


def test_an_address_per_data_centre() -> None:
    account = Account("garrafa", "10", options={"data_centre": "eu"})
    spec = replace(SPEC, base_url="https://www.zohoapis.{data_centre}")
    assert base_url(account, spec).host == "www.zohoapis.eu"
    token_url = "https://accounts.zoho.{data_centre}/oauth/v2/token"
    assert of_account(token_url, account) == "https://accounts.zoho.eu/oauth/v2/token"


@pytest.mark.parametrize("value", [None, "", "evil.example/", "x@evil.example", "{other}", "a:1"])
def test_an_option_is_a_part_of_the_address_and_nothing_else(value: str | None) -> None:
    options = {"other": "eu"} if value is None else {"other": "eu", "data_centre": value}
    with pytest.raises(Misconfigured, match="data_centre"):
        of_account("https://www.zohoapis.{data_centre}", Account("garrafa", "10", options=options))


def test_a_sale_to_nobody_is_counted_where_those_are_usual() -> None:
    stream = replace(SPEC.streams[0], walk_ins=True)
    bodies = receipts(3)
    bodies[0]["buyer"] = None
    bodies[1]["buyer"] = {"id": None, "mobile": "no phone"}
    account = Account("garrafa", "4711", {}, "UTC")
    page = json.dumps({"receipts": bodies, "pages": 1}).encode()
    mapped = map_page(SPEC, stream, account, page, page_id=7)
    assert mapped.walk_ins.rows() == [("1", 7, 0)]
    # A phone that cannot be read is somebody's.
    assert mapped.problems["field"].unique().to_list() == ["customer_phone"]
    assert mapped.invoices["external_id"].to_list() == ["2", "3"]
    lines = mapped.lines["external_id"].to_list()
    assert lines == ["2", "3"]
    # Without its amount, nobody knows whether it is a sale.
    bodies[0]["total"] = None
    broken = json.dumps({"receipts": bodies, "pages": 1}).encode()
    assert map_page(SPEC, stream, account, broken, page_id=7).walk_ins.is_empty()
    rejected = map_page(SPEC, SPEC.streams[0], account, page, page_id=7)
    assert rejected.walk_ins.is_empty()
    assert rejected.invoices["external_id"].to_list() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        # Somebody bought it, but who cannot be read.
        ({"buyer": {"id": {"n": 1}}}, {"customer_external_id"}),
        ({"buyer": {"id": None, "mobile": ["923456789"]}}, {"customer_phone"}),
        # Without its time, nobody knows whether it is a sale.
        ({"buyer": None, "date": "soon"}, {"issued_at"}),
        # A document that nothing tells apart cannot be counted.
        ({"buyer": None, "id": {"n": 1}}, {"external_id"}),
        ({"buyer": None, "id": None}, {"external_id"}),
    ],
)
def test_what_cannot_be_read_is_no_sale_to_nobody(
    changes: dict[str, Any], fields: set[str]
) -> None:
    stream = replace(SPEC.streams[0], walk_ins=True)
    account = Account("garrafa", "4711", {}, "UTC")
    records = [record | changes if at == 0 else record for at, record in enumerate(receipts(2))]
    page = json.dumps({"receipts": records, "pages": 1}).encode()
    mapped = map_page(SPEC, stream, account, page, page_id=7)
    assert mapped.walk_ins.is_empty()
    problems = mapped.problems.filter(pl.col("field").is_in(fields))
    assert (set(problems["field"]), set(problems["record_no"])) == (fields, {0})
    assert mapped.invoices["external_id"].to_list()[-1] == "2"


@pytest.mark.parametrize("vendor_id", [{"n": 1}, [1], None, ""])
def test_a_record_with_an_unreadable_id_is_known_by_its_content(vendor_id: Any) -> None:
    """So it is rejected once, however often and wherever it is read."""
    account = Account("garrafa", "4711", {}, "UTC")
    record, other = receipts(2)
    record["id"] = vendor_id
    keys = []
    for records in ([record, other], [other, record]):
        page = json.dumps({"receipts": records, "pages": 1}).encode()
        mapped = map_page(SPEC, SPEC.streams[0], account, page, page_id=7)
        place = records.index(record)
        assert mapped.problems.select("field", "path", "record_no").rows() == [
            ("external_id", "/id", place)
        ]
        (identity,) = mapped.identities.to_dicts()
        assert (identity["record_no"], identity["external_id"]) == (place, None)
        keys.append(identity["row_key"])
        # What names no document has no lines that another one could take for its own.
        assert mapped.lines["external_id"].drop_nulls().to_list() == ["2"]
    assert keys[0] == keys[1]


def test_equal_records_with_unreadable_ids_are_numbered() -> None:
    records = [receipts(1)[0] | {"id": None}] * 2
    page = json.dumps({"receipts": records, "pages": 1}).encode()
    mapped = map_page(SPEC, SPEC.streams[0], Account("garrafa", "4711", {}, "UTC"), page, page_id=7)
    first, second = mapped.identities["row_key"]
    assert second == f"{first} #2"


NEXT = '<https://shop.test/orders?page=2>; rel="next"'


@pytest.mark.parametrize(
    ("view", "ends"),
    [
        (PageView(3, link=NEXT), False),  # some of its records are hidden from us
        (PageView(0, link=NEXT), False),
        (PageView(3, link=NEXT.replace("next", "prev")), True),
        (PageView(3), True),
        (PageView(10), False),
    ],
)
def test_a_link_header_says_that_there_is_another_page(view: PageView, *, ends: bool) -> None:
    request = PageRequest("GET", "/x", {"page": "1", "n": "10"})
    steps = by_page(request, size_param="n", vendor_size=10, link=True)
    next(steps)
    if ends:
        with pytest.raises(StopIteration):
            steps.send(view)
    else:
        assert steps.send(view).params["page"] == "2"


def test_only_an_empty_page_ends_a_list_whose_pages_may_be_short() -> None:
    request = PageRequest("GET", "/x", {"page": "1", "n": "10"})
    steps = by_page(request, size_param="n", vendor_size=10, short_is_last=False)
    next(steps)
    assert steps.send(PageView(3)).params["page"] == "2"
    with pytest.raises(StopIteration):
        steps.send(PageView(0))


@pytest.mark.parametrize(("code", "absent"), [("bad_route", True), ("bad_id", False)])
def test_a_list_that_an_older_version_does_not_have(code: str, *, absent: bool) -> None:
    stream = replace(SPEC.streams[0], absent=("bad_route",))
    transport = httpx.MockTransport(
        lambda _: httpx.Response(404, json={"error": {"code": code, "text": "secret"}})
    )
    account = Account("garrafa", "1", secrets={"api_key": SecretStr("k3y")})
    with open_client(account, SPEC, OneToken(), transport=transport) as client:
        if absent:
            assert list(extract(SPEC, stream, client, Window())) == []
        else:
            with pytest.raises(UnexpectedShape, match=code):
                list(extract(SPEC, stream, client, Window()))


def test_an_application_signs_without_a_token() -> None:
    """The base string of RFC 5849, 3.4.1, written down by hand; the key ends with the ampersand."""
    request = httpx.Request("GET", "http://shop.test/orders?page=2&after=2026-01-01T00:00:00")
    oauth1_hmac_sha256(
        request,
        consumer=("ck", "cs"),
        now=datetime(2026, 1, 1, tzinfo=UTC),
        nonce="n",
        in_query=True,
    )
    params = dict(parse_qsl(request.url.query.decode()))
    signature = params.pop("oauth_signature")
    assert "oauth_token" not in params
    assert "authorization" not in request.headers
    base = (
        "GET&http%3A%2F%2Fshop.test%2Forders&after%3D2026-01-01T00%253A00%253A00%26"
        "oauth_consumer_key%3Dck%26oauth_nonce%3Dn%26oauth_signature_method%3DHMAC-SHA256%26"
        "oauth_timestamp%3D1767225600%26oauth_version%3D1.0%26page%3D2"
    )
    digest = hmac.digest(b"cs&", base.encode(), hashlib.sha256)
    assert signature == base64.b64encode(digest).decode()


def test_a_list_of_ids_has_no_place_of_a_phone() -> None:
    """Also where phones stand in the documents, and no customers are looked up."""
    census = replace(SPEC.streams[0], fields={}, helpers={}, lines=None, census=True)
    assert phone_place(SPEC, SPEC.streams[0], Account("garrafa", "1")) == "/buyer/mobile"
    assert phone_place(SPEC, census, Account("garrafa", "1")) == ""


def by_change_pages() -> Any:
    """The steps of a list by time of change, behind its first request."""
    steps = by_change(
        PageRequest("GET", "/x", {"since": "1"}),
        since=lambda request, time: replace(request, params={"since": time}),
        follow=lambda request, cursor: replace(request, params={**request.params, "at": cursor}),
    )
    next(steps)
    return steps


def test_a_list_by_change_goes_on_from_the_last_time_and_not_by_the_cursor() -> None:
    steps = by_change_pages()
    request = steps.send(PageView(3, {"next": "c1"}, versions=("1", "1", "2")))
    assert (request.params, request.page_no) == ({"since": "2"}, 2)
    request = steps.send(PageView(2, {"next": "c2"}, versions=("2", "2")))
    assert (request.params, request.page_no) == ({"since": "2", "at": "c2"}, 3)
    request = steps.send(PageView(2, {"next": "c3"}, versions=("2", "3")))
    assert request.params["since"] == "3"
    with pytest.raises(StopIteration):
        steps.send(PageView(1, {"next": None}, versions=("3",)))


def test_a_list_by_change_without_times_follows_the_cursor() -> None:
    request = by_change_pages().send(PageView(2, {"next": "c1"}, versions=(None, None)))
    assert request.params == {"since": "1", "at": "c1"}


KEYED = Lookup(
    "customers",
    lambda *_: (),
    "/data/people",
    {"external_id": text("/who/id"), "phone": phone("/who/phone")},
    keyed=True,
)


def test_records_by_their_ids_are_read_as_a_list() -> None:
    body = {"data": {"people": {"a": {"who": {"id": "a", "phone": "923456789"}}, "b": {"no": 1}}}}
    found = map_lookup(SPEC, KEYED, Account("x", "1"), json.dumps(body).encode())
    assert found.rows() == [("a", "+244923456789")]


@pytest.mark.parametrize("body", [{}, {"data": {"people": None}}, {"data": 1}, {"data": {"x": 1}}])
def test_an_answer_without_records_by_their_ids_is_an_error(body: Any) -> None:
    with pytest.raises(UnexpectedShape):
        map_lookup(SPEC, KEYED, Account("x", "1"), json.dumps(body).encode())


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"expires_at": "2026-05-01T00:10:00Z"}, 600),
        ({"expires_at": "2026-05-01T00:10:00Z", "expires_in": 60}, 60),
        ({"expires_at": "2026-05-01T00:10:00"}, 1800),
        ({"expires_at": "soon"}, 1800),
        ({"expires_at": 7}, 1800),
        ({}, 1800),
    ],
)
def test_a_token_ends_when_its_answer_says(answer: dict[str, Any], seconds: int) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    assert token_end(answer, now) == now + timedelta(seconds=seconds)
