"""What the OpenAPI document says besides the routes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response

from api import problems
from api.idempotency import HEADER, MAX_KEY, REPLAYED
from api.links import add_links
from octet import wire

if TYPE_CHECKING:
    from fastapi import FastAPI

SUMMARY = "Turns a PyTorch model into an int8 one and proves what the change did."

DESCRIPTION = """
Upload a model as `.pt2` and, for static quantization and training, data as `.safetensors` or `.npz`. Submit a job that
names a recipe, follow it, and download what it made: an int8 TorchScript model that torch alone can load, and a report
of its size, latency and accuracy against the model you sent. Nothing in an upload is ever executed.

```sh
export OCTET=http://127.0.0.1:8000/v1 AUTH="Authorization: Bearer $OCTET_API_KEY"
curl -H "$AUTH" --data-binary @model.pt2 "$OCTET/models?name=model.pt2"
curl -H "$AUTH" --json '{"model": "<id>", "recipe": {"method": "dynamic"}}' $OCTET/jobs
curl -H "$AUTH" -H "Prefer: wait=60" $OCTET/jobs/<id>
```

Every call but those under `health` needs an API key. Errors are `application/problem+json` (RFC 9457): `type` is stable
and made for programs, `detail` and `hint` are for people, and `errors` points into the body.
"""

TAGS = [
    {"name": "models", "description": "Uploaded `.pt2` files. The same bytes are one model."},
    {"name": "datasets", "description": "Uploaded arrays, for calibration, training and evaluation."},
    {"name": "uploads", "description": "Files in parts, by tus 1.0: for what is large, over lines that break."},
    {"name": "jobs", "description": "What to do to a model. A job is never lost and never done twice."},
    {"name": "artifacts", "description": "The files that jobs made."},
    {"name": "webhooks", "description": "Addresses that are told when jobs end, as Standard Webhooks 1.0 has it."},
    {"name": "catalog", "description": "What there is to choose from, and who does the work."},
    {"name": "health", "description": "For load balancers and people. Needs no key."},
]


def install(app: FastAPI, at: str) -> None:
    """Give `app` its document, made when it is first asked for, and serve it at the path `at`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                tags=app.openapi_tags,
                routes=app.routes,
                webhooks=app.webhooks.routes,
            )
            # Problems are referred to under their own media type, which FastAPI's `model=` cannot say.
            schema["components"]["schemas"].update(_schemas_of_problems())
            for path in schema["paths"].values():
                if "security" in path.get("post", {}):  # keys for repetition are told apart by who sends them
                    _document_idempotency(path["post"])
                for operation in path.values():
                    _document_parameters(operation)
                    if "application/json" in operation.get("requestBody", {}).get("content", ()):
                        operation["responses"].setdefault("400", problems.documented("bad_request")[400])
            add_links(schema["paths"])
            app.openapi_schema = schema
        return app.openapi_schema

    @cache
    def text() -> bytes:  # FastAPI's own route makes it anew for everybody, and anybody may ask
        return bytes(JSONResponse(app.openapi()).body)

    async def serve() -> Response:
        return Response(text(), media_type="application/json")

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way
    app.add_api_route(at, serve, methods=["GET", "HEAD"], include_in_schema=False)


def _document_idempotency(operation: dict[str, Any]) -> None:
    """Say of a POST that it may be repeated."""
    operation.setdefault("parameters", []).append(
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
            "description": "A request that is repeated with the same key, address and body is done once, and answered "
            f"as the first time, with `{REPLAYED}: true`.",
        }
    )
    for status, entry in problems.documented("idempotency_in_progress", "idempotency_mismatch").items():
        known = operation["responses"].setdefault(str(status), {**entry, "description": ""})
        if status != "default":
            known["description"] = f"{known['description']} {entry['description']}".strip()


def _document_parameters(operation: dict[str, Any]) -> None:
    """Say that parameters are never null, and what becomes of those in an address that are not valid."""
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _never_null(parameter["schema"])
        if parameter["in"] == "query":
            operation["responses"].setdefault("422", problems.documented("invalid_request")[422])


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that may be left out: an address or a header has no way to say null."""
    options: list[dict[str, Any]] = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **options[0]}


def _schemas_of_problems() -> dict[str, Any]:
    problem = wire.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**problem.pop("$defs"), "Problem": problem}
