"""What webhooks hold: events of each system, and bodies made to harm."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import registry as declared
from connectors.kit.described.webhooks import webhook_from
from connectors.kit.spec import Account
from connectors.kit.webhooks.bodies import list_page, opened, raw_at, raw_list
from connectors.kit.webhooks.scheme import BadBody, Event, Webhook, events

#: Every system that sends webhooks.
ANNOUNCING = ["custom", *declared.WEBHOOKS]
QBO = {
    "eventNotifications": [
        {
            "realmId": "123456789",
            "dataChangeEvent": {
                "entities": [
                    {"name": "Invoice", "id": "123", "operation": "Create", "lastUpdated": "2024-01-15T14:30:00Z"},
                    {"name": "SalesReceipt", "id": "7", "operation": "Delete", "lastUpdated": "2015-10-05T14:42:19-0700"},
                    {"name": "Customer", "id": "1", "operation": "Update", "lastUpdated": "2024-01-15T14:30:00Z"},
                ]
            },
        }
    ]
}  # fmt: skip


def read(
    system: str, body: Any, headers: dict[str, str] | None = None, **options: Any
) -> list[Event]:
    hook: Webhook = (
        webhook_from(Account("custom", "shop", **options))
        if system == "custom"
        else declared.WEBHOOKS[system]
    )
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return events(hook, raw, headers or {})


def test_quickbooks_notifications() -> None:
    found = read("quickbooks", QBO)
    assert [(e.type, e.kind, e.stream, e.external_ids, e.account) for e in found] == [
        ("invoice.create", "changed", "invoices", ("123",), "123456789"),
        ("salesreceipt.delete", "deleted", "sales_receipts", ("7",), "123456789"),
        ("customer.update", "ignored", None, ("1",), "123456789"),
    ]
    assert found[1].occurred_at == datetime(2015, 10, 5, 21, 42, 19, tzinfo=UTC)


def test_quickbooks_cloud_events_of_several_companies() -> None:
    def entry(key: str, kind: str, realm: str) -> dict[str, Any]:
        return {
            "specversion": "1.0", "id": f"uuid-{key}", "source": "intuit.x", "type": kind, "time": "2026-06-01T10:00:00Z",
            "intuitentityid": key, "intuitaccountid": realm, "data": {},
        }  # fmt: skip

    found = read(
        "quickbooks",
        [
            entry("1", "qbo.invoice.created.v1", "A"),
            entry("2", "qbo.creditmemo.deleted.v1", "B"),
            entry("3", "qbo.salesReceipt.voided.v1", "A"),
            entry("1", "qbo.invoice.created.v1", "A"),
        ],
    )
    assert [(e.kind, e.stream, e.external_ids, e.account) for e in found] == [
        ("changed", "invoices", ("1",), "A"),
        ("deleted", "credit_memos", ("2",), "B"),
        ("changed", "sales_receipts", ("3",), "A"),
    ]


def test_xero_events_and_the_empty_list_of_its_test() -> None:
    body = {
        "events": [
            {
                "resourceUrl": "https://api.xero.com/api.xro/2.0/Invoices/8a3f", "resourceId": "8a3f", "eventType": "UPDATE",
                "eventDateUtc": "2026-06-21T01:15:39.902", "eventCategory": "INVOICE", "tenantId": "t1", "tenantType": "ORGANISATION",
            },
            {"resourceId": "c", "eventType": "CREATE", "eventDateUtc": "x", "eventCategory": "CONTACT", "tenantId": "t1"},
        ],
        "firstEventSequence": 1, "lastEventSequence": 2, "entropy": "S0m3",
    }  # fmt: skip
    found = read("xero", body)
    assert [(e.type, e.kind, e.stream, e.external_ids) for e in found] == [
        ("invoice.update", "changed", "invoices", ("8a3f",)), ("contact.create", "ignored", None, ("c",)),
    ]  # fmt: skip
    assert found[0].occurred_at == datetime(2026, 6, 21, 1, 15, 39, 902_000, tzinfo=UTC)
    assert (
        read(
            "xero", {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "x"}
        )
        == []
    )


def test_freshbooks_forms() -> None:
    form = b"name=invoice.create&object_id=1234567&account_id=6BApk&business_id=6543&identity_id=1234&user_id=1"
    (found,) = read("freshbooks", form)
    assert (found.kind, found.stream, found.external_ids, found.account) == (
        "changed",
        "invoices",
        ("1234567",),
        "6BApk",
    )
    (paid,) = read("freshbooks", form.replace(b"invoice.create", b"payment.create"))
    assert paid.kind == "ignored"


DOCUMENT = {"id": "inv_1", "number": "INV-1", "total": "150.00"}


@pytest.mark.parametrize("name", ["invoice.created", "sale.completed", "payment.received"])
def test_a_custom_document_comes_byte_for_byte(name: str) -> None:
    body = (
        b'{"type":"%s","timestamp":"2024-01-15T14:30:00Z","data": {"id":"inv_1", "total" : 150.00} }'
        % name.encode()
    )
    (found,) = read("custom", body, {"Webhook-Id": "msg_1"})
    assert found.record == b'{"id":"inv_1", "total" : 150.00}'
    assert (found.type, found.kind, found.external_ids, found.event_id) == (
        name,
        "changed",
        ("inv_1",),
        "msg_1/0",
    )
    assert found.occurred_at == datetime(2024, 1, 15, 14, 30, tzinfo=UTC)


def test_a_body_without_envelope_is_the_document() -> None:
    (found,) = read("custom", {"invoice_number": "INV-001", "total_amount": 150.00})
    assert (found.kind, found.external_ids) == ("changed", ("INV-001",))
    assert json.loads(found.record or b"") == {"invoice_number": "INV-001", "total_amount": 150.00}


def test_several_documents_in_one_delivery() -> None:
    found = read(
        "custom", {"type": "invoice.created", "data": [DOCUMENT, {**DOCUMENT, "id": "inv_2"}]}
    )
    assert [e.external_ids for e in found] == [("inv_1",), ("inv_2",)]


def test_words_and_places_of_the_operator() -> None:
    options = {
        "webhook_type_path": "/evento", "webhook_data_path": "/dados/doc", "webhook_time_path": "/quando",
        "webhook_events": {"fatura.anulada": "deleted", "fatura.emitida": "changed", "loja.aberta": "ignored"},
    }  # fmt: skip
    chosen: dict[str, Any] = {"options": options, "paths": {"external_id": "/numero"}}
    body = {
        "evento": "fatura.anulada",
        "quando": 1705329000,
        "dados": {"doc": {"numero": "FT 1", "id": 9}},
    }
    (gone,) = read("custom", body, **chosen)
    assert (gone.kind, gone.external_ids, gone.occurred_at) == (
        "deleted",
        ("FT 1",),
        datetime(2024, 1, 15, 14, 30, tzinfo=UTC),
    )
    (other,) = read("custom", {**body, "evento": "loja.aberta"}, **chosen)
    assert (other.kind, other.record) == ("ignored", None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("invoice.deleted", "deleted"),
        ("customer.created", "ignored"),
        ("", "changed"),
        ("invoice", "changed"),
        ("x", "ignored"),
        ("orders/delete", "deleted"),
        ("order.deleted", "deleted"),
        ("sale:removed", "deleted"),
        ("orders/updated", "changed"),
        ("refunds/create", "changed"),
        ("draft_orders/delete", "ignored"),
        ("invoice.voided", "deleted"),
        ("payment.deleted", "changed"),
        ("payment.voided", "changed"),
        ("refund.deleted", "deleted"),
    ],
)
def test_what_names_mean(name: str, kind: str) -> None:
    assert read("custom", {"type": name, "data": DOCUMENT})[0].kind == kind


def test_a_cancelled_document_that_tells_its_state_is_read() -> None:
    said = {"type": "order.cancelled", "data": {**DOCUMENT, "status": "void"}}
    assert read("custom", said)[0].kind == "changed"
    elsewhere = {"type": "order.cancelled", "data": {**DOCUMENT, "estado": "ANULADA"}}
    assert read("custom", elsewhere, paths={"status": "/estado"})[0].kind == "changed"


def test_the_name_of_an_event_in_a_header() -> None:
    topic = {"X-WC-Webhook-Topic": "order.deleted"}
    assert read("custom", {"id": 7}, topic)[0].kind == "deleted"
    # In an envelope the body's own name counts, unless the block names the header.
    enveloped = {"type": "order.updated", "data": {"id": 7}}
    assert read("custom", enveloped, topic)[0].kind == "changed"
    own: dict[str, Any] = {"options": {"webhook_type_header": "X-WC-Webhook-Topic"}}
    assert read("custom", enveloped, topic, **own)[0].kind == "deleted"
    assert read("custom", enveloped, {}, **own)[0].kind == "changed"
    with pytest.raises(BadBody, match="several headers name the event"):
        read("custom", {"id": 7}, {**topic, "X-Shopify-Topic": "orders/updated"})
    with pytest.raises(BadBody, match="control characters"):
        read("custom", {"id": 7}, {"X-Shopify-Topic": "orders/\x07"})


def test_a_payment_names_its_invoice() -> None:
    payment = {"id": "pay_9", "invoice_id": "inv_1", "amount": "10.00"}
    assert read("custom", {"type": "payment.received", "data": payment})[0].external_ids == (
        "inv_1",
    )


HOSTILE = {
    "nothing": (b"", "it is not valid JSON"),
    "text": (b"hello", "it is not valid JSON"),
    "a number": (b"1", "it is neither an object nor a list"),
    "null": (b"null", "it is neither an object nor a list"),
    "cut off": (b'{"data": {"id": "1"', "it is not valid JSON"),
    "not UTF-8": (b'{"data": "\xff"}', "it is not UTF-8"),
    "a key twice": (b'{"data": {"total": 1, "total": 1000}}', "an object has the same key twice"),
    "a key twice, escaped": (
        b'{"data": {"total": 1, "t\\u006ftal": 1000}}',
        "an object has the same key twice",
    ),
    "deep lists": (b'{"data":' + b"[" * 40 + b"]" * 40 + b"}", "it is nested more than 32 deep"),
    "very deep": (b"[" * 100_000, "it is nested too deeply"),
    "a long number": (
        b'{"data": {"total": ' + b"9" * 5000 + b"}}",
        "it holds a number of more than 40 digits",
    ),
    "many values": (b'{"data": [' + b"0," * 250_000 + b"0]}", "it holds more than 200000 values"),
    "many documents": (
        b'{"data": [' + b"{}," * 1000 + b"{}]}",
        "it holds more than 1000 documents",
    ),
    "documents that are none": (b'{"data": [1, "x"]}', "a document in it is not an object"),
    "too large": (b" " * (2 * 1024 * 1024 + 1), "it is larger than 2097152 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_bodies(case: str) -> None:
    body, reason = HOSTILE[case]
    with pytest.raises(BadBody) as caught:
        read("custom", body)
    assert str(caught.value) == reason


def test_half_a_character_and_a_number_that_is_none_cost_their_fields_only() -> None:
    body = rb'{"type": "invoice.created", "data": {"id": "1", "note": "\ud83d", "total": -Infinity, "name": "NaN \\ud83d"}}'
    assert opened(body)["data"] == {
        "id": "1",
        "note": "\ufffd",
        "total": None,
        "name": "NaN \\ud83d",
    }
    (event,) = read("custom", body)
    assert event.record is not None
    assert json.loads(event.record) == opened(body)["data"]


def shopify(topic: str, body: Any, **headers: str) -> list[Event]:
    named = {
        "X-Shopify-Topic": topic,
        "X-Shopify-Shop-Domain": "agua-twezah.myshopify.com",
        "X-Shopify-Event-Id": "e-1",
        "X-Shopify-Webhook-Id": "w-1",
    }
    return read("shopify", body, named | headers)


@pytest.mark.parametrize(
    ("topic", "body", "kind", "ids"),
    [
        ("orders/create", {"id": 450789469}, "changed", ("450789469",)),
        ("orders/updated", {"id": 450789469}, "changed", ("450789469",)),
        ("orders/edited", {"order_edit": {"id": 1, "order_id": 7}}, "changed", ("7",)),
        ("orders/delete", {"id": 7}, "deleted", ("7",)),
        ("refunds/create", {"id": 509562969, "order_id": 450789469}, "changed", ("450789469",)),
        ("order_transactions/create", {"id": 1, "order_id": 7}, "changed", ("7",)),
        ("customers/redact", {"shop_id": 1}, "ignored", ()),
        ("products/update", {"id": 1}, "ignored", ()),
    ],
)
def test_shopify_names_the_order_by_topic(
    topic: str, body: Any, kind: str, ids: tuple[str, ...]
) -> None:
    (event,) = shopify(topic, body)
    assert (event.kind, event.external_ids, event.account) == (kind, ids, "agua-twezah")
    assert event.record is None  # it may be hours old: the order is read again


def test_shopify_tells_one_action_under_several_topics() -> None:
    (updated,), (paid,) = (shopify(topic, {"id": 7}) for topic in ("orders/updated", "orders/paid"))
    assert updated.event_id != paid.event_id
    again = shopify("orders/updated", {"id": 7}, **{"X-Shopify-Webhook-Id": "w-2"})
    assert again[0].event_id == updated.event_id


def test_shopifys_times_have_the_shops_offset() -> None:
    (event,) = shopify("orders/paid", {"id": 7, "updated_at": "2026-01-10T09:00:00-05:00"})
    assert event.occurred_at == datetime(2026, 1, 10, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("topic", "body"),
    [("", {"id": 7}), ("orders/paid", {}), ("orders/paid", {"id": "7/../8"}), ("orders/edited", {"id": 7})],
)  # fmt: skip
def test_shopify_deliveries_that_name_no_order_are_bad(topic: str, body: Any) -> None:
    with pytest.raises(BadBody):
        shopify(topic, body)


VENDORS_HOSTILE = {
    "no notifications": ("quickbooks", b"{}", "it is neither a list of CloudEvents nor an object with eventNotifications"),
    "entities are missing": ("quickbooks", b'{"eventNotifications":[{"realmId":"1"}]}', "/dataChangeEvent/entities is not a list of objects"),
    "no realm": ("quickbooks", b'{"eventNotifications":[{"dataChangeEvent":{"entities":[]}}]}', "/realmId is missing"),
    "an id of control characters": (
        "quickbooks", json.dumps({"eventNotifications": [{"realmId": "1\u0000"}]}).encode(),
        "/realmId is longer than 200 characters, or has control characters in it",
    ),
    "half a surrogate": (
        "xero", b'{"events":[{"eventCategory":"\\ud800"}]}',
        "/eventCategory is longer than 200 characters, or has control characters in it",
    ),
    "an object for an id": ("xero", b'{"events":[{"eventCategory":{}}]}', "/eventCategory is neither text nor a number"),
    "events are no list": ("xero", b'{"events":{}}', "/events is not a list of objects"),
    "another type": ("quickbooks", b'[{"type":"payroll.x"}]', "/type is not qbo.<entity>.<operation>.<version>"),
    "a field twice": ("freshbooks", b"name=a&name=b", "a field of the form is given twice"),
    "no form": ("freshbooks", b"{}", "it is not a form"),
    "too many fields": ("freshbooks", b"&".join(b"f%d=1" % n for n in range(60)), "it is not a form"),
}  # fmt: skip


@pytest.mark.parametrize("case", VENDORS_HOSTILE, ids=str)
def test_hostile_bodies_of_vendors(case: str) -> None:
    system, body, reason = VENDORS_HOSTILE[case]
    with pytest.raises(BadBody) as caught:
        read(system, body)
    assert str(caught.value) == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
KEYS = st.sampled_from(
    [
        "data",
        "type",
        "events",
        "eventNotifications",
        "realmId",
        "dataChangeEvent",
        "entities",
        "id",
        "timestamp",
    ]
)


@given(
    st.sampled_from(ANNOUNCING),
    st.dictionaries(KEYS, JSON) | st.lists(JSON, max_size=3),
)
def test_any_body_gives_events_or_is_named_bad(system: str, body: Any) -> None:
    try:
        found = read(system, body)
    except BadBody:
        return
    assert all(
        len(one.event_id) > 0 and all(key.isprintable() for key in one.external_ids)
        for one in found
    )


@given(st.binary(max_size=40))
def test_any_bytes_give_events_or_are_named_bad(body: bytes) -> None:
    for system in ANNOUNCING:
        try:
            read(system, body)
        except BadBody:
            continue


def test_records_go_into_a_page_of_the_list_as_they_came() -> None:
    body = b'\xef\xbb\xbf{"data" : [ {"a":1.10} , {"a":2} ] }'
    opened(body)
    records = raw_list(raw_at(body, ("data",)) or b"")
    assert records == [b'{"a":1.10}', b'{"a":2}']
    assert (
        list_page("/response/result/invoices", records)
        == b'{"response":{"result":{"invoices":[{"a":1.10},{"a":2}]}}}'
    )
    assert list_page("", records) == b'[{"a":1.10},{"a":2}]'
    assert raw_at(body, ("data", "x")) is None
