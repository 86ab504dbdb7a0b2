"""What there is to choose from, and who does the work."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api import present
from api.doors import Admin, Caller
from api.service import Parts, Transaction
from octet import wire
from octet.engines import ENGINES
from octet.recipe import PRESETS, Preset, Recipe
from store import statistics, workers

router = APIRouter(tags=["catalog"])


@router.get("/recipes", summary="List recipes to start from")
def list_recipes() -> list[Preset]:
    """The recipes that come with Octet, each with a reason to choose it and every key filled in."""
    return list(PRESETS.values())


@router.get("/recipes/schema", summary="Get the recipe's JSON Schema")
def get_recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors and forms."""
    return Recipe.model_json_schema()


@router.get("/engines", summary="List int8 engines")
def list_engines() -> list[wire.EngineInfo]:
    """The kernel libraries a recipe may name, and what each asks of the CPU that the model is deployed on."""
    return [wire.EngineInfo.model_validate(engine, from_attributes=True) for engine in ENGINES.values()]


@router.get("/workers", summary="List workers")
def list_workers(caller: Caller, session: Transaction, service: Parts) -> list[wire.Worker]:
    """The workers that have been heard of within a lease, and which of your jobs each is running."""
    alive = workers.list_alive(session, service.settings.lease_seconds, owner_id=caller.owner_id)
    return [present.worker(row, jobs) for row, jobs in alive]


@router.get("/metrics", summary="Get metrics for Prometheus", response_class=Response)
def get_metrics(_: Admin, session: Transaction, service: Parts) -> Response:
    """Requests and uploads of this process, and how things stand as the database has it, in Prometheus' text format."""
    figures = statistics.take(session, lease_seconds=service.settings.lease_seconds)
    return Response(service.telemetry.render(figures), media_type=CONTENT_TYPE_LATEST)
