"""The lists of a billing system, as values: how they are asked for and how they are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import polars as pl

from connectors.kit.spec.account import Account
from connectors.kit.spec.fields import Field
from connectors.kit.spec.records import Place, Records
from connectors.kit.spec.requests import PageRequest, Pages, PageView, Window

#: Whether an answer without its list is an empty one: never (False); where only the list is
#: missing (True); or whatever is missing. "null": only where null stands in the list's place.
#: "count is 0": where the `count` beside it (`info`) is 0.
MissingIsEmpty = bool | Literal["whatever is missing", "null", "count is 0"]


@dataclass(frozen=True, eq=False)
class Lines:
    """How the lines of a document are read."""

    #: Pointer to the list of lines in a document.
    path: str
    #: The columns of a line; their paths are relative to the line.
    fields: Mapping[str, Field]
    #: Pointer to lines inside a line (one level deep); None: there are none.
    nested: str | None = None
    #: Is given the parsed lines with their helper columns, and drops or changes lines.
    adjust: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    #: Other pointers, looked at where `path` holds nothing.
    also: tuple[str, ...] = ()
    #: Is given the lines, with `row`, the place of their document, and the finished documents with
    #: their helpers, and drops or changes lines.
    finish: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame] | None = None


@dataclass(frozen=True)
class Deleted:
    """The documents that a page says are gone; in a census, those that it says still exist."""

    #: Their ids, as they are stored.
    external_ids: tuple[str, ...]
    #: When each was deleted, as the vendor writes it; None where it is not said.
    deleted_at: tuple[str | None, ...]
    #: All records of the page, also those about other things.
    record_count: int
    #: Ids that still exist, on a page of a stream that is no census by itself.
    listed: tuple[str, ...] = ()
    #: The kind of those documents: where there are any, they are all documents of it.
    listed_kind: str | None = None


@dataclass(frozen=True, eq=False)
class ById:
    """How documents of a list are asked for by the vendor's ids."""

    #: Batches ids into requests, the fewer the better. Their answers are pages of the list, unless
    #: `single` says otherwise.
    requests: Callable[[Account, Sequence[str]], Iterable[PageRequest]]
    #: Pointers at which an answer holds its one document ("": it is the answer).
    single: tuple[str, ...] = ()
    #: Pointer to the list of documents in an answer, where that is not the list's own pointer; null
    #: stands there for an id that the vendor does not know.
    records: str = ""
    #: The key under which the document is put into a record of its list; "": it is the record, or
    #: completes it. Where the records are about documents, as those of a list of changes are.
    under: str = ""
    #: Pointers in a record to the id by which its document is asked for, where that is not the
    #: record's own (an invoice names its order); the first that holds something counts. The
    #: document takes the record's place, unless it is put `under` a key of it.
    named: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Lookup:
    """A list asked by id to complete invoices: customers (phone), items (sku), or lines."""

    name: Literal["customers", "items", "lines"]
    #: Batches ids into requests.
    requests: Callable[[Account, Sequence[str]], Iterable[PageRequest]]
    #: Pointer to the list in an answer.
    records: str
    #: external_id, and the phones of a customer in order of preference, or name and sku of an item.
    fields: Mapping[str, Field]
    #: How the cached rows are matched: "name" where lines do not name their item's id.
    key: Literal["external_id", "name"] = "external_id"
    #: Pages each of the requests; None: each has one answer.
    paginate: Callable[[PageRequest], Pages] | None = None
    #: Asks for one id that did not come back.
    fallback: Callable[[Account, str], PageRequest] | None = None
    #: Pointer to the one record in the answer to `fallback` ("": the whole answer).
    fallback_record: str | None = None
    #: Pointers to numbers beside the list, by the names that `paginate` knows.
    info: Mapping[str, str] = field(default_factory=dict)
    #: Whether an answer without its list is an empty one.
    missing_is_empty: bool = False
    #: Whether the list says less of a customer than the customer alone: then those without a phone
    #: in it are asked for with `fallback`.
    sparse: bool = False
    #: Whether the answer holds an object of records by their ids, in place of a list.
    keyed: bool = False


@dataclass(frozen=True, eq=False)
class Beside:
    """Other records that those of a list name, and that say more of them.

    An example is the sale that a return takes back, where only the sale names the customer. They
    are asked for in batches, before a page is stored, and kept inside the records that name them,
    byte for byte as received.
    """

    #: The key under which a record gets the other one; a name that the vendor does not use.
    name: str
    #: Pointers to the other record's id; the first that holds something.
    record: tuple[str, ...]
    #: Batches those ids into requests; of a vendor that skips ids it does not know.
    requests: Callable[[Account, Sequence[str]], Iterable[PageRequest]]
    #: Pointer to the list in their answers.
    records: str
    #: Pointer to the id of an entry of it.
    id: str
    #: Pointers in a record; where one of them holds something, the other record is not needed.
    unless: tuple[str, ...] = ()
    #: Pointer in a record; where it holds nothing, the other record is not needed. "": it always is.
    where: str = ""


@dataclass(frozen=True, eq=False)
class Details:
    """Lines that a list leaves out.

    They are asked for by the ids of a page's records, before the page is stored. The answers are
    stored with the page, as received, so that a page can still be mapped alone.
    """

    #: Asks for the lines; its external_id tells lines apart.
    lookup: Lookup
    #: Pointer to a record's id.
    record: str
    #: Pointer to the id of a line's record; of several, the first that holds something.
    line: str | tuple[str, ...]

    @property
    def owner(self) -> tuple[str, ...]:
        """The pointers of `line`."""
        return (self.line,) if isinstance(self.line, str) else self.line


@dataclass(frozen=True, eq=False)
class Rest:
    """A list inside a record of which entries are missing, such as the lines after the first ten.

    Where the record says so, the whole list is asked for before the page is stored, and put into
    the record.
    """

    #: Pointer in a record to what says that entries are missing: true, or a number other than 0.
    #: That of the id (`owner`) has every record's list asked for.
    when: str
    #: Pointer in a record to the id by which they are asked for.
    owner: str
    #: Asks for the whole list, and pages it; its external_id tells the entries apart.
    lookup: Lookup
    #: Pointer in a record to where the list is put, in place of what is there.
    at: str


@dataclass(frozen=True, eq=False)
class Stream:
    """One list of a vendor, and how its records become invoices."""

    name: str
    #: What its documents are, unless a field `kind` says otherwise: invoice, sale, credit_note or
    #: refund.
    kind: str
    #: Builds the first request; None when there is nothing to ask (e.g. no window).
    first: Callable[[Account, Window, datetime], PageRequest | None]
    #: The way of paging; see `connectors.kit.read.pagination`.
    paginate: Callable[[PageRequest], Pages]
    #: Pointer to the list of records in a page.
    records: str
    #: The columns of INVOICE; and, where the vendor passes them on, `payment_reference` and
    #: `order_reference`, which become its `reference_ids`.
    fields: Mapping[str, Field] = field(default_factory=dict)
    #: Read as fields are, and used only by computed fields, `keep` and `finish`.
    helpers: Mapping[str, Field] = field(default_factory=dict)
    #: How the lines of a document are read; None: it has none.
    lines: Lines | None = None
    #: Pointers to values beside the list, by the names that `paginate` knows.
    info: Mapping[str, str] = field(default_factory=dict)
    #: Pointers under which the vendor wraps one record; for samples.
    single: tuple[str, ...] = ()
    #: Whether an answer without its list is an empty one.
    missing_is_empty: MissingIsEmpty = False
    #: Whether documents can leave the list (deleted ones), so that later ones move up. Lists that
    #: keep void documents do not shrink.
    shrinks: bool = False
    #: Which records are documents of ours, by the helpers; None: all of them.
    keep: pl.Expr | None = None
    #: Whether sales to nobody are usual here (a guest at a shop, a till's passer-by). Records
    #: without a customer's id and phone are then counted and left out; otherwise they are rejected.
    walk_ins: bool = False
    #: Changes the parsed documents, given with their helpers, and the lines.
    finish: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame] | None = None
    #: Replaces the mapping: reads which documents are gone out of the JSON of an answer. Raises
    #: LookupError, TypeError or AttributeError where that is not possible.
    deleted: Callable[[Any], Deleted] | None = None
    #: Divides a request whose answer is full and cannot be paged.
    split: Callable[[PageRequest, PageView], Sequence[PageRequest]] | None = None
    #: Asks for lines that the list leaves out.
    details: Details | None = None
    #: Lists inside a record that may be longer than the record shows.
    rest: tuple[Rest, ...] = ()
    #: The helper that marks a record of this list as a deleted document; it holds the time of the
    #: deletion, or any other value.
    gone: str | None = None
    #: False: records are kept whatever their time of change (the window is about the pages).
    windowed: bool = True
    #: Opens pages that are no JSON. It is given the type of a record, the body and the page's id,
    #: and raises nothing: what cannot be read is `Broken`.
    reads: Callable[[Any, bytes, int], Records] | None = None
    #: Reads what stands where in such a page, row by row.
    places: Callable[[bytes], Sequence[Place]] | None = None
    #: Pointers to what tells the vendor's records apart, where that is not the document's external
    #: id; pages and details go by it.
    row_id: tuple[str, ...] = ()
    #: Whether `deleted` reads the ids of all documents that still exist. What no census of the
    #: system names is gone.
    census: bool = False
    #: Names of the streams that tell which documents of this list were deleted. The list itself is
    #: one of them, where it keeps those documents and marks them.
    deletions: tuple[str, ...] = ()
    #: Asks for single documents of the list, which webhooks name.
    by_id: ById | None = None
    #: The list says too little of its documents, so each is asked for by its id.
    incomplete: bool = False
    #: What to do where the answers keep naming a total that is not reached. "": the total is the
    #: vendor's own, and known to be wrong at times.
    total_advice: str = ""
    #: Error codes by which an older version of the vendor's software says that it has no such list:
    #: nothing is read then, and that is no error.
    absent: tuple[str, ...] = ()
    #: Asks for other records that those of this list name.
    beside: Beside | None = None
