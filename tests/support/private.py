"""What others could read in a state folder."""

import os
import stat
from pathlib import Path

OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


def readable_by_others(home: Path) -> list[str]:
    """Files and folders below `home` that somebody else may read or write, by path.

    Files of a user interface that everybody can download are left out: Prefect copies them with the
    rights they have in its package, into a folder that only its owner enters.
    """
    open_to_others = []
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            served = (
                path.is_relative_to(home / "prefect" / "ui") and path != home / "prefect" / "ui"
            )
            if mode & OTHERS and not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode) and not served:
                open_to_others.append(str(path.relative_to(home)))
    return sorted(open_to_others)
