"""What Prometheus is told, as its own parser reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asking import problem
from prometheus_client.parser import text_string_to_metric_families

from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from asking import Worker

    from store.database import Database

Samples = dict[tuple[object, ...], float]


@pytest.fixture
def scrape(api: httpx.Client) -> Callable[[], Samples]:
    """Gives each sample by its name and labels."""

    def read() -> Samples:
        answer = api.get("metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        families = list(text_string_to_metric_families(answer.text))
        assert len({family.name for family in families}) == len(families)
        assert all(family.documentation and family.type != "unknown" for family in families)
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    return read


def test_requests_are_counted_by_route_method_and_status(
    scrape: Callable[[], Samples], api: httpx.Client, job: str
) -> None:
    labels = ("method", "GET"), ("route", "/jobs/{job_id}"), ("status", "200")
    before = scrape().get(("octet_http_request_duration_seconds_count", *labels), 0)
    api.get(f"jobs/{job}")
    found = scrape()

    assert found["octet_http_request_duration_seconds_count", *labels] == before + 1
    slowest = found["octet_http_request_duration_seconds_bucket", ("le", "+Inf"), *labels]
    assert slowest == before + 1
    assert found["octet_http_requests_in_flight",] == 1  # this very one
    assert found["octet_build_info", ("version", __version__)] == 1
    assert found["process_resident_memory_bytes",] > 0


def test_nobody_can_make_series_of_methods_at_will(scrape: Callable[[], Samples], api: httpx.Client) -> None:
    for method in ("MINE", "YOURS"):
        assert problem(api.post("uploads", headers={"X-HTTP-Method-Override": method})) == (405, "method_not_allowed")

    methods = {value for sample in scrape() for name, value in dict(sample[1:]).items() if name == "method"}
    assert not methods & {"MINE", "YOURS"}


def test_uploads_are_counted_in_bytes(scrape: Callable[[], Samples], model: str, model_file: bytes) -> None:
    del model
    assert scrape()["octet_upload_bytes_total", ("kind", "model"), ("result", "stored")] >= len(model_file)


def test_the_queue_and_the_workers_are_told(
    scrape: Callable[[], Samples], api: httpx.Client, model: str, worker: Worker
) -> None:
    jobs = [api.post("jobs", json={"model": model, "recipe": {"method": "dynamic"}}).json()["id"] for _ in range(3)]
    worker.start(jobs[0])
    found = scrape()

    assert found["octet_queue_depth",] == found["octet_jobs", ("state", "queued")] == 2
    assert found["octet_jobs", ("state", "failed")] == 0
    assert found["octet_queue_age_seconds",] > 0
    assert (found["octet_worker_leases",], found["octet_worker_leases_expired",]) == (1, 0)
    assert (found["octet_workers",], found["octet_worker_slots",]) == (1, 1)
    assert 0 < found["octet_worker_heartbeat_age_seconds",] < 60
    assert (found["octet_webhook_deliveries_pending",], found["octet_webhook_deliveries_failed",]) == (0, 0)
    assert (found["octet_partial_uploads",], found["octet_partial_upload_bytes",]) == (0, 0)
    assert found["octet_blobs",] == 1
    assert 0 < found["octet_blob_bytes",] < found["octet_database_size_bytes",]


def test_ended_jobs_are_a_histogram_of_their_durations(scrape: Callable[[], Samples], worker: Worker, job: str) -> None:
    worker.start(job)
    worker.fail(job, code="crashed", message="It crashed.")
    found = scrape()

    labels = ("engine", "x86"), ("method", "dynamic"), ("outcome", "failed")
    buckets = [
        (float(dict(sample[1:])["le"]), value)
        for sample, value in found.items()
        if sample[0] == "octet_job_duration_seconds_bucket"
    ]
    assert [count for _, count in sorted(buckets)] == [1] * len(buckets)  # cumulative: it was faster than any bound
    assert found["octet_job_duration_seconds_count", *labels] == 1
    assert 0 < found["octet_job_duration_seconds_sum", *labels] < 0.5


def test_an_empty_service_has_figures_too(scrape: Callable[[], Samples], database: Database) -> None:
    del database
    found = scrape()

    assert found["octet_queue_age_seconds",] == found["octet_workers",] == found["octet_blob_bytes",] == 0
