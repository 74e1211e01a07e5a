"""Exchange rates into the ledger; sales that waited for them get their points."""

from typing import Annotated, Any
from uuid import uuid4

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from connectors.kit.http.download import DownloadError
from loyalty.fx import BadRatesError
from panel.runs.changing_flow import changing_flow
from settings import settings
from sql import fx
from sql.db import connect
from sql.fx import RateChangedError
from tasks.award.recompute import post_waiting
from tasks.database_errors import without_row_data
from tasks.program.fx_rates import read_rates


@changing_flow(name="load-fx-rates", flow_run_name="load exchange rates")
def load_fx_rates(
    text: str = "",
    file: str = "",
    source: str = "",
    carry_days: Annotated[int, Field(ge=0, le=31)] = 0,
    correct: bool = False,
) -> State[Any]:
    """Load exchange rates, and post the points of sales that waited for them.

    The rates are CSV: a first line `date,currency,base_currency,rate` (and `valid_until`, if you
    like), then one line per rate, such as `2026-03-02,EUR,AOA,925.5`: 925.5 kwanzas for one euro.
    Loading the same rates again adds nothing.

    Args:
        text: The lines themselves. Empty: from `file`.
        file: Path of a file on the worker's machine. Empty as well: from the address in
            TWEZAH_FX_URL.
        source: Who says so; kept with each rate.
        carry_days: A rate without `valid_until` also counts for so many days after its own, if they
            have none: 3 covers a weekend.
        correct: Let rates that differ from the known ones replace them; past sales are then
            recomputed.
    """
    run_id = str(flow_run.id or uuid4())
    try:
        rates, origin = read_rates(text=text, file=file, source=source, carry_days=carry_days)
        with without_row_data(), connect(settings().dsn()) as connection:
            loaded = fx.add(connection, rates, origin, run_id, correct=correct)
            connection.commit()
    except (BadRatesError, RateChangedError, DownloadError) as error:
        return Failed(message=f"{type(error).__name__}: {error}")
    message = f"{loaded.to_text()}; {post_waiting(run_id).posted_in_words()}"
    get_run_logger().info(message)
    return Completed(message=message)
