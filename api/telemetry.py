"""What Prometheus may know: counts of this process, and the state of the queue as the database has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from store.states import STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octet.wire import JobState

# A long poll lasts up to a minute, an upload longer.
_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Telemetry:
    """The figures of one app. Each app has its own registry, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "octet_http_request_seconds",
            "Requests by method, route and status.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._uploaded = Counter(
            "octet_upload_bytes", "Bytes of uploads that were stored.", ["kind"], registry=self._registry
        )
        self._refused = Counter(
            "octet_requests_refused", "Requests that were not let in, by reason.", ["reason"], registry=self._registry
        )
        self._jobs = Gauge("octet_jobs", "Jobs by state.", ["state"], registry=self._registry)
        self._queue_age = Gauge(
            "octet_queue_oldest_seconds", "How long the first queued job has waited.", registry=self._registry
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request by the template of its route, so that ids do not make series."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def uploaded(self, kind: str, size: int) -> None:
        """Count an upload that was stored."""
        self._uploaded.labels(kind).inc(size)

    def refused(self, reason: str) -> None:
        """Count a request that was not let in. Reasons are few and fixed, such as `unknown_key` or `rate_limited`."""
        self._refused.labels(reason).inc()

    def render(self, jobs: Mapping[JobState, int], queue_age: float) -> bytes:
        """The figures in Prometheus' text format, with the jobs by state and the queue's age in seconds."""
        for state in STATES:
            self._jobs.labels(state).set(jobs.get(state, 0))
        self._queue_age.set(queue_age)
        return generate_latest(self._registry)
