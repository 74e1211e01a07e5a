"""Whatever changes something is recorded when it fails, too."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from prefect import Flow

import flows

#: They change nothing by themselves, or record each attempt on their own.
OTHERS = {
    "sync-system",
    "webhooks",
    "test-connection",
    "try-mapping",
    "audit-log",
    "pages",
    "check-alerts",
    "test-alerts",
    "refresh-analytics",
}


def all_flows() -> Iterator[Flow[..., Any]]:
    for module in pkgutil.iter_modules(flows.__path__):
        yield from (
            one
            for one in vars(importlib.import_module(f"flows.{module.name}")).values()
            if isinstance(one, Flow)
        )


def test_failures_of_what_changes_something_are_recorded() -> None:
    silent = {
        one.name for one in all_flows() if not (one.on_failure_hooks and one.on_crashed_hooks)
    }
    assert silent <= OTHERS, "make them with panel.runs.changing_flow.changing_flow"
