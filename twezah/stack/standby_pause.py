"""Whether a restored copy's deployments are paused: `python -m twezah.stack.standby_pause`.

A process of its own, because Prefect's client takes its settings from the environment.

Exit code: 0 all are paused, so that a worker may begin; 1 not yet.
"""

import sys
from collections.abc import Iterable

from twezah.stack.provision import Present


def are_paused(present: Iterable[Present]) -> bool:
    """Whether there are deployments of ours, and no schedule or run of them is due by itself."""
    from twezah.stack.run_cleanup import is_ours

    paused = [row["paused"] for row in present if is_ours(row)]
    return bool(paused) and all(paused)


def main() -> int:
    """Asks Prefect's server; see the module."""
    from prefect.client.orchestration import get_client

    from twezah.stack.provision import present_deployments

    with get_client(sync_client=True) as client:
        return 0 if are_paused(present_deployments(client).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
