"""The parts of `python -m benchmarks.chaos`: who is hit, what is compared, what counts as wrong."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from benchmarks.chaos import faults, processes
from benchmarks.chaos.__main__ import forget_other_stacks
from benchmarks.chaos.clock import Clock
from benchmarks.chaos.comparison import Comparison, compare
from benchmarks.chaos.disk import Disk
from benchmarks.chaos.figures import Figures, percentile
from benchmarks.chaos.health import Run, dead_runs
from benchmarks.chaos.oracle import Expected, Oracle, points_due
from benchmarks.chaos.processes import ProcessRow, Target, classify
from benchmarks.chaos.rounds import Lasting
from benchmarks.chaos.service import send_signal
from simulator.__main__ import parse_arguments
from simulator.state import State

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOME = Path("/state/ours")
SALE = ("xero", "A")
FORKSERVER = (sys.executable, "-m", "twezah.worker.forkserver", "7", "prefect")
#: Arguments of a small world.
SMALL = ["--seed", "3", "--customers", "20", "--invoices", "40", "--days", "30"]

Books = dict[tuple[str, str], Expected]
Points = dict[tuple[str, str], dict[str, int]]


def kinds(expected: Books, ledger: Points) -> list[str]:
    return [one.kind for one in compare(expected, ledger).differences]


def test_a_lost_sale_a_doubled_one_and_points_of_the_wrong_member_are_found() -> None:
    expected = {SALE: Expected(1500, frozenset({"+1", "+2"}))}
    assert kinds(expected, {SALE: {"+1": 1500}}) == []
    assert kinds(expected, {SALE: {"+2": 1500}}) == [], "the number the customer had before"
    assert kinds(expected, {}) == ["lost"]
    assert kinds(expected, {SALE: {"+1": 3000}}) == ["doubled"]
    assert kinds(expected, {SALE: {"+1": 1500, "+2": 1500}}) == ["doubled"]
    assert kinds(expected, {SALE: {"+1": 1499}}) == ["wrong"]
    assert kinds(expected, {SALE: {"+9": 1500}}) == ["wrong member"]
    assert kinds(expected, {SALE: {"+1": 2000, "+2": -500}}) == ["wrong member"]
    assert kinds(expected, {SALE: {"+1": 1500}, ("xero", "B"): {"+1": 10}}) == ["unknown"]


def test_what_is_void_has_no_points_and_a_refund_that_was_forgotten_is_seen() -> None:
    expected = {
        SALE: Expected(0, frozenset({"+1"})),
        ("xero", "CN"): Expected(-500, frozenset({"+1"})),
    }
    assert kinds(expected, {("xero", "CN"): {"+1": -500}}) == []
    assert kinds(expected, {SALE: {"+1": 1500}}) == ["wrong", "lost"]


def test_a_refused_correction_may_keep_what_an_earlier_version_gave_and_nothing_else() -> None:
    refused = {SALE: Expected(0, frozenset(), frozenset({1500, 1400}))}
    assert kinds(refused, {}) == []
    assert kinds(refused, {SALE: {"+1": 1500}}) == []
    assert kinds(refused, {SALE: {"+1": 1300}}) == ["wrong"]


def test_the_problems_are_sentences() -> None:
    compared = compare({SALE: Expected(1500, frozenset({"+1"}))}, {})
    assert compared.problems() == ["1 documents lost"]
    assert Comparison(1, 1, [], broken_chains=2, waiting_members=3).problems() == [
        "2 entries do not continue their chain",
        "3 members wait for their points",
    ]


@pytest.mark.parametrize(
    ("kind", "status", "total", "refunded", "points"),
    [
        ("invoice", "open", "150.00", "0.00", 1500),
        ("sale", "paid", "123.45", "0.00", 1234),
        ("invoice", "paid", "150.00", "50.00", 1000),
        ("credit_note", "open", "123.45", "0.00", -1234),
        ("refund", "paid", "0.09", "0.00", 0),
        ("invoice", "void", "150.00", "0.00", 0),
        ("invoice", "draft", "150.00", "0.00", 0),
    ],
)
def test_points_by_plain_arithmetic(
    kind: str,
    status: str,
    total: str,
    refunded: str,
    points: int,
) -> None:
    assert points_due(kind, status, total, refunded) == points


def test_a_world_that_began_without_shared_sales_stays_as_it_is(tmp_path: Path) -> None:
    """As a release wrote it that knew none: other sales would make it another world."""
    file = tmp_path / "simulator.json"
    state = State(file)
    state.save(state.build(parse_arguments(SMALL)))
    values = json.loads(file.read_text())
    del values["shared_sales"]
    file.write_text(json.dumps(values))
    state = State(file)
    world = state.build(parse_arguments([*SMALL, "--shared-sales", "5"]))
    state.evolve(world, 30)
    assert not any(row.order for row in world.truth())


def test_the_oracle_follows_the_books_and_remembers_earlier_numbers(tmp_path: Path) -> None:
    """The file is the simulator's own: only it knows what its world is made of."""
    file = tmp_path / "simulator.json"
    state = State(file)
    world = state.build(parse_arguments([*SMALL, "--shared-sales", "5"]))
    state.save(world)
    oracle = Oracle(file)
    before = oracle.expected()
    known = [one for one in world.truth() if one.phone_e164 is not None]
    numbers = {(one.system, one.customer_id): one.phone_e164 for one in known}
    state.evolve(world, 500)
    state.evolve(world, 100, systems=["xero", "stripe"])
    state.save(world)
    after = oracle.expected()
    rows = {(row.system, row.external_id): row for row in world.truth()}
    assert after.keys() == rows.keys() > before.keys()
    told = {key for key, row in rows.items() if row.order}
    assert told - before.keys() and told & before.keys(), "some sales are told by several systems"
    for key, row in rows.items():
        points = points_due(row.kind, row.status, row.total, row.refunded)
        assert after[key].points == (0 if row.phone_e164 is None else points)
        if row.phone_e164 is not None:
            assert row.phone_e164 in after[key].phones
            assert numbers.get((row.system, row.customer_id), row.phone_e164) in after[key].phones
    assert any(len(one.phones) > 1 for one in after.values())
    assert (
        kinds(
            after,
            {key: {next(iter(one.phones)): one.points} for key, one in after.items() if one.points},
        )
        == []
    )


def row(
    pid: int,
    parent: int,
    *command: str,
    home: str | None = str(HOME),
    session: int = 1,
    files: int = 9,
) -> ProcessRow:
    return ProcessRow(pid, parent, session, command, home, 1.0, files)


def test_each_process_of_the_stack_is_known_by_its_place_and_nobody_elses_is_touched() -> None:
    python, others = sys.executable, "/state/others"
    table = [
        row(10, 1, python, "/venv/bin/twezah", "up", "--simulator"),
        row(11, 10, python, "-m", "twezah.stack.watchdog"),
        row(12, 1, python, "-m", "twezah.stack.keeper", str(HOME)),
        row(13, 12, "/pg/bin/postgres", "-D", f"{HOME}/pg", home=None),
        row(14, 13, "postgres: postgres twezah [local] idle", home=None),
        row(15, 13, "postgres: checkpointer", home=None),
        row(16, 10, python, "-m", "prefect", "server", "start", "--host", "127.0.0.1"),
        row(17, 16, python, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
        row(18, 10, python, "-m", "api"),
        row(19, 10, python, "-m", "simulator", "--port", "1"),
        row(20, 10, python, "-m", "twezah.worker", "--pool", "billing", session=20),
        row(21, 20, *FORKSERVER, session=20),
        row(22, 21, *FORKSERVER, session=22),
        row(23, 22, *FORKSERVER, session=22, files=4),
        row(24, 22, *FORKSERVER, session=22, files=30),
        row(25, 20, python, "-m", "prefect.engine", session=25),
        row(40, 1, python, "/venv/bin/twezah", "up", home=others),
        row(41, 40, python, "-m", "twezah.stack.watchdog", home=others),
        row(42, 1, "/pg/bin/postgres", "-D", f"{others}/pg", home=None),
        row(43, 42, "postgres: postgres twezah [local] idle", home=None),
        row(44, 1, "/pg/bin/postgres", "-D", f"{HOME}-2/pg", home=None),
        row(os.getpid(), 1, python, "-m", "benchmarks.chaos"),
    ]
    found = {one.pid: one.kind for one in classify(table, HOME, 10)}
    assert found == {
        10: "up", 11: "watchdog", 12: "keeper", 13: "postmaster", 14: "backend", 15: "other",
        16: "server", 17: "server", 18: "api", 19: "simulator", 20: "worker", 21: "forkserver",
        22: "run", 23: "sibling", 24: "other", 25: "run",
    }  # fmt: skip
    assert set(found.values()) - {"other", "simulator"} == set(faults.PROCESS_KINDS)


def test_those_of_an_up_that_was_killed_are_still_ours() -> None:
    orphans = [
        row(20, 1, sys.executable, "-m", "twezah.worker", session=20),
        row(18, 1, sys.executable, "-m", "api"),
    ]
    assert {one.kind for one in classify(orphans, HOME, None)} == {"worker", "api"}


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two processes that look alike, of two state folders."""
    started = {}
    for name in ("ours", "others"):
        environment = {**os.environ, "TWEZAH_HOME": str(tmp_path / name)}
        command = [sys.executable, "-c", "import time; time.sleep(120)", "-m", "api"]
        started[name] = subprocess.Popen(command, env=environment)
    yield started
    for process in started.values():
        process.kill()
        process.wait()


def test_real_processes_are_found_by_their_state_folder(
    tmp_path: Path, sleepers: dict[str, subprocess.Popen[bytes]]
) -> None:
    deadline = time.monotonic() + 20  # until exec
    while not (found := processes.find(tmp_path / "ours", None)) and time.monotonic() < deadline:
        time.sleep(0.05)
    [target] = found
    assert (target.kind, target.pid) == ("api", sleepers["ours"].pid)
    earlier = Target("api", target.pid, target.created - 1)
    assert not send_signal(earlier, "kill"), "another process had the number"
    assert target.is_alive()
    assert send_signal(target, "kill")
    sleepers["ours"].wait(20)
    assert not target.is_alive()
    assert sleepers["others"].poll() is None


def test_kinds_are_chosen_by_name_or_by_group_and_drawn_by_the_seed() -> None:
    assert faults.chosen(["kill-run", "vendor", "kill-run"]) == [
        "kill-run", "vendor-stopped", "vendor-ended", "vendor-errors",
    ]  # fmt: skip
    groups = ["kill", "stop", "vendor", "database", "disk", "clock"]
    assert set(faults.chosen(groups)) == set(faults.FAULTS)
    with pytest.raises(ValueError, match="no kind of fault"):
        faults.chosen(["kil"])
    names = list(faults.FAULTS)
    one, two = Random(1), Random(1)
    first = [faults.draw(one, names) for _ in range(50)]
    assert [faults.draw(two, names) for _ in range(50)] == first


def test_a_run_that_is_said_to_run_must_have_a_process() -> None:
    long_ago, just_now = NOW - timedelta(minutes=5), NOW - timedelta(seconds=5)
    assert dead_runs([Run("a", "Running", long_ago, 7)], {7}, NOW) == []
    assert dead_runs([Run("a", "Pending", just_now, None)], {7}, NOW) == []
    assert dead_runs([Run("a", "Pending", just_now, 6)], {7}, NOW) == [], "of the attempt before"
    dead = Run("a", "Running", just_now, 6)
    assert dead_runs([dead], {7}, NOW) == ["a is Running for 5 s and does not run"]
    waiting = [Run("a", "Pending", long_ago, None), Run("b", "Pending", long_ago, 6)]
    assert len(dead_runs(waiting, {7}, NOW)) == 2


def test_no_setting_of_another_installation_is_taken_over() -> None:
    environment = {
        "TWEZAH_DATABASE_URL": "postgresql://real",
        "PREFECT_API_URL": "u",
        "PATH": "/bin",
    }
    forget_other_stacks(environment)
    assert environment == {"PATH": "/bin"}


def test_only_what_lasts_counts_at_the_deadline() -> None:
    lasting = Lasting(60)
    other = "the API does not answer"
    assert lasting.after(["3 documents lost", other], 0) == []
    assert lasting.after(["2 documents lost"], 50) == []
    assert lasting.after(["1 documents lost", other], 70) == ["1 documents lost"]


def test_the_figures() -> None:
    figures = Figures(rounds=2)
    figures.faults.update({"kill run": 3, "stop run": 2, "database-away": 1})
    figures.replaced_seconds["kill run"] = [3.0, 1.0, 2.0]
    figures.comparisons = [Comparison(2_500, 7), Comparison(2_600, 9)]
    figures.wrong.append("round 2: 1 documents lost")
    text = figures.text(5, 12)
    assert figures.kills == 4
    assert "Seed 5, 12 minutes: 4 kills among 6 faults in 2 rounds." in text
    assert "| kill run | 3 | 2.0 s | 3.0 s | 3.0 s |" in text
    assert "Documents compared: 5,100 (2,600 at the end); points at the end: 9." in text
    assert text.endswith("Wrong: 1.\n- round 2: 1 documents lost")
    assert [percentile(range(1, 101), percent) for percent in (50, 95, 100)] == [50, 95, 100]


@pytest.mark.skipif(not Disk.is_possible(), reason="mounting needs root")
def test_a_full_disk_takes_not_a_byte_until_it_is_freed(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk", 2**20)
    try:
        disk.mount()
    except subprocess.CalledProcessError:
        pytest.skip("this system lets nobody mount")
    try:
        kept = disk.folder / "kept"
        kept.write_bytes(b"x" * 10_000)
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "more").write_bytes(b"x" * 5_000)
        disk.free()
        (disk.folder / "more").write_bytes(b"x" * 5_000)
        assert kept.stat().st_size == 10_000
    finally:
        disk.unmount()
    assert not disk.folder.is_mount()


@pytest.mark.skipif(not Clock.is_possible(), reason="there is no C compiler")
def test_the_clock_of_a_process_is_stepped_but_its_waiting_and_the_vendors_are_not(
    tmp_path: Path,
) -> None:
    clock = Clock(tmp_path / "clock")
    story = """
import sys, time
for _ in sys.stdin:
    time.sleep(0.01)
    print(time.time(), time.monotonic(), flush=True)
"""
    environment = {**os.environ, **clock.environment()}
    (tmp_path / "simulator.py").write_text(story)
    with (
        _talking([sys.executable, "-c", story], environment) as ours,
        _talking([sys.executable, "-m", "simulator"], environment, tmp_path) as vendor,
    ):
        for seconds in (0, 7_200, -600, 0):
            clock.step(seconds)
            for process, ahead in ((ours, seconds), (vendor, 0)):
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                wall, monotonic = map(float, process.stdout.readline().split())
                assert wall - time.time() == pytest.approx(ahead, abs=30)
                assert monotonic == pytest.approx(time.monotonic(), abs=30)


@contextmanager
def _talking(
    command: list[str], environment: dict[str, str], folder: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
