"""What the routes work with: the parts the app opened when it started."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from api.telemetry import Telemetry
from api.writers import Writers
from store.database import Database, Reader, Session
from store.hints import Hints
from store.notify import JobWaiter
from store.rates import Rates
from store.settings import Settings


@dataclass(frozen=True)
class Service:
    """The parts of a running app."""

    settings: Settings
    database: Database
    reader: Reader
    hints: Hints
    rates: Rates
    waiter: JobWaiter
    telemetry: Telemetry
    writers: Writers = field(default_factory=Writers)


async def current(request: Request) -> Service:  # async, because FastAPI gives any other one a thread
    """The parts of the app that handles `request`."""
    return cast("Service", request.app.state.service)


Parts = Annotated[Service, Depends(current)]


def _transaction(service: Parts) -> Iterator[Session]:
    with service.database.begin() as session:
        yield session


# Committed before the answer goes out, not after: who reads an answer may rely on it.
Transaction = Annotated[Session, Depends(_transaction, scope="function")]
