"""Reads years of sales in pieces.

Each piece is a run of its own over the work pool, so that it is seen, retried and bounded by
itself.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from connectors.kit.errors import block_name
from flows.sync import not_before, utc
from panel.blocks import NotConnectedError
from panel.blocks.connected import load_block
from panel.runs.changing_flow import changing_flow
from panel.runs.child_runs import ChildRun, run_child
from panel.runs.progress import Progress
from panel.runs.refused_state import refused_state

#: Pieces of one backfill.
PIECES_MAX = 2_000


@dataclass(frozen=True)
class Piece:
    """Changes of one connection from `since` until before `until`."""

    #: The connection, by the name of its block.
    system: str
    since: datetime
    until: datetime


@changing_flow(name="backfill", flow_run_name="backfill")
def backfill(
    systems: list[str],
    since: datetime,
    until: datetime | None = None,
    days: Annotated[int, Field(ge=1, le=366)] = 30,
    at_once: Annotated[int, Field(ge=1, le=8)] = 2,
) -> State[Any]:
    """Read a long time of sales, piece by piece.

    Every piece is a run of the connection's own deployment, with its own report.

    *Retry* goes on: pieces that are done are not read again, one that failed is retried. The
    schedules go on meanwhile, and cursors stay where they are. The pieces of one connection are
    read one after the other, since its vendor's limit is one; those of several at once.

    Args:
        systems: The connections, by the names of their blocks.
        since: Read changes from this time on.
        until: Up to before this time. Empty: now.
        days: Length of a piece.
        at_once: Connections that are read at the same time.
    """
    begin, end = utc(since) or since, utc(until) or datetime.now(UTC)
    try:
        names = [block_name(load_block(name).name) for name in dict.fromkeys(systems)]
    except NotConnectedError as error:
        return refused_state(str(error).rstrip("."))
    if not names:
        return refused_state('name at least one connection in "systems", by the name of its block')
    lanes = [list(pieces(name, begin, end, days)) for name in names]
    count = sum(map(len, lanes))
    if not count or count > PIECES_MAX:
        return refused_state(
            f"{count} pieces are more than {PIECES_MAX}: choose longer ones"
            if count
            else not_before(begin, end)
        )
    run_id = str(flow_run.id or uuid4())
    counted = itertools.count(1)
    with (
        Progress("backfill", "pieces", count) as bar,
        ThreadPoolExecutor(at_once, thread_name_prefix="backfill") as pool,
    ):
        bar.at(0)

        def on_done(piece: str) -> None:
            bar.at(next(counted), note=piece)

        running = [pool.submit(copy_context().run, _lane, lane, run_id, on_done) for lane in lanes]
        ended = [piece_end for future in running for piece_end in future.result()]
    return _reported(ended, count)


def _reported(ended: Sequence[ChildRun], count: int) -> State[Any]:
    """The backfill's report, and its final state."""
    ok_count = sum(piece_end.ok for piece_end in ended)
    summary = f"{ok_count} of {count} pieces done"
    create_markdown_artifact(key="backfill", markdown=_page(summary, ended), description=summary)
    failed = [piece_end for piece_end in ended if not piece_end.ok]
    if not failed:
        return Completed(message=summary)
    return Failed(
        message=(
            f"{summary}. {failed[0].name}: {failed[0].message} Then press Retry here: it goes on."
        )
    )


def pieces(system: str, since: datetime, until: datetime, days: int) -> Iterator[Piece]:
    """The time in pieces, without a gap and without overlap."""
    at = since
    while at < until:
        following = min(at + timedelta(days=days), until)
        yield Piece(system, at, following)
        at = following


def _lane(lane: Sequence[Piece], run_id: str, on_done: Callable[[str], None]) -> list[ChildRun]:
    """The pieces of one connection, one after the other, up to the first that fails."""
    ended = []
    for piece in lane:
        name = f"{piece.system} {piece.since:%Y-%m-%d} to {piece.until:%Y-%m-%d}"
        parameters = {
            "system": piece.system,
            "since": piece.since.isoformat(),
            "until": piece.until.isoformat(),
        }
        end = run_child(
            f"sync-{piece.system}",
            name,
            parameters,
            key=f"backfill/{run_id}/{piece.system}/{piece.since.isoformat()}",
        )
        get_run_logger().info("%s: %s", end.name, end.message)
        ended.append(end)
        if not end.ok:
            break
        on_done(name)
    return ended


def _page(summary: str, ended: Sequence[ChildRun]) -> str:
    rows = [
        f"| [{end.name}](/runs/flow-run/{end.run_id}) | {'done' if end.ok else 'failed'} "
        f"| {end.message.replace('|', '/')} |"
        for end in ended
    ]
    return "\n".join(
        [f"# Backfill: {summary}", "", "| Piece | | What came of it |", "|---|---|---|", *rows]
    )
