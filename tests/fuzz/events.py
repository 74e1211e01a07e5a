"""What can happen in the fuzzed world, and the history that a seed stands for."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

ACCOUNTS = ("loja-a", "loja-b")
CUSTOMERS = 3
TIERS = ("lead", "silver", "gold", "platinum")
CURRENCIES = ("AOA", "AOA", "JPY", "KWD")
How = Literal["lost", "answer lost", "backend killed", "process killed"]


@dataclass(frozen=True)
class Fault:
    """A failure at the n-th exchange with the database of a step.

    lost: the connection breaks before the statement. answer lost: after it, so that nobody knows
    whether a commit took place. backend killed: the server's process really ends. process killed:
    ours does, so that nothing it began is ended.
    """

    at: int
    how: How

    def __str__(self) -> str:
        return f", {self.how} at exchange {self.at}"


@dataclass(frozen=True)
class State:
    """A document as the billing system has it. `customer` None: without a phone, so rejected."""

    kind: str
    currency: str
    status: str
    total: int
    refunded: int
    customer: int | None
    hour: int
    #: Number of the document of the same account that a credit names; None: it names none.
    original: int | None = None

    def __str__(self) -> str:
        whose = "nobody" if self.customer is None else f"customer {self.customer}"
        back = f", {self.refunded} refunded" if self.refunded else ""
        return (
            f"{self.status} {self.kind} of {self.total} {self.currency} (minor units){back}, "
            f"{whose}, issued at hour {self.hour}"
            + ("" if self.original is None else f", returns D{self.original}")
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens `minute` minutes after the beginning."""

    minute: int


@dataclass(frozen=True)
class Change(Event):
    """The billing system has a document in this state from now on; None: it was deleted there."""

    account: str
    document: int
    state: State | None

    def __str__(self) -> str:
        what = "is deleted" if self.state is None else f"is: {self.state}"
        return f"at {self.account}, document D{self.document} {what}"


@dataclass(frozen=True)
class Tier(Event):
    """The loyalty app enters a tier, in force from an hour on."""

    customer: int
    hour: int
    tier: str

    def __str__(self) -> str:
        return f"customer {self.customer} is {self.tier} from hour {self.hour} on"


@dataclass(frozen=True)
class Rule(Event):
    """A further version of the program, and of the season's multiplier where there is one."""

    hour: int
    rate_bps: int
    rounding: str
    entry_tier: str
    season_bps: int | None = None
    season_hours: int = 1
    expires: bool = False
    #: Only full amounts of so many minor units earn the rate; None: every unit does.
    full_minor: int | None = None
    #: Points of sales wait until these are paid.
    until_paid: bool = False
    #: Every n-th purchase of a customer brings points, by a further version of a bonus.
    nth: int | None = None
    #: Points of a visit that the app tells, and how many of a customer count; None: none does.
    visits: tuple[int, int] | None = None
    #: Sales of whoever entered the code bring points, by a further version of a bonus.
    coded: bool = False
    #: So do sales of whoever is on the list.
    listed: bool = False

    def __str__(self) -> str:
        season = (
            f", season {self.season_bps} bps for {self.season_hours} h" if self.season_bps else ""
        )
        ends = ", points expire" if self.expires else ""
        ends += ", points wait for the payment" if self.until_paid else ""
        ends += f", points for every {self.nth}. purchase" if self.nth else ""
        ends += f", {self.visits[0]} points for {self.visits[1]} visits" if self.visits else ""
        ends += ", points with the code" if self.coded else ""
        ends += ", points on the list" if self.listed else ""
        each = "a unit" if self.full_minor is None else f"per full {self.full_minor}"
        return (
            f"rules from hour {self.hour} on: {self.rate_bps} bps {each}, rounded {self.rounding}, "
            f"entry tier {self.entry_tier}{season}{ends}"
        )


@dataclass(frozen=True)
class Merge(Event):
    """Two customers are one; `undo`: they are not."""

    customer: int
    into: int
    undo: bool = False

    def __str__(self) -> str:
        if self.undo:
            return f"customer {self.customer} is no longer merged"
        return f"customer {self.customer} is merged into {self.into}"


@dataclass(frozen=True)
class Adjust(Event):
    """Points by hand; the same key again is the same adjustment."""

    customer: int
    points: int
    key: str

    def __str__(self) -> str:
        return f"customer {self.customer} is given {self.points:+d} points, key {self.key}"


@dataclass(frozen=True)
class Visit(Event):
    """The loyalty app tells what a customer did at an hour; the same key again is the same."""

    customer: int
    hour: int
    key: str

    def __str__(self) -> str:
        return f"customer {self.customer} visited at hour {self.hour}, key {self.key}"


@dataclass(frozen=True)
class Code(Event):
    """A customer enters the code at an hour."""

    customer: int
    hour: int

    def __str__(self) -> str:
        return f"customer {self.customer} enters the code at hour {self.hour}"


@dataclass(frozen=True)
class Listed(Event):
    """A customer is on the list from an hour on, for good or until before another."""

    customer: int
    hour: int
    until: int | None

    def __str__(self) -> str:
        end = "" if self.until is None else f", before hour {self.until}"
        return f"customer {self.customer} is on the list from hour {self.hour} on{end}"


@dataclass(frozen=True)
class Clock(Event):
    """Our clock is wrong by so many minutes from now on; the billing system's is right."""

    ahead: int

    def __str__(self) -> str:
        return f"our clock is {self.ahead} minutes ahead"


@dataclass(frozen=True)
class Step(Event):
    """Something that our processes do."""

    fault: Fault | None = None

    @property
    def words(self) -> str:
        """How it went wrong, if it did."""
        return str(self.fault or "")


@dataclass(frozen=True)
class Poll(Step):
    """A synchronisation. `noise` orders the list, with repeated and outdated versions in it."""

    account: str = ""
    noise: int = 0
    rehearsed: bool = False

    def __str__(self) -> str:
        first = "rehearsed, then " if self.rehearsed else ""
        return f"{first}{self.account} is read (disorder {self.noise}){self.words}"


@dataclass(frozen=True)
class Push(Step):
    """Webhooks: some versions of a document, by number, in this order."""

    account: str = ""
    document: int = 0
    versions: tuple[int, ...] = ()

    def __str__(self) -> str:
        told = ", ".join(f"{one}" for one in self.versions)
        return f"webhooks of {self.account}: versions {told} of D{self.document}{self.words}"


@dataclass(frozen=True)
class Replay(Step):
    """The stored pages are mapped again."""

    account: str = ""

    def __str__(self) -> str:
        return f"the stored pages of {self.account} are replayed{self.words}"


@dataclass(frozen=True)
class Award(Step):
    """Whoever is waiting is awarded, without anything being read."""

    def __str__(self) -> str:
        return f"points of all who wait are posted{self.words}"


@dataclass(frozen=True)
class Spend(Step):
    """The loyalty app spends points, or holds them; the same key again is the same request."""

    customer: int = 0
    points: int = 0
    key: str = ""
    held: bool = False

    def __str__(self) -> str:
        what = "holds" if self.held else "spends"
        return f"customer {self.customer} {what} {self.points} points, key {self.key}{self.words}"


@dataclass(frozen=True)
class Settle(Step):
    """What was spent or held under a key is confirmed, cancelled or given back."""

    key: str = ""
    how: Literal["confirm", "cancel", "reverse"] = "reverse"

    def __str__(self) -> str:
        return f"{self.how}: what was spent or held under key {self.key}{self.words}"


@dataclass(frozen=True)
class Together(Event):
    """Two workers at once; who goes on after each exchange with the database `order` says."""

    first: Step
    second: Step
    order: int

    def __str__(self) -> str:
        return f"at once (order {self.order}): [{self.first}] and [{self.second}]"


History = tuple[Event, ...]


def described(history: History) -> str:
    """The history in words, an event a line."""
    return "\n".join(f"  {event.minute:4} min  {event}" for event in history)


def is_complete(history: History) -> bool:
    """Whether each document that is rejected for want of a phone is corrected in the end.

    A part of a history may leave the correction out; what is still rejected then is no fault.
    """
    last = {(one.account, one.document): one.state for one in history if isinstance(one, Change)}
    return all(state is None or state.customer is not None for state in last.values())


@dataclass
class _Draw:
    """The choices of one seed."""

    random: Random
    minute: int = 0
    states: dict[tuple[str, int], list[State | None]] = field(default_factory=dict)
    hours: list[int] = field(default_factory=lambda: list(range(-1, 7)))
    keys: int = 0
    #: Drawn apart, so that it changes nothing of the rest.
    apart: Random = field(default_factory=Random)
    beside: Random = field(default_factory=Random)

    def fault(self) -> Fault | None:
        if self.random.random() < 0.55:
            return None
        hows: list[How] = ["lost", "answer lost", "backend killed", "process killed"]
        return Fault(self.random.randrange(70), self.random.choice(hows))

    def amount(self) -> int:
        small = self.random.randrange(20_000)
        return self.random.choice([small, small, small, 0, 1, 333, 999, 12_345, 10**9])

    def fresh(self) -> State:
        kinds = ("invoice", "invoice", "sale", "credit_note", "refund")
        pick = self.random.choice
        return State(
            pick(kinds), pick(CURRENCIES), pick(("open", "paid", "draft")), self.amount(), 0,
            self.random.randrange(CUSTOMERS), self.random.randrange(6),
            pick((None, 0, 1, 2)),
        )  # fmt: skip

    def changed(self, state: State) -> State:
        what = self.random.choice(
            ("edit", "refund", "void", "restore", "move", "date", "phoneless")
        )
        if what == "edit":
            total = self.amount()
            return replace(state, total=total, refunded=min(total, state.refunded))
        if what == "refund":
            return replace(state, refunded=state.total * self.random.randrange(101) // 100)
        if what == "move":
            return replace(state, customer=self.random.randrange(CUSTOMERS))
        if what == "date":
            return replace(state, hour=self.random.randrange(6))
        if what == "phoneless":
            return replace(state, customer=None)
        return replace(state, status="void" if what == "void" else "paid")

    def change(self) -> Change:
        account, document = self.random.choice(ACCOUNTS), self.random.randrange(3)
        known = self.states.setdefault((account, document), [])
        last = next((one for one in reversed(known) if one is not None), None)
        if known and known[-1] is not None and self.random.random() < 0.15:
            state = None
        else:
            state = self.fresh() if last is None else self.changed(last)
        known.append(state)
        return Change(account, document, state, minute=self.minute)

    def repaired(self) -> list[Change]:
        """A document without a phone gets one in the end: what is rejected is corrected."""
        found = []
        for (account, document), known in sorted(self.states.items()):
            if known and known[-1] is not None and known[-1].customer is None:
                self.minute += 1
                state = replace(known[-1], customer=self.random.randrange(CUSTOMERS))
                known.append(state)
                found.append(Change(account, document, state, minute=self.minute))
        return found

    def step(self, *, plain: bool = False) -> Step:
        fault = None if plain else self.fault()
        what = self.random.choice(("poll", "poll", "poll", "push", "push", "replay", "award"))
        account = self.random.choice(ACCOUNTS)
        if what == "poll":
            rehearsed = fault is None and not plain and self.random.random() < 0.2
            noise = self.random.choice((0, self.random.randrange(1, 1000)))
            return Poll(fault, account, noise, rehearsed, minute=self.minute)
        if what == "push" and self.states:
            account, document = self.random.choice(sorted(self.states))
            count = len(self.states[account, document])
            told = tuple(self.random.choices(range(count), k=self.random.randrange(1, 4)))
            return Push(fault, account, document, told, minute=self.minute)
        if what == "replay":
            return Replay(fault, account, minute=self.minute)
        return Award(fault, minute=self.minute)

    def decision(self) -> Event:
        pick, number = self.random.choice, self.random.randrange
        what = pick(("tier", "tier", "rule", "merge", "adjust", "clock"))
        customer = number(CUSTOMERS)
        if what == "rule" and self.hours:
            hour = self.hours.pop(number(len(self.hours)))
            rate = pick((100_000, 155_500, 70_001, 3_333))
            season = pick((None, 20_000, 12_500, 13_337))
            expires = self.random.random() < 0.2
            tier = pick(TIERS)
            rounding = pick(("down", "half_up", "up"))
            hours, full = number(1, 4), pick((None, None, 700, 2_500))
            waits, nth = self.apart.random() < 0.4, self.apart.choice((None, 2, 2, 3))
            visits = self.beside.choice((None, (40, 1), (25, 2), (11, 3)))
            coded, listed = self.beside.random() < 0.5, self.beside.random() < 0.5
            return Rule(
                hour, rate, rounding, tier, season, hours, expires, full, waits, nth, visits,
                coded, listed, minute=self.minute,
            )  # fmt: skip
        if what == "merge":
            undo = self.random.random() < 0.4
            return Merge(customer, (customer + 1) % CUSTOMERS, undo, minute=self.minute)
        if what == "adjust":
            self.keys += self.random.random() < 0.7
            return Adjust(customer, number(-300, 500) or 1, f"key {self.keys}", minute=self.minute)
        if what == "clock":
            return Clock(pick((0, 5, 14, 55, 600, -55, -600)), minute=self.minute)
        return Tier(customer, number(6), pick(TIERS), minute=self.minute)


def _spending(seed: int, minutes: list[int]) -> list[Event]:
    """What is spent in between; drawn apart, so that it changes nothing of the rest."""
    draw = Random(f"spending {seed}")
    pick, number = draw.choice, draw.randrange
    keys, found = 0, list[Event]()
    hows: list[How] = ["lost", "answer lost", "backend killed", "process killed"]

    def fault() -> Fault | None:
        return Fault(number(12), pick(hows)) if draw.random() < 0.4 else None

    def spend(minute: int) -> Spend:
        nonlocal keys
        keys += draw.random() < 0.8
        points = pick((1, 30, 250, 1_000, 10_000, number(1, 2_000)))
        held = draw.random() < 0.4
        return Spend(fault(), number(CUSTOMERS), points, f"spend {keys}", held, minute=minute)

    for minute in minutes:
        what = draw.random()
        if what < 0.45:
            continue
        if what < 0.75 or not keys:
            found.append(spend(minute))
        elif what < 0.9:
            how = pick(("confirm", "cancel", "reverse"))
            found.append(Settle(fault(), f"spend {number(keys) + 1}", how, minute=minute))
        else:
            other = pick((Award(minute=minute), spend(minute)))
            found.append(Together(spend(minute), other, number(1000), minute=minute))
    return found


def _beside_buying(seed: int, minutes: list[int]) -> list[Event]:
    """What customers do beside buying; drawn apart, so that it changes nothing of the rest."""
    draw = Random(f"beside buying {seed}")
    number, found, keys = draw.randrange, list[Event](), 0
    for minute in minutes:
        what, customer, hour = draw.random(), number(CUSTOMERS), number(6)
        if what < 0.3:
            keys += draw.random() < 0.8
            found.append(Visit(customer, hour, f"visit-{keys}", minute=minute))
        elif what < 0.45:
            found.append(Code(customer, hour, minute=minute))
        elif what < 0.6:
            until = draw.choice((None, hour + 1, hour + 3))
            found.append(Listed(customer, hour, until, minute=minute))
    return found


def history(seed: int) -> History:
    """The history of a seed: always the same one."""
    draw = _Draw(
        Random(seed),
        apart=Random(f"apart {seed}"),
        beside=Random(f"beside {seed}"),
    )
    events: list[Event] = []
    for _ in range(draw.random.randrange(5, 11)):
        draw.minute += draw.random.randrange(1, 40)
        what = draw.random.random()
        if what < 0.42 or not draw.states:
            events.append(draw.change())
        elif what < 0.58:
            events.append(draw.decision())
        elif what < 0.9:
            events.append(draw.step())
        else:
            first, second, order = draw.step(), draw.step(), draw.random.randrange(1000)
            events.append(Together(first, second, order, minute=draw.minute))
    spending = _spending(seed, [event.minute for event in events])
    beside = _beside_buying(seed, [event.minute for event in events])
    events = sorted([*events, *spending, *beside], key=lambda event: event.minute)
    events += draw.repaired()
    return tuple(events)
