"""Handing data out, from a form: tables for analysts, or what is stored of a member who asks."""

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import uuid4

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from panel.runs.changing_flow import changing_flow
from panel.runs.refused_state import refused_state
from settings import Settings, settings
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from sql.export import ROWS_MAX, TABLES, Exported, ExportTooLargeError, Format
from sql.export import export as write
from tasks.database_errors import without_row_data
from tasks.person import hand_over

Table = Literal[
    "sales", "sale_lines", "awards", "points_history", "redemptions", "members", "tiers",
    "changes", "opening_balances", "events", "codes", "lists", "referrals",
    "audit",
]  # fmt: skip


@changing_flow(name="export", flow_run_name="export")
def export(
    tables: list[Table] | None = None,
    format: Format = "csv",  # noqa: A002  what the form calls it
    rows_max: Annotated[int, Field(ge=1, le=50_000_000)] = ROWS_MAX,
) -> State[Any]:
    """Write tables, without personal data, into a new folder under `exports` of the state folder.

    Args:
        tables: Which; empty: all.
        format: CSV, or Parquet with types.
        rows_max: A table with more rows than this is refused.
    """
    return _written(tables=tables or TABLES, kind=format, rows_max=rows_max)


@changing_flow(name="export-member", flow_run_name="export member {member}")
def export_member(member: Annotated[int, Field(ge=1)], personal: bool = False) -> State[Any]:
    """Write all that is stored of a member, for the member who asks.

    It is written into a new folder under `exports` of the state folder.

    Args:
        member: The member's number.
        personal: With the phone, what billing systems told, and a page that the member can read
            (your-data.html). The audit log says so; delete the folder once it was handed over.
    """
    if personal:
        return _ended(lambda config, run_id: hand_over(config, member, run_id))
    return _written(member_id=member)


def _written(**wanted: Any) -> State[Any]:
    def to_files(config: Settings, run_id: str) -> Exported:
        with connect(config.dsn()) as connection:
            return write(connection, config.home, run_id, **wanted)

    return _ended(to_files)


def _ended(action: Callable[[Settings, str], Exported]) -> State[Any]:
    """The state of a run that exports by `action` (installation, run)."""
    config = settings()
    try:
        with without_row_data():
            export = action(config, str(flow_run.id or uuid4()))
    except (CorrectionRefusedError, ExportTooLargeError) as error:
        return refused_state(str(error).rstrip("."))
    except OSError as error:
        return Failed(
            message=(
                f"The files could not be written: {error.strerror}. "
                f"Make room under {config.home}, then Retry"
            )
        )
    get_run_logger().info(export.to_text())
    return Completed(message=export.to_text())
