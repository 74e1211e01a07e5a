"""The flow as an operator meets it: blocks, states, messages, reports and logs; and the points the oracle says."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

import tasks.sync
from panel.blocks import SageIntacctConnection, XeroConnection, connect_simulator
from panel.blocks.connected import connections
from simulator.faults import FaultPlan, Faults
from tests.flows.office import ATTEMPTS, Office, run_id
from tests.sync.conftest import expected

SYSTEMS = ("quickbooks", "xero", "freshbooks")
TIERS = {"silver": 1800, "gold": 2250, "platinum": 3000}


class TestPoints:
    def test_are_the_oracles_whatever_goes_wrong_on_the_wire_and_stay_so(
        self, office: Office
    ) -> None:
        world = office.vendors.world
        world.faults = FaultPlan(Faults(seed=3, rate_429=0.15, rate_500=0.15, truncated_json=0.15))
        for system in SYSTEMS:
            office.edit(system, page_size=25)
            assert office.run(system).is_completed()
        assert office.points() == expected(world, *SYSTEMS)
        assert {kind.split("/")[1] for kind in world.faults.counts} == {
            "rate_429",
            "rate_500",
            "truncated_json",
        }

        world.faults = FaultPlan(Faults())
        world.evolve(steps=30, systems=SYSTEMS)
        for system in SYSTEMS:
            assert office.run(system).is_completed()
        assert office.points() == expected(world, *SYSTEMS)
        assert "; 0 entries, +0 points" in str(office.run("xero").message)
        assert office.rows("SELECT count(*) FROM loyalty.member_dirty") == [(0,)]

    @pytest.mark.parametrize(("tier", "points"), TIERS.items())
    def test_follow_the_tier_that_the_app_entered_before_the_sale_was_known(
        self, office: Office, tier: str, points: int
    ) -> None:
        office.execute("INSERT INTO loyalty.member (phone) VALUES ('+244923456789')")
        office.execute(
            "INSERT INTO loyalty.member_tier (member_id, tier, valid_from) "
            f"SELECT member_id, '{tier}', '2024-01-01' FROM loyalty.member"
        )
        assert office.run("quickbooks").is_completed()
        found = office.rows(
            "SELECT points, due_after, tier FROM analytics.award WHERE invoice_number = 'INV-001'"
        )
        assert found == [(points, points, tier)]

    def test_are_posted_once_by_runs_at_the_same_time(self, office: Office) -> None:
        with ThreadPoolExecutor(6) as pool:
            # Prefect's settings are of this context.
            runs = [pool.submit(copy_context().run, office.run, system) for system in SYSTEMS * 2]
            states = [run.result(timeout=90) for run in runs]
        assert all(state.is_completed() for state in states), [state.message for state in states]
        assert office.points() == expected(office.vendors.world, *SYSTEMS)
        assert office.rows("SELECT count(*) FROM billing.sync_run WHERE state <> 'stored'") == [
            (0,)
        ]

    def test_of_a_window_by_hand_leave_the_cursor(self, office: Office) -> None:
        office.run("xero")
        before = office.rows("SELECT * FROM billing.sync_cursor ORDER BY stream")
        assert len(before) == 2
        office.vendors.world.evolve(steps=8, systems=("xero",))
        # A time without zone, as the form of a run gives it, is UTC.
        since = (datetime.now(UTC) - timedelta(days=2)).replace(tzinfo=None)
        assert office.run("xero", since=since).is_completed()
        assert office.run("xero", until=datetime.now(UTC)).is_completed()
        assert office.rows("SELECT * FROM billing.sync_cursor ORDER BY stream") == before
        assert office.points() == expected(office.vendors.world, "xero")


class TestReport:
    def test_tells_everything_and_nothing_personal(self, office: Office) -> None:
        state = office.run("xero")
        assert state.is_completed(), state.message
        entries, points = office.rows(
            "SELECT count(*), sum(points)::bigint FROM loyalty.award_entry"
        )[0]
        text, headline = office.report("xero"), str(state.message)
        grouped = f"{points:+,}".replace(",", " ")
        assert f"{entries} entries, {grouped} points" in headline
        assert headline in text
        ((sales,),) = office.rows("SELECT count(*) FROM billing.invoice")
        ((rejects,),) = office.rows("SELECT count(*) FROM billing.reject")
        assert rejects > 0
        for row in (f"| New sales | {sales} |", f"| Rejected records | {rejects} |"):
            assert row in text
        for stream, cursor_at in office.rows("SELECT stream, cursor_at FROM billing.sync_cursor"):
            assert (
                f"| {stream} | the beginning | {cursor_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC | yes |"
                in text
            )
        for part in (
            "## Rejected, by reason",
            "## Fetched",
            "## Validation (Great Expectations)",
            "| Median ms | p95",
        ):
            assert part in text
        for call in ("token", "invoices", "credit_notes", "customers"):
            assert f"| {call} | " in text.split("## API response times")[1]
        logs = office.logs(state, headline)
        assert office.shown_of(text + logs + headline) == []
        assert office.rows("SELECT state, entries, points FROM analytics.sync") == [
            ("stored", entries, points)
        ]

    def test_of_a_dry_run_says_what_the_run_will_do_and_nothing_is_kept(
        self, office: Office
    ) -> None:
        for evolved in (False, True):
            if evolved:
                office.vendors.world.evolve(steps=15, systems=("freshbooks",))
            before = office.counts()
            dry = str(office.run("freshbooks", dry_run=True).message)
            assert office.counts() == before
            assert dry == f"Dry run, nothing kept: {office.run('freshbooks').message}"
            assert " 0 entries" not in dry
        assert office.points() == expected(office.vendors.world, "freshbooks")


class TestFailure:
    def test_refused_credentials_name_the_block_and_the_same_run_is_retried(
        self, office: Office
    ) -> None:
        before = office.edit("xero", client_secret=SecretStr("wr0ng-s3cret"))
        state = office.run("xero")
        assert state.is_failed()
        message = str(state.message)
        assert 'block "xero"' in message
        report = office.report("xero")
        assert report.startswith("Failed: CredentialsRejected\n")
        assert "someone must correct the connection" in report
        assert message.startswith("CredentialsRejected: ")
        assert report.count(message.removeprefix("CredentialsRejected: ")) == 1
        assert "invalid_client. Check client id and client secret" in message
        logs = office.logs(state, 'block "xero"')
        assert office.shown_of(report + message + logs) == []
        assert office.rows("SELECT state FROM billing.sync_run") == [("failed",)]
        assert office.points() == {}

        before.save("xero", overwrite=True)
        retried = office.retry(state)
        assert retried.is_completed(), retried.message
        assert run_id(retried) == run_id(state)
        assert office.flow_run(state).run_count == 2
        due = expected(office.vendors.world, "xero")
        assert office.points() == due
        # Posted once: one entry per sale, by one synchronisation, which was continued and not begun
        # anew.
        assert office.rows("SELECT count(*) FROM loyalty.award_entry") == [(len(due),)]
        assert office.rows("SELECT state, run_id FROM billing.sync_run") == [
            ("stored", str(run_id(state)))
        ]

    def test_a_system_with_an_underscore_has_its_block_and_reports_under_a_dash(
        self, office: Office
    ) -> None:
        """Prefect takes no underscore in the names of either."""
        before = office.edit("sage_intacct", client_secret=SecretStr("wr0ng-s3cret"))
        state = office.run("sage_intacct")
        assert state.is_failed() and 'block "sage-intacct"' in str(state.message)
        before.save("sage_intacct", overwrite=True)
        assert office.run("sage_intacct").is_completed()
        assert "# Sage Intacct" in office.report("sage-intacct")
        assert office.points() == expected(office.vendors.world, "sage_intacct")
        SageIntacctConnection.delete("sage_intacct")
        message = str(office.run("sage_intacct").message)
        assert "create a 'Sage Intacct Connection' block named 'sage-intacct'" in message
        connect_simulator(office.vendors.url)

    def test_a_second_account_of_it_is_called_as_its_block(self, office: Office) -> None:
        first = SageIntacctConnection.load("sage_intacct")
        assert (first.name, connections()["sage-intacct"]) == ("sage-intacct", "sage_intacct")
        first.model_copy(update={"entity_id": "E200"}).save("sage-intacct-lisboa")
        try:
            assert connections()["sage-intacct-lisboa"] == "sage_intacct"
            assert office.run("sage-intacct-lisboa").is_completed()
            assert office.points() == {}  # that entity sold nothing
            assert office.report("sage-intacct-lisboa")
        finally:
            SageIntacctConnection.delete("sage-intacct-lisboa")

    def test_too_many_rejects_move_nothing_and_say_why(self, office: Office) -> None:
        office.edit("xero", field_mapping={"total_minor": "/NoSuchField"})
        state = office.run("xero")
        assert state.is_failed()
        assert "could not be used" in str(state.message)
        assert "Total, looked for at /NoSuchField: missing" in office.report("xero")
        for table in ("billing.invoice", "billing.sync_cursor", "loyalty.award_entry"):
            assert office.rows(f"SELECT count(*) FROM {table}") == [(0,)]
        ((open_rejects,),) = office.rows(
            "SELECT count(*) FROM analytics.reject WHERE resolved_at IS NULL"
        )
        assert open_rejects > 50
        assert office.shown_of(office.report("xero") + str(state.message)) == []

        office.edit("xero", field_mapping={})
        assert office.retry(state).is_completed()
        assert office.points() == expected(office.vendors.world, "xero")
        ((left,),) = office.rows("SELECT count(*) FROM analytics.reject WHERE resolved_at IS NULL")
        assert left < open_rejects

    def test_a_higher_limit_lets_the_good_ones_in(self, office: Office) -> None:
        office.edit("quickbooks", reject_percent_max=0)
        state = office.run("quickbooks")
        assert state.is_failed() and "more than the 0 % allowed" in str(state.message)
        assert office.rows("SELECT count(*) FROM billing.invoice") == [(0,)]
        office.edit("quickbooks", reject_percent_max=50)
        assert office.retry(state).is_completed()
        assert office.points() == expected(office.vendors.world, "quickbooks")

    def test_an_outage_on_the_second_page_is_over_and_the_retried_run_goes_on_there(
        self, office: Office
    ) -> None:
        office.edit("xero", page_size=25)
        office.vendors.broken = "page=2"
        state = office.run("xero")
        assert state.is_failed()
        assert "nothing to correct" in office.report("xero")
        assert office.vendors.pages_asked("/Invoices") == ["1", *ATTEMPTS * ["2"]]
        assert office.rows("SELECT stream, page_no FROM billing.raw_page") == [("invoices", 1)]

        office.vendors.broken = None
        office.vendors.targets.clear()
        assert office.retry(state).is_completed()
        # Page 1, the last one stored, is looked at again: the list may have moved meanwhile.
        assert office.vendors.pages_asked("/Invoices") == ["1", "2", "3"]
        assert "continued an interrupted run" in office.report("xero")
        due = expected(office.vendors.world, "xero")
        assert office.points() == due
        assert office.rows("SELECT count(*) FROM loyalty.award_entry") == [(len(due),)]

    def test_a_defect_after_the_sales_were_stored_loses_no_points(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(tasks.sync, "award_members", lambda *_: 1 // 0)
            state = office.run("xero")
        assert state.is_failed()
        assert "integer division" in office.report("xero")
        assert office.rows("SELECT state FROM billing.sync_run") == [("stored",)]
        assert office.points() == {}
        assert office.run("xero").is_completed()
        assert office.points() == expected(office.vendors.world, "xero")

    def test_a_row_that_the_database_refuses_is_not_quoted(self, office: Office) -> None:
        office.execute("ALTER TABLE billing.customer ADD CHECK (phone IS NULL) NOT VALID")
        state = office.run("quickbooks")
        assert state.is_failed()
        assert "SQLSTATE 23514" in str(state.message)
        text = (
            office.report("quickbooks") + str(state.message) + office.logs(state, "SQLSTATE 23514")
        )
        assert office.shown_of(text) == []

    def test_a_system_without_block_says_which_to_create(self, office: Office) -> None:
        XeroConnection.delete("xero")
        state = office.run("xero")
        assert state.is_failed()
        assert "xero is not connected: create a 'Xero Connection' block named 'xero'" in str(
            state.message
        )
