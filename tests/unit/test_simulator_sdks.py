"""The vendors' own Python SDKs read the served simulator, with nothing but the base URL changed."""

import inspect
import json
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from connectors import SYSTEMS
from connectors.kit.http.signing import oauth1_hmac_sha256
from connectors.kit.spec import Account, Window
from simulator import ACCOUNTS, CLIENT_ID, CLIENT_SECRET, World, handler, seed_refresh_token
from simulator.systems.woocommerce.auth import CONSUMER_KEY, CONSUMER_SECRET
from simulator.webhooks import Announcer
from tests.support.served_vendors import served_vendors


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11, customers=40, invoices=160)


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    """The served simulator's address."""
    with served_vendors(world) as address:
        yield address


def alive(world: World, system: str, kind: str) -> list[str]:
    rows = [row for row in world.truth() if (row.system, row.kind) == (system, kind)]
    return sorted(row.external_id for row in rows if system == "xero" or not row.deleted)


def test_python_quickbooks(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    quickbooks = pytest.importorskip("quickbooks")
    from quickbooks.cdc import change_data_capture  # type: ignore[import-untyped]
    from quickbooks.exceptions import ObjectNotFoundException  # type: ignore[import-untyped]
    from quickbooks.objects import Customer, Invoice, Item, SalesReceipt  # type: ignore[import-untyped]

    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setattr(quickbooks.QuickBooks, "api_url_v3", f"{url}/quickbooks/v3")
    token = world.grants["quickbooks"].issue_access()
    auth = SimpleNamespace(
        environment="production", access_token=token, refresh_token="unused", client_id=CLIENT_ID
    )
    client = quickbooks.QuickBooks(
        auth_client=auth, company_id=ACCOUNTS["quickbooks"], minorversion=75
    )
    found: list[str] = []
    while page := Invoice.all(
        order_by="Id", start_position=len(found) + 1, max_results=50, qb=client
    ):
        found += [invoice.Id for invoice in page]
    assert sorted(found) == alive(world, "quickbooks", "invoice")
    assert Invoice.count(qb=client) == len(found)
    (example,) = Invoice.filter(DocNumber="INV-001", qb=client)
    assert (example.TotalAmt, example.Line[0].SalesItemLineDetail.Qty) == (150, 3)
    customer = Customer.get(int(example.CustomerRef.value), qb=client)
    assert customer.PrimaryPhone.FreeFormNumber == "+244 923 456 789"
    assert "ATW-5L" in {item.Sku for item in Item.all(qb=client)}
    assert SalesReceipt.all(qb=client)
    with pytest.raises(ObjectNotFoundException):
        Invoice.get(99_999, qb=client)
    changes = change_data_capture([Invoice, Customer], world.now().date().isoformat(), qb=client)
    assert changes is not None


def test_xero_python(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's own invalid escapes
        pytest.importorskip("xero_python")
        from xero_python.accounting import AccountingApi  # type: ignore[import-untyped]
        from xero_python.api_client import ApiClient  # type: ignore[import-untyped]
        from xero_python.api_client.configuration import Configuration  # type: ignore[import-untyped]
        from xero_python.api_client.oauth2 import OAuth2Token, TokenApi  # type: ignore[import-untyped]
        from xero_python.identity import IdentityApi  # type: ignore[import-untyped]

    monkeypatch.setattr(TokenApi, "refresh_token_url", f"{url}/xero/connect/token")
    stored: dict[str, object] = {
        "refresh_token": seed_refresh_token("xero"),
        "scope": ["offline_access"],
    }
    stored |= {"access_token": "stale", "expires_in": 1800, "token_type": "Bearer", "expires_at": 1}
    configuration = Configuration(
        oauth2_token=OAuth2Token(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    )
    client = ApiClient(
        configuration,
        oauth2_token_getter=lambda: stored,
        oauth2_token_saver=stored.update,
    )
    configuration.oauth2_token.update_token(**stored)
    identity = IdentityApi(client)
    identity.base_url = f"{url}/xero"
    (connection,) = identity.get_connections()
    assert stored["refresh_token"] != seed_refresh_token("xero")
    api, tenant = AccountingApi(client, base_url=f"{url}/xero/api.xro/2.0"), connection.tenant_id
    found, page = [], 1
    while rows := api.get_invoices(
        tenant, where='Type=="ACCREC"', page=page, page_size=60
    ).invoices:
        found += [row.invoice_id for row in rows]
        assert all(row.line_items for row in rows)
        page += 1
    assert sorted(found) == alive(world, "xero", "invoice")
    contacts = api.get_contacts(tenant, page=1, page_size=1000, include_archived=True).contacts
    assert len(contacts) == len(world.books["xero"].customers)
    assert sorted(
        note.credit_note_id
        for note in api.get_credit_notes(tenant, page=1, page_size=1000).credit_notes
        if note.type == "ACCRECCREDIT"
    ) == alive(world, "xero", "credit_note")
    assert api.get_organisations(tenant).organisations[0].name == "Água Twezah, Lda"
    assert api.get_payments(tenant, page=1).payments
    assert api.get_items(tenant).items
    assert api.get_invoices(tenant, if_modified_since=world.now()).invoices == []


def test_sage_intacct_rest_sdk(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public client (there is no vendor's own in Python): logs in both ways, pages by start, counts, reads one."""
    pytest.importorskip("intacctsdk")
    from intacctsdk import intacctsdk as module
    from intacctsdk.apis import api_base
    from intacctsdk.exceptions import InvalidTokenError

    root = f"{url}/sage_intacct/ia/api/v1"
    for where in (module, api_base):
        monkeypatch.setattr(where, "BASE_URL", root)
    known = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    user = module.IntacctRESTSDK(
        username=f"twezah@{ACCOUNTS['sage_intacct']}", entity_id="E100", **known
    )
    assert user.access_token_expires_in == 43_200
    token = seed_refresh_token("sage_intacct")
    sdk = module.IntacctRESTSDK(
        refresh_token=user.refresh_token, use_client_credentials_auth=False, **known
    )
    assert sdk.refresh_token not in (user.refresh_token, token)

    invoices = api_base.ApiBase(
        sdk, object_path="/objects/accounts-receivable/invoice", page_size=50
    )
    invoices.update_access_token(sdk.access_token)
    fields, order = ["key", "salesDocument.id", "state"], [{"key": "asc"}]
    found = [
        row for page in invoices.get_all_generator(fields=fields, order_by=order) for row in page
    ]
    assert sorted(row["salesDocument.id"] or row["key"] for row in found) == [
        key for key in alive(world, "sage_intacct", "invoice") if not key.startswith("adjustment/")
    ]
    paid = [{"$eq": {"state": "paid"}}]
    assert invoices.count(filters=paid) == sum(row["state"] == "paid" for row in found) > 0
    single = invoices.get_by_key(found[0]["key"])["ia::result"]
    assert single["lines"][0]["invoice"]["key"] == found[0]["key"]
    assert "customer" in invoices.get_model()["ia::result"]["refs"]
    customers = [
        row for page in sdk.customers.get_all_generator(fields=["id", "name"]) for row in page
    ]
    assert len(customers) == len(world.books["sage_intacct"].customers)
    world.grants["sage_intacct"].expire_access()
    with pytest.raises(InvalidTokenError):
        invoices.count()


def test_stripe(url: str, world: World) -> None:
    """It sends a later version than we do, and its parameters with brackets."""
    stripe = pytest.importorskip("stripe")
    from simulator.systems.stripe.system import API_KEY

    def client(key: str) -> Any:
        return stripe.StripeClient(
            key, base_addresses={"api": f"{url}/stripe"}, max_network_retries=0
        )

    api = client(API_KEY).v1
    found = list(api.invoices.list({"limit": 40}).auto_paging_iter())
    truth = {row.external_id: row for row in world.truth() if row.system == "stripe"}
    assert sorted(row.id for row in found) == alive(world, "stripe", "invoice")
    assert all(row.total == int(Decimal(truth[row.id].total) * 100) for row in found)
    assert all(row.lines.data and "charge" not in row for row in found)
    one = api.invoices.retrieve(found[0].id, {"expand": ["customer"]})
    assert one.customer.object == "customer"
    lines = api.invoices.line_items.list(found[0].id)
    assert [line.id for line in lines.data] == [line.id for line in found[0].lines.data]
    charges = list(api.charges.list({"limit": 100}).auto_paging_iter())
    assert set(alive(world, "stripe", "sale")) < {row.id for row in charges}
    since = int(world.now().timestamp()) - 29 * 86_400
    events = api.events.list({"types": ["invoice.paid"], "created": {"gte": since}, "limit": 5})
    assert {event.type for event in events.data} == {"invoice.paid"}
    assert api.customers.retrieve(found[0].customer).id == found[0].customer
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.invoices.retrieve("in_nothing")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.AuthenticationError):
        client("sk_live_other").v1.invoices.list()


def test_stripe_webhooks() -> None:
    """Its client takes the simulator's deliveries, and none with another secret."""
    stripe = pytest.importorskip("stripe")
    told = World(seed=11, customers=20, invoices=5)
    announcer = Announcer(told, {"stripe": "whsec_test"})
    told.evolve(steps=20, systems=("stripe",))
    deliveries = announcer.changes()
    assert len(deliveries) > 5
    for delivery in deliveries:
        signature = delivery.headers(datetime.now(UTC))["stripe-signature"]
        event = stripe.Webhook.construct_event(delivery.body, signature, "whsec_test")
        assert event.type in stripe_events()
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(delivery.body, signature, "whsec_other")


def test_stripe_endpoints(url: str, world: World) -> None:
    """Stripe's own client makes, lists, changes and deletes an endpoint; the secret comes once."""
    stripe = pytest.importorskip("stripe")
    from simulator.systems.stripe.system import API_KEY

    client = stripe.StripeClient(
        API_KEY, base_addresses={"api": f"{url}/stripe"}, max_network_retries=0
    )
    endpoints = client.v1.webhook_endpoints
    wanted = {"url": "https://points.example/hook", "enabled_events": ["invoice.paid"]}
    made = endpoints.create(wanted)
    assert made.secret.startswith("whsec_")
    (listed,) = [row for row in endpoints.list().auto_paging_iter() if row.id == made.id]
    assert getattr(listed, "secret", None) is None
    assert endpoints.update(made.id, {"disabled": True}).status == "disabled"
    assert endpoints.delete(made.id).deleted
    with pytest.raises(stripe.InvalidRequestError):
        endpoints.create({**wanted, "url": "http://points.example/hook"})
    assert world.subscriptions["stripe"].all() == []


def stripe_events() -> set[str]:
    """The names of events that an endpoint can choose, as the client declares them."""
    from stripe.params import _webhook_endpoint_create_params as declared

    return set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)+)"', inspect.getsource(declared)))


def test_stripe_knows_the_events_that_we_ask_for() -> None:
    pytest.importorskip("stripe")
    spec, now = SYSTEMS["stripe"], datetime.now(UTC)
    asked = set[str]()
    for stream in spec.streams:
        request = stream.first(Account("stripe", "acct_1"), Window(now), now)
        asked.update(request.params.get("types[]", ()) if request else ())
    assert len(asked) > 20
    assert asked - stripe_events() == set()


def test_freshbooks_callbacks(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """FreshBooks' own client registers, verifies and deletes a callback."""
    freshbooks = pytest.importorskip("freshbooks")
    monkeypatch.setenv("FRESHBOOKS_API_URL", f"{url}/freshbooks")
    sent: list[httpx.Request] = []
    monkeypatch.setattr(
        world, "outside", lambda request: sent.append(request) or httpx.Response(200)
    )
    client = freshbooks.Client(CLIENT_ID, access_token=world.grants["freshbooks"].issue_access())
    account = ACCOUNTS["freshbooks"]
    wanted = {"event": "invoice", "uri": "https://points.example/hook"}
    made = client.callbacks.create(account, wanted)
    form = dict(parse_qsl(sent[0].content.decode()))
    assert (form["name"], form["object_id"]) == ("callback.verify", str(made.callbackid))
    client.callbacks.verify(account, made.callbackid, form["verifier"])
    assert [row.verified for row in client.callbacks.list(account)] == [True]
    client.callbacks.resend_verification(account, made.callbackid)
    assert len(sent) == 2
    client.callbacks.delete(account, made.callbackid)
    assert list(client.callbacks.list(account)) == []


def test_freshbooks_sdk(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    freshbooks = pytest.importorskip("freshbooks")
    monkeypatch.setenv("FRESHBOOKS_API_URL", f"{url}/freshbooks")
    client = freshbooks.Client(
        CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uri="https://example.com/done"
    )
    tokens = client.refresh_access_token(seed_refresh_token("freshbooks"))
    assert tokens.refresh_token != seed_refresh_token("freshbooks")
    account = client.current_user().business_memberships[0].business.account_id
    assert account == ACCOUNTS["freshbooks"]
    pages, lines = freshbooks.PaginateBuilder(1, 60), freshbooks.IncludesBuilder().include("lines")
    found, page = [], client.invoices.list(account, builders=[pages, lines])
    while True:
        found += [str(invoice.id) for invoice in page]
        assert all(invoice.lines for invoice in page)
        if page.pages.page >= page.pages.pages:
            break
        page = client.invoices.list(account, builders=[pages.page(page.pages.page + 1), lines])
    assert sorted(found) == alive(world, "freshbooks", "invoice")
    first = client.clients.list(account)[0]
    assert client.clients.get(account, first.id).data["updated"] == first.data["updated"]
    notes = client.credit_notes.list(account, builders=[freshbooks.PaginateBuilder(1, 100)])
    assert sorted(f"credit_note/{note.id}" for note in notes) == alive(
        world, "freshbooks", "credit_note"
    )
    with pytest.raises(freshbooks.FreshBooksError) as caught:
        client.clients.get(account, 9)
    assert (caught.value.status_code, caught.value.error_code) == (404, 1012)


def test_shopify_python(url: str, world: World) -> None:
    """The vendor's library sends GraphQL as it is given: pages by cursor, and an order with its refunds."""
    shopify = pytest.importorskip("shopify")
    token = world.grants["shopify"].issue_access()
    shopify.ShopifyResource.clear_session()
    shopify.ShopifyResource.set_site(f"{url}/shopify/admin/api/2026-10")
    shopify.ShopifyResource.headers["X-Shopify-Access-Token"] = token
    query = """
    query Orders($first: Int!, $after: String) {
      shop { currencyCode }
      orders(first: $first, after: $after, sortKey: UPDATED_AT) {
        edges { cursor node { ...Shown } }
        pageInfo { hasNextPage endCursor }
      }
    }
    fragment Shown on Order {
      id name test customer { id } totalPriceSet { shopMoney { amount currencyCode } }
      refunds(first: 2) { totalRefundedSet { shopMoney { amount } } }
    }
    """
    found, after = {}, None
    while True:
        answer = json.loads(shopify.GraphQL().execute(query, {"first": 60, "after": after}))
        orders = answer["data"]["orders"]
        found |= {edge["node"]["id"].rpartition("/")[2]: edge["node"] for edge in orders["edges"]}
        after = orders["pageInfo"]["endCursor"]
        if not orders["pageInfo"]["hasNextPage"]:
            break
    assert answer["data"]["shop"] == {"currencyCode": "AOA"}
    assert answer["extensions"]["cost"]["requestedQueryCost"] < 1000
    sales = {key for key, node in found.items() if node["customer"] and not node["test"]}
    assert sorted(sales) == alive(world, "shopify", "sale")
    refunded = {key for key, node in found.items() if node["refunds"]}
    assert refunded <= {row.external_id for row in world.truth() if row.refunded != "0.00"}
    assert refunded
    wrong = json.loads(shopify.GraphQL().execute("{ orders(first: 1) { nodes { total } } }"))
    assert wrong["errors"][0]["extensions"]["code"] == "undefinedField"
    shopify.ShopifyResource.clear_session()


def test_pymagento(url: str, world: World) -> None:
    """A client of others (there is no vendor's own): pages to the end, filters, reads one."""
    pytest.importorskip("magento")
    from magento import Magento, MagentoException, make_search_query

    token = world.grants["magento"].issue_access()
    client = Magento(token, f"{url}/magento", scope="default", read_only=True, batch_page_size=50)
    orders = world.books["magento"].documents["Invoice"]
    listed = [str(order["entity_id"]) for order in client.get_orders()]
    assert sorted(listed) == sorted(orders)
    assert client.get_total_orders_count() == len(orders)
    # (Of a list with several pages its paging by id takes what is left for the whole.)
    by_id = client.get_paginated("/V1/orders", id_pagination=True, page_size=300)
    assert [str(order["entity_id"]) for order in by_id] == sorted(orders, key=int)
    since = world.now().strftime("%Y-%m-%d %H:%M:%S")
    assert list(client.get_orders(query=make_search_query([[("updated_at", since, "gt")]]))) == []
    (order,) = client.get_last_orders(1)
    assert client.get_order(order["entity_id"]) == order
    assert client.get_order_by_increment_id(order["increment_id"]) == order
    memos = list(client.get_credit_memos())
    assert len(memos) == len(world.books["magento"].documents["CreditMemo"])
    invoiced = client.get_order_invoices(memos[0]["order_id"])
    assert [invoice["state"] for invoice in invoiced] == [2]
    assert client.get_order(999_999, none_on_404=True) is None
    with pytest.raises(MagentoException, match="authorized"):
        Magento("wrong", f"{url}/magento", scope="default").get_order(1)


def in_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's requests go to the simulator without a network, so that https needs no server."""
    import requests

    answer = handler(world, "woocommerce")

    def request(method: str, url: str, **options: Any) -> Any:
        prepared = requests.Request(
            method, url, params=options["params"], auth=options["auth"], headers=options["headers"]
        ).prepare()
        served = answer(httpx.Request(method, str(prepared.url), headers=dict(prepared.headers)))
        response = requests.Response()
        response.status_code, response._content = served.status_code, served.content
        response.headers.update(served.headers)
        return response

    monkeypatch.setattr("woocommerce.api.request", request)


@pytest.mark.parametrize("mode", ["signed", "header", "query"])
def test_woocommerce(url: str, world: World, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Automattic's own client: OAuth 1.0a over http, HTTP Basic and the query over https."""
    woocommerce = pytest.importorskip("woocommerce")
    if mode == "signed":
        root = f"{url}/woocommerce"
    else:
        root = "https://loja.aguatwezah.example"
        in_process(world, monkeypatch)
    shop = woocommerce.API(
        root,
        CONSUMER_KEY,
        CONSUMER_SECRET,
        version="wc/v3",
        query_string_auth=mode == "query",
        timeout=30,
    )
    found: list[str] = []
    page, pages = 1, 1
    while page <= pages:
        asked = {"page": page, "per_page": 60, "orderby": "id", "order": "asc"}
        answer = shop.get("orders", params=asked)
        assert answer.status_code == 200, answer.text
        pages = int(answer.headers["X-WP-TotalPages"])
        assert ('rel="next"' in answer.headers.get("Link", "")) is (page < pages)
        found += [str(order["id"]) for order in answer.json()]
        page += 1
    assert sorted(found) == alive(world, "woocommerce", "sale")
    assert shop.get("orders", params={"page": page}).json()
    assert shop.get("orders", params={"page": 99, "per_page": 60}).json() == []
    first = shop.get("orders").json()[0]
    assert shop.get(f"orders/{first['id']}").json() == first
    customer = shop.get(f"customers/{first['customer_id']}").json()
    assert customer["id"] == first["customer_id"]
    refunded = next(row["parent_id"] for row in shop.get("refunds").json())
    (refund, *_) = shop.get(f"orders/{refunded}/refunds").json()
    (inside, *_) = shop.get(f"orders/{refunded}").json()["refunds"]
    assert (inside["id"], float(inside["total"])) == (refund["id"], -float(refund["amount"]))
    for path, status, code in (
        ("orders/9", 404, "woocommerce_rest_shop_order_invalid_id"),
        ("no-such-list", 404, "rest_no_route"),
    ):
        refused = shop.get(path)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert shop.get("orders", params={"per_page": 101}).json()["code"] == "rest_invalid_param"
    stranger = woocommerce.API(root, CONSUMER_KEY, "cs_other", timeout=30)
    assert stranger.get("orders").json()["code"] == "woocommerce_rest_authentication_error"


def test_our_signature_is_the_one_of_woocommerces_client() -> None:
    oauth = pytest.importorskip("woocommerce.oauth")
    address = "http://loja.example/wp-json/wc/v3/orders"
    params = {"modified_after": "2026-01-01T00:00:00", "dates_are_gmt": "true", "include": "1,2"}
    request = httpx.Request("GET", address, params=params)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    oauth1_hmac_sha256(request, consumer=("ck", "cs"), now=now, in_query=True)
    sent = dict(request.url.params)
    signature = sent.pop("oauth_signature")
    assert params.items() <= sent.items()
    theirs = oauth.OAuth(
        url=address, consumer_key="ck", consumer_secret="cs", version="wc/v3", method="GET"
    )
    assert theirs.generate_oauth_signature(sent, address) == signature


def test_squareup_subscriptions(url: str, world: World) -> None:
    """Square's own client makes, lists, changes and deletes a subscription."""
    square = pytest.importorskip("square")
    client = square.Square(token=world.grants["square"].issue_access(), base_url=f"{url}/square")
    subscriptions = client.webhooks.subscriptions
    wanted = {
        "name": "points",
        "event_types": ["order.updated"],
        "notification_url": "https://points.example/hook",
    }
    made = subscriptions.create(subscription=wanted, idempotency_key="k1").subscription
    again = subscriptions.create(subscription=wanted, idempotency_key="k1").subscription
    assert made.id == again.id
    assert [row.signature_key for row in subscriptions.list()] == [made.signature_key]
    subscriptions.update(made.id, subscription={"enabled": False})
    assert list(subscriptions.list()) == []
    assert [row.enabled for row in subscriptions.list(include_disabled=True)] == [False]
    subscriptions.delete(made.id)
    assert world.subscriptions["square"].all() == []


def test_squareup(url: str, world: World) -> None:
    """Its pager follows the cursor; amounts and errors are those of its models."""
    square = pytest.importorskip("square")
    from square.core.api_error import ApiError

    client = square.Square(token=world.grants["square"].issue_access(), base_url=f"{url}/square")
    location = ACCOUNTS["square"]
    (shown,) = client.locations.list().locations
    assert (shown.id, shown.currency) == (location, "AOA")
    since = {"filter": {"date_time_filter": {"updated_at": {"start_at": "2009-01-01T00:00:00Z"}}}}
    query = since | {"sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"}}
    orders, cursor = [], None
    while True:
        page = client.orders.search(
            location_ids=[location], query=query, limit=50, **({"cursor": cursor} if cursor else {})
        )
        orders += page.orders or []
        cursor = page.cursor
        if not cursor:
            break
    rows = {row.external_id: row for row in world.truth() if row.system == "square"}
    sold = {order.id: order for order in orders if order.line_items}
    assert sorted(sold) == alive(world, "square", "sale")
    back = {f"return/{order.id}" for order in orders if order.returns}
    assert sorted(back) == alive(world, "square", "refund")
    for key, order in sold.items():
        tip = order.total_tip_money.amount
        assert f"{(order.total_money.amount - tip) / 100:.2f}" == rows[key].total
    (again,) = client.orders.batch_get(order_ids=[orders[0].id, "nothing"]).orders
    assert again == orders[0]
    customers = client.customers.bulk_retrieve_customers(customer_ids=[orders[0].customer_id, "x"])
    assert customers.responses["x"].errors[0].code == "NOT_FOUND"
    with pytest.raises(ApiError) as caught:
        client.orders.search(location_ids=[], limit=5)
    assert caught.value.status_code == 400


def test_paypal_server_sdk(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client asks for a token and for transactions; their dates and amounts are its models'."""
    pytest.importorskip("paypalserversdk")
    from paypalserversdk.configuration import Configuration, Environment, Server
    from paypalserversdk.exceptions.search_error_exception import SearchErrorException
    from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
    from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient

    servers = Configuration.environments[Environment.SANDBOX]
    monkeypatch.setitem(servers, Server.DEFAULT, f"{url}/paypal")
    client = PaypalServersdkClient(
        client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
            CLIENT_ID, CLIENT_SECRET
        ),
        environment=Environment.SANDBOX,
    )
    rows = {row.external_id: row for row in world.truth() if row.system == "paypal"}
    end = world.now().replace(microsecond=0)
    start, shown = end - timedelta(days=31), {}
    asked = {
        "start_date": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "end_date": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "fields": "all",
        "page_size": 10,
    }
    page, pages = 1, 1
    while page <= pages:
        answer = client.transaction_search.search_transactions({**asked, "page": page}).body
        pages, page = answer.total_pages, page + 1
        for detail in answer.transaction_details:
            shown[detail.transaction_info.transaction_id] = detail
    recent = {key for key, row in rows.items() if row.sold_at and row.sold_at >= start}
    assert recent <= set(shown)
    assert pages > 1
    for key in recent:
        info, row = shown[key].transaction_info, rows[key]
        sign = "-" if row.kind == "refund" else ""
        assert info.transaction_amount.value == f"{sign}{row.total}"
        assert shown[key].payer_info.phone_number.national_number == row.phone_e164[4:]
    with pytest.raises(SearchErrorException) as caught:
        client.transaction_search.search_transactions(
            {**asked, "start_date": "2019-01-01T00:00:00Z"}
        )
    assert caught.value.response_code == 400
