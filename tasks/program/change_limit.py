"""A hand that slips on the keyboard moves no million points."""

from settings import settings
from sql.corrections import CorrectionRefusedError


def check_confirmed(points: int, confirmed: int) -> None:
    """Raises CorrectionRefusedError where so many points are above the limit for changes, and not confirmed."""
    limit = settings().change_points_max
    if abs(points) > max(limit, confirmed):
        message = f"{points:+d} points are more than the limit of {limit}; if that is meant, confirm {abs(points)} points"
        raise CorrectionRefusedError(message)
