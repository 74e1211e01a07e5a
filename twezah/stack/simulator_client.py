"""The simulated billing systems, from outside.

It tells which accounts belong to them, and lets sales and changes happen there.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Collection

from twezah.stack.errors import StackError


def accounts(url: str) -> list[tuple[str, str]]:
    """(system, account) of the connections that lead to the simulator at `url`."""
    from panel.blocks.connected import connected_blocks

    return [
        (block.system, block.account())
        for block in connected_blocks().values()
        if block.base_url.startswith(f"{url}/")
    ]


def evolve(url: str, steps: int, systems: Collection[str]) -> int:
    """Lets sales, edits, voids, refunds and payments happen in these; returns how many did.

    Raises:
        StackError: the simulator does not answer.
    """
    # No proxy: the simulator is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(  # noqa: S310 - http, ours
        f"{url}/evolve?steps={steps}&systems={','.join(sorted(systems))}", data=b"", method="POST"
    )
    try:
        with opener.open(request, timeout=30) as answer:
            return len(json.load(answer)["happened"])
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise StackError(
            f"The simulated billing systems at {url} do not answer: {error}."
        ) from None
