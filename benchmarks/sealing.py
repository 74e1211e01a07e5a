"""What sealing stored bodies costs: of a page's way into the database and out again.

    python -m benchmarks.sealing [pages]

The same pages are stored and read back with the product's own functions, plain and sealed, turn
about in one run; the best of each counts. Prints one line per way, and the share that sealing adds.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from settings import Settings
from sql import sealing, sync
from sql.db import connect
from sql.migrate import migrate
from sql.sealing import Keyring
from twezah.stack.postgres import running

#: Records of a page, and its size: as QuickBooks and Xero answer.
RECORDS, RECORD_BYTES = 100, 900
ROUNDS = 5


class Plain(Keyring):
    """As before there was sealing: packed only."""

    def seal(self, packed: bytes) -> bytes:
        """The same."""
        return packed


def bodies(count: int) -> list[bytes]:
    """Pages of JSON that pack to about a tenth to a fifth, as real ones do."""
    chance = random.Random(7)
    record = (
        '{"Id":"%d","DisplayName":"Customer %d","Phone":"+2449%08d","Total":%d.%02d,"Memo":"%s"}'
    )
    filler = "Água Twezah 5L garrafão retornável, entrega em Luanda; " * (RECORD_BYTES // 60)
    pages = []
    for page in range(count):
        rows = [
            record
            % (page * RECORDS + n, chance.randrange(10**6), chance.randrange(10**8),
               chance.randrange(10**5), chance.randrange(100), filler)
            for n in range(RECORDS)
        ]  # fmt: skip
        pages.append(f"[{','.join(rows)}]".encode())
    return pages


def seconds(dsn: str, pages: list[bytes], ring: Keyring, number: int) -> tuple[float, float]:
    """To store the pages, each with its commit, and to read them again."""
    sealing._rings[:] = [ring]  # noqa: SLF001  the benchmark compares two of them
    account = sync.AccountKey("xero", f"bench-{number}")
    with connect(dsn) as connection:
        sync_id, _ = sync.begin(connection, account, "bench", (None, None), {})
        started = time.perf_counter()
        for page_no, body in enumerate(pages, 1):
            page = {
                "stream": "invoices", "page_no": page_no, "record_count": RECORDS, "request": {},
                "next_request": None, "content_type": "application/json", "body": body,
                "fetched_at": "2026-01-01T00:00:00Z",
            }  # fmt: skip
            sync.save_page(connection, account, sync_id, page)
            connection.commit()
        stored = time.perf_counter()
        read = sync.stored_pages(connection, account, "invoices", None, None, batch=20)
        assert sum(len(page.body()) for page in read) == sum(map(len, pages))
        return stored - started, time.perf_counter() - stored


def main() -> None:
    """Measures and prints."""
    pages = bodies(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
    key = os.urandom(32)
    rings = {"plain": Plain(lambda: [key]), "sealed": Keyring(lambda: [key])}
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder, running(Settings(home=Path(folder))) as dsn:
        migrate(dsn)
        for turn in range(ROUNDS):
            for at, (name, ring) in enumerate(rings.items()):
                took = seconds(dsn, pages, ring, turn * 2 + at)
                before = best.get(name, took)
                best[name] = (min(before[0], took[0]), min(before[1], took[1]))
    size_mb = sum(map(len, pages)) / 1e6
    for name, (store, read) in best.items():
        print(
            f"{name:7} store {store:6.3f} s  read {read:6.3f} s  ({len(pages)} pages, {size_mb:.0f} MB)"
        )
    (store, read), (sealed_store, sealed_read) = best["plain"], best["sealed"]
    print(
        f"sealing adds {sealed_store / store - 1:+.1%} to storing, {sealed_read / read - 1:+.1%} to "
        f"reading; {1e6 * (sealed_store - store) / len(pages):.0f} us a page stored"
    )


if __name__ == "__main__":
    main()
