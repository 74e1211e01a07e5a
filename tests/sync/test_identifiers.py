"""A shop numbers its documents by the customer's phone: nobody reads the phone in a message or a report."""

from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from connectors.kit.errors import UnexpectedShape
from panel.runs.error_advice import describe_error
from sql.explain import explain
from tasks.job import Policy
from tasks.load.invoices import TooManyRejectsError
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import run
from tests.sync.test_custom import connection, job

__all__ = ["databases", "dsn"]
PHONE = "923456789"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "id": PHONE, "number": PHONE, "customer_phone": f"+244{PHONE}", "currency": "AOA", "total": "150.00",
        "issued_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z",
    } | changes  # fmt: skip


def answering(*documents: dict[str, Any]) -> Any:
    return lambda _: httpx.Response(
        200, json={"data": list(documents), "next_cursor": None, "has_more": False}
    )


def test_a_reject_names_the_document_without_the_phone(dsn: str) -> None:
    vendor = connection({})
    strict = Policy(reject_percent_max=0, reject_records_min=1)
    with pytest.raises(TooManyRejectsError) as stopped:
        run(job(dsn, vendor, answering(document(total="many")), policy=strict))
    assert PHONE not in str(stopped.value)
    assert "•••••••89" in describe_error(stopped.value)
    _, loaded, _ = run(job(dsn, vendor, answering(document(total="many"))))
    (examples,) = loaded.examples.values()
    assert examples == ["•••••••89"]


def test_an_explanation_names_it_without_the_phone(dsn: str) -> None:
    run(job(dsn, connection({}), answering(document())))

    found = explain(dsn, "custom", PHONE)
    assert found is not None
    text = found.to_text(ZoneInfo("Africa/Luanda"))
    assert PHONE not in text
    assert "1500 points" in text


def test_any_error_that_quotes_it_is_shown_without_it() -> None:
    error = UnexpectedShape(
        "file", "sales", f"vendas-{PHONE}.csv: no header; sent by ana@example.com"
    )
    assert PHONE not in describe_error(error)
    assert "ana@example.com" not in describe_error(error)
