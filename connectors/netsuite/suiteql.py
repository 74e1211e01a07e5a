"""NetSuite's SuiteQL: statements as requests, and how its lines are to be read."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any, Final

import polars as pl

from connectors.kit.errors import UnexpectedShape
from connectors.kit.spec import PageRequest, Window, batches

_PATH: Final = "/services/rest/query/v1/suiteql"
#: Ids in one list for IN.
_IDS_PER_QUERY: Final = 250
#: By how much windows are widened. A time in a statement is read in the account's time zone, which
#: only the account's settings tell; a day covers every zone.
_ZONE_SLACK: Final = timedelta(hours=24)
_LAST_ID: Final = re.compile(r"t\.id > \d+")
#: The only spelling of a time that does not depend on the account's or the user's preferences.
STAMP: Final = """'YYYY-MM-DD"T"HH24:MI:SS'"""


def query(statement: str, size: int) -> PageRequest:
    """The request that runs a statement, from its first row, `size` rows a page."""
    return PageRequest(
        "POST", _PATH, {"limit": str(size), "offset": "0"}, body=json.dumps({"q": statement})
    )


def changed_since(column: str, window: Window) -> str:
    """The condition that a time is in the window; "" without a bound.

    The window is widened so far that the account's time zone does not matter.
    """
    if window.since is None:
        return ""
    since = (window.since - _ZONE_SLACK).astimezone(UTC)
    return f" AND {column} >= TO_TIMESTAMP('{since:%Y-%m-%d %H:%M:%S}','YYYY-MM-DD HH24:MI:SSxFF')"


def behind_id(request: PageRequest, last_id: str) -> PageRequest:
    """The request of a list with the condition `t.id > n`, moved behind another id.

    A query gives at most 100 000 rows, and paging by offset loses rows.

    Raises:
        UnexpectedShape: If that is no id.
    """
    if not last_id.isdigit():
        raise UnexpectedShape("netsuite", "suiteql", "the last record of a page has no numeric id")
    return replace(request, body=_LAST_ID.sub(f"t.id > {last_id}", request.body or ""))


def id_lists(ids: Sequence[str]) -> Iterable[str]:
    """Lists of ids for IN. Ids are numbers: anything else is kept out of statements."""
    for batch in batches([vendor_id for vendor_id in ids if vendor_id.isdigit()], _IDS_PER_QUERY):
        yield ",".join(batch)


def unit_rate(value: Any) -> str | None:
    """A line's rate where it is a price; a discount's may be a percentage."""
    rate = str(value)
    return rate if re.fullmatch(r"-?[\d.]+", rate) else None


def signed_lines(lines: pl.DataFrame) -> pl.DataFrame:
    """Gives a document's lines the sign with which they add up to its total.

    Sales are credits in the books, and so are written negative.

    A line's quantity follows its amount (a line that takes something back has both negative).
    """
    amount, total = pl.col("amount_minor"), pl.col("amount_minor").sum().over("row")
    leading = amount.filter(amount != 0).first().over("row")
    turned = (total < 0) | ((total == 0) & (leading < 0).fill_null(value=False))
    lines = lines.with_columns(
        pl.when(turned).then(-amount).otherwise(amount).alias("amount_minor")
    )
    size = pl.col("quantity").abs()
    return lines.with_columns(
        pl.when(pl.col("amount_minor") < 0).then(-size).otherwise(size).alias("quantity")
    )
