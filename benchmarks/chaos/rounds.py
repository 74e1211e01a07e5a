"""Rounds of faults at random instants, each followed by quiet in which all must become right."""

import heapq
import itertools
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import psycopg

from benchmarks.chaos import faults
from benchmarks.chaos.comparison import Comparison, compare_with_database
from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.faults import Scene, Struck
from benchmarks.chaos.figures import Figures
from benchmarks.chaos.health import Schedules, look_back_in_every_run
from benchmarks.chaos.oracle import Oracle
from benchmarks.chaos.processes import Target
from benchmarks.chaos.rules import each_document_alone
from settings import DatabaseNotRunning
from twezah.stack.prefect_health import is_healthy

_TICK_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 3.0
#: What is wrong only for a moment does not count, even at the deadline.
_LASTING_SECONDS: Final = 60.0
#: Things happen at the vendors so often, so many at once.
_EVOLVE_SECONDS: Final = (0.5, 3.0)
_EVOLVE_STEPS: Final = (1, 4)
_DISK_IS_FULL: Final = "disk is full"
#: Nobody takes their place: a run goes on in another process, or not at all.
_NOT_REPLACED: Final = frozenset({"run", "sibling", "backend"})


@dataclass(frozen=True)
class Plan:
    """How much, how long."""

    kinds: list[str]
    #: Processes to kill in all; the last round may go over it.
    kills: int
    minutes_max: float
    faults_per_round: int
    round_seconds: float
    #: After so long a quiet time something is wrong.
    deadline_seconds: float


@dataclass
class _Watched:
    """A killed process whose successor is awaited."""

    kind: str
    victims: list[Target]
    struck_at: float
    wall_at: float


class Lasting:
    """Which problems have lasted, seen again and again with other numbers."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[str, float] = {}

    def after(self, problems: list[str], seconds: float) -> list[str]:
        """Those of `problems`, seen at an instant, that were there all the time before it."""
        words = {re.sub(r"\d+", "", problem): problem for problem in problems}
        self._since = {one: self._since.get(one, seconds) for one in words}
        return [
            problem for one, problem in words.items() if seconds - self._since[one] >= self._seconds
        ]


@dataclass
class Chaos:
    """The rounds. `say` gets a line for each fault and each round."""

    plan: Plan
    scene: Scene
    oracle: Oracle
    schedules: Schedules
    evidence: Evidence
    say: Callable[[str], None]
    figures: Figures = field(default_factory=Figures)

    def __post_init__(self) -> None:
        self._begun = time.monotonic()
        self._ties = itertools.count()
        self._undoing: list[tuple[float, int, Struck]] = []
        self._watched: list[_Watched] = []
        #: Since when in this quiet time the ledger is right.
        self._ledger_seconds: float = 0.0
        self._ledger_is_right = False

    @property
    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self._begun) / 60

    def prepare(self) -> None:
        """Sets rules, how far each read looks back, and schedules. `twezah up` is ready."""
        self.scene.service.apply_rules(each_document_alone())
        look_back_in_every_run()
        self.schedules.set_up()
        self._begun = time.monotonic()

    def run(self) -> Figures:
        """Rounds until enough processes were killed or the time is over."""
        number = 0
        while self.figures.kills < self.plan.kills and self.minutes < self.plan.minutes_max:
            self.figures.rounds = number = number + 1
            gave_up = len(self.scene.service.gave_up)
            try:
                self._strike()
            finally:
                self._undo(everything=True)
            problems = self._await_quiet()
            for words in self.scene.service.gave_up[gave_up:]:
                sentence = f"`twezah up` ended by itself, {words}"
                # Nobody can start on a full disk; then the message has to say so.
                is_right = self.scene.disk is not None and _DISK_IS_FULL in words
                self.say(sentence) if is_right else self._note(number, sentence)
            self._conclude(number, problems)
        return self.figures

    def _strike(self) -> None:
        """Faults at random instants, while sales go on."""
        plan, random = self.plan, self.scene.random
        due = sorted(random.uniform(0, plan.round_seconds) for _ in range(plan.faults_per_round))
        waiting = [faults.draw(random, plan.kinds) for _ in due]
        begun, next_sales = time.monotonic(), 0.0
        while (now := time.monotonic() - begun) < plan.round_seconds or self._undoing:
            if now >= next_sales:
                self.scene.service.evolve(random.randint(*_EVOLVE_STEPS))
                next_sales = now + random.uniform(*_EVOLVE_SECONDS)
            for name in [one for at, one in zip(due, waiting, strict=True) if at <= now]:
                # Who is absent now, a run for example, is hit as soon as there is one.
                if now >= plan.round_seconds or self._begin(name):
                    at = waiting.index(name)
                    del waiting[at], due[at]
            self._undo()
            self._look_for_successors()
            time.sleep(_TICK_SECONDS)

    def _begin(self, name: str) -> bool:
        struck = faults.FAULTS[name](self.scene)
        if struck is None:
            return False
        self.figures.faults[struck.kind] += 1
        self.say(
            f"{datetime.now(UTC):%H:%M:%S} {struck.kind} {[v.pid for v in struck.victims] or ''}"
        )
        if struck.undo is not None:
            end = time.monotonic() + struck.lasts_seconds
            heapq.heappush(self._undoing, (end, next(self._ties), struck))
        if struck.victims and struck.victims[0].kind not in _NOT_REPLACED:
            watched = _Watched(struck.kind, struck.victims, time.monotonic(), time.time())
            self._watched.append(watched)
        return True

    def _undo(self, *, everything: bool = False) -> None:
        while self._undoing and (everything or self._undoing[0][0] <= time.monotonic()):
            _, _, struck = heapq.heappop(self._undoing)
            if struck.undo is not None:
                struck.undo()

    def _look_for_successors(self) -> None:
        if not self._watched:
            return
        targets = self.scene.service.targets()
        for one in list(self._watched):
            kind = one.victims[0].kind
            born = any(t.kind == kind and t.created > one.wall_at for t in targets)
            if born and self._answers(kind):
                self.figures.replaced_seconds[one.kind].append(time.monotonic() - one.struck_at)
                self._watched.remove(one)

    def _answers(self, kind: str) -> bool:
        service = self.scene.service
        if kind == "up":
            return service.is_ready
        if kind == "server":
            return is_healthy(service.settings.api_url)
        return self._api_answers() if kind == "api" else True

    def _api_answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            url = f"{self.scene.service.settings.http_url}/health"
            opener.open(url, timeout=2).close()
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _await_quiet(self) -> list[str]:
        """Until all is right; what still is not, at the deadline."""
        begun, quiet_since, self._ledger_is_right = time.monotonic(), datetime.now(UTC), False
        lasting = Lasting(_LASTING_SECONDS)
        self.evidence.timeline.clear()
        is_spoiled = True  # they could not be told to behave while they were away
        while True:
            is_spoiled = is_spoiled and not self.scene.service.spoil({})
            self._look_for_successors()
            seconds = time.monotonic() - begun
            problems, comparison = self._problems(quiet_since, seconds)
            self.evidence.timeline.append(f"{seconds:.0f} s: {'; '.join(problems)}")
            lasted = lasting.after(problems, seconds)
            if not self._is_over(problems, lasted, seconds):
                time.sleep(_LOOK_SECONDS)
                continue
            if comparison is not None:
                self.figures.comparisons.append(comparison)
            if not problems:
                self.figures.recovered_seconds.append(seconds)
                self.figures.ledger_seconds.append(self._ledger_seconds)
            return lasted or problems

    def _is_over(self, problems: list[str], lasted: list[str], seconds: float) -> bool:
        """All is right, or something has lasted beyond the deadline."""
        deadline_seconds = self.plan.deadline_seconds
        is_late = seconds > 2 * deadline_seconds or (bool(lasted) and seconds > deadline_seconds)
        return not problems or is_late

    def _problems(
        self, quiet_since: datetime, seconds: float
    ) -> tuple[list[str], Comparison | None]:
        problems, comparison = [], None
        try:
            comparison = compare_with_database(
                self.oracle.expected(), self.scene.service.settings.dsn()
            )
            problems += comparison.problems()
        except (psycopg.Error, DatabaseNotRunning) as error:
            problems.append(f"the database does not answer: {type(error).__name__}")
        if not problems and not self._ledger_is_right:
            self._ledger_seconds = seconds
        self._ledger_is_right = not problems
        self.evidence.comparison = comparison
        if not self.scene.service.is_ready:
            return [*problems, "`twezah up` is not ready"], comparison
        if not self._api_answers():
            problems.append("the API does not answer")
        if problems:
            return problems, comparison
        pids = {target.pid for target in self.scene.service.targets()}
        try:
            problems += self.schedules.problems(quiet_since, pids)
        except Exception as error:  # noqa: BLE001 - Prefect's client raises many kinds
            problems.append(f"Prefect does not answer: {type(error).__name__}")
        return problems, comparison

    def _conclude(self, number: int, problems: list[str]) -> None:
        figures = self.figures
        if problems:
            folder = self.evidence.collect(f"round-{number}", problems, self.scene.service)
            self._note(number, f"{'; '.join(problems)} (see {folder})")
            self._start_over()
        else:
            self.say(
                f"round {number}: {figures.kills} kills so far, all right again after "
                f"{figures.recovered_seconds[-1]:.0f} s, the ledger after "
                f"{figures.ledger_seconds[-1]:.0f} s; "
                f"{figures.comparisons[-1].documents} documents compared"
            )
        self._watched.clear()

    def _start_over(self) -> None:
        """Ends what hangs, so that the next round says something new."""
        service = self.scene.service
        service.start_over()
        deadline = time.monotonic() + self.plan.deadline_seconds
        while not service.is_ready and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def _note(self, number: int, sentence: str) -> None:
        self.figures.wrong.append(f"round {number}: {sentence}")
        self.say(f"WRONG, {self.figures.wrong[-1]}")
