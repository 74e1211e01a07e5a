"""A customer of all simulated systems is erased: nothing stored names them, and what is kept is said."""

import json
from typing import Any

import pytest

import simulator
from loyalty.corrections import Decision
from sql.db import connect
from sql.erasure import Erased, erase
from sql.sealing import keyring
from tests.sync.conftest import Shop

WHY = Decision(reason="Request 12", author="Ana, support")
SYSTEMS = ("quickbooks", "xero", "freshbooks", "netsuite", "sage_intacct", "custom", "magento")


def erased(shop: Shop, member: int, *, dry_run: bool = False) -> Erased:
    with connect(shop.dsn) as connection:
        done = erase(connection, member, WHY, "run", dry_run=dry_run)
        connection.commit()
    return done


def bodies(shop: Shop) -> list[tuple[str, str, str]]:
    """System, list and text of every stored page."""
    with connect(shop.dsn) as connection:
        rows = connection.execute(
            "SELECT system, stream, body_zstd FROM billing.raw_page"
        ).fetchall()
    return [(row[0], row[1], keyring().unpack(bytes(row[2])).decode()) for row in rows]


def texts(shop: Shop) -> str:
    """Every text of every table, but for the ledger's keys."""
    with connect(shop.dsn) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('billing', 'loyalty', 'audit') AND tablename <> 'raw_page'"
        ).fetchall()
        rows = [
            connection.execute(f"SELECT t::text FROM {name} t".encode()).fetchall()
            for (name,) in tables
        ]
    return repr(rows)


def busiest(shop: Shop, *systems: str) -> tuple[int, str]:
    """The member with sales in most of the systems, and their phone."""
    with connect(shop.dsn) as connection:
        row = connection.execute(
            "SELECT member_id, phone FROM billing.invoice JOIN loyalty.member USING (member_id)"
            " WHERE system = ANY(%s) GROUP BY 1, 2 ORDER BY count(DISTINCT system) DESC, 1 LIMIT 1",
            [list(systems)],
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def names_of(shop: Shop, member: int) -> set[str]:
    """How the simulated systems call the customers whose documents are the member's."""
    with connect(shop.dsn) as connection:
        ids = connection.execute(
            "SELECT DISTINCT system, customer_external_id FROM billing.invoice WHERE member_id = %s",
            [member],
        ).fetchall()
    found: set[str] = set()
    for system, stream, text in bodies(shop):
        for known, customer in ids:
            if known == system:
                found |= _named(json.loads(text), str(customer), listed=stream == "customers")
    return found


def _named(value: Any, customer: str, *, listed: bool) -> set[str]:
    """Full names in QuickBooks', Xero's and a look-up's records with that customer's number."""
    found: set[str] = set()
    if isinstance(value, list):
        return found.union(*(_named(one, customer, listed=listed) for one in value))
    if not isinstance(value, dict):
        return found
    ref, contact = value.get("CustomerRef"), value.get("Contact")
    if isinstance(ref, dict) and str(ref.get("value")) == customer:
        found.add(ref.get("name", ""))
    if isinstance(contact, dict) and contact.get("ContactID") == customer:
        found.add(contact.get("Name", ""))
    if listed and customer in (str(value.get("Id")), value.get("ContactID")):
        found.add(value.get("DisplayName") or value.get("Name") or "")
    found = found.union(*(_named(one, customer, listed=listed) for one in value.values()))
    return {name for name in found if " " in name}


def test_no_page_names_a_customer_who_was_erased(shop: Shop) -> None:
    for system in SYSTEMS:
        shop.sync(system)
    member, phone = busiest(shop, *SYSTEMS)
    names = names_of(shop, member)
    before = shop.ledger()
    assert names, "the simulated systems name their customers"
    assert any(name in text for name in names for _, _, text in bodies(shop))

    told = erased(shop, member, dry_run=True)
    done = erased(shop, member)
    assert (told.pages, told.customers) == (done.pages, done.customers)
    left = [
        (system, stream) for system, stream, text in bodies(shop) if any(n in text for n in names)
    ]
    assert left == []
    assert not any(phone[4:] in text.replace(" ", "") for _, _, text in bodies(shop))
    assert phone[4:] not in texts(shop)
    assert not any(name in texts(shop) for name in names)
    assert [row[-1] for row in shop.ledger()] == [row[-1] for row in before]


def test_a_replay_of_old_pages_brings_nobody_back(shop: Shop) -> None:
    for system in ("quickbooks", "xero"):
        shop.sync(system)
    member, phone = busiest(shop, "quickbooks", "xero")
    names, points = names_of(shop, member), shop.points()
    erased(shop, member)
    members = shop.counts()["loyalty.member"]
    for system in ("quickbooks", "xero"):
        shop.sync(system, replay=True)
    assert shop.counts()["loyalty.member"] == members
    assert shop.points() == points
    assert phone[4:] not in texts(shop)
    assert not any(name in text for name in names for _, _, text in bodies(shop))


def test_others_keep_their_names_and_phones(shop: Shop) -> None:
    shop.sync("quickbooks")
    shop.sync("xero")
    member, phone = busiest(shop, "quickbooks", "xero")
    with connect(shop.dsn) as connection:
        kept = connection.execute(
            "SELECT system, external_id, phone FROM billing.customer WHERE phone IS DISTINCT FROM %s ORDER BY 1, 2",
            [phone],
        ).fetchall()
    names = names_of(shop, member)
    before = [text for _, _, text in bodies(shop)]
    done = erased(shop, member)
    after = [text for _, _, text in bodies(shop)]
    assert sum(one != two for one, two in zip(sorted(before), sorted(after), strict=True)) >= 1
    with connect(shop.dsn) as connection:
        still = connection.execute(
            "SELECT system, external_id, phone FROM billing.customer ORDER BY 1, 2"
        ).fetchall()
    assert still == kept
    count = sum(text.count('"DisplayName":') + text.count('"Name":') for text in before)
    blanked = sum(text.count(f'Name":"{"(erased)"}') for text in after)
    assert 0 < blanked < count / 3, "records of others were changed"
    assert done.pages > 0 and names


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_systems_records_are_found_by_the_customers_number(shop: Shop, system: str) -> None:
    """Each invoice of an erased customer, and the look-up's answer about them, loses what names a person."""
    shop.sync(system)
    member, _ = busiest(shop, system)
    account = simulator.ACCOUNTS[system]
    with connect(shop.dsn) as connection:
        ids = {
            str(one)
            for (one,) in connection.execute(
                "SELECT DISTINCT customer_external_id FROM billing.invoice WHERE member_id = %s AND account = %s",
                [member, account],
            ).fetchall()
        }
    assert ids
    done = erased(shop, member)
    assert done.customers or system in ("xero", "custom", "magento")
    assert not done.remains
