"""One seed's world: plays a history on the real database, and looks after every step."""

import random
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from psycopg import sql as names

from connectors.kit.errors import ConnectorError
from loyalty.corrections import Adjustment, Decision
from loyalty.member_events import AppEvent
from loyalty.policies import EventRule, Expiry, Pending
from loyalty.program import TIER_RATE_BPS, Program
from loyalty.program_diff import Change as ProgramChange
from loyalty.program_diff import Plan
from loyalty.promotions import Code as PromotionCode
from loyalty.promotions import Promotion, PurchaseBonus, SeasonalMultiplier, When
from sql import corrections, ledger, member_events, member_lists, promotion_codes
from sql import program as programs
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from sql.member_events import EventReusedError
from sql.redemptions import (
    InsufficientPointsError,
    KeyReusedError,
    UnknownRedemptionError,
    WrongStateError,
)
from tasks.job import Job
from tests.fuzz import events, invariants, oracle, road
from tests.fuzz.events import (
    ACCOUNTS,
    CUSTOMERS,
    Adjust,
    Award,
    Change,
    Clock,
    Code,
    Event,
    History,
    Listed,
    Merge,
    Poll,
    Push,
    Replay,
    Rule,
    Settle,
    Spend,
    Step,
    Tier,
    Together,
    Visit,
)
from tests.fuzz.faults import Faults, ProcessKilledError, Turns, Worker
from tests.fuzz.oracle import Spent, Truth
from tests.fuzz.vendor import BEGINNING, Vendor, instant, phone_of, record

DECIDED = Decision(reason="a fuzzed history", author="fuzz")
#: Empties what a history leaves. The audit log is a chain, and is left as it is.
EMPTY = """
DO $$ DECLARE one record; BEGIN
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT schemaname, tablename FROM pg_tables
        WHERE schemaname IN ('billing', 'loyalty') AND tablename <> 'program' LOOP
        EXECUTE format('DELETE FROM %I.%I', one.schemaname, one.tablename);
    END LOOP;
    DELETE FROM loyalty.program WHERE version > 1;
END $$
"""
#: The code of this world's promotion.
CODE = "FUZZ"
ADD_TIER = "INSERT INTO loyalty.member_tier (member_id, tier, valid_from) VALUES (%s, %s, %s)"


class BrokenError(AssertionError):
    """An invariant does not hold; the message says which, and after which event."""


@dataclass
class World:
    """The database, the billing systems and what is true in one world."""

    dsn: str
    faults: Faults
    truth: Truth = field(default_factory=Truth)
    vendors: dict[str, Vendor] = field(default_factory=lambda: {one: Vendor() for one in ACCOUNTS})
    members: list[int] = field(default_factory=list)
    endpoints: dict[str, int] = field(default_factory=dict)
    minute: int = 0
    ahead: int = 0
    pushed: int = 0
    #: Requests of the app without an answer: it sends them again.
    unanswered: list[Spend | Settle] = field(default_factory=list)
    #: Keys of requests that were refused because another request had them.
    refused: list[str] = field(default_factory=list)
    seen: invariants.Seen = field(default_factory=invariants.Seen)

    def begin(self) -> None:
        """An empty ledger, and customers whom the loyalty app knows already."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(EMPTY)
            for customer in range(CUSTOMERS):
                row = connection.execute(
                    "INSERT INTO loyalty.member (phone) VALUES (%s) RETURNING member_id",
                    [phone_of(customer)],
                ).fetchone()
                assert row is not None
                self.members.append(row[0])
            # What is installed knows one currency; the customers buy in three.
            self._rule(connection, oracle.INSTALLED)

    def now(self) -> datetime:
        """The time by our clock."""
        return instant(self.minute) + timedelta(minutes=self.ahead)

    def play(self, history: History) -> None:
        """Everything that happens, then calm: what is due is read, and all that failed is done.

        Raises BrokenError.
        """
        for number, event in enumerate(history, 1):
            self._at(event.minute)
            self._guarded(f"event {number}: {event}", partial(self.happen, event))
            if isinstance(event, Step | Together):
                self._guarded(f"event {number}: {event}", lambda: invariants.after_a_step(self))
        self._guarded("the calm at the end", self.calm)
        self._guarded("the end", lambda: invariants.at_the_end(self))

    def _guarded(self, when: str, do: Callable[[], None]) -> None:
        try:
            do()
        except BrokenError:
            raise
        except Exception as error:
            raise BrokenError(f"{type(error).__name__}: {error}\n  after {when}") from error

    def _at(self, minute: int) -> None:
        self.minute = max(self.minute, minute)
        for vendor in self.vendors.values():
            vendor.minute = self.minute

    def happen(self, event: Event) -> None:
        """One event."""
        if isinstance(event, Together):
            self._together(event)
        elif isinstance(event, Step):
            self._step(self.faults.workers[0], event)
            self.faults.workers[0].ended()
        elif isinstance(event, Change):
            vendor = self.vendors[event.account]
            if vendor.change(event.document, self.minute, event.state):
                self.truth.documents[event.account, event.document] = event.state
        elif isinstance(event, Clock):
            self.ahead = event.ahead
        else:
            self._decide(event)

    def calm(self) -> None:
        """A right clock, no failures: everything that waits is done."""
        self.ahead = 0
        self._at(self.minute + 1)
        worker = self.faults.workers[0]
        for request in self.unanswered:
            self._done(worker, request)
        if self.endpoints:
            with connect(self.dsn) as connection:
                connection.execute("UPDATE billing.webhook_event SET next_attempt_at = now()")
                connection.commit()
            road.work_off(worker, self._job_for(worker))
        for account in ACCOUNTS:
            self.vendors[account].noise = 0
            if not self.vendors[account].versions:
                continue
            if road.synchronise(self.job(worker, account)).resumed:  # read on, from where it was
                road.synchronise(self.job(worker, account))
        road.award(worker)  # (of whom no account is read)
        worker.ended()

    def _step(self, worker: Worker, step: Step) -> None:
        worker.exchanges, worker.dead, worker.fault = 0, False, step.fault
        try:
            self._done(worker, step)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if step.fault is None and worker.turns is None:
                raise
            if isinstance(step, Spend | Settle):
                self.unanswered.append(replace(step, fault=None))
            self.seen.failures.append(str(error))
        except ConnectorError as error:
            raise AssertionError(f"the run failed: {error}") from error

    def _done(self, worker: Worker, step: Step) -> None:
        if isinstance(step, Poll):
            self.vendors[step.account].noise = step.noise
            rehearsed = None
            if step.rehearsed:
                before = invariants.everything(self)
                rehearsed = road.synchronise(self.job(worker, step.account, dry_run=True))
                assert invariants.everything(self) == before, "I13: a dry run left something"
            result = road.synchronise(self.job(worker, step.account))
            if step.fault is None:
                invariants.after_a_poll(result, rehearsed)
        elif isinstance(step, Replay):
            road.synchronise(self.job(worker, step.account, replay=True))
        elif isinstance(step, Award):
            road.award(worker)
        elif isinstance(step, Push):
            self._receive(step)
            road.work_off(worker, self._job_for(worker))
        elif isinstance(step, Spend):
            self._spend(worker, step)
        elif isinstance(step, Settle):
            self._settle(worker, step)

    def _spend(self, worker: Worker, step: Spend) -> None:
        """Exactly what the points suffice for; compared with the tables where nobody else acts."""
        known = self.truth.spent.get(step.key)
        wanted = (step.customer, step.points, step.held)
        same = known is not None and (known.customer, known.points, known.held) == wanted
        told = invariants.spendable(self, self.truth.owner(step.customer))
        is_alone = worker.turns is None
        try:
            done = road.spend(worker, self.members[step.customer], step)
        except KeyReusedError:
            assert not same, "I05: refused for nothing"
            self.refused.append(step.key)
            if is_alone:
                self._refused_rightly()
            return
        except InsufficientPointsError:
            assert not same, "I05: a known request was refused"
            # (What has expired and is not posted yet cannot be spent either.)
            expires = any(rule.expires for rule in self.truth.rules)
            assert not is_alone or expires or step.points > told, f"refused, of {told} points"
            return
        assert known is None or same, "I05: one key, two requests"
        assert known is None or done.repeated, "I05: one request counted twice"
        if known is None:
            # (Answered late: it may have been done before.)
            assert not is_alone or done.repeated or step.points <= told, f"spent, of {told} points"
            self.truth.spent[step.key] = Spent(*wanted, done.redemption.state)

    def _refused_rightly(self) -> None:
        """Only keys that are known were refused; of two workers at once, each notes its own last."""
        known = {*self.truth.spent, *(one.key for one in self.unanswered)}
        new = [key for key in self.refused if key not in known]
        self.refused.clear()
        assert not new, f"I05: a new key was refused: {new}"

    def _settle(self, worker: Worker, step: Settle) -> None:
        """Each hold is resolved once, and each redemption given back once (I14)."""
        stored = invariants.redemption_of(self, step.key.replace(" ", "-"))
        if stored is None:
            return
        number, member_id = stored
        known = self.truth.spent.get(step.key)
        is_known = known is not None and worker.turns is None
        before, after = {
            "confirm": ("held", "redeemed"), "cancel": ("held", "cancelled"),
            "reverse": ("redeemed", "reversed"),
        }[step.how]  # fmt: skip
        try:
            done = road.settle(worker, member_id, number, step)
        except (WrongStateError, UnknownRedemptionError):
            waits = any(one.key == step.key for one in self.unanswered)
            assert not is_known or waits or (known and known.state != before), "I14: refused"
            return
        if known is not None and not done.repeated:
            known.state = after
        elif known is not None:
            known.state = done.redemption.state

    def _receive(self, step: Push) -> None:
        known = self.vendors[step.account].versions.get(step.document, [])
        if step.account not in self.endpoints:
            self.endpoints[step.account] = road.endpoint(self.dsn, step.account)
        number = self.endpoints[step.account]
        for version in step.versions:
            if version >= len(known):
                continue
            event = road.as_event(record(step.document, *known[version]))
            self.pushed += 1
            key = f"delivery {self.pushed}"
            assert road.receive(self.dsn, number, key, event)
            assert not road.receive(self.dsn, number, key, event), "I21: a delivery counted twice"

    def _together(self, event: Together) -> None:
        turns = Turns(random.Random(event.order), self.faults.blocked)
        failed: list[BaseException] = []

        def run(number: int, step: Step) -> None:
            worker = self.faults.workers[number]
            worker.turns = turns
            try:
                self._step(worker, step)
            except BaseException as error:  # noqa: BLE001  the waiting thread tells
                failed.append(error)
            finally:
                turns.leave(number)

        steps = [event.first, event.second]
        read = [one.account for one in steps if isinstance(one, Poll | Replay)]
        if len(read) > len(set(read)):
            steps[1] = Award(minute=event.minute)  # two reads of one account exclude each other
        steps = [replace(one, rehearsed=False) if isinstance(one, Poll) else one for one in steps]
        threads = [threading.Thread(target=run, args=(n, s)) for n, s in enumerate(steps)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for worker in self.faults.workers:
            worker.ended()
        if failed:
            raise failed[0]
        self._refused_rightly()

    def job(self, worker: Worker, account: str, **request: Any) -> Job:
        """A run on an account."""
        return road.job_of(worker, account, self.vendors[account], self.now, **request)

    def _job_for(self, worker: Worker) -> Callable[[str], Job]:
        return lambda name: self.job(worker, name, pushed=True)

    def _decide(self, event: Event) -> None:
        """What people decide, in a transaction of their own."""
        with connect(self.dsn) as connection:
            if isinstance(event, Tier):
                at = BEGINNING + timedelta(hours=event.hour)
                connection.execute(ADD_TIER, [self.members[event.customer], event.tier, at])
                self.truth.tiers.append(event)
            elif isinstance(event, Rule):
                self._rule(connection, event)
            elif isinstance(event, Adjust):
                self._adjust(connection, event)
            elif isinstance(event, Merge):
                self._merge(connection, event)
            elif isinstance(event, Visit):
                self._visit(connection, event)
            elif isinstance(event, Code):
                self._enter(connection, event)
            elif isinstance(event, Listed):
                self._list(connection, event)
            connection.commit()

    def _adjust(self, connection: Any, event: Adjust) -> None:
        known = self.truth.adjustments.get(event.key)
        wanted = Adjustment(
            member_id=self.members[event.customer], points=event.points, key=event.key,
            reason=DECIDED.reason, author=DECIDED.author,
        )  # fmt: skip
        try:
            corrections.adjust(connection, wanted, "fuzz")
        except CorrectionRefusedError:
            assert known not in (None, (event.customer, event.points)), "I05: refused for nothing"
            return
        assert known in (None, (event.customer, event.points)), "I05: one key, two adjustments"
        self.truth.adjustments[event.key] = (event.customer, event.points)

    def _merge(self, connection: Any, event: Merge) -> None:
        merged = self.truth.merged
        if event.undo:
            if event.customer in merged:
                corrections.unmerge(connection, self.members[event.customer], DECIDED, "fuzz")
                del merged[event.customer]
        elif not {event.customer, event.into} & {*merged, *merged.values()}:
            member, into = self.members[event.customer], self.members[event.into]
            corrections.merge(connection, member, into, DECIDED, "fuzz")
            merged[event.customer] = event.into

    def _visit(self, connection: Any, event: Visit) -> None:
        known = self.truth.visits.get(event.key)
        wanted = (event.customer, event.hour)
        told = AppEvent(
            member_id=self.members[event.customer], name="visit", event_id=event.key,
            happened_at=BEGINNING + timedelta(hours=event.hour),
        )  # fmt: skip
        try:
            entered = member_events.add(connection, told, "fuzz")
        except EventReusedError:
            assert known not in (None, wanted), "I05: refused for nothing"
            return
        assert known in (None, wanted), "I05: one id, two events"
        assert entered.repeated == (known is not None), "I05: one event counted twice"
        self.truth.visits[event.key] = wanted

    def _enter(self, connection: Any, event: Code) -> None:
        at = BEGINNING + timedelta(hours=event.hour)
        member = self.members[event.customer]
        try:
            promotion_codes.enter(connection, member, CODE, "fuzz", at=at)
        except CorrectionRefusedError:
            return  # there is no such promotion yet, or it was entered often enough
        self.truth.codes.append((event.customer, event.hour))

    def _list(self, connection: Any, event: Listed) -> None:
        hours = (event.hour, event.until)
        begin, end = (None if n is None else BEGINNING + timedelta(hours=n) for n in hours)
        member = self.members[event.customer]
        member_lists.put(connection, member, "vip", (begin, end), DECIDED, "fuzz")
        self.truth.lists.append(event)

    def _versions(self, name: str) -> int:
        """How many versions of a promotion there are."""
        return sum(1 for rule in self.truth.rules if getattr(rule, name))

    def _bonuses(self, event: Rule, at: datetime) -> list[Promotion]:
        """Further versions of the promotions that a rule names."""
        found = []
        if event.season_bps:
            found.append(
                Promotion(
                    promotion_id="season", version=self._versions("season_bps") + 1,
                    valid_from=at, valid_to=at + timedelta(hours=event.season_hours),
                    rule=SeasonalMultiplier(multiplier_bps=event.season_bps),
                )
            )  # fmt: skip
        coded = When(code=PromotionCode(code=CODE, uses_per_member=2))
        for name, points, when in (
            ("nth", oracle.NTH_POINTS, When(nth_purchase=event.nth)),
            ("coded", oracle.CODE_POINTS, coded),
            ("listed", oracle.LIST_POINTS, When(lists=("vip",))),
        ):
            if getattr(event, name):
                rule = PurchaseBonus(points=points)
                version = self._versions(name) + 1
                found.append(
                    Promotion(
                        promotion_id=name, version=version, valid_from=at, rule=rule, when=when
                    )
                )
        return found

    def _rule(self, connection: Any, event: Rule) -> None:
        """A further version, applied as `twezah program apply` does, recomputing the past."""
        before = (ledger.programs(connection), ledger.promotions(connection))
        at = BEGINNING + timedelta(hours=event.hour)
        program = Program(
            version=max(one.version for one in before[0]) + 1, valid_from=at,
            base_rate_bps=dict.fromkeys(oracle.DIGITS, event.rate_bps),
            per_full_minor=dict.fromkeys(oracle.DIGITS, event.full_minor) if event.full_minor else {},
            tier_rate_bps=dict(TIER_RATE_BPS), entry_tier=event.entry_tier,
            rounding=event.rounding, expiry=Expiry(months=1) if event.expires else None,
            pending=Pending(until_paid=True) if event.until_paid else None,
            events={"visit": EventRule(points=event.visits[0], at_most=event.visits[1])}
            if event.visits
            else {},
        )  # fmt: skip
        new = self._bonuses(event, at)
        changes = (ProgramChange("program", "changed", program.version, at, at),)
        plan = Plan((), (), program, tuple(new), changes)
        marks = programs.concerned(connection, None)
        effect = programs.Effect(len(marks), 0, marks, recompute=True)
        programs.apply(connection, plan, before, DECIDED, text="", effect=effect, run_id="fuzz")
        self.truth.rules.append(event)


def tables(connection: Any) -> dict[str, int]:
    """Rows of every table that a run writes."""
    found = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('billing', 'loyalty')"
    ).fetchall()
    count = names.SQL("SELECT count(*) FROM {}")
    return {
        f"{schema}.{table}": connection.execute(
            count.format(names.Identifier(schema, table))
        ).fetchone()[0]
        for schema, table in found
    }


def play(dsn: str, history: History, *, whole: bool = False) -> World:
    """Plays a history from an empty ledger to its end. Raises BrokenError."""
    with closing(Faults(dsn)) as faults:
        world = World(dsn, faults)
        world.begin()
        with faults.active(), road.abridged(world.now, whole=whole):
            world.play(history)
        return world


__all__ = ["BrokenError", "ProcessKilledError", "World", "events", "play", "tables"]
