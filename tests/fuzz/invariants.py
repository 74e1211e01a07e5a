"""The invariants of loyalty ledgers, each with its check or the reason why there is none.

Their statements are those of the collection "worked cases and invariants" (I01 to I25).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import psycopg

from loyalty.award import evaluate
from loyalty.corrections import Decision
from sql import expiry
from sql import member_history as facts
from sql.db import connect
from sql.erasure import erase
from sql.sealing import keyring
from tests.fuzz import oracle, road
from tests.fuzz.events import CUSTOMERS, TIERS
from tests.fuzz.vendor import BEGINNING, instant, phone_of

if TYPE_CHECKING:
    from tests.fuzz.road import Run
    from tests.fuzz.world import World

TAKES = ("credit_note", "refund")
ENTRIES = """
SELECT account, external_id, member_id, entry_no, due_before, due_after, points, breakdown,
       program_version, tier, currency, net_minor, event_at, posted_at
FROM loyalty.award_entry ORDER BY account, external_id, member_id, entry_no
"""
EVENT_ENTRIES = "SELECT * FROM loyalty.adjustment WHERE kind = 'event' ORDER BY adjustment_id"
BALANCES = "SELECT member_id, balance_points FROM loyalty.member_balance ORDER BY 1"
BALANCES_UNTIL = """
SELECT member_id, sum(points)::bigint FROM loyalty.award_entry WHERE posted_at <= %s
GROUP BY 1 ORDER BY 1
"""
TIERS_OF_TODAY = """
INSERT INTO loyalty.member_tier (member_id, tier, valid_from)
SELECT m, 'platinum', %s FROM unnest(%s::bigint[]) AS m
"""
CURSORS = "SELECT account, cursor_at FROM billing.sync_cursor WHERE stream = 'invoices'"
OPEN_REJECTS = "SELECT account, external_id FROM billing.reject WHERE resolved_at IS NULL"
FEED = "SELECT change_no, kind, member_id, balance_points FROM loyalty.change ORDER BY 1"
INVOICES = "SELECT account, external_id, updated_at, status FROM billing.invoice"


@dataclass
class Seen:
    """What was seen on the way."""

    failures: list[str] = field(default_factory=list)
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    changes: list[tuple[Any, ...]] = field(default_factory=list)
    statements: list[tuple[datetime, list[tuple[Any, ...]]]] = field(default_factory=list)


def _rows(world: "World", statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Read by an observer: a connection through which no fault passes."""
    return world.faults.observer.execute(statement.encode(), values).fetchall()


def everything(world: "World") -> dict[str, int]:
    """Rows of every table."""
    from tests.fuzz.world import tables

    return tables(world.faults.observer)


def spendable(world: "World", owner: int) -> int:
    """Points that an owner can spend, counted in the tables themselves."""
    group = [world.members[one] for one in range(CUSTOMERS) if world.truth.owner(one) == owner]
    held = """
        SELECT coalesce(sum(points), 0)::bigint FROM loyalty.redemption r
        WHERE member_id = ANY(%s) AND hold_ends_at > now()
          AND redemption_id NOT IN (SELECT redemption_id FROM loyalty.redemption_step)"""
    total = 0
    for table, members in (
        ("award_entry", [world.members[owner]]), ("expiry_entry", [world.members[owner]]),
        ("adjustment", group), ("redemption_step", group),
    ):  # fmt: skip
        statement = f"SELECT coalesce(sum(points), 0)::bigint FROM loyalty.{table} "
        total += _rows(world, statement + "WHERE member_id = ANY(%s)", members)[0][0]
    waiting = (
        "SELECT coalesce(sum(points), 0)::bigint FROM loyalty.pending_sale WHERE member_id = %s"
    )
    total -= _rows(world, waiting, world.members[owner])[0][0]
    return int(total - _rows(world, held, group)[0][0])


def redemption_of(world: "World", key: str) -> tuple[int, int] | None:
    """Number and member of the redemption that was asked for under a key."""
    statement = "SELECT redemption_id, member_id FROM loyalty.redemption WHERE idempotency_key = %s"
    found = _rows(world, statement, key)
    return (found[0][0], found[0][1]) if found else None


def after_a_poll(result: "Run", rehearsed: "Run | None") -> None:
    """What a run says of itself."""
    loaded, awarded = result.loaded, result.awarded
    stored = loaded.stored
    # An older version is left out, and said in the report.
    counted = stored.new + stored.changed + stored.unchanged + stored.older
    again = loaded.tried_again
    assert abs(counted - loaded.accepted) <= again, (
        "I20: accepted records are not all accounted for"
    )
    assert loaded.records >= loaded.accepted + loaded.rejected, "I20: more used than were read"
    if rehearsed is not None:
        told, kept = rehearsed.awarded, awarded
        assert (told.entries, told.points) == (kept.entries, kept.points), "I13: a dry run differs"


def after_a_step(world: "World") -> None:
    """Whatever happened, also half-way: I03, I04, I12, I18, I19, I22."""
    entries = _rows(world, ENTRIES)
    _chains(entries)
    before = {row[:4]: row for row in world.seen.entries}
    assert before.items() <= {row[:4]: row for row in entries}.items(), "I03: an entry was changed"
    world.seen.entries = entries
    _cursors(world)
    _feed(world)
    (moment,) = _rows(world, "SELECT clock_timestamp()")[0]
    world.seen.statements.append((moment, _rows(world, BALANCES_UNTIL, moment)))


def _chains(entries: list[tuple[Any, ...]]) -> None:
    """Numbered without gaps, each going on from the last one, explained to the point."""
    for key, chain in groupby(entries, key=lambda row: row[:3]):
        posted = 0
        for number, row in enumerate(chain, 1):
            entry_no, due_before, due_after, points, breakdown, version, tier = row[3:10]
            told = f"{key} entry {entry_no}"
            assert (entry_no, due_before) == (number, posted), f"I04: {told} does not continue"
            assert points == due_after - due_before != 0, f"I22: {told} is not its difference"
            assert sum(breakdown.values()) == due_after, f"I12: {told} is not explained"
            assert None not in (version, tier, row[10], row[12]), f"I12: {told} lacks its basis"
            posted = due_after


def _feed(world: "World") -> None:
    """The feed only grows, and the last change of each member has the balance of now."""
    while _rows(world, "SELECT loyalty.publish_changes(50)") != [(0,)]:
        pass
    changes = _rows(world, FEED)
    assert changes[: len(world.seen.changes)] == world.seen.changes, "a change came before others"
    world.seen.changes = changes
    last = {member: balance for _, _, member, balance in changes}
    balances = dict(_rows(world, BALANCES))
    stale = {
        member: (told, balances.get(member, 0))
        for member, told in last.items()
        if told != balances.get(member, 0)
    }
    assert not stale, f"the app was told other balances: {stale}"
    untold = {member for member, points in balances.items() if points} - last.keys()
    assert not untold, f"the app was told nothing of members {untold}"


def _cursors(world: "World") -> None:
    """I19: behind the cursor everything is stored, or rejected by name."""
    stored = {(row[0], row[1]): (row[2], row[3]) for row in _rows(world, INVOICES)}
    rejects = {
        (row[0], row[1])
        for row in _rows(world, OPEN_REJECTS)
    }  # fmt: skip
    for account, cursor in _rows(world, CURSORS):
        for document, known in world.vendors[account].versions.items():
            minute, state = known[-1]
            if instant(minute) >= cursor:
                continue
            key = (account, f"D{document}")
            if state is None:
                missing = key in stored and stored[key][1] != "void"
            else:
                missing = key not in rejects and stored.get(key, (BEGINNING,))[0] < instant(minute)
            assert not missing, f"I19: the cursor passed {key}, which is not stored"


def at_the_end(world: "World") -> None:
    """Everything that holds once it is calm."""
    for name, check in CHECKS.items():
        if callable(check):
            try:
                check(world)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error


def due(world: "World") -> dict[tuple[str, int, int], int]:
    """Sums of the ledger per account, document and customer."""
    found: dict[tuple[str, int, int], int] = {}
    for row in _rows(world, ENTRIES):
        key = (row[0], int(row[1][1:]), world.members.index(row[2]))
        found[key] = found.get(key, 0) + row[6]
    return {key: points for key, points in found.items() if points}


def _independent_of_order(world: "World") -> None:
    expected, posted = oracle.points(world.truth), due(world)
    assert posted == expected, f"the ledger has {_differing(posted, expected)}"


def _differing(posted: dict[Any, int], expected: dict[Any, int]) -> str:
    keys = sorted({k for k in {*posted, *expected} if posted.get(k, 0) != expected.get(k, 0)})
    return "; ".join(
        f"{posted.get(key, 0)} for {key[0]} D{key[1]} customer {key[2]}, due {expected.get(key, 0)}"
        for key in keys
    )


def _conserved(world: "World") -> None:
    expired = dict(
        _rows(world, "SELECT member_id, sum(points)::bigint FROM loyalty.expiry_entry GROUP BY 1")
    )
    expected = {world.members[one]: points for one, points in oracle.balances(world.truth).items()}
    balances = dict(_rows(world, BALANCES))
    for member in world.members:
        points = expected.get(member, 0) + expired.get(member, 0)
        balance = balances.get(member, 0)
        assert balance == points, f"member {member} has {balance} points, not {points}"


def _lots(world: "World") -> None:
    """What is spent and held is what was asked for; nothing is over that is not posted."""
    shown = {
        row[0]: row[1:]
        for row in _rows(
            world,
            "SELECT member_id, spent_points, held_points, pending_points, available_points, "
            "balance_points "
            "FROM loyalty.member_balance",
        )
    }
    spent, held = (oracle.spent(world.truth, state) for state in ("redeemed", "held"))
    pending = oracle.pending(world.truth)
    for customer, member in enumerate(world.members):
        taken, kept, waiting, available, balance = shown.get(member, (0, 0, 0, 0, 0))
        expected = (spent.get(customer, 0), held.get(customer, 0), pending.get(customer, 0))
        assert (taken, kept, waiting) == expected, (
            f"member {member}: {taken}, {kept}, {waiting}, not {expected}"
        )
        assert available == max(0, balance - kept - waiting), f"member {member}: {available}"
        with connect(world.dsn) as connection:
            outlook = expiry.outlook(connection, member)
        assert outlook.overdue_points == 0, f"member {member}: {outlook} after the award step"


def _recomputed(world: "World") -> None:
    """Rebuilt from what is stored, the ledger is the same; so is what expired.

    Nor do tiers of today, which mark everybody, change anything that was sold before (I07).
    """
    tables = (ENTRIES, "SELECT count(*) FROM loyalty.expiry_entry", EVENT_ENTRIES)
    before = [_rows(world, table) for table in tables]
    later = BEGINNING + timedelta(hours=100)
    with connect(world.dsn) as connection:
        connection.execute(TIERS_OF_TODAY, [later, world.members])
        connection.commit()
    posted = road.award(world.faults.workers[0])
    after = [_rows(world, table) for table in tables]
    assert (posted.entries, posted.expired, posted.event_entries.total()) == (0, 0, 0), (
        "computing again posts something"
    )
    assert after == before, "computing again changes something"
    assert not _rows(world, "SELECT FROM loyalty.member_dirty"), "members are still waiting"


def _append_only(world: "World") -> None:
    for statement in (
        "UPDATE loyalty.award_entry SET points = 1",
        "DELETE FROM loyalty.award_entry",
        "DELETE FROM loyalty.redemption_step",
    ):
        try:
            world.faults.observer.execute(statement.encode())
        except psycopg.Error:
            continue
        raise AssertionError(f"{statement} was accepted")


def _bounded(world: "World") -> None:
    listed = _rows(world, "SELECT account, external_id, kind FROM billing.invoice")
    kinds = {(account, external_id): kind for account, external_id, kind in listed}
    for row in _rows(world, ENTRIES):
        takes = kinds[row[0], row[1]] in TAKES
        assert row[5] <= 0 if takes else row[5] >= 0, f"{row[:4]} takes back more than was given"


def _split(world: "World") -> None:
    """One member (another one in each world) computed alone: what was posted from batches."""
    owners = [one for one in range(CUSTOMERS) if one not in world.truth.merged]
    owner = world.members[owners[world.minute % len(owners)]]
    with connect(world.dsn) as connection:
        rules = facts.rules(connection)
        stored = facts.read(connection, [owner], rules)
        result = evaluate(
            stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts
        )
    columns = ("account", "external_id", "member_id", "due")
    apart = {row[:3]: row[3] for row in result.due.select(columns).rows() if row[3]}
    last = {row[:3]: row[5] for row in _rows(world, ENTRIES) if row[2] == owner}
    posted = {key: points for key, points in last.items() if points}
    assert apart == posted, f"{sorted(apart.items() ^ posted.items())} differ"


def _monotone(world: "World") -> None:
    """A larger amount and a higher tier never give less."""
    for state in world.truth.documents.values():
        if state is None or state.customer is None:
            continue
        owner = world.truth.owner(state.customer)
        due_now = abs(oracle.due_for(world.truth, state, owner))
        grown = oracle.replaced_total(state, state.total + 1)
        assert abs(oracle.due_for(world.truth, grown, owner)) >= due_now, (
            f"{state} grown earns less"
        )
    steps = [oracle.TIER_BPS[one] for one in TIERS]
    assert steps == sorted(steps), "a higher tier gives less"


def _zero(world: "World") -> None:
    for (account, document, _), points in due(world).items():
        state = world.truth.documents.get((account, document))
        told = f"{account} D{document} has {points} points: {state}"
        assert state is not None, told
        assert points <= 0 or oracle.worth(state) > 0, told


def _no_cache(world: "World") -> None:
    kind = _rows(
        world,
        "SELECT relkind FROM pg_class WHERE oid = 'loyalty.member_balance'::regclass",
    )
    assert kind in ([("v",)], [(b"v",)]), "balances are stored somewhere"


def _reproduced(world: "World") -> None:
    for moment, statement in world.seen.statements:
        assert _rows(world, BALANCES_UNTIL, moment) == statement, f"as of {moment} it differs"


def _nothing_lost(world: "World") -> None:
    """Every document is stored, void or rejected by name; here nothing is left rejected."""
    stored = {(row[0], row[1]): row[3] for row in _rows(world, INVOICES)}
    for (account, document), state in world.truth.documents.items():
        status = stored.get((account, f"D{document}"))
        if state is None:
            assert status in (None, "void"), f"{account} D{document} was deleted and is {status}"
        else:
            assert status == state.status, f"{account} D{document} is {status}, not {state.status}"
    open_rejects = _rows(
        world, "SELECT account, external_id, reason FROM billing.reject WHERE resolved_at IS NULL"
    )
    kept = [row for row in open_rejects if world.truth.documents.get((row[0], int(row[1][1:])))]
    assert not kept, f"rejected though corrected: {kept}"


def _all_acknowledged(world: "World") -> None:
    states = _rows(world, "SELECT state, reason FROM billing.webhook_event WHERE state <> 'done'")
    assert not states, f"deliveries are left: {states}"


def _reconciled(world: "World") -> None:
    """Amounts behind what is posted are those of the billing system."""
    last: dict[tuple[str, str, int], tuple[Any, ...]] = {}
    for row in _rows(world, ENTRIES):
        last[row[:3]] = row
    sums: dict[tuple[str, str], int] = {}
    back, extra = oracle.came_back(world.truth), oracle.extras(world.truth)
    for row in last.values():
        if row[5]:
            net = row[11]
            # Where a return is too small to change the points, no entry is posted.
            state = world.truth.documents.get((row[0], int(row[1][1:])))
            owner = world.members.index(row[2])
            if state is not None and net > 0:
                came = back[row[0], int(row[1][1:])]
                told = oracle.due_for(world.truth, state, owner, oracle.worth(state) - net)
                told += extra[row[0], int(row[1][1:])]
                net = oracle.worth(state) - came if told == row[5] else net
            sums[row[0], row[10]] = sums.get((row[0], row[10]), 0) + net
    expected = {key: amount for key, amount in oracle.sums(world.truth).items() if amount}
    assert {key: amount for key, amount in sums.items() if amount} == expected


def _erased(world: "World") -> None:
    """Last of all: a person is gone, and every sum stays."""
    before = [_rows(world, ENTRIES), _rows(world, BALANCES)]
    owner = next(one for one in range(CUSTOMERS) if one not in world.truth.merged)
    gone = [one for one in range(CUSTOMERS) if world.truth.owner(one) == owner]
    with connect(world.dsn) as connection:
        decision = Decision(reason="fuzz", author="fuzz")
        erase(connection, world.members[owner], decision, "fuzz", dry_run=False)
        connection.commit()
    assert [_rows(world, ENTRIES), _rows(world, BALANCES)] == before, "sums changed"
    bodies = [
        keyring().unpack(bytes(row[0])).decode()
        for table in ("raw_page", "webhook_event")
        for row in _rows(world, f"SELECT body_zstd FROM billing.{table}")
    ]
    known = [row[0] for row in _rows(world, "SELECT phone FROM loyalty.member")]
    for customer in gone:
        phone = phone_of(customer)
        assert phone not in known, "the phone is still a member's"
        assert not any(phone in body for body in bodies), "a stored page still has the phone"


#: Each invariant: its check at the end, where else it is checked, or why it is not.
CHECKS: dict[str, Callable[["World"], None] | str] = {
    "I08 path independence": _independent_of_order,
    "I01 conservation": _conserved,
    "I02 double entry": "not built so: one-sided entries whose chain the database checks (I04)",
    "I03 append only": _append_only,
    "I04 award uniqueness": "checked after each step: one gapless chain per document and member",
    "I05 key conflict": "checked with each adjustment: one key, one adjustment",
    "I06 reversal bound": _bounded,
    "I07 reversal by record": _recomputed,
    "I09 split invariance": _split,
    "I10 monotone": _monotone,
    "I11 zero safety": _zero,
    "I12 explain": "checked after each step: the breakdown's sum is what is due",
    "I13 dry run": "checked with each rehearsed poll: same counts, and nothing is left",
    "I14 pending once": "checked with each hold: resolved once; there is no pending period",
    "I15 lots": _lots,
    "I16 expiry idempotent": "checked with I07: computing again expires nothing more",
    "I17 snapshot neutral": _no_cache,
    "I18 bitemporal": _reproduced,
    "I19 state after commit": "checked after each step: behind the cursor nothing is missing",
    "I20 no silent loss": _nothing_lost,
    "I21 ack after persist": _all_acknowledged,
    "I22 rejection atomic": "checked after each step, failed ones included: no half of a chain",
    "I23 reconcile": _reconciled,
    "I24 erasure": _erased,
    "I25 deterministic simulation": "this: a seed is a history, and `make fuzz SEED=n` repeats it",
}
