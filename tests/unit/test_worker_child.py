"""What a forked child of the worker does before it runs a flow."""

import subprocess
import sys

#: Prints how often logging had been set up: at first, again unchanged, and after each change.
COUNTED = """
import os
from prefect.logging import configuration
from twezah.worker import child

set_up, own = [], configuration.setup_logging
configuration.setup_logging = lambda: set_up.append(own())
for changed in ({}, {}, {"PREFECT_LOGGING_LEVEL": "ERROR"}, {"PREFECT_LOGGING_LOGGERS_PREFECT_LEVEL":
        "ERROR"}, {"PREFECT_API_URL": "http://127.0.0.1:1/api"}, {}):
    os.environ.update(changed)
    child._refresh_prefect()
    print(len(set_up))
"""


def test_logging_is_set_up_again_when_what_it_goes_by_has_changed() -> None:
    command = [sys.executable, "-c", COUNTED]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1", "1", "2", "3", "4", "4"]
