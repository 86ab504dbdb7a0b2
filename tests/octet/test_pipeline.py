"""A whole job: program and recipe in, int8 model, report and artifact out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import MODELS, inputs_of, make

import octet
from octet import artifact
from octet.artifact import check
from octet.errors import (
    DestinationExistsError,
    InvalidDatasetError,
    InvalidModelError,
    TimedOutError,
    VerificationFailedError,
)
from octet.manifest import Manifest
from octet.pipeline import quantize
from octet.recipe import Recipe
from octet.report import Report

if TYPE_CHECKING:
    from pathlib import Path

    from octet.pipeline import Result
    from octet.progress import Progress


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, octet.Program]:
    folder = tmp_path_factory.mktemp("programs")
    for family in MODELS:
        octet.export(make(family), inputs_of(family, 3), folder / f"{family}.pt2")
    return {family: octet.load(folder / f"{family}.pt2") for family in MODELS}


def data_of(family: str, count: int = 32, seed: int = 0, *, labelled: bool = False) -> octet.Dataset:
    """Inputs, with the labels that fp32 gives them."""
    inputs = inputs_of(family, count, seed)
    arrays: dict[str, Any] = {"input_0": inputs.numpy()}
    if labelled:
        with torch.no_grad():
            arrays["label"] = make(family)(inputs).argmax(1).numpy()
    return octet.Dataset(arrays)


def recipe_of(method: str = "static", **sections: Any) -> Recipe:
    """A recipe that is measured in a moment."""
    measure = {"seconds": 0.02, "threads": 1, **sections.pop("measure", {})}
    return Recipe.parse({"method": method, "measure": measure, **sections})


@pytest.fixture(scope="module")
def result(programs: dict[str, octet.Program]) -> Result:
    recipe = recipe_of(measure={"batch_sizes": [1, 4]})
    calibration, evaluation = data_of("residual", labelled=True), data_of("residual", seed=1, labelled=True)
    return quantize(programs["residual"], recipe, calibration=calibration, evaluation=evaluation)


@pytest.fixture(scope="module")
def saved(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save(tmp_path_factory.mktemp("artifacts") / "residual")


class TestReport:
    def test_it_says_what_was_done(self, result: Result, programs: dict[str, octet.Program]) -> None:
        report = result.report
        assert report.model.sha256 == programs["residual"].sha256
        assert report.engine.name == "x86"
        assert report.engine.reduce_range
        assert (report.calibration.samples, report.evaluation.samples) == (32, 32)
        assert report.evaluation.source == "dataset"
        assert report.machine.torch_version == torch.__version__

    def test_accuracy_fidelity_and_size_are_of_both_models(self, result: Result) -> None:
        report = result.report
        assert report.accuracy.fp32 == 1.0  # the labels are fp32's own
        assert report.accuracy.drop == pytest.approx(1 - report.accuracy.int8)
        assert report.fidelity.agreement == report.accuracy.int8
        assert report.fidelity.sqnr_db > 20
        assert report.fidelity.source == "evaluation"
        assert report.size.ratio == pytest.approx(report.size.fp32 / report.size.int8)

    def test_latency_is_taken_for_each_batch_size(self, result: Result) -> None:
        assert [figure.batch_size for figure in result.report.latency] == [1, 4]
        for figure in result.report.latency:
            assert figure.threads == 1
            assert figure.rounds >= 5
            assert figure.ratio_low <= figure.ratio <= figure.ratio_high
            assert figure.fp32.median > 0

    def test_every_layer_with_weights_is_there_under_its_own_name(self, result: Result) -> None:
        layers = {layer.name: layer for layer in result.report.layers}
        assert list(layers) == ["stem.0", "stem.1", "conv1", "bn1", "conv2", "bn2", "fc"]
        assert {layer.method for layer in layers.values()} == {"static"}
        assert layers["conv1"].type == "Conv2d"
        assert layers["conv1"].weight_sqnr_db > 35
        assert layers["conv1"].activation_sqnr_db > 20
        assert layers["bn1"].weight_sqnr_db is None  # folded into conv1

    def test_it_is_the_same_after_a_round_trip_through_json(self, result: Result) -> None:
        assert Report.model_validate_json(result.report.model_dump_json()) == result.report

    def test_the_time_of_every_stage_is_in_it(self, saved: Path) -> None:
        seconds = json.loads((saved / "report.json").read_text())["seconds"]
        assert list(seconds) == ["load", "prepare", "calibrate", "convert", "measure", "save", "verify"]
        assert all(value >= 0 for value in seconds.values())


@pytest.mark.parametrize(("family", "method"), [("conv-gru", "static"), ("lstm", "dynamic"), ("encoder", "qat")])
def test_a_model_comes_back_verified(
    family: str, method: str, programs: dict[str, octet.Program], tmp_path: Path
) -> None:
    done = quantize(
        programs[family], recipe_of(method), calibration=data_of(family), evaluation=data_of(family, seed=1)
    )
    done.save(tmp_path / "artifact")
    assert done.report.verification.max_abs_difference <= done.report.verification.tolerance
    assert done.report.fidelity.sqnr_db > 20


def test_static_convolutions_and_a_dynamic_gru_share_one_model(programs: dict[str, octet.Program]) -> None:
    report = quantize(programs["conv-gru"], recipe_of(), calibration=data_of("conv-gru")).report
    assert {layer.name: layer.method for layer in report.layers} == {
        "conv": "static",
        "gru": "dynamic",
        "head": "static",
    }


def test_a_layer_in_float_says_why(programs: dict[str, octet.Program]) -> None:
    rule = {"type": "Embedding", "method": "static"}
    report = quantize(programs["lstm"], recipe_of("dynamic", layers=[rule]), calibration=data_of("lstm")).report
    layers = {layer.name: layer for layer in report.layers}
    assert layers["embedding"].method == "float"
    assert layers["embedding"].reason == "torch has no static int8 kernel for Embedding"
    assert layers["lstm"].reason is None
    assert layers["lstm"].weight_sqnr_db > 30


class TestArtifact:
    def test_it_holds_what_it_says(self, saved: Path, result: Result) -> None:
        manifest = Manifest.model_validate_json((saved / "manifest.json").read_bytes())
        assert set(manifest.files) == {"model.pt", "report.json", "sample.safetensors", "load.py"}
        assert {path.name for path in saved.iterdir()} == {*manifest.files, "manifest.json"}
        assert manifest.recipe == result.report.recipe
        assert (manifest.engine, manifest.reduce_range, manifest.cpu_flags) == ("x86", True, ("avx2",))
        assert [tensor.name for tensor in manifest.inputs] == ["x"]

    def test_its_verification_is_in_its_report(self, saved: Path) -> None:
        report = Report.model_validate_json((saved / "report.json").read_bytes())
        assert report.verification.max_abs_difference <= report.verification.tolerance

    def test_torch_alone_loads_and_runs_it(self, saved: Path, tmp_path: Path) -> None:
        block = "import sys; sys.modules['octet'] = None; "
        run = f"import runpy; runpy.run_path({str(saved / 'load.py')!r})"
        done = subprocess.run(
            [sys.executable, "-I", "-c", block + run], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert "tensor(" in done.stdout

    def test_it_passes_its_own_check_again(self, saved: Path) -> None:
        assert artifact.verify(saved).max_abs_difference <= TOLERATED

    def test_a_changed_file_fails_the_check(self, saved: Path, tmp_path: Path) -> None:
        copy = _copy(saved, tmp_path)
        content = bytearray((copy / "model.pt").read_bytes())
        content[len(content) // 2] ^= 0xFF
        (copy / "model.pt").write_bytes(content)
        with pytest.raises(VerificationFailedError, match=r"model\.pt"):
            artifact.verify(copy)

    def test_a_damaged_model_fails_to_load_in_the_fresh_process(self, saved: Path, tmp_path: Path) -> None:
        copy = _copy(saved, tmp_path)
        (copy / "model.pt").write_bytes((copy / "model.pt").read_bytes()[:1000])
        with pytest.raises(VerificationFailedError, match="does not load and run"):
            artifact.Check("x86", threads=1, tolerance=1.0).run(copy)

    def test_a_model_that_gives_something_else_fails(self, saved: Path, tmp_path: Path) -> None:
        copy = _copy(saved, tmp_path)
        sample = load_file(copy / "sample.safetensors")
        artifact.save_sample(copy, artifact.Sample((sample["input_0"],), (sample["output_0"] + 1,)))
        with pytest.raises(VerificationFailedError, match=r"differ by 1"):
            artifact.Check("x86", threads=1, tolerance=0.1).run(copy)

    def test_a_directory_with_something_in_it_is_left_alone(self, result: Result, saved: Path) -> None:
        before = (saved / "manifest.json").read_bytes()
        with pytest.raises(DestinationExistsError, match="already"):
            result.save(saved)
        assert (saved / "manifest.json").read_bytes() == before

    def test_a_failed_save_leaves_nothing_behind(
        self, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(check, "VERIFY_TIMEOUT", 0.001)
        with pytest.raises(VerificationFailedError, match="within"):
            result.save(tmp_path / "artifact")
        assert list(tmp_path.iterdir()) == []


TOLERATED = 1e-3


def _copy(saved: Path, folder: Path) -> Path:
    copy = folder / "copy"
    copy.mkdir()
    for path in saved.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


class TestData:
    @pytest.mark.parametrize("method", ["static", "qat"])
    def test_without_calibration_data_a_job_is_refused_at_once(
        self, method: str, programs: dict[str, octet.Program]
    ) -> None:
        told: list[Progress] = []
        with pytest.raises(InvalidDatasetError, match=r"calibration data.*synthetic"):
            quantize(programs["mlp"], recipe_of(method), on_progress=told.append)
        assert [step.stage for step in told] in ([], ["load"])

    def test_synthetic_calibration_is_flagged_and_repeatable(self, programs: dict[str, octet.Program]) -> None:
        recipe = recipe_of(calibration={"source": "synthetic"})
        runs = [quantize(programs["mlp"], recipe) for _ in range(2)]
        assert runs[0].report.calibration.source == "synthetic"
        assert any("synthetic" in warning for warning in runs[0].report.warnings)
        assert runs[0].report.fidelity == runs[1].report.fidelity

    def test_the_same_data_twice_is_flagged(self, programs: dict[str, octet.Program]) -> None:
        data = data_of("mlp")
        report = quantize(programs["mlp"], recipe_of(), calibration=data, evaluation=data).report
        assert any("are the same" in warning for warning in report.warnings)

    @pytest.mark.parametrize(("method", "flagged"), [("static", True), ("dynamic", False)])
    def test_calibration_data_that_is_one_value_is_flagged(
        self, method: str, flagged: bool, programs: dict[str, octet.Program]
    ) -> None:
        zeros = octet.Dataset({"input_0": np.zeros_like(data_of("mlp").arrays["input_0"])})
        report = quantize(programs["mlp"], recipe_of(method), calibration=zeros, evaluation=data_of("mlp")).report
        assert any("one value throughout" in warning for warning in report.warnings) is flagged

    def test_without_evaluation_data_what_was_not_calibrated_on_is_compared(
        self, programs: dict[str, octet.Program]
    ) -> None:
        recipe = recipe_of(calibration={"samples": 20})
        report = quantize(programs["mlp"], recipe, calibration=data_of("mlp", 32)).report
        assert (report.calibration.samples, report.evaluation.samples) == (20, 12)
        assert report.fidelity.source == "calibration"
        assert not any("calibrated" in warning for warning in report.warnings)

    def test_with_nothing_held_back_the_report_says_so(self, programs: dict[str, octet.Program]) -> None:
        report = quantize(programs["mlp"], recipe_of(), calibration=data_of("mlp")).report
        assert report.evaluation.samples == 32
        assert any("calibrated or trained on" in warning for warning in report.warnings)

    def test_dynamic_needs_no_data_at_all(self, programs: dict[str, octet.Program]) -> None:
        report = quantize(programs["mlp"], recipe_of("dynamic")).report
        assert report.calibration is None
        assert report.fidelity.source == "synthetic"

    def test_synthetic_data_cannot_train_on_labels(self, programs: dict[str, octet.Program]) -> None:
        recipe = recipe_of("qat", calibration={"source": "synthetic"}, training={"loss": "cross_entropy"})
        with pytest.raises(InvalidDatasetError, match="label"):
            quantize(programs["mlp"], recipe)

    def test_token_ids_out_of_range_are_an_error_about_the_model_run(self, programs: dict[str, octet.Program]) -> None:
        data = octet.Dataset({"input_0": np.full((8, 6), 99)})
        with pytest.raises(InvalidModelError, match="does not run") as caught:
            quantize(programs["lstm"], recipe_of("dynamic"), evaluation=data)
        assert "look at the data" in str(caught.value.hint)


class TestGates:
    @pytest.mark.parametrize(("limit", "passed"), [(1.0, True), (200.0, False)])
    def test_the_sqnr_gate_decides_the_verdict(
        self, limit: float, passed: bool, programs: dict[str, octet.Program]
    ) -> None:
        report = quantize(programs["mlp"], recipe_of("dynamic", gates={"min_sqnr_db": limit})).report
        gate = next(gate for gate in report.gates if gate.gate == "min_sqnr_db")
        assert gate.passed is passed
        assert report.verdict == ("passes" if passed else "fails")

    def test_accuracy_without_labels_is_not_judged(self, programs: dict[str, octet.Program]) -> None:
        report = quantize(programs["mlp"], recipe_of("dynamic")).report
        (gate,) = report.gates
        assert (gate.gate, gate.measured, gate.passed) == ("max_accuracy_drop", None, None)
        assert any("max_accuracy_drop was not judged: there are no labels" in line for line in report.warnings)

    def test_accuracy_with_labels_is_judged(self, result: Result) -> None:
        (gate,) = result.report.gates
        assert gate.measured == result.report.accuracy.drop
        assert gate.passed is (gate.measured <= 0.01)


def test_progress_never_goes_back_and_ends_at_one(programs: dict[str, octet.Program], tmp_path: Path) -> None:
    told: list[Progress] = []
    done = quantize(programs["mlp"], recipe_of("qat"), calibration=data_of("mlp"), on_progress=told.append)
    done.save(tmp_path / "artifact")
    fractions = [step.fraction for step in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    stages = list(dict.fromkeys(step.stage for step in told))
    assert stages == ["load", "prepare", "calibrate", "train", "convert", "measure", "save", "verify"]


def test_an_engine_of_another_cpu_is_flagged_in_the_report(programs: dict[str, octet.Program]) -> None:
    report = quantize(programs["mlp"], recipe_of("dynamic", engine="qnnpack", gates={"min_speedup": 1.0})).report
    assert report.engine.native is report.latency[0].representative
    if not report.engine.native:
        assert any("do not carry over" in warning for warning in report.warnings)
        assert next(gate for gate in report.gates if gate.gate == "min_speedup").passed is None


def test_a_model_with_a_fixed_batch_is_calibrated_and_timed_with_it(tmp_path: Path) -> None:
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.reshape(6, 4))

    exported = torch.export.export(Fixed().eval(), (torch.randn(6, 4),))
    torch.export.save(exported, tmp_path / "fixed.pt2")
    data = octet.Dataset({"input_0": np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)})
    report = quantize(octet.load(tmp_path / "fixed.pt2"), recipe_of(), calibration=data, evaluation=data).report
    assert [figure.batch_size for figure in report.latency] == [6]
    assert report.fidelity.samples == 10
    assert any("fixed batch of 6" in warning for warning in report.warnings)


@pytest.mark.parametrize("method", ["static", "auto"])
def test_a_job_that_takes_longer_than_its_recipe_allows_ends_between_two_steps(
    programs: dict[str, octet.Program], method: str
) -> None:
    recipe = recipe_of(method, timeout_seconds=1e-3, gates={"min_sqnr_db": 1.0})
    with pytest.raises(TimedOutError, match=r"longer than 0\.001 seconds; it had come to the stage"):
        quantize(programs["residual"], recipe, calibration=data_of("residual"))
