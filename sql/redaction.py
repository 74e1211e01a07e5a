"""What a stored text says of one person, and the text without it.

Amounts, dates, ids and products stay.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

ERASED: Final = "(erased)"
_NUMBER: Final = "\ue000"
#: What no text says: a character for private use.
_NOBODY: Final = "\ue001"
#: Keys whose texts may name a person, in the records of whoever is erased.
_PERSONAL: Final = re.compile(
    r"name|phone|mobile|cell|fax|mail|addr|street|line\d|city|town|postal|post_?code|zip|region|"
    r"province|contact|"
    r"memo|note|comment|message|attention|birth|tax_?(id|number)|vat_?number|nif",
    re.IGNORECASE,
)
#: Below these keys is what was sold, and in which store: their names are nobody's.
_SOLD: Final = re.compile(
    r"^(line|lines|line_?items|items|products|(currency|department|location|store)_?ref)$",
    re.IGNORECASE,
)
#: Keys beside which the billing system's own customer number stands, or below which.
_CUSTOMER: Final = re.compile(
    r"(customer|client|contact|buyer|entity|cliente)[_.]?(ref)?[_.]?"
    r"(id|no|number|code|key|value)?$",
    re.IGNORECASE,
)
_ID: Final = re.compile(r"^(.*[_.]?id|value|key|code|codigo|number|numero)$", re.IGNORECASE)

_OWN_ID: Final = re.compile(r"(^key|id)$", re.IGNORECASE)


@dataclass(frozen=True)
class Person:
    """What tells that something is about one person.

    `customers` are numbers of the billing system whose text it is; `listed`: its records are
    customers themselves. `names` and `mails` are what their records were found to say; they are
    added to as texts are redacted.
    """

    #: What finds the person's phones in a text.
    pattern: "re.Pattern[str]"
    #: Their customer numbers at the account that is read.
    customers: frozenset[str] = frozenset()
    listed: bool = False
    #: Names that were found in their records.
    names: set[str] = field(default_factory=set)
    #: E-mail addresses that were found in their records.
    mails: set[str] = field(default_factory=set)

    def at(self, customers: Iterable[str], *, listed: bool = False) -> "Person":
        """The same person as one account knows them."""
        return replace(self, customers=frozenset(customers), listed=listed)

    def search(self, text: str) -> "re.Match[str] | None":
        """Where a text says the phone or the e-mail address."""
        return self.pattern.search(text)

    def is_named_by(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is the customer, or refers to them by the system's number."""
        if not self.customers:
            return False
        if self.listed and any(_PERSONAL.search(key) for key in record):
            own_ids = (value for key, value in record.items() if _OWN_ID.search(key))
            if any(self._is_number(value) for value in own_ids):
                return True
        return any(self._named(key, value) for key, value in record.items())

    def _named(self, key: str, value: Any) -> bool:
        if not _CUSTOMER.search(key):
            return False
        if isinstance(value, dict):
            return any(
                _ID.match(inner) and self._is_number(entry) for inner, entry in value.items()
            )
        return self._is_number(value)

    def _is_number(self, value: Any) -> bool:
        if isinstance(value, bool | dict | list) or value is None:
            return False
        return str(value).removeprefix(_NUMBER) in self.customers

    def note(self, key: str, value: str) -> None:
        """Remembers a name or an address that a record of theirs says."""
        if "@" in value:
            self.mails.add(value.strip())
        elif "name" in key.lower() and " " in value.strip() and len(value.strip()) > 5:
            self.names.add(value.strip())

    def with_mails(self) -> "Person":
        """Also told by the e-mail addresses that were found."""
        if not self.mails:
            return self
        mails = "|".join(_in_any_case(mail) for mail in sorted(self.mails))
        return replace(self, pattern=re.compile(f"{self.pattern.pattern}|{mails}"))

    def everywhere(self) -> str:
        """A pattern of everything that is known to name them, for texts without structure."""
        names = sorted(self.names | self.mails)
        # (JSON may write what is not ASCII by its number.)
        written = {form for name in names for form in (name, json.dumps(name)[1:-1])}
        return "|".join([self.pattern.pattern, *(re.escape(name) for name in sorted(written))])


def _in_any_case(text: str) -> str:
    """A pattern of a text in capitals or not, for Python and PostgreSQL, which knows no `(?i:`."""
    return "".join(
        f"[{low}{high}]" if low != high and len(low) == len(high) == 1 else re.escape(char)
        for char, low, high in ((char, char.lower(), char.upper()) for char in text)
    )


def person_with(phones: Sequence[str]) -> Person:
    """Tells the phones (E.164), with or without country code, however they are written."""
    parts = []
    for phone in phones:
        digits = phone.lstrip("+")
        # The longest country code has three digits; within the country, numbers are written
        # without it.
        national = r"[\s().\-/]{0,3}".join(digits[3:] if len(digits) > 9 else digits)
        parts.append(
            rf"(?<![0-9])(?:(?:\+|00)?[\s(]{{0,2}}{digits[:3]}[\s().\-/]{{0,3}})?"
            rf"0?{national}(?![0-9])"
        )
    return Person(re.compile("|".join(parts) or _NOBODY))


def redact(text: str, person: Person, *, enveloped: bool = False) -> str | None:
    """The text without what it says of the person; None where it says nothing.

    Numbers stay as they were written. `enveloped`: a list's answer, so that a list of customers in
    it is one of records, and no part of one.
    """
    try:
        document = _load(text)
    except (ValueError, RecursionError):
        lines = text.splitlines(keepends=True)
        redacted = [_line(line, person) for line in lines]
        return None if redacted == lines else "".join(redacted)
    cleaned = _cleaned(document, person, envelope=enveloped)
    if cleaned == document:
        return None
    written = json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))
    return re.sub(rf'"{_NUMBER}([^"]*)"', r"\1", written)


def records_of(text: str, person: Person, *, enveloped: bool = False) -> list[str]:
    """What a stored text says of the person: the records that `redact` would empty, as JSON.

    Of a text that is no JSON: the lines that name them.
    """
    try:
        document = _load(text)
    except (ValueError, RecursionError):
        return [line for line in text.splitlines() if person.search(line)]
    records: list[str] = []

    def keep(value: Any, _: Person) -> Any:
        written = json.dumps(value, ensure_ascii=False, indent=1)
        records.append(re.sub(rf'"{_NUMBER}([^"]*)"', r"\1", written))
        return value

    _cleaned(document, person, envelope=enveloped, empty=keep)
    return records


def _line(line: str, person: Person) -> str:
    """A line of a file without the person.

    The line is a record of its own: the phone goes, and, where the line is JSON, the rest too.
    """
    if not person.search(line) and not person.customers:
        return line
    try:
        cleaned = _cleaned(_load(line), person)
    except (ValueError, RecursionError):
        return person.pattern.sub(ERASED, line)
    if not _mentions(cleaned, person) and cleaned == _load(line):
        return line
    written = json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))
    return re.sub(rf'"{_NUMBER}([^"]*)"', r"\1", written) + line[len(line.rstrip("\r\n")) :]


def _load(text: str) -> Any:
    return json.loads(text, parse_float=lambda number: _NUMBER + number)


def _cleaned(
    value: Any,
    person: Person,
    *,
    envelope: bool = False,
    empty: Callable[[Any, Person], Any] | None = None,
) -> Any:
    """The value without the person's data.

    Of records within records, only the smallest one about the person is emptied; of a list, only
    the elements about them. `empty` makes of such a record what takes its place.
    """
    empty = empty or _blank
    if not _mentions(value, person):
        return value
    if isinstance(value, dict):
        lists = {k: v for k, v in value.items() if _has_records(v) and _mentions(v, person)}
        beside = {k: v for k, v in value.items() if k not in lists}
        of_one = person.is_named_by(value) or any(
            _of_a_person(k) and not (envelope and _holds_people(v)) for k, v in lists.items()
        )
        if lists and not _mentions(beside, person) and not of_one:
            return {
                k: _cleaned(v, person, envelope=envelope, empty=empty) if k in lists else v
                for k, v in value.items()
            }
        nested = [k for k, v in value.items() if isinstance(v, dict) and _mentions(v, person)]
        if len(value) == 1 and nested:
            return {nested[0]: _cleaned(value[nested[0]], person, empty=empty)}
        return empty(value, person)
    if isinstance(value, list):
        return [_cleaned(entry, person, empty=empty) for entry in value]
    return empty(value, person)


def _is_id(key: str) -> bool:
    """`ContactID` names nobody; a tax number does."""
    return bool(_OWN_ID.search(key)) and not re.search(r"tax|vat|mail", key, re.IGNORECASE)


def _of_a_person(key: str) -> bool:
    return bool(_PERSONAL.search(key)) or bool(_SOLD.match(key))


def _has_records(value: Any) -> bool:
    return (isinstance(value, list) and any(isinstance(entry, dict) for entry in value)) or (
        isinstance(value, dict) and any(_has_records(entry) for entry in value.values())
    )


def _holds_people(value: Any) -> bool:
    """Whether it is a list of customers, each with their own number.

    One person's list of phones or addresses is none.
    """
    return isinstance(value, list) and any(
        isinstance(entry, dict) and any(_OWN_ID.search(key) for key in entry) for entry in value
    )


def _mentions(value: Any, person: Person) -> bool:
    if isinstance(value, dict):
        return person.is_named_by(value) or any(
            _mentions(entry, person) for entry in value.values()
        )
    if isinstance(value, list):
        return any(_mentions(entry, person) for entry in value)
    if isinstance(value, bool) or value is None:
        return False
    return person.search(str(value)) is not None


def _blank(value: Any, person: Person, key: str = "", *, sold: bool = False) -> Any:
    """A record without texts that may be of a person; amounts, dates, ids and products stay."""
    if isinstance(value, dict):
        return {
            k: v
            if isinstance(v, str) and _is_id(k) and not person.search(v)
            else _blank(
                v,
                person,
                f"{key}.{k}" if _PERSONAL.search(key) else k,
                sold=sold or bool(_SOLD.match(k)),
            )
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_blank(entry, person, key, sold=sold) for entry in value]
    if isinstance(value, bool) or value is None:
        return value
    if person.search(str(value)):
        return ERASED
    # (A customer number of one billing system has no meaning in another.)
    is_text = (
        isinstance(value, str)
        and bool(value)
        and not value.startswith(_NUMBER)
        and value not in person.customers
    )
    if is_text and not sold and _PERSONAL.search(key):
        person.note(key, value)
        return ERASED
    return value
