"""Whatever arrives, in whatever order, however often: the ledger is what the final state of the documents says."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.program import Program
from sql import ledger
from sql.db import connect
from sql.sync import AccountKey
from tests.properties.stories import (
    PHONES,
    Batch,
    Story,
    Tier,
    Version,
    arrivals,
    moment,
    newest,
    stories,
)
from tests.support.books import HOUR, NOON, Books
from tests.support.database import Databases, with_older_rules
from tests.support.ledger import points_due, tier_at

#: Making a failing example small may take Hypothesis five minutes.
pytestmark = pytest.mark.timeout(1500)
_NUMBERS = itertools.count(1)
#: A second version of the program, in force in the middle of the stories.
SECOND_VERSION = """
INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier, rounding,
    unlinked_credits, discount_lines)
SELECT 2, %s, '{"AOA": 155500, "JPY": 70000, "KWD": 99999}', tier_rate_bps, 'silver', 'half_up',
    unlinked_credits, discount_lines
FROM loyalty.program
"""
BOUNDED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
CHAINS = """
SELECT external_id, member_id, entry_no, due_before, due_after, points, breakdown FROM loyalty.award_entry
WHERE account = %(account)s ORDER BY external_id, member_id, entry_no
"""
SUMS = """
SELECT external_id, member_id, sum(points)::bigint FROM loyalty.award_entry
WHERE account = %(account)s GROUP BY 1, 2 HAVING sum(points) <> 0
"""
BALANCES = "SELECT member_id, balance_points, entries FROM loyalty.member_balance WHERE member_id = ANY(%(members)s)"


@pytest.fixture(scope="module")
def dsn(databases: Databases) -> Iterator[str]:
    """One database for all examples: each has an account and customers of its own."""
    made = databases.migrated()
    with_older_rules(made)
    with psycopg.connect(made) as connection:
        connection.execute(SECOND_VERSION, [NOON + 3 * HOUR])
    yield made
    databases.drop(made)


@dataclass
class World:
    """The books of one example, and the reference: what has arrived so far."""

    books: Books
    phones: list[str]
    members: list[int]
    programs: list[Program]
    arrived: list[Version] = field(default_factory=list)
    tiers: list[Tier] = field(default_factory=list)

    @classmethod
    def new(cls, dsn: str) -> "World":
        number = next(_NUMBERS)
        books = Books(dsn, AccountKey("xero", f"books {number}"))
        phones = [f"+2449{number:06}{n:02}" for n in range(PHONES)]
        for phone in phones:
            books.run("INSERT INTO loyalty.member (phone) VALUES (%(phone)s)", phone=phone)
        with connect(dsn) as connection:
            programs = ledger.programs(connection)
        return cls(books, phones, [books.member(phone) for phone in phones], programs)

    def play(self, batches: list[Batch]) -> None:
        """Lets everything arrive; after every award the ledger must say what is due by then."""
        for batch in batches:
            self.arrive(batch)
            if batch.ending == "award":
                self.award()

    def arrive(self, batch: Batch) -> None:
        versions = [event for event in batch.events if isinstance(event, Version)]
        rows = newest([version for version in versions if version.state is not None]).values()
        gone = [(f"D{v.document}", moment(v.at)) for v in versions if v.state is None]
        documents = [version.row(self.phones) for version in rows]
        if batch.ending == "crash":
            with connect(self.books.dsn) as connection:
                self.books.put(connection, documents, gone=gone)
        self.books.store(*documents, gone=gone)
        self.arrived += versions
        for event in batch.events:
            if isinstance(event, Tier):
                self.books.set_tier(self.members[event.phone], event.tier, NOON + event.hour * HOUR)
                self.tiers.append(event)

    def award(self) -> None:
        """Rehearses the award step, does it, and compares the ledger with the reference."""
        before = self.books.rows(CHAINS, account=self.books.account.account)
        rehearsed = self.books.award(dry_run=True)
        assert self.books.rows(CHAINS, account=self.books.account.account) == before
        done = self.books.award()
        assert (done.entries, done.points, done.rejected) == (
            rehearsed.entries,
            rehearsed.points,
            0,
        )
        assert self.sums() == self.expected()

    def expected(self) -> dict[tuple[str, int], int]:
        """Points per document and member, from nothing but the newest versions."""
        deleted = {
            number for number, version in newest(self.arrived).items() if version.state is None
        }
        kept = newest([version for version in self.arrived if version.state is not None])
        known = [(tier.phone, NOON + tier.hour * HOUR, tier.tier) for tier in self.tiers]
        found = {}
        for number, version in kept.items():
            row = version.row(self.phones) | ({"status": "void"} if number in deleted else {})
            phone = self.phones.index(row["customer_phone"])
            program = [p for p in self.programs if p.valid_from <= row["issued_at"]][-1]
            due = points_due(
                row, tier_at(known, phone, row["issued_at"], program.entry_tier), program
            )
            if due:
                found[f"D{number}", self.members[phone]] = due
        return found

    def sums(self) -> dict[tuple[str, int], int]:
        rows = self.books.rows(SUMS, account=self.books.account.account)
        return {(document, member): points for document, member, points in rows}

    def entries(self) -> list[tuple[Any, ...]]:
        return self.books.rows(CHAINS, account=self.books.account.account)

    def mark_all(self) -> None:
        """As if every member's history had changed."""
        self.books.run(
            "INSERT INTO loyalty.member_dirty (member_id) SELECT unnest(%(members)s::bigint[]) ON CONFLICT DO NOTHING",
            members=self.members,
        )


def check_chains(world: World) -> None:
    """Numbered without gaps, each continuing the last one, each explained to the point."""
    for _, chain in itertools.groupby(world.entries(), key=lambda entry: entry[:2]):
        before = 0
        for number, (_, _, entry_no, due_before, due_after, points, breakdown) in enumerate(
            chain, 1
        ):
            assert (entry_no, due_before, points) == (number, before, due_after - due_before)
            assert points != 0
            assert sum(breakdown.values()) == due_after, json.dumps(breakdown)
            before = due_after


def check_balances(world: World) -> None:
    """The view is the sum of the entries."""
    entries = world.entries()
    for member, balance, count in world.books.rows(BALANCES, members=world.members):
        own = [entry[5] for entry in entries if entry[1] == member]
        assert (balance, count) == (sum(own), len(own))


@BOUNDED
@given(stories().flatmap(lambda story: st.tuples(st.just(story), arrivals(story))))
def test_the_ledger_is_what_the_final_state_says(
    dsn: str, drawn: tuple[Story, list[Batch]]
) -> None:
    story, batches = drawn
    world = World.new(dsn)
    world.play(batches)
    assert len(newest(world.arrived)) == len(newest(story.versions))
    voids = [
        f"D{n}"
        for n, v in newest(story.versions).items()
        if v.state is None or v.state["status"] == "void"
    ]
    assert [key for key in world.sums() if key[0] in voids] == []
    check_chains(world)
    check_balances(world)


@BOUNDED
@given(st.data())
def test_the_order_of_arrival_does_not_matter(dsn: str, data: st.DataObject) -> None:
    story = data.draw(stories())
    in_order, at_random = World.new(dsn), World.new(dsn)
    in_order.play([Batch((event,), "store") for event in story.events] + [Batch((), "award")])
    at_random.play(data.draw(arrivals(story)))

    def by_phone(world: World) -> dict[tuple[str, int], int]:
        return {
            (document, world.members.index(member)): points
            for (document, member), points in world.sums().items()
        }

    assert by_phone(in_order) == by_phone(at_random)


@BOUNDED
@given(st.data())
def test_again_posts_nothing(dsn: str, data: st.DataObject) -> None:
    story = data.draw(stories())
    world = World.new(dsn)
    world.play([Batch(story.events, "award")])
    before = world.entries()
    again = data.draw(st.permutations(story.versions))
    for version in again:
        world.arrive(Batch((version,), "store"))
    world.mark_all()
    assert world.books.award().entries == 0
    assert world.entries() == before
