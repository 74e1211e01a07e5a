"""Pages of Xero-shaped invoices, seeded, for measuring how fast they become rows.

Two lines and one inline phone per invoice, about 1.3 KB each, n/10 distinct customers, amounts in
AOA.
Shape: https://developer.xero.com/documentation/api/accounting/invoices (GET with `page`).
"""

import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Final

import zstandard

PAGE_SIZE: Final = 1000
#: 2025-06-01T00:00:00Z: every sale lies in the half year after it.
_EPOCH_MS: Final = 1_748_736_000_000
_EPOCH_DAY: Final = date(2025, 6, 1).toordinal()
_DAY_MS: Final = 86_400_000
_DAYS: Final = 180
#: Item code, description, unit price in cêntimos.
_PRODUCTS: Final = (
    ("AGUA-500-12", "Água mineral 0,5 L, embalagem de 12", 240_000),
    ("AGUA-1500-6", "Água mineral 1,5 L, embalagem de 6", 198_050),
    ("AGUA-5000", "Garrafão de água 5 L", 85_000),
    ("AGUA-19000", "Garrafão de água 19 L, recarga", 312_575),
    ("GAS-330-24", "Água com gás 0,33 L, embalagem de 24", 529_990),
)
_STATUSES: Final = ("PAID",) * 70 + ("AUTHORISED",) * 28 + ("VOIDED",) * 2
_LENGTH: Final = struct.Struct("<I")

_LINE: Final = (
    '{"LineItemID":"%s","Description":"%s","UnitAmount":%s,"TaxType":"OUTPUT","TaxAmount":%s,"LineAmount":%s,'
    '"AccountCode":"200","Tracking":[],"Quantity":%d.0000,"ItemCode":"%s"}'
)
_INVOICE: Final = (
    '{"Type":"ACCREC","InvoiceID":"%s","InvoiceNumber":"INV-%07d","Reference":"","Payments":[],"CreditNotes":[],'
    '"Prepayments":[],"Overpayments":[],"AmountDue":%s,"AmountPaid":%s,"AmountCredited":0.00,"CurrencyRate":1.0000000000,'
    '"HasAttachments":false,"HasErrors":false,"Contact":{"ContactID":"%s","Name":"Cliente %06d",'
    '"Addresses":[],"Phones":[{"PhoneType":"DEFAULT","PhoneNumber":"%06d","PhoneAreaCode":"%d","PhoneCountryCode":"244"}],'
    '"ContactGroups":[],"ContactPersons":[],"HasValidationErrors":false},"DateString":"%sT00:00:00",'
    '"Date":"/Date(%d+0000)/","DueDate":"/Date(%d+0000)/","Status":"%s","LineAmountTypes":"Inclusive",'
    '"LineItems":[%s,%s],"SubTotal":%s,"TotalTax":%s,"Total":%s,"UpdatedDateUTC":"/Date(%d+0000)/","CurrencyCode":"AOA"}'
)
_ENVELOPE: Final = (
    '{"Id":"26a25f6a-0000-4000-8000-%012d","Status":"OK","ProviderName":"Benchmark","DateTimeUTC":"/Date(%d)/",'
    '"pagination":{"page":%d,"pageSize":%d,"pageCount":%d,"itemCount":%d},"Invoices":[%s]}'
)


def pages(n_invoices: int, page_size: int = PAGE_SIZE, *, seed: int = 7) -> Iterator[bytes]:
    """Response bodies, generated as they are asked for; the same for the same arguments."""
    draw = random.Random(seed)
    customers = max(1, n_invoices // 10)
    records = (_invoice(number, customers, draw) for number in range(n_invoices))
    page_count = -(-n_invoices // page_size)
    for page_no in range(1, page_count + 1):
        body = ",".join(islice(records, page_size))
        fields = (page_no, _EPOCH_MS, page_no, page_size, page_count, n_invoices, body)
        yield (_ENVELOPE % fields).encode()


def _invoice(number: int, customers: int, draw: random.Random) -> str:
    customer = draw.randrange(customers)
    lines, total_minor, tax_minor = [], 0, 0
    for line_no in range(2):
        code, name, price_minor = _PRODUCTS[draw.randrange(len(_PRODUCTS))]
        quantity = draw.randrange(1, 10)
        amount_minor = quantity * price_minor
        line_tax_minor = amount_minor * 14 // 114
        total_minor += amount_minor
        tax_minor += line_tax_minor
        money = (_money(price_minor), _money(line_tax_minor), _money(amount_minor))
        lines.append(_LINE % (_guid(0x3E, number * 2 + line_no), name, *money, quantity, code))
    day_no = draw.randrange(_DAYS)
    issued_ms = _EPOCH_MS + day_no * _DAY_MS
    status = _STATUSES[draw.randrange(len(_STATUSES))]
    due_minor = total_minor if status == "AUTHORISED" else 0
    paid_minor = total_minor if status == "PAID" else 0
    return _INVOICE % (
        _guid(0x8A, number), number, _money(due_minor), _money(paid_minor), _guid(0x3B, customer), customer,
        # A bijection on six digits: customers are distinct and do not count upwards.
        customer * 479_001_599 % 1_000_000, 921 + customer // 1_000_000 % 9,
        date.fromordinal(_EPOCH_DAY + day_no), issued_ms, issued_ms + 14 * _DAY_MS, status, *lines,
        _money(total_minor - tax_minor), _money(tax_minor), _money(total_minor),
        _EPOCH_MS + number * 1000 % (_DAYS * _DAY_MS),
    )  # fmt: skip


def _guid(kind: int, number: int) -> str:
    """A well-formed GUID whose leading digits vary as real ones do, so that no index is filled in order."""
    spread = number * 2_654_435_761 & 0xFFFFFFFF
    return f"{spread:08x}-{kind:04x}-4000-8000-{number:012x}"


def _money(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"


@dataclass(frozen=True, slots=True)
class StoredPages:
    """The pages of `pages()` kept compressed in one file: each call of it is an iterator of the bodies.

    So a measurement does not pay for generating (15 ms a page), only for reading back (0.4 ms), and
    memory stays at one page whatever n. Picklable: it crosses to a subprocess.
    """

    path: Path
    n_invoices: int

    def __call__(self) -> Iterator[bytes]:
        """The bodies, in order."""
        unpack = zstandard.ZstdDecompressor()
        with self.path.open("rb") as file:
            while header := file.read(_LENGTH.size):
                yield unpack.decompress(file.read(_LENGTH.unpack(header)[0]))


def stored(
    n_invoices: int, directory: Path, page_size: int = PAGE_SIZE, *, seed: int = 7
) -> StoredPages:
    """The pages in `directory`, generated on first use (some 15 s and 100 MB for a million invoices)."""
    path = directory / f"xero-{n_invoices}-{page_size}-{seed}.pages"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        pack = zstandard.ZstdCompressor(level=1)
        partial = path.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as file:
            for body in pages(n_invoices, page_size, seed=seed):
                packed = pack.compress(body)
                file.write(_LENGTH.pack(len(packed)) + packed)
        partial.rename(path)
    return StoredPages(path, n_invoices)
