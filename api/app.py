"""The app: its parts, opened at its start and closed at its end, and its routes."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from api import document, doors, pages, problems
from api.idempotency import Idempotency
from api.middleware import BodyLimit, Envelope
from api.readiness import Readiness
from api.routes import access, artifacts, catalog, datasets, health, jobs, models, uploads, webhooks
from api.service import Service
from api.telemetry import Telemetry
from api.tus import Tus
from octet.version import __version__
from store.database import Database, Reader
from store.hints import Hints
from store.notify import JobWaiter
from store.rates import Rates
from store.tracing import tracer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from store.settings import Settings

_MAX_JSON_BYTES = 2**20
_PREFIX = "/v1"
_UPLOADS = re.compile(rf"{_PREFIX}/(models|datasets|uploads/[^/]+)")  # where a body is a file, or a part of one


def create_app(settings: Settings) -> FastAPI:
    """The service's HTTP side; nothing is opened before it starts."""
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database, reader = Database(settings.database_url), Reader(settings.database_url)
        hints, waiter = Hints(settings.redis_url), JobWaiter(settings.database_url)
        rates = Rates(settings.redis_url)
        await waiter.start()
        app.state.service = Service(settings, database, reader, hints, rates, waiter, telemetry)
        app.state.readiness = Readiness(app.state.service)
        try:
            yield
        finally:
            await waiter.stop()
            await run_in_threadpool(tracer().flush)  # a signal may end the process before it would do so by itself
            hints.close()
            await rates.close()
            await reader.close()
            database.close()

    app = FastAPI(
        title="Octet",
        version=__version__,
        summary=document.SUMMARY,
        description=document.DESCRIPTION,
        openapi_tags=document.TAGS,
        openapi_url=None,  # api.document serves it
        docs_url=None,  # the usual viewers are scripts from a CDN: no use without internet, and against our own policy
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # A span for each request, if this process traces (store.tracing), and no more: the rest is in our own metrics.
        telemetry={"metrics": False, "logs": False, "operation_spans": False},
        webhooks=webhooks.messages,
    )
    # From the inside out.
    app.add_middleware(Idempotency)
    doors.install(app)
    app.add_middleware(
        BodyLimit,
        default=_MAX_JSON_BYTES,
        uploads=_UPLOADS,
        max_upload=settings.max_upload_bytes,
        idle_seconds=settings.body_idle_seconds,
    )
    app.add_middleware(Envelope, telemetry=telemetry)
    app.add_middleware(Tus, path=f"{_PREFIX}/uploads")
    problems.install(app)
    document.install(app, f"{_PREFIX}/openapi.json")
    # Jobs are asked for most, and routes are tried in this order.
    for resource in (jobs, models, datasets, uploads, artifacts, catalog, webhooks, access):
        app.include_router(
            resource.router,
            prefix=_PREFIX,
            dependencies=[Depends(doors.admitted)],
            responses=problems.documented(*doors.REFUSALS),
        )
    for anybodys in (health.router, access.public):
        app.include_router(anybodys, prefix=_PREFIX)
    pages.install(app)
    return app
