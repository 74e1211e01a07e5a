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
from datetime import UTC, datetime, timedelta
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
#: A day, or a time, as people and our exports write them; not all that ISO 8601 allows: a number of
#: eight digits in the wrong column is no day.
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
#: No day is earlier, as no sale is: another one is a slip of the hand.
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
#: Tiers and lists begin no later than that from now, and lists end no later.
BEGIN_MAX: Final = timedelta(days=3_660)
END_MAX: Final = timedelta(days=36_525)
#: Digits of the highest number that 64 bits hold.
_DIGITS_MAX: Final = 19
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
    zone_at: Callable[[datetime], ZoneInfo],
    phone_of: Callable[[str], str | None],
    now: datetime | None = None,
) -> list[BulkRow]:
    """The rows of a CSV file.

    Args:
        kind: What it holds.
        text: The file.
        zone_at: Tells the zone of dates and times without an offset, which it gets as if they were
            in UTC.
        phone_of: Tells a phone in E.164 from how people write it; None: it is none.
        now: Points and referrals are not later than this.

    Raises:
        BadImportError: With all problems at once.
    """
    reader = _Reader(kind, zone_at, phone_of, now or datetime.now(UTC), [])
    rows = list(reader.rows(text))
    if reader.problems:
        raise BadImportError(reader.problems)
    return rows


def names_phones(text: str) -> bool:
    """Whether the first line names a column of phones.

    What is no CSV is taken for such: it must not be kept either.
    """
    lines = csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""))
    try:
        return any("phone" in name.lower() for name in next(lines, []))
    except csv.Error:
        return True


@dataclass
class _Reader:
    kind: BulkKind
    zone_at: Callable[[datetime], ZoneInfo]
    phone_of: Callable[[str], str | None]
    now: datetime
    problems: list[str]

    def rows(self, text: str) -> Iterator[BulkRow]:
        if "\x00" in text:
            self.problems.append("the file is no text: it has null characters")
            return
        lines = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
        try:
            self._check_columns([name.strip() for name in lines.fieldnames or []])
            if self.problems:
                return
            any_lines = False
            for raw in lines:
                any_lines = True
                if lines.line_num > ROWS_MAX + 1:
                    self.problems.append(f"more than {ROWS_MAX} lines: import it in parts")
                    return
                row = self._row(raw, lines.line_num)
                if row is not None:
                    yield row
            if not any_lines:
                self.problems.append("the file has no lines below the first, which names columns")
        except csv.Error as error:
            self.problems.append(f"line {lines.line_num}: {error}")

    def _check_columns(self, names: list[str]) -> None:
        members = _MEMBER[self.kind]
        needed = (*_VALUE[self.kind], _AT[self.kind])
        known = {*needed, *(name for pair in members for name in pair), *_IGNORED}
        known |= {*_OPTIONAL.get(self.kind, ())}
        missing = [name for name in needed if name not in names]
        missing += [" or ".join(pair) for pair in members if not {*pair} & {*names}]
        if len(names) == 1 and ";" in names[0]:
            self.problems.append("the values are separated by semicolons: save it with commas")
        elif missing:
            self.problems.append(f"the first line must name the columns {', '.join(missing)}")
        elif twice := sorted({name for name in names if name in known and names.count(name) > 1}):
            self.problems.append(f"the first line names a column twice: {', '.join(twice)}")
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
            self._problem(line, "tier", "is missing; `twezah member tier` ends one")
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
            digits = number.isascii() and number.isdigit() and len(number) <= _DIGITS_MAX
            if digits and 0 < int(number) < 2**63:
                return int(number)
            self._problem(line, pair[0], "is not the number of a member")
        else:
            dialled = self.phone_of(phone)
            if dialled is not None:
                return dialled
            self._problem(line, pair[1], "is not a phone number as billing systems write it")
        return None

    def _at(self, text: str, line: int, column: str) -> datetime | None:
        at = self._moment(text) if _MOMENT.fullmatch(text) else None
        if at is None:
            self._problem(line, column, "must be a date like 2026-01-31, or a time")
            return None
        if at < EARLIEST:
            self._problem(line, column, f"is before {EARLIEST:%Y-%m-%d}")
        elif self.kind not in ("tiers", "lists") and at > self.now:
            self._problem(line, column, "is in the future")
        elif column == "valid_to" and at > self.now + END_MAX:
            self._problem(line, column, "is in the far future; left empty, it is for good")
        elif column != "valid_to" and at > self.now + BEGIN_MAX:
            self._problem(line, column, "is in the far future")
        return at

    def _moment(self, text: str) -> datetime | None:
        try:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                at = at.replace(tzinfo=self.zone_at(at.replace(tzinfo=UTC)))
            return at.astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def _points(self, text: str, line: int) -> int:
        digits = text.removeprefix("-")
        number = digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX
        points = int(text) if number else 0
        if points == 0:
            self._problem(line, "points", "must be a whole number, and not 0")
        elif abs(points) > POINTS_MAX:
            self._problem(line, "points", "are more than any member can have")
        return points

    def _problem(self, line: int, column: str, what: str) -> None:
        self.problems.append(f"line {line}: {column}: {what}")
