"""What Prefect keeps of runs, and log files: they forget an erased member, too."""

from pathlib import Path

import psycopg
import pytest
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.members import erase_member
from loyalty.corrections import Decision
from settings import Settings, embedded_dsn
from tasks.erase import erase_everywhere
from tests.flows.office import Office
from tests.flows.worker_fixtures import eventually
from tests.support.books import PHONE, Books, invoice

NATIONAL = PHONE.removeprefix("+244")


@flow(name="careless")
def careless(customer: str) -> State[None]:
    """Says what nobody should: in its parameters, log, artifact and state."""
    get_run_logger().warning("the customer is %s", customer)
    create_markdown_artifact(f"Phone: {customer}", key="careless", description=f"of {customer}")
    return Completed(message=f"done for {customer}")


def said_in_prefect(home: Path) -> list[str]:
    """Tables of Prefect's database that say the phone."""
    with psycopg.connect(embedded_dsn(home, "prefect")) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return [
            table
            for (table,) in tables
            if connection.execute(
                f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s".encode(), [f"%{NATIONAL}%"]
            ).fetchone()
            != (0,)
        ]


def test_prefect_and_the_logs_forget(
    office: Office, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    books, home = Books(office.dsn), tmp_path_factory.getbasetemp() / "ledger"
    books.store(invoice())
    books.award()
    member = books.member()
    careless(PHONE)
    # Logs and events arrive a moment later.
    expected = {"log", "artifact", "flow_run", "flow_run_state", "events", "event_resources"}
    eventually(lambda: expected <= set(said_in_prefect(home)), 120)
    log = Settings(home=home).logs / "careless.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(f"a line\nphone {PHONE} of somebody\n")
    own = Settings(home=home, database_url=office.dsn)
    why = Decision(reason="Request 12", author="Ana, support")

    told = erase_everywhere(own, member, why, "run", dry_run=True)
    assert expected <= set(said_in_prefect(home))
    done = erase_everywhere(own, member, why, "run", dry_run=False)
    assert said_in_prefect(home) == []
    assert log.read_text() == f"a line\nphone {'*' * len(PHONE)} of somebody\n"
    assert done.elsewhere.keys() == told.elsewhere.keys() >= {"Prefect's log", "log files"}
    assert "1 in log files" in done.to_text()
    assert PHONE not in repr(done)


def test_the_flow_says_what_it_could_not_reach(office: Office) -> None:
    """Here Prefect's server is none of this state folder's."""
    books = Books(office.dsn)
    books.store(invoice())
    state = erase_member(
        member=books.member(), reason="Request 12", author="Ana", dry_run=False, return_state=True
    )
    assert "Prefect's database could not be looked through" in (state.message or "")
    assert books.rows("SELECT phone FROM loyalty.member") == [(None,)]
