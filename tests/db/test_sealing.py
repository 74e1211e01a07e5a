"""Bodies cannot be read in a dump without the key; a key is replaced while everything goes on."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from typer.testing import CliRunner

from settings import KeysUnusableError, Settings, new_data_key, settings
from sql import sealing, sync, webhooks
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.sealing import KeyMissingError, Keyring, key_id, reseal, sealed_with
from tasks import data_key
from tests.support.books import NOON, PHONE, Books
from twezah.cli import app

FIRST, SECOND = os.urandom(32), os.urandom(32)
BODY = f'{{"Name":"Josefina Kiala","Phone":"{PHONE}"}}'.encode()


class Keys:
    """What the installation's keys are now."""

    def __init__(self) -> None:
        self.now = [FIRST]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    held = Keys()
    monkeypatch.setattr(sealing, "_rings", [Keyring(lambda: held.now)])
    return held


def add_page(books: Books) -> None:
    with connect(books.dsn) as connection:
        sync_id = books.begin(connection)
        page = {"stream": "invoices", "page_no": 2, "record_count": 1, "request": {}, "body": BODY}
        page |= {"next_request": None, "content_type": "application/json", "fetched_at": NOON}
        saved = sync.save_page(connection, books.account, sync_id, page)
        assert (saved.body(), saved.body_bytes) == (BODY, len(BODY))
        connection.commit()


def add_event(books: Books, key: str) -> None:
    with connect(books.dsn) as connection:
        made = create_endpoint(connection, NewEndpoint(system="custom", connection="shop"))
        event = webhooks.NewEvent(made.endpoint_no, key, "k", {}, BODY, None, NOON)
        assert webhooks.store_event(connection, event)
        connection.commit()


def everything(books: Books) -> bytes:
    """All bytes of the two tables, and what they are if somebody unpacks them."""
    rows = books.rows(
        "SELECT body_zstd FROM billing.raw_page UNION ALL"
        " SELECT body_zstd FROM billing.webhook_event"
    )
    found = b"".join(bytes(row[0]) for row in rows)
    for (stored,) in rows:
        for at in range(len(stored)):
            if stored[at : at + 4] == b"\x28\xb5\x2f\xfd":
                found += zstandard.ZstdDecompressor().decompressobj().decompress(stored[at:])
    return found


def test_nothing_can_be_read_without_the_key(books: Books, keys: Keys) -> None:
    add_page(books)
    add_event(books, "1")
    assert b"Josefina" not in everything(books) and PHONE.encode() not in everything(books)
    with connect(books.dsn) as connection:
        (*_, page) = sync.stored_pages(connection, books.account, "invoices", None, None, batch=9)
        assert page.body() == BODY
        (event,) = webhooks.claim_events(connection, 9, run_id="run")
        assert event.body == BODY
    keys.now = [SECOND]
    sealing._rings[0] = Keyring(lambda: keys.now)
    with (
        connect(books.dsn) as connection,
        pytest.raises(KeyMissingError, match=key_id(FIRST).hex()),
    ):
        list(sync.stored_pages(connection, books.account, "invoices", None, None, batch=9))


def test_a_changed_body_is_refused(keys: Keys) -> None:
    ring = sealing.keyring()
    sealed = bytearray(ring.pack(BODY))
    assert ring.unpack(bytes(sealed)) == BODY and ring.pack(BODY) != ring.pack(BODY)
    sealed[-20] ^= 1
    with pytest.raises(KeyMissingError, match="was changed"):
        ring.unpack(bytes(sealed))


def test_the_old_key_opens_what_is_not_done_yet(books: Books, keys: Keys) -> None:
    """A process that began before the new key was made learns of it; the rest is sealed anew."""
    add_page(books)
    with connect(books.dsn) as connection:  # what an earlier version stored
        connection.execute(
            "UPDATE billing.raw_page SET body_zstd = %s WHERE page_no = 1",
            [zstandard.compress(b"{}")],
        )
        connection.commit()
    began_before = sealing.keyring()
    keys.now = [SECOND, FIRST]
    sealing._rings[0] = Keyring(lambda: keys.now)
    add_event(books, "2")
    with connect(books.dsn) as connection:
        counted = {one.key: one.bodies for one in sealed_with(connection)}
        assert counted == {None: 1, key_id(FIRST).hex(): 1, key_id(SECOND).hex(): 1}
        stored = sync.stored_pages(connection, books.account, "invoices", None, None, batch=9)
        assert [page.body() for page in stored] == [b"{}", BODY]
        assert list(reseal(connection, sealing.keyring()))[-1] == 2
        assert list(reseal(connection, sealing.keyring())) == []
        assert [one.key for one in sealed_with(connection)] == [key_id(SECOND).hex()]
        (row,) = connection.execute("SELECT body_zstd FROM billing.webhook_event").fetchall()
    assert began_before.unpack(bytes(row[0])) == BODY
    keys.now = [SECOND]
    with connect(books.dsn) as connection:
        stored = sync.stored_pages(connection, books.account, "invoices", None, None, batch=9)
        assert [page.body() for page in stored] == [b"{}", BODY]


def test_what_no_key_opens_holds_up_nothing_else(books: Books, keys: Keys) -> None:
    add_page(books)
    keys.now = [SECOND]
    sealing._rings[0] = Keyring(lambda: keys.now)
    with connect(books.dsn) as connection:
        connection.execute(
            "UPDATE billing.raw_page SET body_zstd = %s WHERE page_no = 1",
            [zstandard.compress(b"{}")],
        )
        connection.commit()
        with pytest.raises(KeyMissingError, match=f"^1 stored bodies .*{key_id(FIRST).hex()}"):
            list(reseal(connection, sealing.keyring()))
        counted = {one.key: one.bodies for one in sealed_with(connection)}
    assert counted == {key_id(FIRST).hex(): 1, key_id(SECOND).hex(): 1}


def test_a_missing_key_is_not_asked_for_at_every_body() -> None:
    """The keys may come from a command, and a lost key may have sealed many bodies."""
    asked: list[int] = []

    def load() -> list[bytes]:
        asked.append(1)
        return [SECOND]

    ring, lost = Keyring(load), Keyring(lambda: [FIRST]).pack(BODY)
    for _ in range(50):
        with pytest.raises(KeyMissingError, match="not in the keyring"):
            ring.unpack(lost)
    assert ring.unpack(ring.pack(BODY)) == BODY
    assert len(asked) < 50


def test_who_only_seals_learns_of_a_new_key(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = sealing.keyring()
    assert ring.pack(BODY).startswith(sealing.MAGIC + key_id(FIRST))
    keys.now = [SECOND, FIRST]
    assert ring.pack(BODY).startswith(sealing.MAGIC + key_id(FIRST))
    monkeypatch.setattr(sealing, "REFRESH_SECONDS", -1.0)
    assert ring.pack(BODY).startswith(sealing.MAGIC + key_id(SECOND))
    keys.now = []
    assert ring.pack(BODY).startswith(sealing.MAGIC + key_id(SECOND)), "who keeps them is away"


def test_where_the_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWEZAH_DATA_KEY")
    made = Settings(home=tmp_path).data_keys()
    assert made == Settings(home=tmp_path).data_keys() and len(made[0]) == 32
    assert (tmp_path / "data.keys").stat().st_mode & 0o777 == 0o600
    one, two = new_data_key().decode(), new_data_key().decode()
    given = Settings(home=tmp_path, data_key=f"{one}, {two}").data_keys()
    assert len(given) == 2 and given[0] != given[1]
    (tmp_path / "vault").write_text(f"{two}\n{one}\n")
    by_command = Settings(home=tmp_path, data_key_command=f"cat {tmp_path}/vault").data_keys()
    by_file = Settings(home=tmp_path, data_key_file=tmp_path / "vault").data_keys()
    assert by_command == by_file == given[::-1]
    for wrong in ({"data_key": "short"}, {"data_key_command": "false"}, {"data_key_command": "'"}):
        with pytest.raises(KeysUnusableError):
            Settings(home=tmp_path, **wrong).data_keys()


def test_two_who_rotate_at_once_lose_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies may be sealed with a key from the moment that it is in the file."""
    monkeypatch.delenv("TWEZAH_DATA_KEY")
    config = Settings(home=tmp_path)
    (first,) = config.data_keys()
    write, both = data_key._replace, threading.Barrier(2, timeout=1)

    def slowly(path: Path, texts: list[str]) -> None:
        with suppress(threading.BrokenBarrierError):  # the other one waits for the file
            both.wait()
        write(path, texts)

    monkeypatch.setattr(data_key, "_replace", slowly)
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda _: data_key.add_key(config), range(2)))
    kept = {key_id(key).hex() for key in config.data_keys()}
    assert kept == {*made, key_id(first).hex()} and len(kept) == 3


def test_threads_seal_while_the_keys_are_asked_for_again(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that has just been taken away is not looked for."""
    ring = sealing.keyring()
    ring.pack(BODY)
    derived = sealing._derived

    def midway(key: bytes) -> bytes:
        """Another thread seals while the new keys are being made ready."""
        assert ring.unpack(ring.seal(zstandard.compress(BODY))) == BODY
        return derived(key)

    monkeypatch.setattr(sealing, "_derived", midway)
    keys.now = [SECOND]
    ring.refresh()
    assert ring.current == sealing.MAGIC + key_id(SECOND)


def test_rotating_by_command(books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWEZAH_DATA_KEY")
    monkeypatch.setenv("TWEZAH_HOME", str(tmp_path))
    monkeypatch.setenv("TWEZAH_DATABASE_URL", books.dsn)
    monkeypatch.setattr(sealing, "_rings", [Keyring(lambda: Settings().data_keys())])
    settings.cache_clear()
    try:
        add_page(books)
        (before,) = Settings().data_keys()
        run = CliRunner()
        assert "2 bodies sealed" in run.invoke(app, ["key", "rotate"]).output
        assert Settings().data_keys()[1] == before
        shown = json.loads(run.invoke(app, ["key", "status", "--json"]).stdout)
        assert shown["bodies"] == {shown["keyring"][0]: 2}
        early = run.invoke(app, ["key", "rotate", "--drop-old"])
        assert early.exit_code == 1 and len(Settings().data_keys()) == 2
        os.utime(tmp_path / "data.keys", (0, 0))
        assert "1 keys dropped" in run.invoke(app, ["key", "rotate", "--drop-old"]).output
        assert len(Settings().data_keys()) == 1
        assert books.rows("SELECT operation FROM audit.entry WHERE operation LIKE 'key%%' ORDER BY entry_no") == [
            ("key.rotate",), ("key.drop",),
        ]  # fmt: skip
        with connect(books.dsn) as connection:
            (*_, page) = sync.stored_pages(
                connection, books.account, "invoices", None, None, batch=9
            )
            assert page.body() == BODY
    finally:
        settings.cache_clear()
