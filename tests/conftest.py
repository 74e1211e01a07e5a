"""What holds for every test."""

import os

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from settings import NO_AUTHORITY

# As in the product, which reaches Prefect by plain HTTP as well. Read when Prefect is imported.
os.environ.setdefault("PREFECT_API_SSL_CERT_FILE", str(NO_AUTHORITY))

# One key for all, in child processes as well.
os.environ.setdefault("TWEZAH_DATA_KEY", "dGVzdHMgc2VhbCB3aXRoIHRoaXMga2V5LCAzMiBieXQ=")

# A slow machine is no wrong result; pytest's own time limit catches what hangs.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

#: Folders whose files are one worker's: each starts a Prefect server, and two whole products at
#: once starve each other.
TOGETHER = {"tests/e2e/": "products", "tests/browser/": "products", "tests/flows/": "flows"}


class Scheduling(LoadFileScheduling):
    """A file is one worker's, and so are the folders of TOGETHER that have the same name there."""

    def _split_scope(self, nodeid: str) -> str:
        named = (name for folder, name in TOGETHER.items() if nodeid.startswith(folder))
        return next(named, super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """The scheduler of parallel tests."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: it waits for other processes while the other workers compute."""
    items.sort(
        key=lambda item: next(
            (n for n, folder in enumerate(TOGETHER) if item.nodeid.startswith(folder)), 9
        )
    )
