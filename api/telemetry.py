"""What Prometheus may know: counts of this process, and how things stand as the database has it."""

from __future__ import annotations

import math
from http import HTTPMethod
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from octet.version import __version__
from store.durations import BOUNDS
from store.states import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from store.statistics import Figures

_METHODS = frozenset(HTTPMethod)

UploadResult = Literal["stored", "known", "refused"]

# A long poll lasts up to a minute, an upload longer.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)

# Figures of `store.statistics` that are one number: name, field, meaning.
_GAUGES = (
    ("octet_queue_depth", "queue_depth", "Jobs that wait for a worker."),
    ("octet_queue_age_seconds", "queue_age", "How long the job that was queued first has waited."),
    ("octet_worker_leases", "leases_held", "Jobs that a worker holds under a lease."),
    ("octet_worker_leases_expired", "leases_expired", "Jobs whose worker was lost, until they are queued again."),
    ("octet_workers", "workers", "Workers heard of within a lease."),
    ("octet_worker_slots", "slots", "Jobs that these workers can run at a time."),
    ("octet_worker_heartbeat_age_seconds", "heartbeat_age", "Since the most silent known worker was heard of."),
    ("octet_webhook_deliveries_pending", "deliveries_pending", "Messages to webhooks that have yet to arrive."),
    ("octet_webhook_deliveries_failed", "deliveries_failed", "Messages to webhooks that were given up."),
    ("octet_partial_uploads", "partial_uploads", "Files that are arriving in parts."),
    ("octet_partial_upload_bytes", "partial_bytes", "What has arrived of these files."),
    ("octet_blobs", "blobs", "Contents that are stored."),
    ("octet_blob_bytes", "blob_bytes", "Bytes of all contents that are stored."),
    ("octet_database_size_bytes", "database_bytes", "What the database takes on disk."),
)


class Telemetry:
    """The figures of one app. Each app has its own registry, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = Gauge("octet_build_info", "Always 1.", ["version"], registry=self._registry)
        build.labels(__version__).set(1)
        self._requests = Histogram(
            "octet_http_request_duration_seconds",
            "Requests by method, route and status, until the end of the answer.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge("octet_http_requests_in_flight", "Requests being answered.", registry=self._registry)
        self._uploaded = Counter(
            "octet_upload_bytes",
            "Bytes of uploads that were stored, were known already, or were refused.",
            ["kind", "result"],
            registry=self._registry,
        )
        self._refused = Counter(
            "octet_requests_refused", "Requests that were not let in, by reason.", ["reason"], registry=self._registry
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request by the template of its route and a known method, so that nobody can make series at will."""
        known = method if method in _METHODS else "_OTHER"  # as OpenTelemetry's `http.request.method` has it
        self._requests.labels(known, route, str(status)).observe(seconds)

    def uploaded(self, kind: str, size: int, result: UploadResult = "stored") -> None:
        """Count the bytes of an upload. Those of a refused one are what arrived of it."""
        self._uploaded.labels(kind, result).inc(size)

    def refused(self, reason: str) -> None:
        """Count a request that was not let in. Reasons are few and fixed, such as `unknown_key` or `rate_limited`."""
        self._refused.labels(reason).inc()

    def render(self, figures: Figures) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry) + generate_latest(_Stored(figures))


class _Stored(Collector):
    """What the database says. Every API process says the same, so these are not to be added up."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("octet_jobs", "Jobs by state.", labels=["state"])
        for state in STATES:
            jobs.add_metric([state], self._figures.jobs.get(state, 0))
        yield jobs
        for name, field, meaning in _GAUGES:
            yield GaugeMetricFamily(name, meaning, getattr(self._figures, field))
        yield self._durations()

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "octet_job_duration_seconds",
            "How long the last attempt of ended jobs took, by method, engine and outcome.",
            labels=["method", "engine", "outcome"],
        )
        for kind, histogram in self._figures.durations.items():
            below, buckets = 0, []
            for bound in BOUNDS:
                below += histogram.jobs[bound]
                buckets.append(("+Inf" if bound == math.inf else str(bound), below))
            family.add_metric(list(kind), buckets, histogram.seconds)
        return family
