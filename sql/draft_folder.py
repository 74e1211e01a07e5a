"""Folders that appear once everything is in them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sql.db import DbConnection


@contextmanager
def draft_of(connection: DbConnection, folder: Path) -> Iterator[Path]:
    """A new folder to write into, which only its owner can read; it gets its name at the end.

    What was done on the connection, such as the entry in the audit log, is committed before: there
    is no folder without its entry. After an error there is neither.
    """
    draft = folder.with_name(f".{folder.name}.part")
    folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    draft.mkdir(mode=0o700)
    try:
        yield draft
        connection.commit()
        draft.rename(folder)
    except BaseException:
        connection.rollback()
        shutil.rmtree(draft, ignore_errors=True)
        raise
