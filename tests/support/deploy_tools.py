"""Programs that deploy/ is for: Debian's, which `.ci/deploy-tools` installs."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

#: Set where they must be there.
WANTED = "TWEZAH_DEPLOY_TOOLS"


def found(name: str) -> str:
    """Where it is; the test is skipped without it, and fails where it must be there."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return path or _without(name)


def found_postgres() -> Path:
    """The newest PostgreSQL server of Debian: the bundled one cannot do TLS."""
    servers = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4])
    )
    return servers[-1] if servers else Path(_without("postgresql"))


def _without(name: str) -> NoReturn:
    if os.environ.get(WANTED) == "required":
        pytest.fail(f"there is no {name}: .ci/deploy-tools installs it")
    pytest.skip(f"there is no {name} on this machine")
