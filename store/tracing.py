"""Traces, for those who collect them: OpenTelemetry's, sent to where OTEL_EXPORTER_OTLP_ENDPOINT says.

A request is a span, which FastAPI makes by itself once there is a provider. Each attempt at a job is a span below the
request that submitted it, across the queue, and each of its stages is one below that. Without an endpoint, or without
the extra `tracing`, nothing of OpenTelemetry is loaded here, and nothing is done.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from store.tables import Job

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_log = structlog.get_logger()


class Tracer:
    """What is to be traced. This one does nothing."""

    def context(self) -> dict[str, str]:
        """What is going on now, as the headers of W3C Trace Context; nothing where there is no span."""
        return {}

    @contextmanager
    def attempt(self, job: Job) -> Iterator[Callable[[str], None]]:  # noqa: ARG002 - that of a tracer that does something
        """A span for an attempt at a job; call what it gives with a word for how that ended."""
        yield lambda _: None

    def enter(self, stage: str) -> None:
        """A span for a stage of the attempt that is under way here; the stage before it is over."""

    def flush(self) -> None:
        """Send what has not been sent yet; this may take a while where nobody collects it."""


_tracer = Tracer()


def configure(part: str) -> None:
    """Trace from now on, if the environment asks for it.

    Args:
        part: What this process is; its spans are those of `octet-{part}`, unless OTEL_SERVICE_NAME says otherwise.
    """
    global _tracer  # noqa: PLW0603 - one for each process, as OpenTelemetry has it
    if not any(map(os.environ.get, _ENDPOINTS)):
        return
    try:
        from store.spans import SpanTracer  # noqa: PLC0415 - loaded only where it is wanted
    except ImportError:
        _log.warning("traces are asked for, but not made: octet[tracing] is not installed")
    else:
        _tracer = SpanTracer(part)


def tracer() -> Tracer:
    """What this process traces with."""
    return _tracer


def add_ids(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Tell a log line which trace it belongs to: a processor of structlog's."""
    if context := _tracer.context():
        line["trace_id"], line["span_id"] = context["traceparent"].split("-")[1:3]
    return line
