"""Run as a program of its own, because a fork needs a process without threads: what became of a sibling, as JSON."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import zstandard

from sql.sync import StoredPage
from tasks.extract.bulk import map_process as sibling


def children() -> list[int]:
    """This process's children."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def page(number: int, count: int = 50) -> bytes:
    """A page of invoices; each tenth record has no total."""
    records = [
        {
            "Type": "ACCREC", "InvoiceID": f"{number}-{at}", "Status": "AUTHORISED", "CurrencyCode": "AOA",
            "Contact": {"ContactID": "c1", "Phones": [{"PhoneType": "DEFAULT", "PhoneNumber": "923456789"}]},
            "DateString": "2026-01-02T00:00:00", "UpdatedDateUTC": "/Date(1767312000000+0000)/",
            "LineItems": [{"ItemCode": "AGUA", "Quantity": 1.5, "LineAmount": 10.25}],
        }
        | ({} if at % 10 == 0 else {"Total": 10.25})
        for at in range(count)
    ]  # fmt: skip
    return json.dumps({"Invoices": records}).encode()


def stored(number: int, body: bytes) -> StoredPage:
    """A page as the database holds it."""
    return StoredPage(number, 50, zstandard.compress(body))


def main() -> None:
    """Maps with the sibling and without, then kills it."""
    sibling.prepare_run()
    [pid] = children()
    from connectors import SYSTEMS
    from connectors.kit.spec import Account, Window

    vendor, spec = Account("xero", "tenant"), SYSTEMS["xero"]
    stream, window = spec.stream("invoices"), Window()
    hurry = Event()
    pages = [stored(number, page(number)) for number in range(1, 4)]
    here = sibling.map_and_pack(spec, vendor, stream, window, pages)
    there = sibling.mapped_by_process(vendor, stream, window, pages, hurry=hurry)
    broken = sibling.mapped_by_process(
        vendor, stream, window, [stored(1, b'{"Invoices": [')], hurry=hurry
    )
    again = sibling.mapped_by_process(vendor, stream, window, pages, hurry=hurry)
    with (
        sibling._lock,
        ThreadPoolExecutor(1) as pool,
    ):  # busy: whoever has time waits, whoever has not maps himself
        waiting = pool.submit(sibling.mapped_by_process, vendor, stream, window, pages, hurry=hurry)
        patient = not wait([waiting], timeout=0.1).done
        hurry.set()
        patient = patient and waiting.result(5) is None
    if "kill" in sys.argv:
        os.kill(pid, signal.SIGKILL)
    after = sibling.mapped_by_process(vendor, stream, window, pages, hurry=hurry)
    told = {
        "pid": pid,
        "same": here == there == again,
        "records": here.record_count,
        "frames": sorted(here.frames),
    }
    told |= {"broken": broken is None, "patient": patient, "after": after is not None}
    print(json.dumps(told), flush=True)  # noqa: T201  its output is its result
    if "orphan" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
