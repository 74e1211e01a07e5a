"""The flows of analysts and of the month-end report, and their schedules."""

from flows.analytics import refresh_analytics
from flows.reports import month_end
from settings import settings
from tests.flows.office import Office
from twezah.stack import provision


def test_the_month_end_report_is_written_and_analysts_read_on(office: Office) -> None:
    assert office.run("xero").is_completed()
    state = refresh_analytics(return_state=True)
    assert state.is_completed(), state.message
    owed = office.rows("SELECT sum(balance_points) FROM loyalty.member_balance")
    months = "SELECT closing_points FROM analytics.liability_month ORDER BY month DESC LIMIT 1"
    assert office.rows(months) == owed
    state = month_end(return_state=True)
    assert state.is_completed(), state.message
    (folder,) = (settings().home / "reports").iterdir()
    assert str(folder) in state.message and (folder / "report.pdf").exists()
    state = month_end(month="2999-01", return_state=True)
    assert "has not ended yet" in state.message


def test_a_deployment_may_run_by_the_calendar() -> None:
    spec = next(one for one in provision.project_deployments() if one["name"] == "month-end")
    (schedule,) = provision._schedules(spec)
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 6 1 * *", "Africa/Luanda")
