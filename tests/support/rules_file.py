"""Rules files of a few lines, and what becomes of them."""

from datetime import datetime
from typing import Any

import pytest

from loyalty.corrections import Decision
from settings import settings
from sql import member_history as facts
from sql.db import connect
from tasks.award.members import award_members
from tasks.program.change import Applied, ChangePreview, apply_rules, preview_change
from tasks.run_database import RunDatabase
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice

WHY = Decision(reason="Black November", author="Ana, marketing")
HEAD = '[program]\nentry_tier = "lead"\n'
RATES = "points_per_unit = {{ AOA = {0} }}\ntiers = {{ lead = 1, silver = 1.2, gold = {1}, platinum = 2 }}\n"
LATER = "valid_from = 2999-01-01\n"


def rules(default: object = 10, gold: object = 1.5, begins: str = "") -> str:
    """A program: points per unit, and how many times as much a Gold earns."""
    return HEAD + begins + RATES.format(default, gold)


def bonus(points: int = 50, begins: str = "2026-01-01", more: str = "") -> str:
    """A promotion `p` with points for every purchase."""
    return f'[[promotion]]\nid = "p"\nvalid_from = {begins}\nkind = "purchase_bonus"\npoints = {points}\n{more}\n'


def looked(books: Books, text: str, since: datetime | None = None) -> ChangePreview:
    """What the file would change."""
    with connect(books.dsn) as connection:
        return preview_change(connection, text, since=since)


def applied(books: Books, text: str, *, recompute: bool = False, confirm: int = 0) -> Applied:
    """Applies the file."""
    return apply_rules(books.dsn, text, WHY, "by hand", recompute=recompute, confirm=confirm)


def post(books: Books) -> Any:
    """Runs the award step, beside any synchronisation."""
    return award_members(RunDatabase(books.dsn, "by hand"), None)


def facts_of(books: Books) -> facts.Rules:
    """The rules that are stored."""
    with connect(books.dsn) as connection:
        return facts.rules(connection)


@pytest.fixture
def two(books: Books) -> Books:
    """A Gold with 2250 points and a Lead with 3000."""
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE, total_minor=30_000))
    books.set_tier(books.member(), "gold", NOON - HOUR)
    books.award()
    return books


@pytest.fixture
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No change is too large a share."""
    monkeypatch.setenv("TWEZAH_CHANGE_PERCENT_MAX", "100")
    settings.cache_clear()
