"""Zoho Books, API v3: invoices, sales receipts and credit notes, and the ids of those that exist.

https://www.zoho.com/books/api/v3/invoices/

Lists leave out the lines and the tax, so every document that changed is asked for by its id. Zoho
counts every call against a quota of the organisation, so documents that did not change are not
asked for. Deleted documents leave the lists without a trace: once a day all ids are listed and
compared.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("Zoho Books:
...").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import polars as pl

from connectors.kit.errors import CredentialsRejected, RateLimited, Transient, UnknownDocument
from connectors.kit.http.auth import form_body
from connectors.kit.read.pagination import by_page
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Consent,
    Deleted,
    GrantedAccount,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    Stream,
    TokenAuth,
    Window,
    is_due,
)
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    day,
    decimal,
    instant,
    money,
    order_reference,
    phone,
    status_map,
    text,
)

_ROOT: Final = "/books/v3"
_PAGE_SIZE: Final = 200
#: How often deletions are looked for, unless the block says otherwise.
_CENSUS_HOURS: Final = 24
#: Up to so many customers or items are asked for one by one. For more, the whole list is read: 200
#: a call.
_SINGLE_MAX: Final = 20
_INFO: Final = {"context": "/page_context"}


def _has_more(context: Any) -> Any:
    """Whether there are more pages; the vendor's description shows a list of one context."""
    if isinstance(context, list):
        context = context[0] if context else None
    return context.get("has_more_page") if isinstance(context, dict) else None


_PAGED: Final = partial(
    by_page,
    size_param="per_page",
    vendor_size=_PAGE_SIZE,
    more="context",
    read_more=_has_more,
)

#: Whether a list is read for an account.
_Wanted = Callable[[Account], bool]


class NotAuthorised(CredentialsRejected):
    """Zoho refuses the token, or the user behind it: it answers both with the same code."""

    advice = (
        'Check "Data centre", "Organization ID", client ID and client secret in the block '
        '"{block}", then connect it anew with `twezah connect` or the deployment "connect". If '
        "that does not help, the user who consented may not see invoices, credit notes, contacts "
        "or items: an administrator of the organization gives that user the role in Zoho Books."
    )
    who = "operator: the block, or a new consent; then an administrator at the vendor: the role"


def _always(_account: Account) -> bool:
    return True


def _receipts_wanted(account: Account) -> bool:
    return bool(account.options.get("sales_receipts"))


def _page_of(account: Account, resource: str, **params: str) -> PageRequest:
    """The first request of a list, oldest first: new documents come last."""
    order = {"sort_column": "created_time", "sort_order": "A"}
    size = str(SPEC.size(account))
    return PageRequest(
        "GET", f"{_ROOT}/{resource}", {"page": "1", "per_page": size, **order, **params}
    )


def _changed(
    resource: str, wanted: _Wanted
) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The first request for what changed.

    The filter may leave out the very second that it names, so it names the one before. It is
    documented for invoices alone: where Zoho ignores it, the whole list comes.
    """

    def first(account: Account, window: Window, _now: datetime) -> PageRequest | None:
        if not wanted(account):
            return None
        if window.since is None:
            return _page_of(account, resource)
        since = window.since.astimezone(UTC) - timedelta(seconds=1)
        return _page_of(account, resource, last_modified_time=f"{since:%Y-%m-%dT%H:%M:%S}+0000")

    return first


def _all(
    resource: str, wanted: _Wanted
) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The first request for all ids, once a day.

    The first read of an account needs none: it has nothing to compare with.
    """

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        every_hours = int(account.options.get("deletions_hours", _CENSUS_HOURS))
        if not wanted(account) or not is_due(window.since, now, every_hours):
            return None
        return _page_of(account, resource)

    return first


def _one(resource: str) -> Callable[[Account, str], PageRequest]:
    """The request for one record by its id."""
    return lambda _, vendor_id: PageRequest(
        "GET", f"{_ROOT}/{resource}/{quote(vendor_id, safe='')}"
    )


def _by_id(resource: str, name: str) -> ById:
    def requests(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        return [_one(resource)(account, vendor_id) for vendor_id in ids]

    return ById(requests, single=(f"/{name}",))


def _many(resource: str, **params: str) -> Callable[[Account, Sequence[str]], list[PageRequest]]:
    """The whole list where many are wanted; no list can be asked for by ids."""

    def requests(account: Account, ids: Sequence[str]) -> list[PageRequest]:
        if len(ids) <= _SINGLE_MAX:
            return []
        listed = {"page": "1", "per_page": str(SPEC.size(account)), **params}
        return [PageRequest("GET", f"{_ROOT}/{resource}", listed)]

    return requests


def _of_people(value: Any, keys: Sequence[str] = ("mobile", "phone")) -> str | None:
    """A number as it is, or that of the first contact person who has one.

    The primary contact comes first, and a mobile before any other number.
    """
    if not isinstance(value, list):
        return str(value)
    people = sorted(
        (person for person in value if isinstance(person, dict)),
        key=lambda person: person.get("is_primary_contact") is not True,
    )
    numbers = (person.get(key) for key in keys for person in people)
    return next((str(number) for number in numbers if number), None)


def _subtotal(invoices: pl.DataFrame, _lines: pl.DataFrame) -> pl.DataFrame:
    """The amount without tax: the sum of the lines that Zoho sends has no discount or shipping."""
    return invoices.with_columns(
        (pl.col("total_minor") - pl.col("tax_minor")).alias("subtotal_minor")
    )


_NONE: Final = computed(pl.lit(None, dtype=pl.Int64), required=False)
_NOTHING: Final = computed(pl.lit(0, dtype=pl.Int64), required=False)
#: Documents that wait for an approval are not issued yet.
_NOT_ISSUED: Final = ("draft", "pending_approval", "approved", "rejected", "scheduled")
_STATUS: Final = status_map(
    "state",
    draft=_NOT_ISSUED,
    open=("sent", "viewed", "unpaid", "partially_paid", "overdue", "open"),
    paid=("paid", "closed"),
    void=("void",),
)
#: A receipt is written when the money is there; "sent" says that the customer got it by mail.
_RECEIPT_STATUS: Final = status_map(
    "state", draft=_NOT_ISSUED, paid=("sent", "viewed", "paid", "closed"), void=("void",)
)
_LINES: Final = Lines(
    "/line_items",
    {
        "item_external_id": text("/item_id"),
        "sku": text("/sku"),
        "name": text("/name", "/description"),
        "quantity": decimal("/quantity"),
        "unit_price": decimal("/rate"),
        "amount_minor": money("/item_total", exact=False),
    },
)


def _documents(
    name: str,
    kind: str,
    resource: str,
    single: str,
    *,
    deletions: str,
    wanted: _Wanted = _always,
    **fields: Field,
) -> Stream:
    return Stream(
        name,
        kind,
        _changed(resource, wanted),
        _PAGED,
        records=f"/{resource}",
        info=_INFO,
        shrinks=True,
        deletions=(deletions,),
        single=(f"/{single}",),
        fields={
            "customer_external_id": text("/customer_id", required=True),
            "customer_phone": phone(
                "/contact_persons_associated", "/phone", "/billing_address/phone", pick=_of_people
            ),
            "currency": currency("/currency_code"),
            "total_minor": money("/total", required=True),
            "subtotal_minor": _NONE,
            "tax_minor": money("/tax_total", exact=False),
            "amount_refunded_minor": _NOTHING,
            "status": computed(_STATUS, "/status"),
            "issued_at": day("/date", required=True),
            "order_reference": order_reference("/reference_number"),
            "store": text("/location_name", "/location_id"),
            "channel": text("/sales_channel"),
            "city": text("/shipping_address/city", "/billing_address/city"),
            "region": text("/shipping_address/state", "/billing_address/state"),
            "updated_at": instant(
                "/last_modified_time", "/updated_time", "/created_time", "/date", required=True
            ),
            **fields,
        },
        helpers={
            "state": text("/status"),
            "balance_minor": money("/balance", exact=False),
            "made_at": instant("/created_time"),
        },
        lines=_LINES,
        finish=_subtotal,
        by_id=_by_id(resource, single),
        incomplete=True,
    )


def _listed(resource: str, id_key: str, prefix: str, kind: str) -> Callable[[Any], Deleted]:
    """Reads the ids of a page of documents that exist."""

    def read(body: Any) -> Deleted:
        ids = tuple(f"{prefix}{record[id_key]}" for record in body[resource])
        return Deleted(ids, (None,) * len(ids), len(ids), listed_kind=kind)

    return read


def _census(name: str, resource: str, read: Callable[[Any], Deleted]) -> Stream:
    return Stream(
        name,
        "invoice",
        _all(resource, _always),
        _PAGED,
        records=f"/{resource}",
        info=_INFO,
        shrinks=True,
        deleted=read,
        census=True,
    )


def _receipts_listed(body: Any) -> Deleted:
    """The receipts that exist, as documents of one kind.

    This is no census: those are complete only together, and not every account reads receipts.
    """
    read = _listed("salesreceipts", "sales_receipt_id", _RECEIPT, "sale")(body)
    return Deleted((), (), read.record_count, read.external_ids, "sale")


def _organizations(body: Any) -> list[GrantedAccount]:
    return [
        GrantedAccount(str(entry["organization_id"]), entry.get("name") or "")
        for entry in body["organizations"]
    ]


def _params(account: Account) -> Mapping[str, str]:
    """The organisation; a consent lists the organisations before one is chosen."""
    return {"organization_id": account.account} if account.account else {}


def _fault(body: Any) -> str | None:
    """The code in every answer; 0 is success."""
    code = str(body["code"])
    return None if code == "0" else code


_CREDIT, _RECEIPT = "credit_note/", "sales_receipt/"
_SCOPES = tuple(
    f"ZohoBooks.{name}.READ" for name in ("invoices", "creditnotes", "contacts", "settings")
)

SPEC = ConnectorSpec(
    name="zoho_books",
    title="Zoho Books",
    docs_url="https://www.zoho.com/books/api/v3/introduction/",
    base_url="https://www.zohoapis.{data_centre}",
    token_url="https://accounts.{accounts_domain}/oauth/v2/token",
    auth=lambda _: TokenAuth(form_body, word="Zoho-oauthtoken", refused=NotAuthorised),
    consent=Consent(
        "https://accounts.{accounts_domain}/oauth/v2/auth",
        scopes=_SCOPES,
        register_url="https://api-console.zoho.com",
        scope_separator=",",
        older=dict.fromkeys(_SCOPES, "ZohoBooks.fullaccess.all"),
        # Without these, Zoho gives no refresh token, or only the first time.
        params={"access_type": "offline", "prompt": "consent"},
        secret_in_body=True,
        accounts=PageRequest("GET", f"{_ROOT}/organizations"),
        read_accounts=_organizations,
    ),
    params=_params,
    streams=(
        _documents(
            "invoices",
            "invoice",
            "invoices",
            "invoice",
            deletions="invoice_census",
            external_id=text("/invoice_id", required=True),
            invoice_number=text("/invoice_number"),
            amount_paid_minor=money("/payment_made", exact=False),
            # What was written off is never paid.
            amount_refunded_minor=money("/write_off_amount", exact=False),
        ),
        _documents(
            "sales_receipts",
            "sale",
            "salesreceipts",
            "salesreceipt",
            deletions="receipt_list",
            wanted=_receipts_wanted,
            external_id=text("/sales_receipt_id", required=True, prefix=_RECEIPT),
            invoice_number=text("/receipt_number"),
            amount_paid_minor=money("/total"),
            status=computed(_RECEIPT_STATUS, "/status"),
        ),
        _documents(
            "credit_notes",
            "credit_note",
            "creditnotes",
            "creditnote",
            deletions="credit_note_census",
            external_id=text("/creditnote_id", required=True, prefix=_CREDIT),
            invoice_number=text("/creditnote_number"),
            # People write the invoice's number here; what is no sale's number is no link.
            original_external_id=text("/reference_number"),
            amount_paid_minor=computed(
                pl.col("total_minor") - pl.col("balance_minor"), required=False
            ),
        ),
        _census("invoice_census", "invoices", _listed("invoices", "invoice_id", "", "invoice")),
        _census(
            "credit_note_census",
            "creditnotes",
            _listed("creditnotes", "creditnote_id", _CREDIT, "credit_note"),
        ),
        Stream(
            "receipt_list",
            "sale",
            _all("salesreceipts", _receipts_wanted),
            _PAGED,
            records="/salesreceipts",
            info=_INFO,
            shrinks=True,
            deleted=_receipts_listed,
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            _many("contacts", contact_type="customer", sort_column="created_time"),
            "/contacts",
            {
                "external_id": text("/contact_id"),
                "mobile": phone("/mobile"),
                "person_mobile": phone(
                    "/contact_persons", pick=partial(_of_people, keys=("mobile",))
                ),
                "phone": phone("/phone"),
                "person_phone": phone(
                    "/contact_persons", pick=partial(_of_people, keys=("phone",))
                ),
                "billing": phone("/billing_address/phone"),
            },
            paginate=_PAGED,
            info=_INFO,
            fallback=_one("contacts"),
            fallback_record="/contact",
            sparse=True,
        ),
        Lookup(
            "items",
            _many("items"),
            "/items",
            {"external_id": text("/item_id"), "name": text("/name"), "sku": text("/sku")},
            paginate=_PAGED,
            info=_INFO,
            fallback=_one("items"),
            fallback_record="/item",
        ),
    ),
    # 100 a minute for each organisation, and 5 at once on the smallest plan. The limit of the day
    # depends on the plan: headers say how many are left, and how many seconds until it begins anew.
    # A 429 does not say when to come back.
    rate=RateLimit(
        ((100, 60.0),),
        concurrency=5,
        retry_after_seconds=60,
        day_left_header="x-rate-limit-remaining",
        day_reset_header="x-rate-limit-reset",
    ),
    page_size=_PAGE_SIZE,
    fault=_fault,
    # 14 and 57: the token is missing, unknown or not allowed. 43 to 45: too many calls, which Zoho
    # also says with status 400. 1000: a failure inside Zoho. 1002: no such document.
    errors={
        "14": NotAuthorised,
        "57": NotAuthorised,
        "43": RateLimited,
        "44": RateLimited,
        "45": RateLimited,
        "1000": Transient,
        "1002": UnknownDocument,
    },
)
