"""Jobs over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest
import redis
from asking import problem, until
from example_report import REPORT

from store import hints, keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx
    from asking import Worker

    from store.database import Database

DYNAMIC = {"method": "dynamic"}


def test_a_job_is_queued_with_every_default_filled_in(api: httpx.Client, model: str) -> None:
    answer = api.post("jobs", json={"model": model, "recipe": DYNAMIC, "name": "first"})

    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (job["state"], job["queue_position"], job["name"]) == ("queued", 0, "first")
    assert job["recipe"]["engine"] == "x86"
    assert job["queued_at"].endswith("Z")
    assert api.get(f"jobs/{job['id']}").json() == job


@pytest.mark.parametrize(
    ("name", "kept"), [("v1/ü 🦑", "v1/ü 🦑"), ("\x1b[2J\u202ea\r\nb\0", "[2Jab"), (" \n", None), ("", None)]
)
def test_a_job_is_named_by_one_line_of_plain_letters(
    api: httpx.Client, model: str, name: str, kept: str | None
) -> None:
    assert api.post("jobs", json={"model": model, "recipe": DYNAMIC, "name": name}).json()["name"] == kept


def test_a_hint_is_published_once_the_job_is_there(api: httpx.Client, model: str, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as broker:
        broker.delete(hints.QUEUE)
        job = api.post("jobs", json={"model": model, "recipe": DYNAMIC}).json()["id"]
        until(lambda: broker.llen(hints.QUEUE) == 1)
        assert job in broker.lindex(hints.QUEUE, 0).decode()


def test_validate_only_queues_nothing(api: httpx.Client, model: str) -> None:
    answer = api.post("jobs", params={"validate_only": True}, json={"model": model, "recipe": DYNAMIC})

    assert answer.status_code == 200
    assert answer.json()["valid"]
    assert answer.json()["recipe"]["measure"]["batch_sizes"] == [1]
    assert api.get("jobs").json()["data"] == []


def test_a_strict_recipe_with_a_rule_for_no_layer_is_refused_before_it_is_queued(api: httpx.Client, model: str) -> None:
    rules = [{"type": "Linear", "method": "float"}, {"name": "no.such.layer", "method": "float"}]
    recipe = {**DYNAMIC, "strict": True, "layers": rules}
    for options in ({}, {"validate_only": True}):
        answer = api.post("jobs", params=options, json={"model": model, "recipe": recipe})
        assert problem(answer) == (422, "invalid_recipe")
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/recipe/layers/1"]
    assert api.get("jobs").json()["data"] == []


def test_an_idempotency_key_gives_one_job(api: httpx.Client, model: str) -> None:
    send = {"json": {"model": model, "recipe": DYNAMIC}, "headers": {"Idempotency-Key": "once"}}

    first, again = api.post("jobs", **send), api.post("jobs", **send)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    other = api.post("jobs", json={"model": model, "recipe": {"method": "static"}}, headers=send["headers"])
    assert problem(other) == (422, "idempotency_mismatch")
    assert len(api.get("jobs").json()["data"]) == 1


def test_an_idempotency_key_is_its_callers_own(api: httpx.Client, model: str, database: Database) -> None:
    with database.begin() as session:
        _, other = keys.create(session, "another caller")
    first, second = (
        api.post(
            "jobs",
            json={"model": model, "recipe": {"method": "dynamic", "engine": engine}},
            headers={"Idempotency-Key": "once", **headers},
        )
        for engine, headers in (("x86", {}), ("fbgemm", {"Authorization": f"Bearer {other}"}))
    )

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]


def test_a_repeated_request_gives_its_job_even_when_the_model_is_gone(
    api: httpx.Client, model: str, worker: Worker
) -> None:
    send = {"json": {"model": model, "recipe": DYNAMIC}, "headers": {"Idempotency-Key": "once"}}
    job = api.post("jobs", **send).json()["id"]
    worker.start(job)
    worker.succeed(job, REPORT)
    api.delete(f"models/{model}")

    assert api.post("jobs", **send).json()["id"] == job


@pytest.mark.parametrize(
    ("recipe", "pointer", "hint"),
    [
        ({"metod": "static"}, "/recipe/metod", "Did you mean 'method'?"),
        ({"layers": [{"name": "a", "metod": "float"}]}, "/recipe/layers/0/metod", "Did you mean 'method'?"),
        ({"weights": {"granularty": 1}}, "/recipe/weights/granularty", "Did you mean 'granularity'?"),
        ({"engine": "x87"}, "/recipe/engine", None),
        ({"calibration": {"samples": 0}}, "/recipe/calibration/samples", None),
    ],
)
def test_a_bad_recipe_is_pointed_at(
    recipe: dict[str, Any], pointer: str, hint: str | None, api: httpx.Client, model: str
) -> None:
    answer = api.post("jobs", json={"model": model, "recipe": recipe})

    assert problem(answer) == (422, "invalid_recipe")
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert answer.json().get("hint") == hint
    assert api.get("jobs").json()["data"] == []


def test_an_unknown_key_of_a_request_is_pointed_at(api: httpx.Client, model: str) -> None:
    answer = api.post("jobs", json={"model": model, "recipe": DYNAMIC, "calibratoin": model})

    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"] == [
        {"pointer": "/calibratoin", "detail": "unknown key 'calibratoin'", "hint": "Did you mean 'calibration'?"}
    ]


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'"text"', b"\xff"], ids=["torn", "empty", "list", "text", "bytes"])
def test_a_body_that_is_no_job_is_refused(body: bytes, api: httpx.Client) -> None:
    answer = api.post("jobs", content=body, headers={"Content-Type": "application/json"})

    assert problem(answer)[0] in {400, 422}


@pytest.mark.parametrize("field", ["name", "type"])
def test_a_letter_that_is_half_of_one_is_refused(field: str, api: httpx.Client, model: str) -> None:
    rule = {field: "\ud800", "method": "float"}
    body = json.dumps({"model": model, "recipe": {**DYNAMIC, "layers": [rule]}})

    answer = api.post("jobs", content=body, headers={"Content-Type": "application/json"})

    assert problem(answer) == (422, "invalid_recipe")
    assert answer.json()["errors"][0]["pointer"] == f"/recipe/layers/0/{field}"


def test_a_body_that_is_not_called_json_is_refused(api: httpx.Client, model: str) -> None:
    body = json.dumps({"model": model, "recipe": DYNAMIC}).encode()

    assert problem(api.post("jobs", content=body)) == (422, "invalid_request")


def test_a_request_over_the_limit_is_refused(api: httpx.Client, model: str) -> None:
    body = iter([json.dumps({"model": model, "recipe": DYNAMIC, "name": "x" * 2**20}).encode()])

    answer = api.post("jobs", content=body, headers={"Content-Type": "application/json"})

    assert problem(answer) == (413, "body_too_large")


@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_recipe_that_needs_data_is_refused_without(method: str, api: httpx.Client, model: str) -> None:
    answer = api.post("jobs", json={"model": model, "recipe": {"method": method}})

    assert problem(answer) == (422, "invalid_dataset")
    assert answer.json()["errors"][0]["pointer"] == "/calibration"
    synthetic = {"method": method, "calibration": {"source": "synthetic"}}
    assert api.post("jobs", json={"model": model, "recipe": synthetic}).status_code == 202


X = np.zeros((4, 4), np.float32)
MISFITS = {
    "name": {"inputs_0": X},
    "dtype": {"input_0": np.zeros((4, 4), np.int64)},
    "shape": {"input_0": np.zeros((4, 5), np.float32)},
    "label too high": {"input_0": X, "label": np.array([0, 1, 2, 3])},
    "label too low": {"input_0": X, "label": np.array([0, 1, 2, -1])},
    "label shape": {"input_0": X, "label": np.zeros((4, 2), np.int64)},
    "target shape": {"input_0": X, "target": np.zeros((4, 2), np.float32)},
}


@pytest.mark.parametrize("role", ["calibration", "evaluation"])
@pytest.mark.parametrize("misfit", MISFITS)
def test_data_that_does_not_fit_is_refused(
    *, misfit: str, role: str, api: httpx.Client, model: str, data: str, npz: Callable[..., bytes]
) -> None:
    uploaded = api.post("datasets", content=npz(**MISFITS[misfit])).json()["id"]

    answer = api.post(
        "jobs", json={"model": model, "recipe": {"method": "static"}, "calibration": data, role: uploaded}
    )

    assert problem(answer) == (422, "invalid_dataset")
    assert answer.json()["errors"][0]["pointer"] == f"/{role}"
    assert role in answer.json()["detail"]


def test_arrays_of_different_lengths_are_no_dataset(api: httpx.Client, npz: Callable[..., bytes]) -> None:
    answer = api.post("datasets", content=npz(input_0=X, label=np.zeros(3, np.int64)))

    assert problem(answer) == (422, "invalid_dataset")


@pytest.mark.parametrize("use", ["model", "calibration", "evaluation"])
def test_a_job_on_what_does_not_exist_is_refused(use: str, api: httpx.Client, model: str, data: str) -> None:
    asked = {"model": model, "recipe": {"method": "static"}, "calibration": data, "evaluation": data}

    for options in ({}, {"validate_only": True}):
        answer = api.post("jobs", params=options, json={**asked, use: str(uuid4())})
        assert problem(answer) == (404, "not_found")
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{use}"]


def test_a_job_on_what_was_deleted_is_refused(api: httpx.Client, model: str, data: str) -> None:
    static = {"model": model, "recipe": {"method": "static"}, "calibration": data}
    api.delete(f"datasets/{data}")
    answer = api.post("jobs", json=static)
    assert problem(answer) == (410, "dataset_deleted")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/calibration"]

    api.delete(f"models/{model}")
    answer = api.post("jobs", json={"model": model, "recipe": DYNAMIC})
    assert problem(answer) == (410, "model_deleted")
    assert model in answer.json()["detail"]
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/model"]
    assert problem(api.post("jobs", params={"validate_only": True}, json=static)) == (410, "model_deleted")


def test_jobs_are_listed_newest_first_and_by_state(api: httpx.Client, model: str) -> None:
    jobs = [api.post("jobs", json={"model": model, "recipe": DYNAMIC}).json()["id"] for _ in range(3)]
    api.post(f"jobs/{jobs[1]}/cancel")

    assert [job["id"] for job in api.get("jobs").json()["data"]] == jobs[::-1]
    assert [job["id"] for job in api.get("jobs", params={"status": "cancelled"}).json()["data"]] == [jobs[1]]
    assert [job["queue_position"] for job in api.get("jobs", params={"status": "queued"}).json()["data"]] == [1, 0]
    assert problem(api.get("jobs", params={"status": "lost"})) == (422, "invalid_request")
    assert problem(api.get("jobs", params={"limit": 101})) == (422, "invalid_request")


def test_a_job_tells_how_far_it_is_and_what_it_gave(api: httpx.Client, job: str, worker: Worker) -> None:
    worker.start(job)
    worker.progress(job, "calibrate", 0.25, "batch 4 of 16")

    seen = api.get(f"jobs/{job}")
    assert "retry-after" in seen.headers
    assert (seen.json()["state"], seen.json()["stage"], seen.json()["progress"]) == ("running", "calibrate", 0.25)
    assert problem(api.get(f"jobs/{job}/report")) == (409, "conflict")

    worker.succeed(job, REPORT)
    seen = api.get(f"jobs/{job}")
    assert "retry-after" not in seen.headers
    assert (seen.json()["state"], seen.json()["verdict"], seen.json()["progress"]) == ("succeeded", "passes", 1.0)
    metrics = {metric["name"]: metric["value"] for metric in seen.json()["metrics"]}
    assert metrics["accuracy.int8"] == 0.9694
    assert api.get(f"jobs/{job}/report").json() == REPORT.model_dump(mode="json")


def test_a_failed_job_is_a_good_answer_that_says_why(api: httpx.Client, job: str, worker: Worker) -> None:
    worker.start(job)
    worker.fail(job, code="quantization_failed", message="It did not work.", hint="Try fbgemm.")

    answer = api.get(f"jobs/{job}")

    assert answer.status_code == 200
    assert answer.json()["error"] == {
        "code": "quantization_failed",
        "message": "It did not work.",
        "hint": "Try fbgemm.",
    }


def test_a_job_is_cancelled_once(api: httpx.Client, job: str) -> None:
    answer = api.post(f"jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")

    again = api.post(f"jobs/{job}/cancel")
    assert problem(again) == (409, "job_ended")
    assert again.json()["state"] == "cancelled"


def test_a_running_job_is_cancelled_by_its_worker(api: httpx.Client, job: str, worker: Worker) -> None:
    worker.start(job)

    assert api.post(f"jobs/{job}/cancel").json()["state"] == "cancelling"
    assert api.post(f"jobs/{job}/cancel").json()["state"] == "cancelling"
    worker.confirm_cancelled(job)
    assert api.get(f"jobs/{job}").json()["state"] == "cancelled"


@pytest.mark.parametrize("path", ["", "/events", "/report", "/artifacts", "/cancel"])
def test_a_job_that_does_not_exist_is_not_found(path: str, api: httpx.Client) -> None:
    method = "POST" if path == "/cancel" else "GET"

    assert problem(api.request(method, f"jobs/{uuid4()}{path}")) == (404, "not_found")
    assert problem(api.request(method, f"jobs/no-id{path}")) == (404, "not_found")


def test_artifacts_are_listed_by_name(api: httpx.Client, job: str, worker: Worker, tmp_path: Path) -> None:
    assert api.get(f"jobs/{job}/artifacts").json() == []
    files = [tmp_path / name for name in ("model.pt", "load.py")]
    for file in files:
        file.write_text(file.name)
    worker.start(job)
    worker.succeed(job, REPORT, *files)

    artifacts = api.get(f"jobs/{job}/artifacts").json()

    assert [artifact["name"] for artifact in artifacts] == ["load.py", "model.pt"]
    assert api.get(f"artifacts/{artifacts[0]['id']}").json() == artifacts[0]
    assert api.get(f"artifacts/{artifacts[0]['id']}/content").text == "load.py"
