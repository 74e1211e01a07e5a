"""What a point is worth, for reports. Nothing is ever changed; the caller commits."""

from loyalty.redemptions import PointValue
from sql.db import DbConnection
from sql.named_queries import query


def enter(connection: DbConnection, value: PointValue, run_id: str) -> None:
    """Adds the value; for the same currency and instant the last entered counts."""
    connection.execute(query("point_values", "enter"), {**value.model_dump(), "run_id": run_id})
