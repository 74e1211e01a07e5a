"""Two worker processes whose token has ended: one renews it, both go on.

Rotating, single-use refresh tokens over HTTP.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from cryptography.fernet import Fernet

import simulator
from simulator.server import Application

ROOT = Path(__file__).resolve().parents[2]
#: A worker: waits for the start signal, then reads a list, as a sync would.
WORKER = """
import sys
from pydantic import SecretStr
from connectors import spec_for
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, Window
from tasks.job import limited_client, token_rows

dsn, url, system, account, key = sys.argv[1:6]
spec = spec_for(Account(system, account))
token = {
    "quickbooks": "/oauth2/v1/tokens/bearer",
    "xero": "/connect/token",
    "freshbooks": "/auth/oauth/token",
    "sage_intacct": "/ia/api/v1/oauth2/token",
}[system]
vendor = Account(
    system, account, f"{url}/{system}", f"{url}/{system}{token}", "sim-client",
    SecretStr("sim-secret"), SecretStr(f"sim-refresh-{system}"), page_size=5,
)
calls = []
tokens = token_rows(dsn, vendor, key.encode())
with limited_client(dsn, vendor, spec, tokens, calls.append) as client:
    for turn in range(int(sys.argv[6])):
        print("ready", flush=True)
        sys.stdin.readline()
        pages = extract(spec, spec.streams[0], client, Window())
        print(sum(page.record_count for page in pages), flush=True)
"""


@pytest.fixture
def served() -> Iterator[tuple[str, simulator.World]]:
    """The vendors over HTTP, with their side visible."""
    world = simulator.World(seed=3, customers=10, invoices=20)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(Application(world), port=port, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}", world
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("system", ["freshbooks", "quickbooks", "sage_intacct", "xero"])
def test_two_processes_renew_once_and_both_go_on(
    dsn: str, served: tuple[str, simulator.World], system: str
) -> None:
    url, world = served
    rounds, grants = 3, world.grants[system]
    arguments = [
        dsn,
        url,
        system,
        simulator.ACCOUNTS[system],
        Fernet.generate_key().decode(),
        str(rounds),
    ]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    try:
        for turn in range(rounds):
            assert [line(worker) for worker in workers] == ["ready"] * 2
            if turn:
                grants.expire_access()
            before = grants.refreshes
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("\n")
                worker.stdin.flush()
            records = [line(worker) for worker in workers]
            assert records[0] == records[1] != "0"
            assert grants.refreshes == before + 1
        assert [worker.wait(120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def line(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()
