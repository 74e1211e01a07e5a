"""The app follows the feed: from page to page, waiting for the next change, after a restore."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sql import changes
from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.support.books import OTHER_PHONE, Books, invoice
from tests.support.database import Databases

WAIT = {"wait_seconds": 15}


@pytest.fixture(scope="module")
def served(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Office, Books, dict[str, str]]]:
    dsn = databases.create(template=databases.migrated().split("/")[-1].split("?")[0])
    settings = settings_for(tmp_path_factory.mktemp("changes"), dsn)
    with open_office(settings) as office:
        yield office, Books(dsn), office.key("changes:read")


def get(office: Office, key: dict[str, str], **wanted: Any) -> dict[str, Any]:
    answer = office.http.get("/api/changes", headers=key, params=wanted)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def follow(office: Office, key: dict[str, str], after: int, limit: int) -> list[dict[str, Any]]:
    """Everything after a number, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        page = get(office, key, after=after, limit=limit)
        items += page["items"]
        after = page["next_after"]
        if not page["has_more"]:
            return items


def test_the_feed(served: tuple[Office, Books, dict[str, str]]) -> None:
    office, books, key = served
    empty = get(office, key)
    assert empty == {"items": [], "next_after": 0, "has_more": False, "latest_change_no": 0}

    for name in "ABC":
        books.store(
            invoice(external_id=name),
            invoice(external_id=name + "2", customer_phone=OTHER_PHONE),
        )
        books.award()
    books.set_tier(books.member(), "gold", books.rows("SELECT now()")[0][0])
    whole = follow(office, key, 0, 100)
    assert [item["type"] for item in whole].count("points.changed") == 6
    assert whole[-1]["type"] == "tier.changed"
    assert whole[-1]["data"]["tier"] == "gold"
    assert follow(office, key, 0, 1) == follow(office, key, 0, 4) == whole
    assert [item["change_no"] for item in whole] == sorted({item["change_no"] for item in whole})
    assert whole[0]["data"] == {"points": 1500, "entries": 1, "reasons": ["award"]}
    member = books.member()
    own = get(office, key, member_id=member)["items"]
    assert own == [item for item in whole if item["member_id"] == member]
    balance = office.http.get(f"/api/members/{member}/balance", headers=office.key())
    assert own[-1]["balance_points"] == balance.json()["balance_points"] == 4500

    # Nothing is new: a request that waits is answered when something is.
    after = whole[-1]["change_no"]
    assert get(office, key, after=after)["next_after"] == after
    pages: list[dict[str, Any]] = []
    waiting = threading.Thread(
        target=lambda: pages.append(get(office, key, after=after, **WAIT)), daemon=True
    )
    waiting.start()
    time.sleep(0.5)
    books.store(invoice(external_id="D"))
    books.award()
    waiting.join(30)
    assert [item["data"]["points"] for item in pages[0]["items"]] == [1500]


def test_a_restored_feed_says_so_however_far_it_has_come(
    served: tuple[Office, Books, dict[str, str]],
) -> None:
    """The app read three changes that came after the backup, and that the copy never had."""
    office, books, key = served
    books.store(invoice(external_id="R"))
    books.award()
    last = follow(office, key, 0, 100)[-1]["change_no"]
    with books.transaction() as connection:
        changes.skip_numbers(connection)
    books.store(invoice(external_id="R2"))
    books.award()
    (new,) = follow(office, key, last, 100)
    assert new["change_no"] > last + 10**9
    wanted = {"after": last + 3}
    answer = office.http.get("/api/changes", headers=key, params=wanted)
    assert answer.status_code == 409 and str(new["change_no"]) in answer.json()["detail"]
    assert get(office, key, after=new["change_no"])["items"] == []


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"after": 10**12}, 409, "feed_restored"),
        ({"after": 2**63 - 1}, 409, "feed_restored"),
        ({"after": -1}, 422, ""),
        ({"limit": 1001}, 422, ""),
        ({"wait_seconds": 16}, 422, ""),
        ({"before": 1}, 422, ""),
    ],
)
def test_what_is_refused(
    served: tuple[Office, Books, dict[str, str]], wanted: dict[str, int], status: int, code: str
) -> None:
    office, _, key = served
    answer = office.http.get("/api/changes", headers=key, params=wanted)
    assert answer.status_code == status
    assert answer.json()["type"].endswith(code)


def test_it_needs_its_scope(served: tuple[Office, Books, dict[str, str]]) -> None:
    office, _, _ = served
    answer = office.http.get("/api/changes", headers=office.key("members:read"))
    assert answer.status_code == 403
