"""Certificates of erasure: what was removed where, without anything that names the person."""

from dataclasses import dataclass, field
from datetime import datetime

from psycopg.types.json import Jsonb

from loyalty.corrections import Decision
from sql.corrections import find_member
from sql.db import DbConnection
from sql.named_queries import query


@dataclass(frozen=True)
class Certificate:
    """An erasure, as it is certified."""

    #: Number of the certificate.
    certificate_no: int
    #: Number of the member.
    member_id: int
    #: The member and everybody who was merged into them.
    members: list[int]
    #: Why, and who decided it.
    reason: str
    author: str
    #: Per place, how many rows or files were cleaned or deleted.
    erased: dict[str, int]
    #: Per place, how many still name the person and are kept on purpose.
    remains: dict[str, int]
    #: What could not be looked through or cleaned.
    not_reached: list[str]
    #: When it was issued.
    issued_at: datetime
    #: Prefect flow run, or command.
    run_id: str = field(repr=False)

    def to_text(self) -> str:
        """The certificate as Markdown."""
        members = ", ".join(map(str, self.members))
        lines = [
            f"# Certificate of erasure {self.certificate_no}",
            "",
            f"Member {members}, {self.issued_at:%Y-%m-%d %H:%M} {self.issued_at.tzname() or ''}",
            f"- Reason: {self.reason}",
            f"- Decided by: {self.author}",
            f"- Run: {self.run_id}",
            "",
            *_table("Erased", self.erased),
            *_table("Kept on purpose, and still naming the person", self.remains),
        ]
        if self.not_reached:
            lines += ["Not reached:", "", *(f"- {place}" for place in self.not_reached), ""]
        return "\n".join(lines)


def _table(title: str, counts: dict[str, int]) -> list[str]:
    if not counts:
        return [f"{title}: nothing", ""]
    rows = [f"| {place} | {count} |" for place, count in sorted(counts.items())]
    return [f"| {title} | Rows or files |", "|---|---:|", *rows, ""]


def issue(
    connection: DbConnection,
    members: list[int],
    decision: Decision,
    run_id: str,
    *,
    erased: dict[str, int],
    remains: dict[str, int],
    not_reached: list[str],
) -> int:
    """Enters the certificate of an erasure; its number. The caller commits.

    `members`: the member who was erased, then those who were merged into them.
    """
    parameters = decision.model_dump() | {
        "member_id": members[0],
        "members": members,
        "erased": Jsonb({place: count for place, count in erased.items() if count}),
        "remains": Jsonb(remains),
        "not_reached": not_reached,
        "run_id": run_id,
    }
    row = connection.execute(query("certificates", "issue"), parameters).fetchone()
    assert row is not None
    return int(row[0])


def of_member(connection: DbConnection, member_id: int) -> list[Certificate]:
    """The member's certificates, the oldest first.

    Raises CorrectionRefusedError if there is no such member.
    """
    owner = find_member(connection, member_id).owner_id
    parameters = {"members": sorted({member_id, owner})}
    rows = connection.execute(query("certificates", "of_members"), parameters).fetchall()
    return [Certificate(*row) for row in rows]
