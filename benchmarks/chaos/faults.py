"""What can go wrong, one class each: it begins, lasts a while, and ends or is ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from benchmarks.chaos.clock import Clock
from benchmarks.chaos.disk import Disk
from benchmarks.chaos.processes import Target
from benchmarks.chaos.service import UpService, send_signal

#: Processes that are killed and stopped.
PROCESS_KINDS: Final = (
    "run", "sibling", "forkserver", "worker", "api", "server", "postmaster", "backend", "keeper",
    "watchdog", "up",
)  # fmt: skip


@dataclass
class Scene:
    """What a fault acts on, and where it draws from."""

    service: UpService
    random: Random
    #: How long the database stays away, in seconds.
    database_away_seconds: float
    disk: Disk | None = None
    clock: Clock | None = None


@dataclass
class Struck:
    """A fault that has begun. `undo` ends it, `lasts_seconds` from now."""

    kind: str
    #: Who was hit; somebody else of this kind is to stand in its place.
    victims: list[Target] = field(default_factory=list)
    lasts_seconds: float = 0.0
    undo: Callable[[], None] | None = None


class Fault(Protocol):
    """A kind of fault; None where it cannot strike at this moment."""

    def __call__(self, scene: Scene) -> Struck | None: ...  # noqa: D102


def killing(kind: str) -> Fault:
    """SIGKILL to one process of a kind."""

    def strike(scene: Scene) -> Struck | None:
        target = _choose(scene, kind)
        if target is None:
            return None
        if kind == "up":
            scene.service.expect_end(target.pid)
        hit = send_signal(target, "kill")
        return Struck(f"kill {kind}", [target]) if hit else None

    return strike


def stopping(kind: str) -> Fault:
    """SIGSTOP to one process of a kind, and SIGCONT some seconds later."""

    def strike(scene: Scene) -> Struck | None:
        target = _choose(scene, kind)
        if target is None or not send_signal(target, "suspend"):
            return None
        return Struck(f"stop {kind}", [], scene.random.uniform(2, 25), lambda: _resume([target]))

    return strike


def vendor_stopped(scene: Scene) -> Struck | None:
    """The vendors take connections and do not answer."""
    targets = [one for one in scene.service.targets() if one.kind == "simulator"]
    if not targets or not send_signal(targets[0], "suspend"):
        return None
    return Struck("vendor-stopped", [], scene.random.uniform(10, 30), lambda: _resume(targets[:1]))


def vendor_ended(scene: Scene) -> Struck | None:
    """The vendors refuse connections until `twezah up` has started them again."""
    targets = [one for one in scene.service.targets() if one.kind == "simulator"]
    if not targets or not send_signal(targets[0], "terminate"):
        return None
    return Struck("vendor-ended")


def vendor_errors(scene: Scene) -> Struck | None:
    """The vendors answer with errors, broken bodies and throttling."""
    rates = {"rate_429": 0.2, "rate_500": 0.4, "truncated_json": 0.1, "html": 0.1}
    faults = {
        **rates,
        "max_in_a_row": 1_000,
        "token_endpoints": True,
        "seed": scene.random.randrange(10**6),
    }
    if not scene.service.spoil(faults):
        return None
    # A vendor that was started again has no faults anyway.
    return Struck("vendor-errors", [], scene.random.uniform(10, 30), lambda: _forget(scene.service))


def database_away(scene: Scene) -> Struck | None:
    """PostgreSQL is killed, and its keeper is stopped so that nobody starts it again meanwhile."""
    targets = scene.service.targets()
    keepers = [one for one in targets if one.kind == "keeper"]
    postmasters = [one for one in targets if one.kind == "postmaster"]
    if not keepers or not postmasters:
        return None
    for one in keepers:
        send_signal(one, "suspend")
    for one in postmasters:
        send_signal(one, "kill")
    seconds = scene.database_away_seconds
    return Struck("database-away", [], seconds, lambda: _resume(keepers))


def disk_full(scene: Scene) -> Struck | None:
    """Not a byte is left on the state folder's disk."""
    if scene.disk is None:
        return None
    scene.disk.fill()
    return Struck("disk-full", [], scene.random.uniform(8, 25), scene.disk.free)


def clock_step(scene: Scene) -> Struck | None:
    """The machine's clock is wrong by minutes or hours, and then right again."""
    if scene.clock is None:
        return None
    scene.clock.step(scene.random.choice((-600, -45, 90, 3_600, 7_200)))
    return Struck("clock-step", [], scene.random.uniform(10, 30), scene.clock.restore)


_OTHERS: Final[dict[str, Fault]] = {
    "vendor-stopped": vendor_stopped,
    "vendor-ended": vendor_ended,
    "vendor-errors": vendor_errors,
    "database-away": database_away,
    "disk-full": disk_full,
    "clock-step": clock_step,
}
#: Every fault by its name, as `--kinds` takes it.
FAULTS: Final[dict[str, Fault]] = {
    **{f"kill-{kind}": killing(kind) for kind in PROCESS_KINDS},
    **{f"stop-{kind}": stopping(kind) for kind in PROCESS_KINDS},
    **_OTHERS,
}
#: How often a kind is drawn beside the others; those that take a minute are drawn less.
WEIGHTS: Final = {"database-away": 0.4, "disk-full": 0.6, "clock-step": 0.6}


def chosen(names: Sequence[str]) -> list[str]:
    """The faults of these names; a name may be a group: kill, stop, vendor. Raises ValueError."""
    result: list[str] = []
    for name in names:
        group = [one for one in FAULTS if one == name or one.startswith(f"{name}-")]
        if not group:
            raise ValueError(f"{name!r} is no kind of fault; there are {', '.join(FAULTS)}")
        result += [one for one in group if one not in result]
    return result


def draw(random: Random, names: Sequence[str]) -> str:
    """One of the names."""
    return random.choices(names, [WEIGHTS.get(name, 1.0) for name in names])[0]


def _choose(scene: Scene, kind: str) -> Target | None:
    targets = [one for one in scene.service.targets() if one.kind == kind]
    return scene.random.choice(targets) if targets else None


def _resume(targets: Sequence[Target]) -> None:
    for one in targets:
        send_signal(one, "resume")


def _forget(service: UpService) -> None:
    service.spoil({})
