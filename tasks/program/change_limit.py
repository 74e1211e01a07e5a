"""Rejects changes of points above the limits that are not confirmed."""

from settings import settings
from sql.corrections import CorrectionRefusedError
from tasks.program.preview import Trial


def check_confirmed(points: int, confirmed: int) -> None:
    """Raises CorrectionRefusedError where `points` exceed the limit and are not confirmed."""
    limit = settings().change_points_max
    if abs(points) > max(limit, confirmed):
        message = (
            f"{points:+d} points are more than the limit of {limit}; "
            f"if that is meant, confirm {abs(points)} points"
        )
        raise CorrectionRefusedError(message)


def beyond_limit(trial: Trial, confirmed: int) -> str | None:
    """Why a change of the rules is too large to be made unconfirmed; None: it is not."""
    config = settings()
    if confirmed >= trial.moved or (
        trial.moved <= config.change_points_max and trial.percent <= config.change_percent_max
    ):
        return None
    return (
        f"it moves {trial.moved} points ({trial.percent:.1f} % of all), "
        f"more than the limit of {config.change_points_max} points or "
        f"{config.change_percent_max} %. If that is meant, confirm {trial.moved} points "
        f"(--confirm {trial.moved}; in the form: confirm)"
    )
