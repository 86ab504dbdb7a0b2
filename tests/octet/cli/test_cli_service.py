"""The commands that speak to the service, against the real app."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from octet.cli.app import app
from octet.client import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from live_service import LiveService

    from octet.client import Client, JobHandle
    from octet.report import Report


@pytest.fixture
def octet(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    monkeypatch.setenv("OCTET_URL", service.url)
    monkeypatch.setenv("OCTET_API_KEY", service.key)
    monkeypatch.setenv("COLUMNS", "200")
    with capture_logs():  # the service shares this process, and its log would mix with what the command writes
        yield lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def job(client: Client, tiny_model: Path) -> JobHandle:
    return client.submit(client.upload_model(tiny_model), {"method": "dynamic"}, name="tiny")


@pytest.fixture
def done(service: LiveService, job: JobHandle, report: Report, tmp_path: Path) -> JobHandle:
    path = tmp_path / "model.pt"
    path.write_bytes(b"an int8 model")
    service.succeed(job.id, report, path)
    return job


def test_files_are_uploaded_and_a_job_is_queued(
    octet: Callable[..., Result], client: Client, tiny_model: Path, tiny_data: Path
) -> None:
    result = octet("submit", tiny_model, "--calibration", tiny_data, "--name", "mine", "--json")
    assert result.exit_code == 0, result.output
    job = json.loads(result.stdout)["job"]
    assert (job["name"], job["state"], job["recipe"]["method"]) == ("mine", "queued", "static")
    by_id = octet("submit", job["model"], "--calibration", job["calibration"], "--json")
    assert json.loads(by_id.stdout)["job"]["model"] == job["model"]
    assert len(list(client.jobs())) == 2


def test_the_result_of_an_earlier_job_is_taken_when_asked_for(octet: Callable[..., Result], done: JobHandle) -> None:
    model = str(done.refresh().model)
    again = json.loads(octet("submit", model, "--method", "dynamic", "--reuse", "--json").stdout)["job"]
    assert (again["id"], again["state"]) == (str(done.id), "succeeded")
    anew = json.loads(octet("submit", model, "--method", "dynamic", "--json").stdout)["job"]
    assert anew["id"] != str(done.id)


def test_jobs_are_listed(octet: Callable[..., Result], job: JobHandle) -> None:
    table = octet("jobs").stdout
    assert str(job.id) in table
    assert "dynamic" in table
    assert [listed["id"] for listed in json.loads(octet("jobs", "--json").stdout)] == [str(job.id)]
    assert json.loads(octet("jobs", "--status", "running", "--json").stdout) == []


def test_a_job_is_shown_with_its_figures(octet: Callable[..., Result], done: JobHandle) -> None:
    shown = octet("show", done.id, "--layers")
    assert shown.exit_code == 0
    for figure in ("97.00% → 95.00%", "4.0 kB → 1.0 kB", " faster", " 31.4 ", "fails", "40.0"):
        assert figure in shown.stdout
    document = json.loads(octet("show", done.id, "--json").stdout)
    assert document["report"]["verdict"] == document["job"]["verdict"] == "fails"


def test_waiting_tells_a_failed_gate_by_the_status(octet: Callable[..., Result], done: JobHandle) -> None:
    result = octet("wait", done.id, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["job"]["state"] == "succeeded"
    assert "max_accuracy_drop is 0.01, measured 0.02" in result.stderr


def test_waiting_tells_a_failed_job_by_the_status_and_its_own_words(
    octet: Callable[..., Result], service: LiveService, job: JobHandle
) -> None:
    service.fail(job.id, {"code": "quantization_failed", "message": "No int8 kernel.", "hint": "Try another engine."})
    result = octet("wait", job.id)
    assert result.exit_code == 1
    assert result.stderr == "error: No int8 kernel.\nhint: Try another engine.\n"
    assert "No int8 kernel." in octet("show", job.id).stdout


def test_waiting_can_end_before_the_job(octet: Callable[..., Result], job: JobHandle) -> None:
    result = octet("wait", job.id, "--timeout", "0.1")
    assert result.exit_code == 1
    assert "has not finished within 0.1 s" in result.stderr


def test_a_job_is_cancelled_once(octet: Callable[..., Result], job: JobHandle) -> None:
    assert json.loads(octet("cancel", job.id, "--json").stdout)["job"]["state"] == "cancelled"
    again = octet("cancel", job.id)
    assert again.exit_code == 1
    assert again.stderr.startswith("error: ")


def test_files_are_downloaded(octet: Callable[..., Result], done: JobHandle, tmp_path: Path) -> None:
    result = octet("download", done.id, "-o", tmp_path / "out", "--json")
    assert json.loads(result.stdout) == [str(tmp_path / "out" / "model.pt")]
    assert (tmp_path / "out" / "model.pt").read_bytes() == b"an int8 model"
    assert octet("download", done.id, "model.onnx", "-o", tmp_path / "out").exit_code == 1


def test_no_bar_is_drawn_where_nobody_watches(octet: Callable[..., Result], done: JobHandle, tmp_path: Path) -> None:
    assert octet("download", done.id, "-o", tmp_path / "out").stderr == ""


def _not_a_zip(folder: Path) -> Path:
    path = folder / "model.pt2"
    path.write_bytes(b"not a model at all" * 100)
    return path


def _pickle(folder: Path) -> Path:
    path = folder / "model.pt2"
    path.write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07octet...\x94.")
    return path


@pytest.mark.parametrize("make", [_not_a_zip, _pickle])
def test_a_bad_model_gets_the_same_sentence_here_and_there(
    octet: Callable[..., Result], client: Client, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    with pytest.raises(ServiceError) as caught:
        client.upload_model(path)
    expected = f"error: {caught.value.message}\nhint: {caught.value.hint}\n"
    for command in (["inspect", path], ["quantize", path, "-o", tmp_path / "out"], ["submit", path]):
        result = octet(*command)
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", expected)


@pytest.mark.parametrize("recipe", [{"metod": "static"}, {"engine": "fbgem"}, {"measure": {"seconds": -1}}])
def test_a_bad_recipe_gets_the_same_sentence_here_and_there(
    octet: Callable[..., Result], client: Client, tiny_model: Path, tmp_path: Path, recipe: dict[str, object]
) -> None:
    with pytest.raises(ServiceError) as caught:
        client.submit(client.upload_model(tiny_model), recipe)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    result = octet("submit", tiny_model, "--recipe", path)
    assert result.exit_code == 1
    # The service points into the request, where the recipe is one part.
    assert result.stderr.splitlines()[0] == "error: " + re.sub(r"\(at /recipe", "(at ", caught.value.message)
    assert list(client.jobs()) == []


@pytest.mark.parametrize(
    "arrays",
    [
        None,
        {"input_1": np.zeros((4, 4), np.float32)},
        {"input_0": np.zeros((4, 5), np.float32)},
        {"input_0": np.zeros((4, 4), np.float32), "label": np.array([0, 1, 2, 3])},
    ],
    ids=["missing", "wrong name", "wrong shape", "label out of range"],
)
def test_bad_data_gets_the_same_sentence_here_and_there(
    octet: Callable[..., Result], tiny_model: Path, tmp_path: Path, arrays: dict[str, np.ndarray] | None
) -> None:
    data = []
    if arrays is not None:
        np.savez(tmp_path / "data.npz", **arrays)
        data = ["--calibration", tmp_path / "data.npz"]
    here = octet("quantize", tiny_model, *data, "-o", tmp_path / "out")
    there = octet("submit", tiny_model, *data)
    assert (here.exit_code, there.exit_code) == (1, 1)
    assert here.stderr == there.stderr
