"""What Prometheus reads.

Requests as this process counted them, and the state of the integration from the database.
"""

from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from api.attempts import Attempt

_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "twezah_http_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "twezah_http_request_seconds", "From the first byte to the answer.", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._outcomes = Counter(
            "twezah_webhooks_total",
            "Webhooks by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self._lost = Gauge(
            "twezah_audit_lost_attempts",
            "Attempts that could not be written to the audit.",
            registry=self.registry,
        )

    def count(self, attempt: Attempt) -> None:
        """Counts a request that was answered."""
        # A method that HTTP does not know must not make a new time series.
        method = (
            attempt.method
            if attempt.method in ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS")
            else "other"
        )
        self._requests.labels(method, attempt.route, str(attempt.status)).inc()
        self._seconds.labels(attempt.route).observe(attempt.elapsed_ms / 1000)
        if attempt.route.startswith("/api/webhooks/"):
            self._outcomes.labels(attempt.outcome).inc()

    def render(
        self,
        *,
        runs: Sequence[tuple[Any, ...]],
        events: Sequence[tuple[Any, ...]],
        lost: int,
        now: float,
    ) -> bytes:
        """All metrics in Prometheus' text format.

        `runs` and `events` are rows of the queries `status` and `event_status`.
        """
        self._lost.set(lost)
        registry = CollectorRegistry()
        account = ["system", "account"]
        success = Gauge(
            "twezah_sync_last_success_seconds",
            "Time of the last success.",
            account,
            registry=registry,
        )
        by_outcome = [*account, "outcome"]
        share = Gauge(
            "twezah_sync_runs", "Runs of the last day by outcome.", by_outcome, registry=registry
        )
        rejects = Gauge(
            "twezah_open_rejects", "Records that wait for a correction.", account, registry=registry
        )
        place = ["system", "account", "connection"]
        by_state = [*place, "state"]
        backlog = Gauge(
            "twezah_webhook_backlog", "Events not in the ledger.", by_state, registry=registry
        )
        oldest = Gauge(
            "twezah_webhook_oldest_seconds",
            "Age of the oldest event that waits.",
            place,
            registry=registry,
        )
        for run in runs:
            if run[7] is not None:
                success.labels(run[0], run[1]).set(run[7].timestamp())
            share.labels(run[0], run[1], "succeeded").set(run[9])
            share.labels(run[0], run[1], "failed").set(run[10])
            rejects.labels(run[0], run[1]).set(run[17])
        for system, of_account, connection, waiting, parked, since, *_ in events:
            backlog.labels(system, of_account, connection, "waiting").set(waiting)
            backlog.labels(system, of_account, connection, "parked").set(parked)
            oldest.labels(system, of_account, connection).set(
                0 if since is None else now - since.timestamp()
            )
        return generate_latest(self.registry) + generate_latest(registry)
