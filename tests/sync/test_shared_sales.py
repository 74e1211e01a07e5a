"""A sale that a shop, its payment service and the books tell earns once when it is declared."""

import json
from collections.abc import Iterator

import pytest
import stamina
from typer.testing import CliRunner

import simulator
from settings import settings
from sql.db import connect
from tasks.duplicates import told_twice, wanted_precedence
from tests.support.database import with_older_rules
from tests.sync.conftest import START, Shop, expected
from twezah.cli import app

#: What counts first stands first: the shops, then the payment services, then the books.
ORDER = ("shopify", "woocommerce", "stripe", "paypal", "quickbooks")


@pytest.fixture
def shops(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A world with four such sales, and the commands on its ledger."""
    world = simulator.World(
        seed=11, customers=8, invoices=8, start=START, systems=ORDER, shared_sales=4
    )
    with_older_rules(dsn)
    monkeypatch.setenv("TWEZAH_DATABASE_URL", dsn)
    settings.cache_clear()
    with stamina.set_testing(True, attempts=8):
        yield Shop(dsn, world)
    settings.cache_clear()


def run(*arguments: str) -> str:
    """The output of a command of `duplicates` that must succeed."""
    result = CliRunner().invoke(app, ["duplicates", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def told_again(world: simulator.World) -> dict[tuple[str, str], tuple[str, str]]:
    """Of each document that pays or books an order: the order, as the books know."""
    return {
        (row.system, row.external_id): row.order
        for row in world.truth()
        if row.order is not None and row.status not in ("draft", "void")
    }


def test_each_earns_once_with_a_precedence_and_is_found_without(shops: Shop) -> None:
    for system in ORDER:
        shops.sync(system)
    told = told_again(shops.world)
    assert {system for system, _ in told} == {"stripe", "paypal", "quickbooks"}
    every = expected(shops.world, *ORDER)
    assert told.keys() <= every.keys()
    assert shops.points() == every, "nothing is declared: every document counts"

    found = json.loads(run("find", "--order", ",".join(ORDER), "--json"))
    pairs = {
        (pair["system"], pair["external_id"]): (pair["by_system"], pair["by_external_id"])
        for pair in found["pairs"]
    }
    assert pairs == told
    assert set(found["matched_by"]) == {"number", "payment"}
    assert shops.points() == every
    with connect(shops.dsn) as connection:
        counted = told_twice(connection, wanted_precedence(ORDER))
    assert sum(row.documents for row in counted) == len(told)
    assert {(row.system, row.sale_at) for row in counted} == {
        ("stripe", "shopify"), ("quickbooks", "shopify"), ("paypal", "woocommerce"),
    }  # fmt: skip

    limit = sum(every[document] for document in told)
    who = ("--reason", "One shop", "--author", "Ana", "--confirm", str(limit))
    run("declare", "--order", ",".join(ORDER), *who)
    shops.world.evolve(steps=30, systems=ORDER)
    for system in ORDER:
        shops.sync(system)
    more = told_again(shops.world)
    assert more.keys() > told.keys(), "some happened meanwhile"
    once = {key: due for key, due in expected(shops.world, *ORDER).items() if key not in more}
    assert shops.points() == once
