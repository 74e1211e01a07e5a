"""What is known of members, as CSV: opening balances, tiers, referrals and lists.

Members are named by our number, or by the phone under which they buy. The first line names the
columns. Nothing of a file with a problem is used, and no problem shows what a line says, because
that may be a phone.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from loyalty.corrections import POINTS_MAX

BulkKind = Literal["balances", "tiers", "referrals", "lists"]
#: Lines that a file may have.
ROWS_MAX: Final = 500_000
#: Problems of a file that are listed at once.
PROBLEMS_SHOWN: Final = 20
#: A member: our number, or a phone in E.164.
MemberName = int | str

#: Columns that name a member: our number, or the phone instead.
_MEMBER: Final = {
    "balances": (("member_id", "phone"),),
    "tiers": (("member_id", "phone"),),
    "lists": (("member_id", "phone"),),
    "referrals": (("friend_id", "friend_phone"), ("referrer_id", "referrer_phone")),
}
#: The column that says since when.
_AT: Final = {
    "balances": "earned_at", "tiers": "valid_from", "referrals": "referred_at",
    "lists": "valid_from",
}  # fmt: skip
_VALUE: Final = {
    "balances": ("points",), "tiers": ("tier",), "referrals": (), "lists": ("list",),
}  # fmt: skip
#: Columns that may be left out, and may be empty.
_OPTIONAL: Final = {"lists": ("valid_to",)}
#: How a list is called.
_LIST: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
#: Columns of exports that are not read.
_IGNORED: Final = frozenset({"recorded_at"})


class BadImportError(ValueError):
    """A file that cannot be imported. The message names the lines at fault (the first twenty)."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        more = len(problems) - PROBLEMS_SHOWN
        shown = "; ".join(problems[:PROBLEMS_SHOWN])
        super().__init__(shown + (f"; and {more} more" if more > 0 else ""))


@dataclass(frozen=True)
class BulkRow:
    """One line of a file."""

    #: Counts from 1; the first line names the columns.
    line: int
    #: Whose balance or tier it is; of a referral, the friend.
    member: MemberName
    #: When the points were earned, the tier began, the friend was referred, or the member was put
    #: on the list.
    at: datetime
    #: Of a balance.
    points: int = 0
    #: Of a tier.
    tier: str = ""
    #: Of a referral: who referred the friend.
    referrer: MemberName | None = None
    #: Of a list: its name.
    list_name: str = ""
    #: Of a list: until when the member is on it; None: for good.
    until: datetime | None = None


def read_bulk(
    kind: BulkKind,
    text: str,
    *,
    zone: ZoneInfo,
    phone_of: Callable[[str], str | None],
    now: datetime | None = None,
) -> list[BulkRow]:
    """The rows of a CSV file.

    Args:
        kind: What it holds.
        text: The file.
        zone: Of dates and times without an offset.
        phone_of: Tells a phone in E.164 from how people write it; None: it is none.
        now: Points and referrals are not later than this.

    Raises:
        BadImportError: With all problems at once.
    """
    reader = _Reader(kind, zone, phone_of, now or datetime.now(UTC), [])
    rows = list(reader.rows(text))
    if reader.problems:
        raise BadImportError(reader.problems)
    return rows


def names_phones(text: str) -> bool:
    """Whether the first line names a column of phones."""
    return "phone" in text.lstrip("\ufeff").partition("\n")[0].lower()


@dataclass
class _Reader:
    kind: BulkKind
    zone: ZoneInfo
    phone_of: Callable[[str], str | None]
    now: datetime
    problems: list[str]

    def rows(self, text: str) -> Iterator[BulkRow]:
        lines = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
        try:
            self._check_columns([name.strip() for name in lines.fieldnames or []])
            if self.problems:
                return
            for raw in lines:
                if lines.line_num > ROWS_MAX + 1:
                    self.problems.append(f"more than {ROWS_MAX} lines: import it in parts")
                    return
                row = self._row(raw, lines.line_num)
                if row is not None:
                    yield row
        except csv.Error as error:
            self.problems.append(f"line {lines.line_num}: {error}")

    def _check_columns(self, names: list[str]) -> None:
        members = _MEMBER[self.kind]
        needed = (*_VALUE[self.kind], _AT[self.kind])
        known = {*needed, *(name for pair in members for name in pair), *_IGNORED}
        known |= {*_OPTIONAL.get(self.kind, ())}
        missing = [name for name in needed if name not in names]
        missing += [" or ".join(pair) for pair in members if not {*pair} & {*names}]
        if missing:
            self.problems.append(f"the first line must name the columns {', '.join(missing)}")
        # A file without a first line has data there: nothing of it is shown.
        elif unknown := sum(name not in known for name in names):
            self.problems.append(
                f"the first line names {unknown} unknown columns; known: {', '.join(sorted(known))}"
            )

    def _row(self, raw: Mapping[str | None, Any], line: int) -> BulkRow | None:
        before = len(self.problems)
        if None in raw or None in raw.values():
            self.problems.append(f"line {line}: has another number of values than the first line")
            return None
        texts = {str(name).strip(): str(value).strip() for name, value in raw.items()}
        members = [self._member(texts, pair, line) for pair in _MEMBER[self.kind]]
        at = self._at(texts[_AT[self.kind]], line, _AT[self.kind])
        points = self._points(texts["points"], line) if self.kind == "balances" else 0
        tier = texts.get("tier", "")
        if self.kind == "tiers" and not tier:
            self._problem(line, "tier", "is missing")
        name, until = self._list(texts, at, line) if self.kind == "lists" else ("", None)
        if len(self.problems) > before or at is None or members[0] is None:
            return None
        referrer = members[1] if len(members) > 1 else None
        return BulkRow(line, members[0], at, points, tier, referrer, name, until)

    def _list(
        self, texts: Mapping[str, str], at: datetime | None, line: int
    ) -> tuple[str, datetime | None]:
        if not _LIST.fullmatch(texts["list"]):
            self._problem(line, "list", "small letters, digits, - and _, as in vip")
        if not texts.get("valid_to"):
            return texts["list"], None
        until = self._at(texts["valid_to"], line, "valid_to")
        if at is not None and until is not None and until < at:
            self._problem(line, "valid_to", "is before valid_from")
        return texts["list"], until

    def _member(
        self, texts: Mapping[str, str], pair: tuple[str, str], line: int
    ) -> MemberName | None:
        number, phone = (texts.get(name, "") for name in pair)
        if bool(number) == bool(phone):
            self._problem(line, " or ".join(pair), "one of both must be given")
        elif number:
            if number.isascii() and number.isdigit() and 0 < int(number) < 2**63:
                return int(number)
            self._problem(line, pair[0], "is not the number of a member")
        else:
            dialled = self.phone_of(phone)
            if dialled is not None:
                return dialled
            self._problem(line, pair[1], "is not a phone number as billing systems write it")
        return None

    def _at(self, text: str, line: int, column: str) -> datetime | None:
        try:
            at = datetime.fromisoformat(text)
            at = (at if at.tzinfo else at.replace(tzinfo=self.zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            self._problem(line, column, "must be a date like 2026-01-31, or a time")
            return None
        if self.kind not in ("tiers", "lists") and at > self.now:
            self._problem(line, column, "is in the future")
        return at

    def _points(self, text: str, line: int) -> int:
        digits = text.removeprefix("-")
        points = int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
        if not 0 < abs(points) <= POINTS_MAX:
            self._problem(line, "points", "must be a whole number, and not 0")
        return points

    def _problem(self, line: int, column: str, what: str) -> None:
        self.problems.append(f"line {line}: {column}: {what}")
