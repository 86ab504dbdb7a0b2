"""The OpenAPI document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.openapi.models import OpenAPI

from api import problems
from api.app import create_app
from octet.wire import JobCreate

if TYPE_CHECKING:
    from store.settings import Settings

SIGN_IN = "sign_in_v1_session_post"


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


@pytest.fixture
def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every operation, with its path."""
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def test_it_is_one(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    assert document["info"]["description"]
    assert document["components"]["securitySchemes"]


def test_whatever_it_refers_to_is_there(document: dict[str, Any]) -> None:
    referred = set(re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(document)))

    assert referred <= set(document["components"]["schemas"])


def test_every_operation_says_what_it_does_and_what_goes_wrong(operations: list[tuple[str, dict[str, Any]]]) -> None:
    for path, operation in operations:
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
        if "/health/" not in path and operation["operationId"] != SIGN_IN:
            assert {"API key": []} in operation["security"], path
            assert {"Session": []} in operation["security"], path
            for status in ("401", "403", "429"):
                assert problems.MEDIA_TYPE in operation["responses"][status]["content"], (path, status)


def test_no_two_operations_have_one_id(operations: list[tuple[str, dict[str, Any]]]) -> None:
    ids = [operation["operationId"] for _, operation in operations]

    assert len(ids) == len(set(ids))


def test_ids_are_linked_to_what_takes_them(operations: list[tuple[str, dict[str, Any]]]) -> None:
    answers = [answer for _, operation in operations for answer in operation["responses"].values()]
    links = [link for answer in answers for link in answer.get("links", {}).values()]
    linked = {link["operationId"] for link in links}

    assert linked >= {operation["operationId"] for path, operation in operations if "{" in path}
    assert linked <= {operation["operationId"] for _, operation in operations}


def test_no_parameter_is_null(operations: list[tuple[str, dict[str, Any]]]) -> None:
    for path, operation in operations:
        assert "null" not in str([parameter["schema"] for parameter in operation.get("parameters", ())]), path


def test_its_examples_are_valid(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]

    for example in body["examples"].values():
        JobCreate.model_validate(example["value"])
