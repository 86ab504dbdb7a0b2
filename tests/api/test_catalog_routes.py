"""What there is to choose from, and who does the work, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from asking import problem
from serving import serve

from api.app import create_app
from octet.engines import ENGINES
from octet.recipe import PRESETS, Recipe

if TYPE_CHECKING:
    import pytest
    from asking import Worker

    from store.settings import Settings


def test_recipes_are_complete_and_can_be_submitted(api: httpx.Client, model: str) -> None:
    recipes = api.get("recipes").json()

    assert [recipe["name"] for recipe in recipes] == list(PRESETS)
    for recipe in recipes:
        assert recipe["summary"]
        Recipe.parse(recipe["recipe"])
    dynamic = next(recipe["recipe"] for recipe in recipes if recipe["name"] == "dynamic")
    assert api.post("jobs", json={"model": model, "recipe": dynamic}).status_code == 202


def test_the_recipes_schema_tells_every_key(api: httpx.Client) -> None:
    schema = api.get("recipes/schema").json()

    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False


def test_engines_tell_what_they_ask_of_the_cpu(api: httpx.Client) -> None:
    engines = {engine["name"]: engine for engine in api.get("engines").json()}

    assert set(engines) == set(ENGINES)
    assert engines["fbgemm"]["cpu_flags"] == ["avx2"]


def test_workers_tell_what_they_run(api: httpx.Client, job: str, worker: Worker) -> None:
    worker.start(job)

    (found,) = api.get("workers").json()

    assert (found["id"], found["jobs"], found["engines"]) == (str(worker.id), [job], ["x86"])


def test_the_process_is_alive(url: str) -> None:
    assert httpx.get(f"{url}/v1/health/live", trust_env=False).json()["status"] == "ok"


def test_the_service_is_ready_once_a_worker_is_there(api: httpx.Client, request: pytest.FixtureRequest) -> None:
    degraded = api.get("health/ready")
    assert (degraded.status_code, degraded.json()["status"]) == (503, "degraded")
    assert {part for part, state in degraded.json()["checks"].items() if state != "ok"} == {"workers"}

    request.getfixturevalue("worker")
    ready = api.get("health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")


def test_a_service_without_its_database_and_redis_says_so(settings: Settings) -> None:
    nowhere = {"database_url": "postgresql://octet@127.0.0.1:9/octet", "redis_url": "redis://127.0.0.1:9"}
    with (
        serve(create_app(settings.model_copy(update=nowhere))) as url,
        httpx.Client(base_url=f"{url}/v1/", headers={"Authorization": "Bearer any"}, trust_env=False) as api,
    ):
        ready = api.get("health/ready")
        assert (ready.status_code, set(ready.json()["checks"])) == (503, {"database", "schema", "redis", "workers"})
        assert "ok" not in ready.json()["checks"].values()
        assert "127.0.0.1" not in ready.text
        assert problem(api.get("jobs")) == (503, "unavailable")


def test_an_error_that_nobody_foresaw_is_told_without_its_text(settings: Settings) -> None:
    app = create_app(settings)

    def fail() -> None:
        raise RuntimeError("a secret")

    app.add_api_route("/fail", fail)
    with serve(app) as url:
        answer = httpx.get(f"{url}/fail", headers={"X-Request-Id": "told"}, trust_env=False)

    assert problem(answer) == (500, "internal_error")
    assert "told" in answer.json()["hint"]
    assert answer.headers["x-request-id"] == "told"
    assert "secret" not in answer.text
