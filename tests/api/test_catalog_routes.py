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


def test_an_error_that_nobody_foresaw_is_told_without_its_text(settings: Settings) -> None:
    app = create_app(settings)

    def fail() -> None:
        raise RuntimeError("a secret")

    app.add_api_route("/v1/health/fail", fail)
    with serve(app) as url:
        answer = httpx.get(f"{url}/v1/health/fail", headers={"X-Request-Id": "told"}, trust_env=False)

    assert problem(answer) == (500, "internal_error")
    assert "told" in answer.json()["hint"]
    assert answer.headers["x-request-id"] == "told"
    assert "secret" not in answer.text
