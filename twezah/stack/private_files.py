"""Makes files of the state folder private: logs, records, exports, and what Prefect keeps."""

import os
import stat
from contextlib import suppress
from pathlib import Path

#: New files and folders of ours allow nothing to anybody but their owner.
UMASK = 0o077
#: The rights of the group and of everybody else.
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
#: What earlier versions left readable. Nothing else in the state folder is touched, because it may
#: hold other things as well. PostgreSQL makes its own folders private.
_FOLDERS = ("logs", "prefect", "tmp", "exports")
_FILES = ("up.json", "simulator.json", "psql_history", "psql_history_analyst")


def keep_private(home: Path) -> None:
    """Makes new files of this process and its children private, and those that exist already."""
    os.umask(UMASK)
    for name in (*_FOLDERS, *_FILES):
        _make_private(home / name)
    for name in _FOLDERS:
        for folder, folders, files in os.walk(home / name):
            for entry in (*folders, *files):
                _make_private(Path(folder, entry))


def _make_private(path: Path) -> None:
    """Removes everybody else's rights; ignores files that are not ours, or have just gone."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and mode & _OTHERS:
            path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
