"""Killed with -9 at random moments and started again: the ledger of a calm run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.database import Databases, with_older_rules
from tests.sync.conftest import START, Shop

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from datetime import datetime
import stamina, simulator
from tests.sync.conftest import Shop, run
dsn, start, key = sys.argv[1], datetime.fromisoformat(sys.argv[2]), sys.argv[3].encode()
import tasks.award.members
tasks.award.members.MEMBERS_AT_ONCE = 7
shop = Shop(dsn, simulator.World(seed=11, customers=40, invoices=90, start=start, until=datetime.fromisoformat(sys.argv[4])), key=key)
print("ready", flush=True)
for system in ("xero", "quickbooks", "freshbooks"):
    run(shop.job(system, page_size=9))
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_again_and_again(shop: Shop, databases: Databases) -> None:
    for system in ("xero", "quickbooks", "freshbooks"):
        shop.sync(system)
    calm, target = shop.ledger(), with_older_rules(databases.migrated())
    draw = random.Random(20)
    command = [
        sys.executable,
        "-c",
        RUN,
        target,
        START.isoformat(),
        shop.key.decode(),
        shop.world.anchor.isoformat(),
    ]
    kills = 0
    for attempt in range(9):
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if attempt < 5:
            time.sleep(draw.uniform(0.05, 1.6))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            continue
        assert process.stdout.readline() == "done\n"
        process.wait()
        break
    other = Shop(target, shop.world)
    assert kills >= 3
    assert other.ledger() == calm
    assert other.counts()["loyalty.member_dirty"] == 0
