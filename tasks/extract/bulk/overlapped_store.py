"""Begins the store transaction while pages still arrive.

So the database works while the vendor is read.

Only a large read that arrives fast gains by it: the transaction stays open as long as pages come,
so it is given up after a while, and at the first batch that waits for a lookup. What was given up
is loaded as if it had never begun.
"""

import logging
import threading
import time

from tasks.extract.bulk.spool import NotYetError, Spool
from tasks.job import Job
from tasks.load.invoices import Loading

log = logging.getLogger(__name__)
#: How long the transaction may be open before everything is read.
OPEN_SECONDS = 60


class Early:
    """One store transaction, begun early, in a thread of its own."""

    def __init__(self, job: Job, sync_id: int, spool: Spool) -> None:
        self._job, self._sync_id, self._spool = job, sync_id, spool
        self._loading: Loading | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._load, name="early", daemon=True)
        self._thread.start()

    def take_over(self) -> Loading | None:
        """The transaction with everything in it but the end, once all is read.

        None if it was given up.
        """
        self._thread.join()
        loading, self._loading = self._loading, None
        return loading

    def abandon(self) -> None:
        """Rolls back: the read failed."""
        self._given_up.set()
        self._spool.complete()
        loading = self.take_over()
        if loading is not None:
            loading.close()

    def _load(self) -> None:
        loading = None
        try:
            loading = Loading(self._job, self._sync_id)
            for batch in loading.prepared(self._spool.follow(time.monotonic() + OPEN_SECONDS)):
                if self._given_up.is_set():
                    raise NotYetError  # noqa: TRY301  one way out
                loading.take(batch)
        # Whatever it is, the load meets it again and reports it.
        except Exception as error:  # noqa: BLE001
            log.debug("the early load was given up: %s", type(error).__name__)
            if loading is not None:
                loading.close()
        else:
            self._loading = loading
