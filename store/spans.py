"""Spans by OpenTelemetry. `store.tracing` loads this where traces are wanted."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from octet.version import __version__
from store.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.trace import Span

    from store.tables import Job

_PROPAGATOR = TraceContextTextMapPropagator()
_NO_STAGE = trace.INVALID_SPAN

_stage: ContextVar[Span] = ContextVar("stage", default=_NO_STAGE)


class SpanTracer(Tracer):
    """Makes spans, and sends them in the background to where OpenTelemetry's own environment variables say."""

    def __init__(self, part: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME") or f"octet-{part}"
        provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": __version__}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)  # FastAPI looks for it there
        self._provider = provider
        self._tracer = provider.get_tracer("octet", __version__)

    def context(self) -> dict[str, str]:
        """As `Tracer` has it."""
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers)
        return headers

    @contextmanager
    def attempt(self, job: Job) -> Iterator[Callable[[str], None]]:
        """As `Tracer` has it."""
        submitted = _PROPAGATOR.extract({"traceparent": job.traceparent or ""})
        about = {
            "octet.job.id": str(job.id),
            "octet.job.attempt": job.attempt,
            "octet.job.method": job.recipe["method"],
            "octet.job.engine": job.recipe["engine"],
        }
        with self._tracer.start_as_current_span("attempt", submitted, trace.SpanKind.CONSUMER, about) as span:
            try:
                yield partial(span.set_attribute, "octet.job.end")
            finally:
                self._leave_stage()

    def enter(self, stage: str) -> None:
        """As `Tracer` has it."""
        self._leave_stage()
        _stage.set(self._tracer.start_span(stage))

    def flush(self) -> None:
        """As `Tracer` has it."""
        self._provider.force_flush()

    def _leave_stage(self) -> None:
        _stage.get().end()
        _stage.set(_NO_STAGE)
