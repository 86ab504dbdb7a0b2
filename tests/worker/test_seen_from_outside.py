"""One request, seen from outside: its id in the logs of every process it went through, and its spans in one trace."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from working import QUICK, WorkerProcess, wait_until

from server.part import environment
from store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from store.database import Database
    from store.settings import Settings

REQUEST, TRACE, CALLER = "joined-1", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """What a collector of traces received: each span, with the service that it belongs to."""

    spans: list[tuple[str, Span]] = field(default_factory=list)

    def named(self, name: str) -> tuple[str, Span]:
        found = [(service, span) for service, span in self.spans if span.name == name]
        assert len(found) == 1, [(service, span.name) for service, span in self.spans]
        return found[0]


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Listens for OTLP over HTTP, and is where processes that are started now send their spans."""
    collector = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"]
                collector.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield collector
        server.shutdown()
        thread.join()


def _lines(log: Path) -> list[dict[str, Any]]:
    """A log, whose every line must be a JSON object with a time and a level."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"timestamp", "level", "event"} <= line.keys() for line in lines)
    return lines


def _url(log: Path) -> str | None:
    """Where the API listens, as its log says."""
    starts = [line["event"] for line in _lines(log) if "running on" in line["event"]]
    return starts[0].split()[3] if starts else None


def test_a_request_is_followed_through_api_worker_and_child(
    settings: Settings, database: Database, model: Path, collected: Collector, tmp_path: Path
) -> None:
    with database.begin() as session:
        key = keys.create(session, "test")[1]
    urls = {"OCTET_DATABASE_URL": settings.database_url, "OCTET_REDIS_URL": settings.redis_url, "OCTET_PORT": "0"}
    log = tmp_path / "api.log"
    with log.open("wb") as out:
        api = subprocess.Popen([sys.executable, "-m", "server", "api"], env=environment(**urls), stderr=out)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    try:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=wait_until(lambda: _url(log)), headers=headers, trust_env=False) as client:
            upload = client.post("/v1/models", content=model.read_bytes()).json()["id"]
            ids = {"X-Request-Id": REQUEST, "traceparent": f"00-{TRACE}-{CALLER}-01"}
            job = client.post("/v1/jobs", json={"model": upload, "recipe": QUICK}, headers=ids).json()["id"]
            ended = client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=60"}, timeout=70).json()
            assert ended["state"] == "succeeded", ended
    finally:
        api.terminate()
        api.wait()
        worker.stop()

    _check_logs(_lines(log), _lines(worker.log), job)
    _check_spans(collected, job)


def _check_logs(api: list[dict[str, Any]], worker: list[dict[str, Any]], job: str) -> None:
    (submitted,) = [line for line in api if line.get("request_id") == REQUEST]
    assert (submitted["path"], submitted["status"], submitted["trace_id"]) == ("/v1/jobs", 202, TRACE)
    followed = [line for line in worker if line.get("request_id") == REQUEST]
    assert {line["event"] for line in followed} >= {"attempt begins", "attempt ended", "the child wrote"}
    assert any("method dynamic" in line.get("line", "") for line in followed)
    assert all((line["job_id"], line["attempt"], line["trace_id"]) == (job, 1, TRACE) for line in followed)


def _check_spans(collector: Collector, job: str) -> None:
    service, request = collector.named("POST /v1/jobs")
    assert (service, request.trace_id.hex(), request.parent_span_id.hex()) == ("octet-api", TRACE, CALLER)
    service, attempt = collector.named("attempt")
    assert (service, attempt.trace_id.hex(), attempt.parent_span_id) == ("octet-worker", TRACE, request.span_id)
    about = {each.key: each.value for each in attempt.attributes}
    assert (about["octet.job.id"].string_value, about["octet.job.end"].string_value) == (job, "succeeded")
    stages = [span for _, span in collector.spans if span.parent_span_id == attempt.span_id]
    assert {span.name for span in stages} >= {"load", "convert", "measure", "save", "verify"}
    ordered = sorted(stages, key=lambda span: span.start_time_unix_nano)
    ends = [(one.end_time_unix_nano, other.start_time_unix_nano) for one, other in pairwise(ordered)]
    assert all(end <= start for end, start in ends)


def test_nothing_of_opentelemetry_is_loaded_where_nobody_collects_traces() -> None:
    code = "import sys, worker.main; from store import tracing; tracing.configure('worker'); print(*sys.modules)"
    clean = {name: value for name, value in environment().items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, check=True, capture_output=True, text=True)
    assert "store.tracing" in done.stdout
    assert not {"store.spans", "opentelemetry.sdk.trace", "opentelemetry.exporter"} & set(done.stdout.split())
