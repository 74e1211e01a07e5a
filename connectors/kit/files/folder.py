"""A folder as if it were an API.

The first answer lists the files that are not read, with the reasons. Each further answer is one
file, and each answer names the next file in its Link header.

This transport stands in for the network, so that files are read, stored and replayed as the pages
of any other list.

Nothing outside of the folder is ever opened: names come from the folder's own list, and links are
not followed.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx

#: How the page starts that lists what is not read.
LISTING_KEY: Final = "twezah_file_drop"
LISTING: Final = f'{{"{LISTING_KEY}":'.encode()
#: Content types by the end of a file's name; files with other names are not read.
TYPES: Final = {
    ".csv": "text/csv",
    ".txt": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
}
#: Names that programs give to files they are still writing, and to those nobody should see.
_UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")


@dataclass(frozen=True, order=True)
class Entry:
    """A file of the folder.

    Entries are ordered by their last change: of two files that name the same document, the later
    one counts.
    """

    #: Nanoseconds since 1970; see `_changed_ns`.
    changed_ns: int
    name: str
    #: Bytes.
    size: int


class Folder(httpx.BaseTransport):
    """Answers requests for the files of one folder.

    Args:
        path: The folder.
        bytes_limit: Larger files are not read.
        check: Says why a file's content cannot be read, None where it can.
    """

    def __init__(
        self, path: Path, *, bytes_limit: int, check: Callable[[bytes], str | None]
    ) -> None:
        self._path = path
        self._bytes_limit = bytes_limit
        self._check = check

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """`?since=&before=` lists, `&file=&at=` gives a file; both name the next one."""
        params = request.url.params
        since, before = (_nanoseconds(params.get(name)) for name in ("since", "before"))
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            # It was there when the run began, so it may come back: a network drive, perhaps.
            return httpx.Response(503)
        try:
            good, refused = self._sorted(descriptor, since or 0, before)
            if "file" not in params:
                return _answer(
                    _listing(good, refused), "application/json", _following(good, None, params)
                )
            here = Entry(int(params["at"]), params["file"], 0)
            entry = next(
                (
                    listed
                    for listed in good
                    if (listed.changed_ns, listed.name) == (here.changed_ns, here.name)
                ),
                None,
            )
            body = self._content(descriptor, entry) if entry else None
            following = _following(good, here, params)
            if body is None:  # gone or changed meanwhile: the next run reads what became of it
                return _answer(_listing([], {}), "application/json", following)
            return _answer(body, TYPES[Path(here.name).suffix.lower()], following)
        finally:
            os.close(descriptor)

    def _sorted(
        self, folder: int, since_ns: int, before_ns: int | None
    ) -> tuple[list[Entry], dict[str, str]]:
        """Files to read, in order, and the others with the reason."""
        good: list[Entry] = []
        refused: dict[str, str] = {}
        for entry, mode in _entries(folder):
            if entry.changed_ns < since_ns or (
                before_ns is not None and entry.changed_ns > before_ns
            ):
                continue
            reason = self._refusal(folder, entry, mode)
            if reason is None:
                good.append(entry)
            else:
                refused[entry.name] = reason
        return sorted(good), refused

    def _refusal(self, folder: int, entry: Entry, mode: int) -> str | None:
        """Why a file is not read, None where it is."""
        if stat.S_ISLNK(mode):
            return "it is a link, and links are not followed: put the file itself here"
        if not stat.S_ISREG(mode):
            return "it is no regular file"
        if Path(entry.name).suffix.lower() not in TYPES:
            return f"it is of no kind that is read ({', '.join(TYPES)})"
        if entry.size > self._bytes_limit:
            return (
                f"it is larger than {self._bytes_limit // 2**20} MB: split it, or allow more in "
                "the block"
            )
        try:
            body = self._content(folder, entry)
        except PermissionError:
            return "it may not be read: give this program's user the right to"
        return self._check(body) if body is not None else None

    def _content(self, folder: int, entry: Entry) -> bytes | None:
        """The whole file; None if it is no longer what was listed."""
        try:
            descriptor = os.open(
                entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder
            )
        except PermissionError:
            raise
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            body = file.read(self._bytes_limit + 1)
            after = os.fstat(descriptor)
        return (
            body
            if (_changed_ns(after), after.st_size, len(body))
            == (entry.changed_ns, entry.size, entry.size)
            else None
        )


def _entries(folder: int) -> Iterator[tuple[Entry, int]]:
    """The files of a folder with their modes; hidden and unfinished ones are left out."""
    with os.scandir(folder) as items:
        for item in items:
            if item.name.startswith(".") or item.name.lower().endswith(_UNFINISHED):
                continue
            try:
                facts = item.stat(follow_symlinks=False)
            except OSError:
                continue
            if not stat.S_ISDIR(facts.st_mode):
                yield Entry(_changed_ns(facts), item.name, facts.st_size), facts.st_mode


def _changed_ns(facts: os.stat_result) -> int:
    """When a file last changed in this folder, in nanoseconds since 1970.

    This is not the time of its content, which a copy or a move may bring along from years ago.
    """
    return facts.st_ctime_ns


def _nanoseconds(text: str | None) -> int | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000) * 1000


def _listing(good: list[Entry], refused: dict[str, str]) -> bytes:
    """The first page: which files are read, and which are not, with the reasons."""
    reasons = [{"file": name, "reason": reason} for name, reason in sorted(refused.items())]
    content = json.dumps(
        {"files": [entry.name for entry in good], "refused": reasons}, ensure_ascii=False
    )
    return LISTING + content.encode("utf-8", "replace") + b"}"


def _following(good: list[Entry], here: Entry | None, params: httpx.QueryParams) -> str | None:
    """The query for the file behind `here` (None: the first), None behind the last one."""
    after = (here.changed_ns, here.name) if here else (-1, "")
    following = next((entry for entry in good if (entry.changed_ns, entry.name) > after), None)
    if following is None:
        return None
    window = {name: params[name] for name in ("since", "before") if name in params}
    return urlencode({**window, "file": following.name, "at": following.changed_ns})


def _answer(body: bytes, content_type: str, following: str | None) -> httpx.Response:
    link = {"link": f'</?{following}>; rel="next"'} if following else {}
    return httpx.Response(200, content=body, headers={"content-type": content_type, **link})
