"""One sale in several systems, from Prefect's form, and the page of what was left out."""

from typing import Any

from prefect.client.orchestration import get_client

from flows.duplicates import declare_duplicates
from flows.pages import renew_pages
from sql.sync import AccountKey
from tests.flows.office import Office
from tests.support.books import Books, invoice

SHOP = invoice(external_id="5550001234567", invoice_number="#1001", status="paid")
PAID = invoice(
    external_id="ch_1", invoice_number=None, status="paid", reference_ids="order:5550001234567"
)
WHO: dict[str, Any] = {"apply": True, "author": "Ana", "reason": "One shop"}


def artifact(key: str) -> str:
    """The newest report or page of a key; "": there is none."""
    wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
    with get_client(sync_client=True) as client:
        rows = client._client.post("/artifacts/filter", json=wanted).json()
    return f"{rows[0]['description']}\n{rows[0]['data']}" if rows else ""


def ended(**parameters: Any) -> tuple[str, str]:
    state = declare_duplicates(return_state=True, **parameters)
    return state.name, state.message


def test_an_order_is_tried_then_declared(office: Office) -> None:
    shop = Books(office.dsn, AccountKey("shopify", "acme"))
    stripe = Books(office.dsn, AccountKey("stripe", "acct_1"))
    shop.store(SHOP)
    stripe.store(PAID)
    shop.award()
    assert renew_pages(return_state=True).is_completed()
    assert "left out" not in artifact("left-out-sales")

    name, message = ended()
    assert name == "Completed" and "-1500 points" in message
    assert "No precedence is declared" in artifact("duplicates")
    name, message = ended(order=["shopify", "strpe"])
    assert name == "Refused" and "strpe" in message
    assert ended(**WHO)[0] == "Refused"  # an empty order declares nothing
    assert ended(order=["shopify", "stripe"], apply=True)[0] == "Refused"  # nobody decided it
    name, message = ended(order=["shopify", "stripe"], **WHO)
    assert name == "Refused" and "1500 points" in message and shop.points() == 3000
    name, message = ended(order=["shopify", "stripe"], confirm_points=1500, **WHO)
    assert (name, message) == (
        "Completed",
        "Declared as number 1: 1 documents of sales that count elsewhere; 1 members, -1500 points",
    )
    assert shop.points() == 1500 and "stripe/acct_1 ch_1 = shopify/acme" in artifact("duplicates")

    assert renew_pages(return_state=True).is_completed()
    page = artifact("left-out-sales")
    assert "1 documents left out; order: shopify, stripe." in page
    assert "| stripe ch\\_1 | shopify #1001 |".replace("#", "\\#") in page
    assert "Left-out sales" in artifact("sync-status")

    name, message = ended(withdraw=True, confirm_points=1500, **WHO)
    assert name == "Completed" and shop.points() == 3000
    assert renew_pages(return_state=True).is_completed()
    assert "No precedence is declared" in artifact("left-out-sales")
