"""A progress bar in Prefect's UI: how far the work is, and how long it may still take.

A bar that cannot be shown is no reason to stop: an error here is logged once, and the work goes on.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from connectors.kit.errors import block_name
from panel.markdown import span
from tasks.run_report import grouped

log = logging.getLogger(__name__)
#: The bar is updated at most this often, because each update is a request.
UPDATE_SECONDS: Final = 2.0
#: Before this share of the work is done, an estimate of the rest would be a guess.
_FORETOLD_FROM: Final = 0.02


class Progress:
    """The bar of one run; a context manager that says at the end how the work ended.

    Make it in the flow's own thread: that is how Prefect knows to which run it belongs. `at` may be
    called from any thread.
    """

    def __init__(
        self, key: str, what: str, total: int = 0, *,
        after_seconds: float = 0, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Nothing is shown before the first `at`.

        Args:
            key: Of the artifact, e.g. `backfill-xero`; its page is /artifacts/key/KEY.
            what: What is counted, e.g. "days of xero".
            total: How many there are; 0: not known yet, `at` says so later.
            after_seconds: Show it only once the work has taken so long.
            clock: Seconds; replaced in tests.
        """
        self._key, self._what, self._total = f"progress-{block_name(key)}", what, total
        self._clock, self._began = clock, clock()
        self._counted_from, self._show_from = self._began, self._began + after_seconds
        self._done, self._note = 0, ""
        self._artifact: UUID | None = None
        self._shown_at = -UPDATE_SECONDS
        self._broken = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The last word, if anything was shown."""
        with self._lock:
            if self._artifact is not None:
                ended = "done" if error is None else f"stopped ({type(error).__name__})"
                self._show(f"{ended} after {span(timedelta(seconds=self._clock() - self._began))}")

    @property
    def percent(self) -> float:
        """0 to 100; 0 while nobody knows how much there is."""
        return min(100.0, round(100 * self._done / self._total, 1)) if self._total > 0 else 0.0

    def at(
        self, count: int, total: int | None = None, note: str = "", what: str | None = None
    ) -> None:
        """Updates the bar. Cheap to call often: at most one request goes out per UPDATE_SECONDS.

        Args:
            count: How many are done.
            total: How many there are, if that has changed.
            note: Added to the line, e.g. "January 2026".
            what: What is counted from now on, if that has changed. How long the rest takes is then
                measured anew.
        """
        with self._lock:
            now = self._clock()
            if what is not None and what != self._what:
                self._what, self._counted_from = what, now
            self._done, self._total = count, self._total if total is None else total
            self._note = note
            finished = self._total > 0 and count >= self._total and self._artifact is not None
            if now < self._show_from or (now - self._shown_at < UPDATE_SECONDS and not finished):
                return
            self._shown_at = now
            self._show(self._foretold(now))

    def _foretold(self, now: float) -> str:
        share = self._done / self._total if self._total > 0 else 0.0
        if not _FORETOLD_FROM <= share < 1:
            return ""
        return (
            f"about {span(timedelta(seconds=(now - self._counted_from) * (1 - share) / share))} "
            "left"
        )

    def _show(self, ending: str) -> None:
        count = (
            f"{grouped(self._done)} of {grouped(self._total)}"
            if self._total > 0
            else grouped(self._done)
        )
        text = "; ".join(part for part in (f"{count} {self._what}", self._note, ending) if part)
        if self._broken:
            return
        try:
            if self._artifact is None:
                self._artifact = cast(
                    "UUID", create_progress_artifact(self.percent, self._key, text)
                )
            else:
                update_progress_artifact(self._artifact, self.percent, text)
        except Exception as error:  # noqa: BLE001 - see above
            self._broken = True
            log.warning("the progress is not shown: %s", type(error).__name__)
