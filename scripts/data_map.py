"""Writes docs/data-map.md: where data of people are, from the comments of the schema.

    python -m scripts.data_map

A column holds data of people if its comment begins with one of the words of KINDS. What ends the
data of a table is said here, once per table; a table without it is refused.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCHEMA, TARGET = ROOT / "sql" / "schema.sql", ROOT / "docs" / "data-map.md"
#: How the comment of such a column begins.
KINDS = ("Personal data", "Pseudonym")
_TABLE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (\S+) \((.*?)\n\)", re.DOTALL | re.MULTILINE)
_KEPT = "kept for good: points are recomputed from it, or the decision is"
#: Per table: what ends its data, beside an erasure of the member.
ENDS = {
    "billing.raw_page": "`TWEZAH_KEEP_RAW_PAGES_DAYS`; an erasure cleans the person's records",
    "billing.webhook_event": "`TWEZAH_KEEP_WEBHOOKS_DAYS`; an erasure cleans the person's records",
    "billing.http_attempt": "`TWEZAH_KEEP_ATTEMPTS_DAYS`, `TWEZAH_API_ATTEMPT_MONTHS`",
    "billing.customer": "an erasure deletes the row",
    "billing.invoice": "`TWEZAH_KEEP_ERASED_MEMBERS_DAYS` after an erasure",
    "billing.reject": "an erasure cleans it",
    "loyalty.member": "an erasure removes the phone; the number stays",
    "loyalty.member_birthday": "an erasure, or the member, deletes the row",
    "loyalty.member_event": f"{_KEPT} evidence",
    "loyalty.adjustment": f"{_KEPT} evidence",
    "audit.entry": "kept for good: it is the proof of who did what",
}


def personal_columns(schema):
    """(table, column, comment) of all columns with data of people, in the order of the schema."""
    found = []
    for table, body in _TABLE.findall(schema):
        comment = []
        for line in map(str.strip, body.split("\n")):
            if line.startswith("-- "):
                comment.append(line[3:])
                continue
            text, comment = " ".join(comment), []
            if text.startswith(KINDS):
                found.append((table, line.split()[0], text))
    return found


def data_map(schema):
    """The page."""
    lines = [
        "# Data map",
        "",
        "Where the ledger database holds data of people. Made from the comments of the schema by",
        "`python -m scripts.data_map`; a test holds it equal to them. Beside the database: runs and",
        "their logs in Prefect's database, log files, exports, backups ([personal",
        "data](privacy.md)). Every column `member_id` is a pseudonym: only `loyalty.member` says",
        "whose.",
        "",
        "| Column | What | What ends it |",
        "|---|---|---|",
    ]
    for table, column, text in personal_columns(schema):
        staff = text.startswith("Personal data of staff")
        ends = ENDS.get(table, f"{_KEPT} evidence" if staff else None)
        if ends is None:
            raise ValueError(f"{table}.{column}: say in ENDS of scripts/data_map.py what ends it")
        lines.append(f"| `{table}.{column}` | {text.replace('|', '/')} | {ends} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(data_map(SCHEMA.read_text(encoding="utf-8")), encoding="utf-8")
