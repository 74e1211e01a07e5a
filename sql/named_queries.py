"""Named queries: the SQL text lives in sql/queries/*.sql.

Each query stands under a line `-- name: its_name`.
"""

import re
from functools import cache
from pathlib import Path

QUERIES = Path(__file__).parent / "queries"
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def _file(stem: str) -> dict[str, str]:
    parts = _NAME.split((QUERIES / f"{stem}.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


def query(stem: str, name: str) -> bytes:
    """The text of query `name` in sql/queries/`stem`.sql. Raises KeyError where there is none."""
    return _file(stem)[name].encode()
