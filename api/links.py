"""Links of the OpenAPI document: which calls take the id that an answer gives. Source: OpenAPI 3.1, Link Object."""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Origin(NamedTuple):
    """The answers that give an id, and the place of it in their body."""

    method: str
    path: str
    place: str = "$response.body#/id"


ORIGINS: dict[str, Origin] = {
    "model_id": Origin("post", "/v1/models"),
    "dataset_id": Origin("post", "/v1/datasets"),
    "upload_id": Origin("post", "/v1/uploads"),
    "job_id": Origin("post", "/v1/jobs"),
    "artifact_id": Origin("get", "/v1/jobs/{job_id}/artifacts", "$response.body#/data/0/id"),
    "webhook_id": Origin("post", "/v1/webhooks"),
    "delivery_id": Origin("get", "/v1/webhooks/{webhook_id}/deliveries", "$response.body#/data/0/id"),
}


def add_links(paths: dict[str, Any]) -> None:
    """Give the answers of each origin a link to every operation of `paths` that takes their id."""
    for path, operations in paths.items():
        *outer, last = re.findall(r"{(\w+)}", path) or [""]
        if last in ORIGINS:
            taken = {name: f"$request.path.{name}" for name in outer} | {last: ORIGINS[last].place}
            for operation in operations.values():
                _link(paths, ORIGINS[last], operation, parameters=taken)
    job = {"model": ORIGINS["model_id"].place, "recipe": {"method": "dynamic"}}
    _link(paths, ORIGINS["model_id"], paths["/v1/jobs"]["post"], requestBody=job)


def _link(paths: dict[str, Any], origin: Origin, operation: dict[str, Any], **takes: Any) -> None:
    name = operation["operationId"]
    for status, answer in paths[origin.path][origin.method]["responses"].items():
        if status.startswith("2"):
            answer.setdefault("links", {})[name] = {"operationId": name, **takes}
