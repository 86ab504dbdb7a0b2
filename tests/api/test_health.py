"""Whether the service lives, and whether it can take and run jobs, for anybody who asks."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from asking import Worker, problem, until
from serving import serve
from sqlalchemy import text, update

from api.app import create_app
from store import keys, tokens
from store.tables import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.database import Database
    from store.settings import Settings

PARTS = {"database", "schema", "broker", "workers", "disk"}


@contextmanager
def _serving(settings: Settings, **other: Any) -> Iterator[httpx.Client]:
    with (
        serve(create_app(settings.model_copy(update=other))) as url,
        httpx.Client(base_url=f"{url}/v1/", headers={"Authorization": "Bearer any"}, trust_env=False) as client,
    ):
        yield client


def _wrong(client: httpx.Client) -> dict[str, str]:
    """The parts that are not ready, with what is said of them."""
    answer = client.get("health/ready")
    checks = answer.json()["checks"]
    assert set(checks) == PARTS
    wrong = {part: outcome for part, outcome in checks.items() if outcome != "ok"}
    assert (answer.status_code, answer.json()["status"]) == ((503, "degraded") if wrong else (200, "ok"))
    return wrong


def test_the_process_is_alive(url: str) -> None:
    assert httpx.get(f"{url}/v1/health/live", trust_env=False).json()["status"] == "ok"


def test_load_balancers_may_ask_for_the_head_alone(url: str) -> None:
    for path, statuses in (("live", {200}), ("ready", {200, 503})):
        answer = httpx.head(f"{url}/v1/health/{path}", trust_env=False)
        assert (answer.status_code in statuses, answer.content) == (True, b"")


def test_the_service_is_ready_once_a_worker_is_there(api: httpx.Client, database: Database) -> None:
    until(lambda: set(_wrong(api)) == {"workers"})

    Worker(database)
    until(lambda: not _wrong(api))


def test_a_queue_that_no_worker_is_new_enough_for_is_told(
    api: httpx.Client, database: Database, worker: Worker, job: str
) -> None:
    until(lambda: not _wrong(api))
    with database.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(protocol=1000))

    until(lambda: "new enough" in _wrong(api).get("workers", ""))
    assert worker.id  # it is alive all the while


def test_a_service_without_its_database_and_broker_says_so_and_nothing_more(settings: Settings) -> None:
    nowhere = {"database_url": "postgresql://octet@127.0.0.1:9/octet", "redis_url": "redis://127.0.0.1:9"}
    with _serving(settings, **nowhere) as client:
        assert set(_wrong(client)) == PARTS
        assert "127.0.0.1" not in client.get("health/ready").text
        key = {"Authorization": f"Bearer {tokens.make(keys.PREFIX)}"}
        assert problem(client.get("jobs", headers=key)) == (503, "unavailable")


def test_a_database_and_a_broker_that_hang_are_not_waited_for(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made, and nobody ever speaks
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        hanging = {"database_url": f"postgresql://octet@{address}/octet", "redis_url": f"redis://{address}"}
        with _serving(settings, **hanging) as client:
            assert set(_wrong(client)) == PARTS
            assert client.get("health/live").status_code == 200
            assert client.get("health/ready").elapsed.total_seconds() < 4.5  # the default time-out of httpx is 5


@pytest.mark.usefixtures("worker")
def test_a_disk_without_room_is_told(settings: Settings) -> None:
    with _serving(settings, min_free_bytes=2**62) as client:
        assert _wrong(client) == {"disk": "has too little room where uploads wait"}


@pytest.fixture
def standby(database: Database) -> Iterator[None]:
    """Who connects from now on finds a database that takes no writes."""
    name = database.url.database
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
        yield
        connection.execute(text(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'))


@pytest.mark.usefixtures("worker", "standby")
def test_a_database_that_takes_no_writes_is_told(settings: Settings) -> None:
    with _serving(settings) as client:
        assert set(_wrong(client)) == {"database"}
