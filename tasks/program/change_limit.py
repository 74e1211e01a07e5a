"""Rejects manual changes of points above `change_points_max` that are not confirmed."""

from settings import settings
from sql.corrections import CorrectionRefusedError


def check_confirmed(points: int, confirmed: int) -> None:
    """Raises CorrectionRefusedError where `points` exceed the limit and are not confirmed."""
    limit = settings().change_points_max
    if abs(points) > max(limit, confirmed):
        message = (
            f"{points:+d} points are more than the limit of {limit}; "
            f"if that is meant, confirm {abs(points)} points"
        )
        raise CorrectionRefusedError(message)
