from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from example_report import REPORT
from sqlalchemy import update

from store import keys
from store.tables import Job

if TYPE_CHECKING:
    import httpx
    from asking import Worker

    from store.database import Database

RECIPE = {"method": "dynamic"}


@pytest.fixture
def done(api: httpx.Client, worker: Worker, model: str) -> str:
    """Id of a job that has succeeded."""
    job: str = api.post("jobs", json={"model": model, "recipe": RECIPE, "name": "first"}).json()["id"]
    worker.start(job)
    worker.succeed(job, REPORT)
    return job


def ask(api: httpx.Client, model: str, **asked: Any) -> httpx.Response:
    return api.post("jobs", json={"model": model, "recipe": RECIPE, "reuse": True, **asked})


def test_a_result_that_is_there_is_given_again_when_asked_for(api: httpx.Client, model: str, done: str) -> None:
    answer = ask(api, model, name="another name")
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (200, done, "succeeded")
    assert answer.headers["location"] == f"/v1/jobs/{done}"
    assert "retry-after" not in answer.headers
    assert answer.json()["metrics"] == api.get(f"jobs/{done}").json()["metrics"] != []
    assert len(api.get("jobs").json()["data"]) == 1


def test_the_same_job_is_done_anew_unless_asked_otherwise(api: httpx.Client, model: str, done: str) -> None:
    answer = ask(api, model, reuse=False)
    assert answer.status_code == 202
    assert answer.json()["id"] != done


def test_a_default_that_is_written_out_is_the_same_recipe(api: httpx.Client, model: str, done: str) -> None:
    recipe = api.get(f"jobs/{done}").json()["recipe"]
    assert recipe != RECIPE
    assert ask(api, model, recipe=recipe).json()["id"] == done


def test_another_recipe_is_another_job(api: httpx.Client, model: str, done: str) -> None:
    answer = ask(api, model, recipe={"method": "dynamic", "engine": "fbgemm"})
    assert answer.status_code == 202
    assert answer.json()["id"] != done


def test_other_data_is_another_job(api: httpx.Client, model: str, data: str, done: str) -> None:
    answer = ask(api, model, evaluation=data)
    assert answer.status_code == 202
    assert answer.json()["id"] != done


def test_a_job_that_has_not_succeeded_is_not_reused(api: httpx.Client, model: str, worker: Worker) -> None:
    queued = ask(api, model)
    assert queued.status_code == 202
    running = ask(api, model)
    assert running.status_code == 202
    worker.start(running.json()["id"])
    worker.fail(running.json()["id"], code="c", message="m")
    assert ask(api, model).status_code == 202


def test_a_job_that_has_expired_is_not_reused(api: httpx.Client, model: str, done: str, database: Database) -> None:
    with database.begin() as session:
        session.execute(update(Job).values(expires_at=datetime.now(UTC) - timedelta(hours=1)))
    assert ask(api, model).json()["id"] != done


def test_a_result_of_another_version_is_not_reused(
    api: httpx.Client, model: str, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.results._VERSIONS", {"octet": "0.0.0", "torch": "0"})
    assert ask(api, model).json()["id"] != done


def test_another_owner_with_the_same_model_does_not_get_the_result(
    api: httpx.Client, model_file: bytes, done: str, database: Database
) -> None:
    with database.begin() as session:
        _, key = keys.create(session, "theirs", owner="stranger")
    theirs = {"Authorization": f"Bearer {key}"}
    model = api.post("models", content=model_file, headers=theirs).json()["id"]
    answer = api.post("jobs", json={"model": model, "recipe": RECIPE, "reuse": True}, headers=theirs)
    assert answer.status_code == 202
    assert answer.json()["id"] != done
