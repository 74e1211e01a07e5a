"""The pages of Prefect's UI: what they say of each connection, and that their charts are images of a bearable size."""

import re
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from xml.etree import ElementTree as ET

import psycopg
import pytest

from flows.sync import _told
from panel.alerts.reach import AlertReach
from panel.markdown import age, plain, share, shortened, span
from panel.pages import billing_systems as systems
from panel.pages import charts, publish, refresh
from panel.pages import deployment_descriptions as footers
from panel.pages import sync_status as status
from panel.pages.billing_systems import Ledger
from panel.pages.connection_status import ConnectionOverview, ConnectionStatus
from settings import Settings
from sql.panel_pages import AccountState, Address, Failure, LastAttempt, Slot, Totals, WebhookTotals
from sql.webhooks import Backlog
from tasks.run_report import grouped

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
#: The longest text that an artifact may hold without the UI becoming slow.
PAGE_BYTES_MAX = 400_000
#: The form of a run with the connection `xero` filled in.
FILLED_IN = "parameters=%7B%22connection%22%3A%20%22xero%22%7D"
NO_ALERTS = AlertReach()


def desk(name: str = "xero", **changes: Any) -> ConnectionStatus:
    """A connection that is complete, scheduled, and due in four minutes."""
    values: dict[str, Any] = {
        "system": "xero", "title": "Xero", "form": "/blocks/catalog/xero-connection/create", "account": f"a-{name}", "block_id": f"b-{name}",
        "deployment_id": f"d-{name}", "scheduled": True, "every": 5 * MINUTE, "next_run_at": NOW + 4 * MINUTE,
    }  # fmt: skip
    return ConnectionStatus(name, **values | changes)


def desks(*some: ConnectionStatus) -> ConnectionOverview:
    """These, and nothing else."""
    return ConnectionOverview(
        {one.name: one for one in some},
        {
            "webhook-address": "d-webhook-address",
            "connect": "d-connect",
            "test-connection": "d-test-connection",
        },
    )


def ledger(*names: str, last: LastAttempt | None = None, **changes: Any) -> Ledger:
    """All is well: the last run succeeded a minute ago."""
    good = LastAttempt("succeeded", NOW - MINUTE, "r1", None)
    values: dict[str, Any] = {
        "accounts": {("xero", f"a-{name}"): AccountState(NOW - MINUTE, NOW - 2 * MINUTE, 0) for name in names},
        "last": dict.fromkeys(names, last or good), "backlog": (), "addresses": (),
    }  # fmt: skip
    return Ledger(**values | changes)


def page(of: ConnectionOverview, known: Ledger, alerts: AlertReach | None = NO_ALERTS) -> str:
    return systems.markdown(of, known, NOW, "https://points.example.com", "LINKS", alerts)


def cells(text: str, name: str) -> dict[str, str]:
    """The row of a connection in the table of connections, by its headings."""
    lines = text.partition("## Connections\n\n")[2].splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines
        if line.startswith("|")
    ]
    return next(dict(zip(rows[0], row, strict=True)) for row in rows if f"[{name}]" in row[0])


def address(*, has_secret: bool = False) -> Address:
    """Xero's."""
    return Address(
        "xero", "xero", "ID1", "none", is_default=False, has_secret=has_secret, last_event_at=None
    )


class TestBillingSystems:
    def test_one_that_is_well_needs_nobody(self) -> None:
        text = page(desks(desk()), ledger("xero"))
        assert "**1 connected: 1 fine.**" in text and "What needs you" not in text
        assert cells(text, "xero") == {
            "Connection": "[xero](/deployments/deployment/d-xero)", "State": "fine", "Last success": "60 s ago", "Lag": "2 min", "Backlog": "-",
            "Rejects": "0", "Next run": "in 4 min, every 5 min", "Open": "[reports](/artifacts/key/sync-xero) · [block](/blocks/block/b-xero)",
            "Do": f"[sync now](/deployments/deployment/d-xero/run) · [schedule](/deployments/deployment/d-xero) · [edit](/blocks/block/b-xero/edit) · [test](/deployments/deployment/d-test-connection/run?{FILLED_IN}) · [webhooks](/deployments/deployment/d-webhook-address/run?{FILLED_IN}) · [alerts are off](/blocks/catalog/alerts/create)",
        }  # fmt: skip

    def test_alerts_that_reach_somebody_are_on(self) -> None:
        text = page(desks(desk()), ledger("xero"), AlertReach("b-alerts", "Alerts"))
        assert cells(text, "xero")["Do"].endswith(" · [alerts are on](/automations)")

    def test_one_that_only_sends_is_not_synchronised(self) -> None:
        only = desk("push", system="push", pushed_only=True, scheduled=False)
        doing = cells(page(desks(only), ledger()), "push")["Do"]
        assert "sync now" not in doing and "schedule" not in doing
        assert "[webhooks](/deployments/deployment/d-webhook-address/run?" in doing

    def test_no_link_leads_to_a_form_that_is_not_there(self) -> None:
        doing = cells(page(ConnectionOverview({"xero": desk()}), ledger("xero"), None), "xero")[
            "Do"
        ]
        assert doing.endswith(" · [edit](/blocks/block/b-xero/edit)")

    def test_one_that_was_never_run_says_so(self) -> None:
        text = page(desks(desk()), ledger())
        row = cells(text, "xero")
        assert (row["State"], row["Last success"], row["Lag"]) == ("not run yet", "-", "-")
        assert "What needs you" not in text

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"paused": True}, "the deployment is paused"),
            ({"paused": False}, "its schedule is off"),
        ],
    )
    def test_a_paused_one_is_told_with_the_way_back(
        self, changes: dict[str, Any], why: str
    ) -> None:
        text = page(desks(desk(scheduled=False, next_run_at=None, **changes)), ledger("xero"))
        row = cells(text, "xero")
        assert (row["State"], row["Next run"]) == ("**paused**", "off")
        assert (
            f"- **xero**, paused: {why}: no sale is fetched. Switch it on again at its [deployment](/deployments/deployment/d-xero)."
            in text
        )

    def test_a_failing_one_has_its_error_and_its_run(self) -> None:
        error = "CredentialsRejected: xero refresh: invalid_grant. <b>Consent</b> anew [now](http://evil)"
        text = page(desks(desk()), ledger("xero", last=LastAttempt("failed", NOW, "r9", error)))
        assert cells(text, "xero")["State"] == "**failing**"
        assert "CredentialsRejected: xero refresh: invalid\\_grant." in text
        assert "Then press **Retry** on [the run](/runs/flow-run/r9)." in text
        assert "<b>" not in text and "[now](http" not in text  # a vendor's words are text

    def test_one_that_falls_behind_is_seen_although_nothing_failed(self) -> None:
        late = ledger(
            "xero", accounts={("xero", "a-xero"): AccountState(NOW - 5 * HOUR, NOW - 5 * HOUR, 0)}
        )
        text = page(desks(desk()), late)
        assert (
            cells(text, "xero")["State"] == "**behind**" and "complete up to 5 h ago only" in text
        )
        hourly = desk(every=2 * HOUR)  # which may be that far behind
        assert cells(page(desks(hourly), late), "xero")["State"] == "fine"

    def test_one_that_cannot_be_used_names_the_setting(self) -> None:
        text = page(desks(desk(problem='a setting is not valid: field "Tenant ID"')), ledger())
        assert (
            '- **xero**, not ready: a setting is not valid: field "Tenant ID". Open the [block]'
            in text
        )

    def test_backlog_and_rejects_are_counted(self) -> None:
        text = page(
            desks(desk()),
            ledger(
                "xero",
                accounts={("xero", "a-xero"): AccountState(NOW, NOW, 1234)},
                backlog=[Backlog("xero", "xero", 12, 2, NOW)],
                members_waiting=3000,
            ),
        )
        row = cells(text, "xero")
        assert (row["Backlog"], row["Rejects"]) == ("12 webhooks, 2 parked", grouped(1234))
        assert (
            "- **xero**: 2 webhooks are parked; the [reports](/artifacts/key/webhooks) say why."
            in text
        )
        assert "members are still to be computed" in text

    def test_corrections_that_were_refused_stand_among_what_needs_somebody(self) -> None:
        text = page(
            desks(desk()),
            ledger("xero", accounts={("xero", "a-xero"): AccountState(NOW, NOW, 3, 2, 1500)}),
        )
        needs = text.split("## What needs you")[1].split("## ")[0]
        assert (
            "**2 corrections were refused, 1 500 points are at stake**: the old points stand."
            in needs
        )

    def test_a_run_under_way_is_linked(self) -> None:
        text = page(desks(desk(running="r7")), ledger("xero"))
        assert (cells(text, "xero")["State"], cells(text, "xero")["Next run"]) == (
            "running",
            "[running](/runs/flow-run/r7)",
        )

    def test_addresses_and_those_that_have_none(self) -> None:
        given = address()
        lost = replace(given, connection="gone", endpoint_id="ID2", has_secret=True)
        fresh = replace(given, endpoint_id="ID3", handshake="awaited")
        text = page(
            desks(desk(), desk("lisboa"), desk("netsuite", system="netsuite")),
            ledger("xero", addresses=[given, lost, fresh]),
        )
        assert "`https://points.example.com/api/webhooks/billing/ID1` | needs its secret" in text
        assert (
            "ID2` | no such connection" in text
            and "ID3` | awaits the vendor's verification" in text
        )
        assert (
            "None yet: lisboa. [webhook-address](/deployments/deployment/d-webhook-address) makes one"
            in text
        )  # NetSuite sends none

    def test_systems_without_a_connection_have_the_way_to_one(self) -> None:
        absent = desk(
            "netsuite", system="netsuite", title="NetSuite", block_id="", deployment_id=""
        )
        text = page(desks(absent), ledger())
        assert "**No billing system is connected yet.**" in text and "## Connections" not in text
        assert "[NetSuite](/blocks/catalog/xero-connection/create)" in text
        assert "[connect](/deployments/deployment/d-connect)" in text


TOTALS = Totals("", 99, 1, 0, 5000, 400, 20, 3, 420, 1_500_000, 800, 4, 2, 120, 900)


def period(
    slots: list[Slot], title: str = "Last 24 hours", totals: list[Totals] | None = None
) -> status.Period:
    ((_, since, step, label), _) = status.periods(NOW)
    return status.Period(title, since, step, label, [TOTALS, replace(TOTALS, connection="xero")] if totals is None else totals, slots)  # fmt: skip


def slot(hours_ago: int, system: str = "xero", **changes: Any) -> Slot:
    values: dict[str, Any] = {
        "at": NOW.replace(minute=0) - hours_ago * HOUR, "system": system, "succeeded": 12, "failed": 0, "sales": 30, "points": 1000,
        "response_ms_p50": 100, "response_ms_p95": 800,
    }  # fmt: skip
    return Slot(**values | changes)


def images(text: str) -> list[bytes]:
    """The charts of a page."""
    return [
        b64decode(found)
        for found in re.findall(
            r"^!\[[^]]*\]\(data:image/svg\+xml;base64,([^ ()]+)\)$", text, re.MULTILINE
        )
    ]


class TestSyncStatus:
    def test_numbers_charts_failures_and_webhooks(self) -> None:
        failed = Failure(NOW - HOUR, "xero", "failed", "r3", "Transient: no answer | <script>")
        text = status.markdown(
            [period([slot(hours) for hours in range(24)]), period([], "Last 30 days", [])],
            [failed],
            [WebhookTotals("xero", 10, 9, 1, 0.4, 1.25)],
            NOW,
            "LINKS",
        )
        assert "99 % of 100 runs succeeded" in text and "half within 120 ms" in text
        assert len(images(text)) == 4 and "## Last 30 days\n\nNo run in this time." in text
        assert "[failed](/runs/flow-run/r3)" in text and "<script>" not in text
        assert "| xero | 10 | 9 | 1 | 0.40 s | 1.25 s |" in text
        assert (
            len(re.findall(r"^\| xero \|", text, re.MULTILINE)) == 3
        )  # one connection needs no sum

    def test_nothing_yet(self) -> None:
        text = status.markdown(
            [period([], totals=[]), period([], "Last 30 days", [])], [], [], NOW, "LINKS"
        )
        assert "**Last 24 hours: no run.**" in text and images(text) == []

    def test_charts_are_drawings_without_scripts_and_addresses_elsewhere(self) -> None:
        text = status.markdown(
            [period([slot(3), slot(1, "netsuite", failed=2)])], [], [], NOW, "LINKS"
        )
        for drawing in images(text):
            root = ET.fromstring(drawing)  # noqa: S314 - our own
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert not re.search(
                rb"<script|<foreignObject|<image|onload=|https?://(?!www\.w3\.org)", drawing
            )

    def test_the_page_stays_small_however_many_systems_and_whatever_their_names(self) -> None:
        names = [f'system-{number}-with-a-long-name)"<&' for number in range(12)]
        slots = [slot(hours, name, points=10**12 + hours) for hours in range(24) for name in names]
        text = status.markdown([period(slots), period(slots, "Last 30 days")], [], [], NOW, "LINKS")
        assert len(text.encode()) < PAGE_BYTES_MAX
        assert all(ET.fromstring(drawing) is not None for drawing in images(text))  # noqa: S314
        assert len(images(text)) == 8

    def test_slots_are_in_their_places(self) -> None:
        drawn = charts.bars("Runs", ["01:00", "02:00"], {"good": [3, 0]}, (charts.GOOD,))
        assert drawn.startswith("### Runs\n\n![Runs](data:image/svg+xml;base64,")
        assert charts.bars("Runs", ["01:00"], {}) == "### Runs\n\nNone."


class TestFooters:
    def test_every_description_leads_to_the_pages_and_a_connections_to_its_block(self) -> None:
        known = {publish.SYSTEMS: "id1", publish.STATUS: "id2"}
        given = address(has_secret=True)
        text = footers.footer_text(desk(), [given], known, "https://h", "d1", is_sync=True)
        assert "**Block**: [xero](/blocks/block/b-xero)" in text
        assert "**Webhooks**: `https://h/api/webhooks/billing/ID1`" in text
        assert "[Billing systems](/artifacts/artifact/id1) · [Sync status](/artifacts/artifact/id2) · [Audit log](/artifacts/key/audit-log)" in text  # fmt: skip
        none = footers.footer_text(desk(block_id=""), [], {}, "https://h", "d1", is_sync=True)
        assert "none yet, [fill in the form](/blocks/catalog/xero-connection/create)" in none
        assert "run [webhook-address](/deployments/deployment/d1)" in none
        assert "[Billing systems](/artifacts/key/billing-systems)" in none
        assert "**Guides**: docs/operations.md · docs/runbook · " in none
        guided = footers.footer_text(
            desk(), [], {"guide-runbook": "id3"}, "https://h", "d1", is_sync=True
        )
        assert "docs/operations.md · [run book](/artifacts/artifact/id3) · " in guided
        other = footers.footer_text(None, [], known, "https://h", "d1", is_sync=False)
        assert "Block" not in other and "Billing systems" in other

    def test_only_what_changed_is_written_and_the_text_above_stays(self) -> None:
        written: dict[str, str] = {}

        class Client:
            def update_deployment(self, deployment: UUID, change: Any) -> None:
                assert change.model_fields_set == {"description"}
                written[str(deployment)] = change.description

        ids = {name: str(uuid4()) for name in ("sync-xero", "pages")}
        of = ConnectionOverview({"xero": desk(deployment_id=ids["sync-xero"])}, {}, {name: (one, f"About {name}.\n") for name, one in ids.items()})  # fmt: skip
        assert footers.renew_descriptions(Client(), of, [], {}, "https://h") == 2  # type: ignore[arg-type]
        assert written[ids["sync-xero"]].startswith("About sync-xero.\n\n---\n\n- **Block**")
        again = replace(of, descriptions={name: (one, written[one]) for name, one in ids.items()})
        assert footers.renew_descriptions(Client(), again, [], {}, "https://h") == 0  # type: ignore[arg-type]
        moved = {publish.SYSTEMS: "new"}
        assert footers.renew_descriptions(Client(), again, [], moved, "https://h") == 2  # type: ignore[arg-type]
        assert written[ids["pages"]].count("---") == 1 and "About pages." in written[ids["pages"]]


def test_a_failure_to_renew_is_said_without_details_and_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ConnectionError("postgresql://user:secret@host")

    class Run:
        deployment_id = uuid4()

    monkeypatch.setattr(refresh, "renew_together", broken)
    monkeypatch.setattr(refresh, "settings", lambda: Settings(database_url="postgresql://nobody"))
    refresh.after_a_run(None, Run(), None)  # type: ignore[arg-type]
    assert [record.message for record in caplog.records] == [
        "the pages were not renewed: ConnectionError"
    ]


def test_a_defects_text_stays_in_the_log() -> None:
    """It may quote whatever was worked on; a failure that is foreseen says what to do."""
    assert _told(None) is None
    assert (
        _told(KeyError("+244923456789")) == "KeyError: a defect; report it with the log of the run"
    )
    assert "press Retry" in str(_told(psycopg.OperationalError("connection lost")))


def test_words() -> None:
    assert [span(timedelta(seconds=n)) for n in (0, 119, 120, 7199, 7200, 172_800)] == [
        "0 s",
        "119 s",
        "2 min",
        "119 min",
        "2 h",
        "2 days",
    ]
    assert (age(None, NOW), age(NOW - HOUR, NOW), age(NOW + 12 * timedelta(seconds=1), NOW)) == (
        "-",
        "60 min ago",
        "in 12 s",
    )
    assert [
        share(*of) for of in ((0, 0), (0, 5), (5, 5), (9_999, 10_000), (1, 10_000), (1, 3))
    ] == [
        "-",
        "0 %",
        "100 %",
        "99.9 %",
        "0.1 %",
        "33.3 %",
    ]
    assert shortened("a\nb " + "c" * 99, 8) == "a b ccc…"
    assert plain("a|b [x](y) <z> `q`") == "a\\|b \\[x\\](y) \\<z\\> \\`q\\`"
